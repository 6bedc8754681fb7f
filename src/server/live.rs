//! Rows as they leave a node: a JSON object a line, for as long as the job runs and somebody reads.
//!
//! Between them stand lines like `{"_dropped":12}`, where rows came faster than they are shown or read, and empty
//! ones, which only say that the connection lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout};
use warp::reply::{Reply, Response, stream, with_header};

use super::client::Lines;
use super::{App, Problem};
use crate::error::{Error, Result};
use crate::formats::write_json_lines;
use crate::runtime::Known;
use crate::runtime::tap::Watching;

/// Parts of an answer that wait to be sent.
const WAITING: usize = 16;
/// Rows that are shown in a second, at most.
const RATE: usize = 5000;
/// Rows that become text at a time.
const AT_A_TIME: usize = 256;
/// How many may look at a time, in one process.
const WATCHERS: usize = 32;
/// How often a quiet stream says that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A stream that is quiet for so long has been lost.
pub const SILENCE: Duration = Duration::from_secs(20);

static WATCHING: AtomicUsize = AtomicUsize::new(0);

/// Counts one who looks; until it is dropped.
struct Place;

impl Place {
    fn take() -> Result<Place, Problem> {
        if WATCHING.fetch_add(1, Ordering::Relaxed) >= WATCHERS {
            WATCHING.fetch_sub(1, Ordering::Relaxed);
            let error = Error::connect(format!("{WATCHERS} others look at rows of this process already"));
            return Err(Problem::new(warp::http::StatusCode::TOO_MANY_REQUESTS, &error));
        }
        Ok(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WATCHING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rows of `node` in this process.
pub fn here(known: &Known, node: &str) -> Result<Response, Problem> {
    let place = Place::take()?;
    let (sender, receiver) = channel(WAITING);
    let show = Show::new(known, node)?;
    tokio::spawn(async move {
        show.run(sender).await;
        drop(place);
    });
    Ok(lines(receiver))
}

/// The rows of `node` in all processes, `limit` at most.
pub fn everywhere(app: &Arc<App>, known: &Known, node: &str, limit: Option<&str>) -> Result<Response, Problem> {
    let limit = limit.map(|text| text.parse().map_err(|_| Problem::bad_request("`limit` is a number of rows")));
    let limit = limit.transpose()?.unwrap_or(usize::MAX);
    let place = Place::take()?;
    let (gather, mut gathered) = channel::<Bytes>(WAITING);
    let show = Show::new(known, node)?;
    tokio::spawn(show.run(gather.clone()));
    let (app, id, node) = (Arc::clone(app), known.id.clone(), node.to_string());
    tokio::spawn(async move {
        for peer in app.peers.tap(&app.process, &id, &node).await {
            tokio::spawn(pass_on(peer, gather.clone()));
        }
    });
    let (sender, receiver) = channel(WAITING);
    tokio::spawn(async move {
        let mut left = limit;
        while let Some(part) = gathered.recv().await {
            let part = first_rows(part, &mut left);
            if sender.send(part).await.is_err() || left == 0 {
                break;
            }
        }
        drop(place);
    });
    Ok(lines(receiver))
}

fn lines(mut parts: Receiver<Bytes>) -> Response {
    let parts = futures::stream::poll_fn(move |context| parts.poll_recv(context).map(|part| part.map(Ok::<_, Error>)));
    with_header(stream(parts), "content-type", "application/x-ndjson").into_response()
}

/// Passes the lines of another process on.
async fn pass_on(mut peer: Lines, to: Sender<Bytes>) {
    while let Ok(Some(line)) = peer.next().await {
        let mut part = line.to_vec();
        part.push(b'\n');
        if to.send(part.into()).await.is_err() {
            return;
        }
    }
}

/// As much of `part` as holds no more than `left` rows.
fn first_rows(part: Bytes, left: &mut usize) -> Bytes {
    let mut end = 0;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        if is_row(line) {
            if *left == 0 {
                break;
            }
            *left -= 1;
        }
        end += line.len();
    }
    part.slice(..end)
}

fn is_row(line: &[u8]) -> bool {
    line.len() > 1 && !line.starts_with(b"{\"_dropped\"")
}

/// Makes text of the rows of one node, no faster than they can be read.
struct Show {
    watching: Watching,
    columns: Vec<usize>,
    since: Instant,
    left: usize,
}

impl Show {
    fn new(known: &Known, node: &str) -> Result<Show, Problem> {
        let nodes = &known.plan.nodes;
        let Some(planned) = nodes.iter().find(|planned| planned.name == node) else {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            let near = crate::spec::did_you_mean(node, names);
            return Err(Problem::not_found(format!("`{}` has no node `{node}`{near}", known.job.name)));
        };
        let columns = (0..planned.edge.visible).collect();
        Ok(Show { watching: known.job.tap(node).watch(), columns, since: Instant::now(), left: RATE })
    }

    async fn run(mut self, to: Sender<Bytes>) {
        let (mut dropped, mut told) = (0, Instant::now());
        loop {
            let rows = tokio::select! {
                rows = timeout(SIGN_OF_LIFE, self.watching.next()) => rows,
                () = to.closed() => return,
            };
            let over = matches!(rows, Ok(None));
            if let Ok(Some(rows)) = rows {
                let shown = self.allowed(rows.num_rows());
                dropped += (rows.num_rows() - shown) as u64;
                if self.send(&rows.slice(0, shown), &to).await.is_err() {
                    return;
                }
            } else if to.send(Bytes::from_static(b"\n")).await.is_err() {
                return;
            }
            dropped += self.watching.missed();
            if dropped > 0 && (over || told.elapsed() >= Duration::from_secs(1)) {
                if to.send(format!("{{\"_dropped\":{dropped}}}\n").into()).await.is_err() {
                    return;
                }
                (dropped, told) = (0, Instant::now());
            }
            if over {
                return;
            }
        }
    }

    /// How many of `rows` may be shown now.
    fn allowed(&mut self, rows: usize) -> usize {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.left) = (Instant::now(), RATE);
        }
        let allowed = rows.min(self.left);
        self.left -= allowed;
        allowed
    }

    async fn send(&self, rows: &RecordBatch, to: &Sender<Bytes>) -> Result<()> {
        let gone = |_| Error::run("nobody reads any more");
        for from in (0..rows.num_rows()).step_by(AT_A_TIME) {
            let part = rows.slice(from, AT_A_TIME.min(rows.num_rows() - from)).project(&self.columns)?;
            let mut text = Vec::new();
            write_json_lines(&mut text, &part)?;
            to.send(text.into()).await.map_err(gone)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_learns_how_many_rows_are_not_shown() {
        use arrow::array::{ArrayRef, Int64Array};
        let tap = Arc::new(crate::runtime::tap::Tap::default());
        let show = Show { watching: tap.watch(), columns: vec![0], since: Instant::now(), left: RATE };
        let numbers = |from: usize| {
            let column = Int64Array::from_iter_values((from..from + RATE).map(|number| number as i64));
            RecordBatch::try_from_iter([("n", Arc::new(column) as ArrayRef)]).expect("rows")
        };
        tap.show(&numbers(0));
        tap.show(&numbers(RATE));
        tap.close();
        let text = crate::runtime::blocking(SILENCE, async move {
            let (sender, mut receiver) = channel(WAITING);
            let shown = tokio::spawn(show.run(sender));
            let mut text = Vec::new();
            while let Some(part) = receiver.recv().await {
                text.extend_from_slice(&part);
            }
            shown.await.map_err(Error::run)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        let text = text.expect("text");
        let rows: Vec<&str> = text.lines().filter(|line| is_row(line.as_bytes())).collect();
        let dropped: Vec<&str> = text.lines().filter(|line| line.contains("_dropped")).collect();
        // Should a second pass meanwhile, more are shown.
        assert!(rows.len() == RATE && dropped == [format!("{{\"_dropped\":{RATE}}}")] || rows.len() == 2 * RATE);
    }

    #[test]
    fn rows_are_counted_and_signs_of_life_are_not() {
        let part = Bytes::from_static(b"{\"a\":1}\n\n{\"_dropped\":3}\n{\"a\":2}\n{\"a\":3}\n");
        let mut left = 2;
        assert_eq!(&first_rows(part.clone(), &mut left)[..], &part[..part.len() - 8]);
        assert_eq!(left, 0);
    }
}
