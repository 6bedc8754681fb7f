//! How the processes of a cluster find each other: every process calls those before it and hears those after it,
//! until there is a connection to each. A port scan, a silent connection or a wrong peer is refused and logged,
//! before the mesh is complete and after.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use uuid::Uuid;

use super::generation;
use super::handshake::{LINES, Line, Member, Refusal, answer, call};
use super::wire::{Socket, Wire};
use crate::config::Address;
use crate::error::{Error, Result};
use crate::tls::Tls;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a caller waits before it tries again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long it may take until the others are complete, too.
const AGREE: Duration = Duration::from_secs(30);
/// Handshakes at a time. Beyond that the oldest gives way: a flood of silent connections keeps no peer out.
const AT_A_TIME: usize = 256;
/// Refusals that are logged one by one in [`QUIET`]; the others are only counted.
const LOGGED: usize = 10;
const QUIET: Duration = Duration::from_secs(10);

/// The connections of one process to all others.
pub struct Mesh {
    /// What the processes that found each other this time have in common.
    pub run: String,
    /// How many times the cluster has begun.
    pub generation: u64,
    /// Timely's socket to each process; `None` for this one.
    pub sockets: Vec<Option<Socket>>,
    /// The control connection to each of them.
    pub pulses: Vec<Option<Wire>>,
    /// What goes between timely and encrypted connections.
    pub between: Vec<JoinHandle<()>>,
    /// Goes on refusing strangers until the mesh is dropped.
    pub gate: Option<Task>,
}

impl Mesh {
    /// Of a cluster of one process, that knows of generation `known`.
    pub fn alone(known: u64) -> Mesh {
        let generation = generation::next([known]);
        Mesh { run: new_run(), generation, sockets: vec![None], pulses: vec![None], between: Vec::new(), gate: None }
    }
}

/// How the connections of the mesh are encrypted.
pub struct MeshTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl MeshTls {
    /// With these certificates.
    pub fn new(tls: &Tls) -> Result<MeshTls> {
        Ok(MeshTls { acceptor: tls.mesh()?, connector: tls.connector() })
    }
}

fn new_run() -> String {
    Uuid::new_v4().simple().to_string()
}

static RUNTIME: LazyLock<io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).thread_name("tapeflow-mesh").enable_all().build());

/// Where the connections of the mesh live: whatever keeps the other I/O of the process busy, it gives signs of life.
pub fn runtime() -> Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|error| Error::run(format!("cannot start threads: {error}")))
}

/// A task that ends when this is dropped.
pub struct Task(JoinHandle<()>);

impl Task {
    /// Starts it on the runtime of the caller.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until there are connections to each of `hosts`, the mesh addresses of all processes in their order; at most
/// for `patience`, if there is one. `waiting` is told now and then for whom.
pub async fn join(
    listener: TcpListener,
    member: Member,
    tls: Option<MeshTls>,
    hosts: &[Address],
    patience: Option<Duration>,
    waiting: impl Fn(String),
) -> Result<Mesh> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let round = Arc::new(Round::new(member, tls, hosts.len()));
    let gate = Task::spawn(gate(listener, Arc::clone(&round)));
    let callers: Vec<Task> =
        (0..round.member.index).map(|to| Task::spawn(caller(Arc::clone(&round), to, hosts[to].clone()))).collect();
    let found = loop {
        if let Some(found) = round.complete()? {
            break found;
        }
        let missing = round.missing(hosts);
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let patience = patience.unwrap_or_default();
            return Err(Error::Connect(format!("the cluster was not complete within {patience:?}: {missing}")));
        }
        waiting(missing);
        // Looked at again also where nothing changes: connections may be gone.
        let _ = timeout(AGAIN, round.changed.notified()).await;
    };
    drop(callers);
    let run = round.lock().run.clone();
    let known = round.member.known;
    let agreed = found.into_iter().enumerate().map(|(index, lines)| agree(index, lines, &run, known));
    let agreed = try_join_all(agreed).await?;
    let generation = generation::next(agreed.iter().flatten().map(|peer| peer.known).chain([known]));
    let mut mesh = Mesh { run, generation, sockets: vec![], pulses: vec![], between: vec![], gate: Some(gate) };
    for peer in agreed {
        let (socket, pulse) = peer.map(|peer| (peer.data.into_socket(), peer.pulse)).unzip();
        let (socket, between) = socket.transpose().map_err(Error::run)?.unzip();
        mesh.sockets.push(socket);
        mesh.pulses.push(pulse);
        mesh.between.extend(between.flatten());
    }
    Ok(mesh)
}

/// One attempt to bring a mesh together.
struct Round {
    member: Member,
    tls: Option<MeshTls>,
    state: Mutex<Found>,
    changed: Notify,
    closed: AtomicBool,
}

/// In the order of [`LINES`].
type Lines = [Option<Wire>; LINES.len()];

struct Found {
    run: String,
    /// A connection of each kind to each process.
    lines: Vec<Lines>,
    /// What the last call of each process came to.
    troubles: Vec<Option<String>>,
    hopeless: Option<String>,
}

impl Round {
    fn new(member: Member, tls: Option<MeshTls>, processes: usize) -> Self {
        let run = if member.index == 0 { new_run() } else { String::new() };
        let lines = (0..processes).map(|_| Lines::default()).collect();
        let found = Found { run, lines, troubles: vec![None; processes], hopeless: None };
        Round { member, tls, state: Mutex::new(found), changed: Notify::new(), closed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether process `index` is not connected, or not any more.
    fn wants(&self, index: usize, line: Line) -> bool {
        let mut found = self.lock();
        // When all are found, their connections are handed over, and nobody is looked for any more.
        let Some(slot) = found.lines.get_mut(index).map(|lines| &mut lines[line as usize]) else { return false };
        if slot.as_ref().is_some_and(Wire::is_gone) {
            *slot = None;
        }
        slot.is_none()
    }

    /// The processes to which a connection is missing.
    fn wanted(&self) -> Vec<usize> {
        let others = (0..self.member.identity.processes).filter(|index| *index != self.member.index);
        others.filter(|index| LINES.iter().any(|line| self.wants(*index, *line))).collect()
    }

    fn admit(&self, index: usize, line: Line) -> Result<(), String> {
        match self.closed.load(Ordering::Acquire) {
            true => Err("the cluster is complete; a process can only join when it begins anew".to_string()),
            false if self.wants(index, line) => Ok(()),
            false => Err(format!("process {index} is there already")),
        }
    }

    fn connected(&self, index: usize, line: Line, socket: Wire) {
        // Of two that were admitted at once the second is closed, and calls again.
        if self.wants(index, line) && !self.closed.load(Ordering::Acquire) {
            if let Some(lines) = self.lock().lines.get_mut(index) {
                lines[line as usize] = Some(socket);
            }
            if LINES.iter().all(|line| !self.wants(index, *line)) {
                tracing::info!("process {index} is connected");
            }
            self.changed.notify_one();
        }
    }

    /// All connections, where none is missing.
    fn complete(&self) -> Result<Option<Vec<Lines>>> {
        if let Some(reason) = self.lock().hopeless.clone() {
            return Err(Error::Connect(reason));
        }
        if !self.wanted().is_empty() {
            return Ok(None);
        }
        self.closed.store(true, Ordering::Release);
        Ok(Some(std::mem::take(&mut self.lock().lines)))
    }

    /// Who is missing, and why.
    fn missing(&self, hosts: &[Address]) -> String {
        let wanted = self.wanted();
        let found = self.lock();
        let tell = |index: &usize| match &found.troubles[*index] {
            Some(trouble) => format!("process {index} ({}): {trouble}", hosts[*index]),
            None if *index < self.member.index => format!("process {index} ({}) is called", hosts[*index]),
            None => format!("process {index} ({}) did not call", hosts[*index]),
        };
        wanted.iter().map(tell).collect::<Vec<_>>().join("; ")
    }
}

/// Calls process `to` whenever it is not connected.
async fn caller(round: Arc<Round>, to: usize, host: Address) {
    loop {
        for line in LINES.into_iter().filter(|line| round.wants(to, *line)) {
            match timeout(CONNECT + HANDSHAKE, dial(&round, to, line, &host)).await {
                Ok(Ok((socket, run))) => {
                    if to == 0 {
                        round.lock().run = run;
                    }
                    round.connected(to, line, socket);
                }
                Ok(Err(Refusal::Lasting(reason))) => {
                    round.lock().hopeless = Some(format!("process {to} ({host}) refused this process: {reason}"));
                    round.changed.notify_one();
                }
                Ok(Err(Refusal::Passing(reason))) => round.lock().troubles[to] = Some(reason),
                Err(_) => round.lock().troubles[to] = Some("it did not answer".to_string()),
            }
        }
        sleep(AGAIN).await;
    }
}

async fn dial(round: &Round, to: usize, line: Line, host: &Address) -> Result<(Wire, String), Refusal> {
    let connected = timeout(CONNECT, TcpStream::connect((host.host.as_str(), host.port))).await;
    let socket = connected.map_err(|_| Refusal::Passing("no connection came up".to_string()))??;
    socket.set_nodelay(true)?;
    let mut wire = match &round.tls {
        None => Wire::Plain(socket),
        Some(tls) => {
            let name = ServerName::try_from(host.host.clone()).map_err(|error| Refusal::Lasting(error.to_string()))?;
            let stream = tls.connector.connect(name, socket).await;
            Wire::Tls(Box::new(stream.map_err(|error| Refusal::Passing(format!("TLS: {error}")))?.into()))
        }
    };
    let run = call(&mut wire, &round.member, to, line).await?;
    Ok((wire, run))
}

/// Hears who calls.
async fn gate(listener: TcpListener, round: Arc<Round>) {
    let mut hearings: VecDeque<AbortHandle> = VecDeque::new();
    let refusals = Arc::new(Refusals::default());
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the mesh cannot accept a connection: {error}");
                sleep(AGAIN).await;
                continue;
            }
        };
        hearings.retain(|hearing| !hearing.is_finished());
        if hearings.len() >= AT_A_TIME {
            hearings.pop_front().inspect(AbortHandle::abort);
        }
        let hearing = tokio::spawn(hear(socket, from, Arc::clone(&round), Arc::clone(&refusals)));
        hearings.push_back(hearing.abort_handle());
    }
}

async fn hear(socket: TcpStream, from: SocketAddr, round: Arc<Round>, refusals: Arc<Refusals>) {
    let heard = timeout(HANDSHAKE, hear_out(socket, &round)).await;
    match heard.unwrap_or_else(|_| Err("it did not say who it is in time".to_string())) {
        Ok((wire, (index, line))) => round.connected(index, line, wire),
        Err(reason) => refusals.log(from, &reason),
    }
}

async fn hear_out(socket: TcpStream, round: &Round) -> Result<(Wire, (usize, Line)), String> {
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut wire = match &round.tls {
        None => Wire::Plain(socket),
        Some(tls) => {
            let stream = tls.acceptor.accept(socket).await;
            Wire::Tls(Box::new(stream.map_err(|error| format!("TLS: {error}"))?.into()))
        }
    };
    let run = if round.member.index == 0 { round.lock().run.clone() } else { String::new() };
    let who = answer(&mut wire, &round.member, &run, |index, line| round.admit(index, line)).await?;
    Ok((wire, who))
}

/// Logs refusals, but not every one of a flood.
#[derive(Default)]
struct Refusals(Mutex<Option<(Instant, usize)>>);

impl Refusals {
    fn log(&self, from: SocketAddr, reason: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = seen.get_or_insert((Instant::now(), 0));
        if since.elapsed() > QUIET {
            if *count > LOGGED {
                tracing::warn!("the mesh refused {} more connections", *count - LOGGED);
            }
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count <= LOGGED {
            tracing::warn!("the mesh refused a connection from {from}: {reason}");
        }
    }
}

/// A process that means the same run.
struct Agreed {
    known: u64,
    data: Wire,
    pulse: Wire,
}

/// Both sides are complete and mean the same run; only then may timely's first byte be sent.
async fn agree(index: usize, lines: Lines, run: &str, known: u64) -> Result<Option<Agreed>> {
    let [Some(mut data), Some(mut pulse)] = lines else { return Ok(None) };
    let lost = |what: &str| Error::Run(format!("process {index} was lost while the cluster formed: {what}"));
    let exchanged =
        timeout(AGREE, async { try_join(exchange(&mut data, run, known), exchange(&mut pulse, run, known)).await });
    let exchanged = exchanged.await.map_err(|_| lost("it did not find all others in time"))?;
    let (known, _) = exchanged.map_err(|error| lost(&error.to_string()))?;
    Ok(Some(Agreed { known, data, pulse }))
}

/// Tells the run, and the greatest generation known; returns the generation that the other side knows.
async fn exchange(stream: &mut Wire, run: &str, known: u64) -> io::Result<u64> {
    stream.write_all(run.as_bytes()).await?;
    stream.write_u64(known).await?;
    stream.flush().await?;
    let mut theirs = vec![0; run.len()];
    stream.read_exact(&mut theirs).await?;
    match theirs == run.as_bytes() {
        true => stream.read_u64().await,
        false => Err(io::Error::other("it belongs to another run of the cluster")),
    }
}
