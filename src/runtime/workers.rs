//! Workers that run beside the thread that watches over them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// The workers of this process.
pub struct Workers {
    thread: JoinHandle<Result<()>>,
    /// Hangs up when they have ended.
    running: Receiver<()>,
}

impl Workers {
    /// Starts `work`, which returns when all workers have ended.
    pub fn start(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Workers> {
        let (ended, running) = sync_channel(0);
        let thread = Builder::new().name("tapeflow-run".to_string()).spawn(move || {
            let _ended = ended;
            work()
        });
        let thread = thread.map_err(|error| Error::run(format!("cannot start a thread: {error}")))?;
        Ok(Workers { thread, running })
    }

    /// Waits until they have ended, at most for `timeout`; whether they have.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.running.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// Waits until they have ended; how they did.
    pub fn join(self) -> Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(Error::run("a worker panicked: this is a bug of tapeflow")))
    }
}
