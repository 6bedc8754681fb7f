//! The control connection of a pair of processes: each side says in short intervals that it lives, and at the end why
//! it ends. A line each: an empty one is a beat, [`ENDED`] an end that was asked for, all else the reason of another.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, split};
use tokio::time::{sleep, timeout};

use super::links::Links;

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_millis(200);
/// A process that says nothing for so long is lost; and one that stood still for so long is lost to the others.
pub const SILENCE: Duration = Duration::from_secs(2);
/// How long the last words may take.
const LAST: Duration = Duration::from_millis(500);
/// The longest line.
const LONGEST: u64 = 2048;
/// Said by a process that ends because the cluster was asked to.
pub const ENDED: &str = "ended";

/// Looks all the time whether this process runs.
pub async fn look(links: Arc<Links>) {
    while links.see() {
        sleep(BEAT).await;
    }
}

/// Beats to process `peer` over `stream`, and listens to it, until one of the two ends.
pub async fn pulse(peer: usize, stream: impl AsyncRead + AsyncWrite, links: Arc<Links>) {
    let (reader, writer) = split(stream);
    tokio::join!(listen(peer, reader, &links), beat(writer, &links));
}

async fn beat(mut writer: impl AsyncWrite + Unpin, links: &Links) {
    let mut end = links.watch_end();
    let last = loop {
        match timeout(BEAT, end.wait_for(Option::is_some)).await {
            Ok(Ok(reason)) => break reason.clone().unwrap_or_default().replace('\n', " ") + "\n",
            Ok(Err(_)) => return,
            // One that stood still was given up by the others: it may not say that it lives.
            Err(_) if links.see() => {}
            Err(_) => continue,
        }
        // Where it cannot be said, the other side's silence, or the end of its connection, ends the generation.
        if timeout(SILENCE, writer.write_all(b"\n")).await.is_ok_and(|written| written.is_ok()) {
            let _ = timeout(SILENCE, writer.flush()).await;
        }
    };
    let _ = timeout(LAST, async {
        writer.write_all(last.as_bytes()).await?;
        writer.shutdown().await
    })
    .await;
}

async fn listen(peer: usize, reader: impl AsyncRead + Unpin, links: &Links) {
    let mut reader = BufReader::new(reader);
    let mut end = links.watch_end();
    loop {
        let mut line = String::new();
        let mut limited = (&mut reader).take(LONGEST);
        let heard = tokio::select! {
            heard = timeout(SILENCE, limited.read_line(&mut line)) => heard,
            _ = end.wait_for(Option::is_some) => return,
        };
        match (heard, line.trim_end()) {
            (Err(_), _) => return links.lost(peer, &format!("nothing was heard of it for {SILENCE:?}")),
            (Ok(Err(error)), _) => return links.lost(peer, &error.to_string()),
            (Ok(Ok(0)), _) => return links.lost(peer, "it ended without a word"),
            (Ok(Ok(_)), "") => {}
            (Ok(Ok(_)), ENDED) => return,
            (Ok(Ok(_)), reason) => return links.cut(reason.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process thinks of process 1 after that has said `words` and closed the connection.
    async fn after(words: &str) -> Option<String> {
        let links = Arc::new(Links::default());
        let (near, mut far) = tokio::io::duplex(64);
        let pulse = tokio::spawn(pulse(1, near, Arc::clone(&links)));
        // Where it is too long, nobody reads all of it.
        let _ = far.write_all(words.as_bytes()).await;
        drop(far);
        let mut ended = links.watch_end();
        // What it said of its end does not end the process that hears it.
        let _ = timeout(Duration::from_secs(1), ended.wait_for(Option::is_some)).await;
        pulse.abort();
        links.broken().map(str::to_string)
    }

    #[tokio::test]
    async fn a_process_tells_why_it_ends() {
        let reason = "process 2 was lost (it ended without a word)";
        assert_eq!(after(&format!("\n\n{reason}\n")).await.as_deref(), Some(reason));
        assert_eq!(after("\n").await.as_deref(), Some("process 1 was lost (it ended without a word)"));
        assert_eq!(after("\nended\n").await, None);
        assert!(after(&"x".repeat(10_000)).await.is_some_and(|reason| reason.len() <= LONGEST as usize));
    }

    #[tokio::test]
    async fn both_sides_hear_each_other_until_one_ends() {
        let (near, far) = tokio::io::duplex(64);
        let (one, other) = (Arc::new(Links::default()), Arc::new(Links::default()));
        let both = [tokio::spawn(pulse(1, near, Arc::clone(&one))), tokio::spawn(pulse(0, far, Arc::clone(&other)))];
        sleep(SILENCE + BEAT).await;
        assert!(one.broken().is_none() && other.broken().is_none());
        one.cut("process 0 has a reason".to_string());
        for task in both {
            task.await.expect("it ends");
        }
        assert_eq!(other.broken(), Some("process 0 has a reason"));
    }

    #[tokio::test]
    async fn silence_is_the_end() {
        let links = Arc::new(Links::default());
        let (near, _far) = tokio::io::duplex(64);
        let (_, looked) = (tokio::spawn(pulse(1, near, Arc::clone(&links))), tokio::spawn(look(Arc::clone(&links))));
        links.watch_end().wait_for(Option::is_some).await.expect("an end");
        assert!(
            links.broken().is_some_and(|reason| reason.contains("process 1") && reason.contains("nothing was heard"))
        );
        looked.abort();
    }
}
