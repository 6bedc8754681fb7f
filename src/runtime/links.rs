//! Timely over the sockets of a [`Mesh`]. Timely panics when a peer is lost and hangs when a worker panics; here either
//! closes all sockets, so that every process learns of it at once and can say which peer it was.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::future::join_all;
use timely::WorkerConfig;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::execute::execute_from;
use timely::worker::Worker;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::alive::Alive;
use super::mesh::{Mesh, Task, runtime};
use super::pulse::{ENDED, SILENCE, look, pulse};
use super::wire::{Socket, Wire};
use crate::error::{Error, Result};

/// How long the end of a connection waits for the words that tell more of it.
const WORDS: Duration = Duration::from_millis(500);

/// What the workers of this process and the threads of its sockets know of the peers.
#[derive(Default)]
pub struct Links {
    /// The index of this process.
    own: usize,
    sockets: Mutex<Vec<Socket>>,
    broken: OnceLock<String>,
    ending: AtomicBool,
    alive: Alive,
    /// The last words of this process.
    end: watch::Sender<Option<String>>,
}

impl Links {
    /// Those of process `own`.
    pub fn new(own: usize) -> Links {
        Links { own, ..Links::default() }
    }

    /// Why there is no cluster any more, if so.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// From now on it is no failure when a peer closes its connection.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// All is done: the peers need not miss this process.
    pub fn finish(&self) {
        self.end.send_replace(Some(ENDED.to_string()));
    }

    /// Where the last words of this process appear.
    pub fn watch_end(&self) -> watch::Receiver<Option<String>> {
        self.end.subscribe()
    }

    /// Notes `reason`, if it is the first one, tells it to the peers and closes all sockets: peers and workers notice
    /// at once.
    pub fn cut(&self, reason: String) {
        if self.broken.set(reason.clone()).is_ok() {
            self.end.send_replace(Some(reason));
            for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Process `peer` is gone.
    pub fn lost(&self, peer: usize, what: &str) {
        // Of one that stood still itself the others are not lost: it is.
        if self.see() {
            self.cut(format!("process {peer} was lost ({what})"));
        }
    }

    /// Whether this process may go on; somebody has to ask all the time. If it stood still, it ends.
    pub fn see(&self) -> bool {
        self.go_on(self.alive.see(SILENCE))
    }

    fn go_on(&self, stood_still: Option<Duration>) -> bool {
        if let Some(span) = stood_still {
            let span = Duration::from_millis(span.as_millis() as u64);
            self.cut(format!("process {} stood still for {}", self.own, humantime::format_duration(span)));
        }
        self.broken().is_none()
    }

    /// The connection of timely to `peer` has failed. What `peer` says of its end is better known, but does not come
    /// where it has no time to say it.
    fn failed(&self, peer: usize, what: &str) {
        let until = Instant::now() + WORDS;
        while !self.ending.load(Ordering::Acquire) && self.broken().is_none() {
            match Instant::now() < until {
                true => sleep(Duration::from_millis(5)),
                false => self.lost(peer, what),
            }
        }
    }
}

/// Runs `work` on `workers` threads, connected by `mesh`, until it has returned on all and all dataflows have ended.
pub fn execute(
    mesh: Mesh,
    index: usize,
    workers: usize,
    links: &Arc<Links>,
    work: impl Fn(&mut Worker) + Send + Sync + 'static,
) -> Result<()> {
    // The gate goes on refusing strangers for as long as the workers run.
    let Mesh { sockets, pulses, between, gate: _gate, .. } = mesh;
    let cannot = |error: io::Error| Error::run(format!("the mesh cannot be used: {error}"));
    let own: io::Result<Vec<Socket>> = sockets.iter().flatten().map(Socket::try_clone).collect();
    *links.sockets.lock().unwrap_or_else(PoisonError::into_inner) = own.map_err(cannot)?;
    let sockets = sockets.into_iter().enumerate();
    let sockets = sockets.map(|(peer, socket)| socket.map(|socket| Link { peer, socket, links: Arc::clone(links) }));
    let hooks = Hooks::default();
    let builders = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, threads) =
        initialize_networking_from_sockets(builders, sockets.collect(), index, workers, hooks).map_err(cannot)?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    let pulses = Pulses::start(pulses, between, links)?;
    let shared = Arc::clone(links);
    let guards = execute_from(builders, Box::new(threads), WorkerConfig::default(), move |worker| {
        let _dart = Dart(Arc::clone(&shared));
        work(worker);
    });
    let guards = guards.map_err(Error::run)?;
    // Where a socket was closed, joining its threads panics.
    let joined = catch_unwind(AssertUnwindSafe(|| guards.join()));
    let ended = match (links.broken(), joined) {
        (Some(reason), _) => Err(Error::run(reason)),
        (None, Ok(results)) if results.iter().all(std::result::Result::is_ok) => {
            links.finish();
            Ok(())
        }
        (None, _) => {
            links.cut(format!("process {index} missed another while the cluster ended"));
            Err(Error::run("a peer was lost while the cluster ended"))
        }
    };
    pulses.end();
    ended
}

/// The control connections to all peers, and what goes between timely and those that are encrypted.
struct Pulses {
    tasks: Vec<JoinHandle<()>>,
    _look: Option<Task>,
}

impl Pulses {
    fn start(streams: Vec<Option<Wire>>, between: Vec<JoinHandle<()>>, links: &Arc<Links>) -> Result<Pulses> {
        let _inside = runtime()?.enter();
        links.alive.begin();
        let streams = streams.into_iter().enumerate().filter_map(|(peer, stream)| Some((peer, stream?)));
        let tasks = streams.map(|(peer, stream)| tokio::spawn(pulse(peer, stream, Arc::clone(links))));
        let tasks: Vec<_> = tasks.chain(between).collect();
        // Who has no peers is nobody's loss.
        let _look = (!tasks.is_empty()).then(|| Task::spawn(look(Arc::clone(links))));
        Ok(Pulses { tasks, _look })
    }

    /// Waits until the last words are said, and all that timely has sent is on its way.
    fn end(self) {
        if let Ok(runtime) = runtime() {
            // Who has not heard them by then misses this process without knowing why.
            let _ = runtime.block_on(async { timeout(2 * WORDS, join_all(self.tasks)).await });
        }
    }
}

/// Tells the peers when a worker panics: they would wait for it for ever.
struct Dart(Arc<Links>);

impl Drop for Dart {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = match self.0.ending.load(Ordering::Acquire) {
                true => "missed another while the cluster ended",
                false => "had a worker that panicked: this is a bug of tapeflow",
            };
            self.0.cut(format!("process {} {reason}", self.0.own));
        }
    }
}

/// The socket to one peer. It notes the peer's end before timely panics over it.
struct Link {
    peer: usize,
    socket: Socket,
    links: Arc<Links>,
}

impl Link {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.links.failed(self.peer, &error.to_string());
            }
        })
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.read(buffer);
        if matches!(result, Ok(0)) {
            self.links.failed(self.peer, "its connection was closed");
        }
        self.note(result)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.links.go_on(self.links.alive.stood_still(SILENCE)) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let result = self.socket.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.socket.flush();
        self.note(result)
    }
}

impl Stream for Link {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Link { peer: self.peer, socket: self.socket.try_clone()?, links: Arc::clone(&self.links) })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::{Exchange, Input, Probe};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Address;
    use crate::runtime::handshake::{Identity, Member};
    use crate::runtime::mesh::join;
    const PROCESSES: usize = 2;
    const WORKERS: usize = 2;

    fn meshes() -> Vec<Mesh> {
        let runtime = runtime().expect("threads");
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let listeners: Vec<TcpListener> = (0..PROCESSES).map(|_| bind()).collect();
        let address = |listener: &TcpListener| Address::loopback(listener.local_addr().expect("an address").port());
        let hosts: Vec<Address> = listeners.iter().map(address).collect();
        let joins = listeners.into_iter().enumerate().map(|(index, listener)| {
            let identity = Identity::new("1".to_string(), "c".to_string(), PROCESSES, WORKERS);
            let (member, hosts) = (Member { identity, index, known: 0, token: None }, hosts.clone());
            async move { join(listener, member, None, &hosts, Some(Duration::from_secs(30)), |_| {}).await }
        });
        runtime.block_on(futures::future::try_join_all(joins)).expect("a mesh")
    }

    /// Exchanges numbers for a while; the worker `dies` panics in the middle.
    fn generation(dies: Option<usize>) -> Vec<Result<()>> {
        let threads = meshes().into_iter().enumerate().map(|(index, mesh)| {
            std::thread::spawn(move || {
                let links = Arc::new(Links::new(index));
                let ends = Arc::clone(&links);
                execute(mesh, index, WORKERS, &links, move |worker| {
                    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
                        let (input, stream) = scope.new_input::<Vec<u64>>();
                        let (probe, _) = stream.exchange(|number| *number).probe();
                        (input, probe)
                    });
                    for round in 0..100 {
                        assert!(dies != Some(worker.index()) || round < 50, "an operator has a bug");
                        input.send(round);
                        input.advance_to(round + 1);
                        while probe.less_than(input.time()) {
                            worker.step_or_park(Some(Duration::from_millis(10)));
                        }
                    }
                    ends.end();
                })
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic leaves it")).collect()
    }

    #[test]
    fn a_mesh_ends_when_its_workers_have() {
        assert!(generation(None).iter().all(Result::is_ok));
    }

    #[test]
    fn a_panic_of_one_worker_ends_all_processes_at_once() {
        for dies in 0..PROCESSES * WORKERS {
            let began = Instant::now();
            let results = generation(Some(dies));
            let reasons: Vec<String> =
                results.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
            assert_eq!(reasons.len(), PROCESSES);
            let told = format!("process {} had a worker that panicked", dies / WORKERS);
            assert!(reasons.iter().all(|reason| reason.contains(&told)), "{reasons:?}");
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}
