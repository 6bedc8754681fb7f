//! Timely over the sockets of a [`Mesh`]. Timely panics when a peer is lost and hangs when a worker panics; here either
//! closes all sockets, so that every process learns of it at once and can say which peer it was.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use timely::WorkerConfig;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::execute::execute_from;
use timely::worker::Worker;

use super::mesh::Mesh;
use crate::error::{Error, Result};

/// What the workers of this process and the threads of its sockets know of the peers.
#[derive(Default)]
pub struct Links {
    sockets: Mutex<Vec<TcpStream>>,
    broken: OnceLock<String>,
    ending: AtomicBool,
}

impl Links {
    /// Why there is no cluster any more, if so.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// From now on it is no failure when a peer closes its connection.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Notes `reason`, if it is the first one, and closes all sockets: peers and workers notice at once.
    pub fn cut(&self, reason: String) {
        if self.broken.set(reason).is_ok() {
            for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    fn lost(&self, peer: usize, what: &str) {
        if !self.ending.load(Ordering::Acquire) {
            self.cut(format!("the connection to process {peer} was lost ({what}): this process ends with it"));
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
    let Mesh { sockets, gate: _gate, .. } = mesh;
    let cannot = |error: io::Error| Error::run(format!("the mesh cannot be used: {error}"));
    let own: io::Result<Vec<TcpStream>> = sockets.iter().flatten().map(TcpStream::try_clone).collect();
    *links.sockets.lock().unwrap_or_else(PoisonError::into_inner) = own.map_err(cannot)?;
    let sockets = sockets.into_iter().enumerate();
    let sockets = sockets.map(|(peer, socket)| socket.map(|socket| Link { peer, socket, links: Arc::clone(links) }));
    let hooks = Hooks::default();
    let builders = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, threads) =
        initialize_networking_from_sockets(builders, sockets.collect(), index, workers, hooks).map_err(cannot)?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    let shared = Arc::clone(links);
    let guards = execute_from(builders, Box::new(threads), WorkerConfig::default(), move |worker| {
        let _dart = Dart(Arc::clone(&shared));
        work(worker);
    });
    let guards = guards.map_err(Error::run)?;
    // Where a socket was closed, joining its threads panics.
    let joined = catch_unwind(AssertUnwindSafe(|| guards.join()));
    match (links.broken(), joined) {
        (Some(reason), _) => Err(Error::run(reason)),
        (None, Ok(results)) if results.iter().all(std::result::Result::is_ok) => Ok(()),
        (None, _) => Err(Error::run("a peer was lost while the cluster ended")),
    }
}

/// Tells the peers when a worker panics: they would wait for it for ever.
struct Dart(Arc<Links>);

impl Drop for Dart {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = match self.0.ending.load(Ordering::Acquire) {
                true => "a peer was lost while the cluster ended",
                false => "a worker panicked: this is a bug of tapeflow",
            };
            self.0.cut(reason.to_string());
        }
    }
}

/// The socket to one peer. It notes the peer's end before timely panics over it.
struct Link {
    peer: usize,
    socket: TcpStream,
    links: Arc<Links>,
}

impl Link {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.links.lost(self.peer, &error.to_string());
            }
        })
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.read(buffer);
        if matches!(result, Ok(0)) {
            self.links.lost(self.peer, "it has ended");
        }
        self.note(result)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
    use std::time::{Duration, Instant};

    use timely::dataflow::operators::{Exchange, Input, Probe};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Address;
    use crate::runtime::handshake::{Identity, Member};
    use crate::runtime::mesh::join;
    use crate::runtime::runtime;

    const PROCESSES: usize = 2;
    const WORKERS: usize = 2;

    fn meshes() -> Vec<Mesh> {
        let runtime = runtime().expect("threads");
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let listeners: Vec<TcpListener> = (0..PROCESSES).map(|_| bind()).collect();
        let address = |listener: &TcpListener| Address::loopback(listener.local_addr().expect("an address").port());
        let hosts: Vec<Address> = listeners.iter().map(address).collect();
        let joins = listeners.into_iter().enumerate().map(|(index, listener)| {
            let identity = Identity::new("1".to_string(), "c".to_string(), 1, PROCESSES, WORKERS);
            let (member, hosts) = (Member { identity, index, token: None }, hosts.clone());
            async move { join(listener, member, &hosts, Duration::from_secs(30)).await }
        });
        runtime.block_on(futures::future::try_join_all(joins)).expect("a mesh")
    }

    /// Exchanges numbers for a while; the worker `dies` panics in the middle.
    fn generation(dies: Option<usize>) -> Vec<Result<()>> {
        let threads = meshes().into_iter().enumerate().map(|(index, mesh)| {
            std::thread::spawn(move || {
                let links = Arc::new(Links::default());
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
            assert!(reasons[dies / WORKERS].contains("a worker panicked"), "{reasons:?}");
            assert!(
                reasons[1 - dies / WORKERS].contains(&format!("process {} was lost", dies / WORKERS)),
                "{reasons:?}"
            );
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}
