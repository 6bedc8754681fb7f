//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process.

use std::process::exit;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::runtime::runtime;

/// Whether a signal has come.
pub struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Begins to watch.
    pub fn watch() -> Result<Signals> {
        let runtime = runtime()?;
        let _inside = runtime.enter();
        let cannot = |error: std::io::Error| Error::run(format!("cannot watch signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let (note, noted) = watch::channel(false);
        runtime.spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                };
                if note.send_replace(true) {
                    exit(i32::from(Error::Signal(number).exit_code()));
                }
            }
        });
        Ok(Signals(noted))
    }

    /// Whether one has come.
    pub fn seen(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for one.
    pub async fn wait(&self) {
        // The watcher lives as long as the process.
        let _ = self.0.clone().wait_for(|seen| *seen).await;
    }
}
