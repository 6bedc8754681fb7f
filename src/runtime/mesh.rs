//! How the processes of a cluster find each other: every process calls those before it and hears those after it,
//! until there is a connection to each. A port scan, a silent connection or a wrong peer is refused and logged,
//! before the mesh is complete and after.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use super::handshake::{Member, Refusal, answer, call};
use crate::config::Address;
use crate::error::{Error, Result};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a caller waits before it tries again.
const AGAIN: Duration = Duration::from_millis(200);
/// Handshakes at a time. Beyond that the oldest gives way: a flood of silent connections keeps no peer out.
const AT_A_TIME: usize = 256;
/// Refusals that are logged one by one in [`QUIET`]; the others are only counted.
const LOGGED: usize = 10;
const QUIET: Duration = Duration::from_secs(10);

/// The connections of one process to all others.
pub struct Mesh {
    /// What the processes that found each other this time have in common.
    pub run: String,
    /// A socket for each process; `None` for this one.
    pub sockets: Vec<Option<std::net::TcpStream>>,
    /// Goes on refusing strangers until the mesh is dropped.
    pub gate: Option<Task>,
}

impl Mesh {
    /// Of a cluster of one process.
    pub fn alone() -> Mesh {
        Mesh { run: new_run(), sockets: vec![None], gate: None }
    }
}

fn new_run() -> String {
    Uuid::new_v4().simple().to_string()
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

/// Waits until there is a connection to each of `hosts`, the mesh addresses of all processes in their order.
pub async fn join(listener: TcpListener, member: Member, hosts: &[Address], patience: Duration) -> Result<Mesh> {
    let deadline = Instant::now() + patience;
    let round = Arc::new(Round::new(member, hosts.len()));
    let gate = Task::spawn(gate(listener, Arc::clone(&round)));
    let callers: Vec<Task> =
        (0..round.member.index).map(|to| Task::spawn(caller(Arc::clone(&round), to, hosts[to].clone()))).collect();
    let sockets = loop {
        if let Some(sockets) = round.complete()? {
            break sockets;
        }
        if timeout_at(deadline, timeout(AGAIN, round.changed.notified())).await.is_err() {
            return Err(round.missing(hosts, patience));
        }
    };
    drop(callers);
    let run = round.lock().run.clone();
    let sockets =
        try_join_all(sockets.into_iter().enumerate().map(|(index, socket)| agree(index, socket, &run, deadline)));
    Ok(Mesh { sockets: sockets.await?, run, gate: Some(gate) })
}

/// One attempt to bring a mesh together.
struct Round {
    member: Member,
    state: Mutex<Found>,
    changed: Notify,
    closed: AtomicBool,
}

struct Found {
    run: String,
    sockets: Vec<Option<TcpStream>>,
    /// What the last call of each process came to.
    troubles: Vec<Option<String>>,
    hopeless: Option<String>,
}

impl Round {
    fn new(member: Member, processes: usize) -> Self {
        let run = if member.index == 0 { new_run() } else { String::new() };
        let sockets = (0..processes).map(|_| None).collect();
        let found = Found { run, sockets, troubles: vec![None; processes], hopeless: None };
        Round { member, state: Mutex::new(found), changed: Notify::new(), closed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether process `index` is not connected, or not any more.
    fn wants(&self, index: usize) -> bool {
        let mut found = self.lock();
        let gone = |socket: &TcpStream| matches!(socket.peek(&mut [0]).now_or_never(), Some(Ok(0) | Err(_)));
        let slot = &mut found.sockets[index];
        if slot.as_ref().is_some_and(gone) {
            *slot = None;
        }
        slot.is_none()
    }

    fn admit(&self, index: usize) -> Result<(), String> {
        match self.closed.load(Ordering::Acquire) {
            true => Err("the cluster is complete; a process can only join when all are started again".to_string()),
            false if self.wants(index) => Ok(()),
            false => Err(format!("process {index} is there already")),
        }
    }

    fn connected(&self, index: usize, socket: TcpStream) {
        // Of two that were admitted at once the second is closed, and calls again.
        if self.wants(index) && !self.closed.load(Ordering::Acquire) {
            self.lock().sockets[index] = Some(socket);
            tracing::info!("process {index} is connected");
            self.changed.notify_one();
        }
    }

    /// All sockets, where none is missing.
    fn complete(&self) -> Result<Option<Vec<Option<TcpStream>>>> {
        let processes = self.member.identity.processes;
        if let Some(reason) = self.lock().hopeless.clone() {
            return Err(Error::Connect(reason));
        }
        if (0..processes).any(|index| index != self.member.index && self.wants(index)) {
            return Ok(None);
        }
        self.closed.store(true, Ordering::Release);
        Ok(Some(std::mem::take(&mut self.lock().sockets)))
    }

    fn missing(&self, hosts: &[Address], patience: Duration) -> Error {
        let wanted: Vec<usize> =
            (0..hosts.len()).filter(|index| *index != self.member.index && self.wants(*index)).collect();
        let found = self.lock();
        let tell = |index: &usize| match &found.troubles[*index] {
            Some(trouble) => format!("process {index} ({}): {trouble}", hosts[*index]),
            None => format!("process {index} ({}) did not call", hosts[*index]),
        };
        let missing: Vec<String> = wanted.iter().map(tell).collect();
        Error::Connect(format!("the cluster was not complete within {patience:?}: {}", missing.join("; ")))
    }
}

/// Calls process `to` whenever it is not connected.
async fn caller(round: Arc<Round>, to: usize, host: Address) {
    loop {
        if round.wants(to) {
            match timeout(CONNECT + HANDSHAKE, dial(&round.member, to, &host)).await {
                Ok(Ok((socket, run))) => {
                    if to == 0 {
                        round.lock().run = run;
                    }
                    round.connected(to, socket);
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

async fn dial(member: &Member, to: usize, host: &Address) -> Result<(TcpStream, String), Refusal> {
    let connected = timeout(CONNECT, TcpStream::connect((host.host.as_str(), host.port))).await;
    let mut socket = connected.map_err(|_| Refusal::Passing("no connection came up".to_string()))??;
    let run = call(&mut socket, member, to).await?;
    Ok((socket, run))
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

async fn hear(mut socket: TcpStream, from: SocketAddr, round: Arc<Round>, refusals: Arc<Refusals>) {
    let run = if round.member.index == 0 { round.lock().run.clone() } else { String::new() };
    let heard = timeout(HANDSHAKE, answer(&mut socket, &round.member, &run, |index| round.admit(index))).await;
    match heard.unwrap_or_else(|_| Err("it did not say who it is in time".to_string())) {
        Ok(index) => round.connected(index, socket),
        Err(reason) => refusals.log(from, &reason),
    }
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

/// Both sides are complete and mean the same run; only then may timely's first byte be sent.
async fn agree(
    index: usize,
    socket: Option<TcpStream>,
    run: &str,
    deadline: Instant,
) -> Result<Option<std::net::TcpStream>> {
    let Some(mut socket) = socket else { return Ok(None) };
    let lost = |what: &str| Error::Run(format!("process {index} was lost while the cluster formed: {what}"));
    let mut theirs = vec![0; run.len()];
    let exchange = async {
        socket.write_all(run.as_bytes()).await?;
        socket.read_exact(&mut theirs).await
    };
    let late = |_| Error::TimedOut(format!("process {index} did not find all others in time"));
    let exchanged = timeout_at(deadline, exchange).await.map_err(late)?;
    exchanged.map_err(|error| lost(&error.to_string()))?;
    if theirs != run.as_bytes() {
        return Err(lost("it belongs to another run of the cluster; start all processes again"));
    }
    let plain = socket.into_std().and_then(|socket| {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        Ok(socket)
    });
    plain.map(Some).map_err(|error| lost(&error.to_string()))
}
