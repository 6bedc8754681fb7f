//! What two processes say to each other before timely's first byte. Timely itself trusts whoever connects and hangs
//! where the processes do not fit together; here a wrong one is refused with a reason.
//!
//! - The caller sends a magic word and its *hello*: who it is, whom it means, what must be equal, a nonce.
//! - The answerer sends its *challenge*: a nonce. That of process 0 also names the run: what the processes that have
//!   found each other this time have in common.
//! - The caller sends its *proof*: a signature, made with the token, of all that was said.
//! - The answerer sends its *verdict*, welcome or refused, and a proof of its own.
//!
//! The answerer, which strangers can reach, says nothing of itself before the caller has proven that it has the
//! token. Frames are short, and the whole exchange has a deadline (see [`super::mesh`]).

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use crate::config::{Token, same, sign};

/// The version of all this.
const PROTOCOL: u32 = 2;
const MAGIC: &[u8; 8] = b"tapeflow";
/// The longest frame.
const LONGEST: usize = 2048;

/// What must be equal in all processes of a cluster: with other numbers timely would hang, with another build it
/// would misread what it receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of this handshake.
    pub protocol: u32,
    /// Version and hash of the executable.
    pub build: String,
    /// The name of the cluster.
    pub cluster: String,
    /// How many processes there are.
    pub processes: usize,
    /// How many workers each of them has.
    pub workers: usize,
}

impl Identity {
    /// Of this executable.
    pub fn new(build: String, cluster: String, processes: usize, workers: usize) -> Self {
        Identity { protocol: PROTOCOL, build, cluster, processes, workers }
    }

    /// What is not equal, in words of the process that says it.
    fn difference(&self, other: &Identity) -> Option<String> {
        let pairs = [
            ("the protocol", self.protocol.to_string(), other.protocol.to_string()),
            ("the build", self.build.clone(), other.build.clone()),
            ("the name of the cluster", self.cluster.clone(), other.cluster.clone()),
            ("the number of processes", self.processes.to_string(), other.processes.to_string()),
            ("the number of workers", self.workers.to_string(), other.workers.to_string()),
        ];
        let differ = pairs.into_iter().filter(|(_, mine, theirs)| mine != theirs);
        let differ = differ.map(|(what, mine, theirs)| format!("{what} is {theirs} there and {mine} here"));
        Some(differ.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    }
}

/// One process, as it presents itself.
#[derive(Clone, Debug)]
pub struct Member {
    /// What must be equal.
    pub identity: Identity,
    /// Its place in the list of processes.
    pub index: usize,
    /// The greatest generation that it knows of.
    pub known: u64,
    /// What they share.
    pub token: Option<Token>,
}

/// What a connection is for. There is one of each between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line {
    /// What timely says.
    Data,
    /// The signs of life.
    Pulse,
}

/// Both.
pub const LINES: [Line; 2] = [Line::Data, Line::Pulse];

/// Why a handshake came to nothing.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// It may go well another time.
    Passing(String),
    /// It will not, before a setting is changed.
    Lasting(String),
}

impl Refusal {
    /// In words.
    pub fn reason(&self) -> &str {
        let (Refusal::Passing(reason) | Refusal::Lasting(reason)) = self;
        reason
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Refusal::Passing("the connection was closed".to_string()),
            _ => Refusal::Passing(error.to_string()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Hello {
    identity: Identity,
    from: usize,
    to: usize,
    line: Line,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
struct Challenge {
    run: String,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
enum Verdict {
    Welcome,
    /// For now.
    Wait(String),
    Refused(String),
}

/// Presents `member` to process `to`; returns the run of the cluster that process belongs to.
pub async fn call<S>(stream: &mut S, member: &Member, to: usize, line: Line) -> Result<String, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (identity, from, nonce) = (member.identity.clone(), member.index, nonce());
    let hello = text(&Hello { identity, from, to, line, nonce });
    stream.write_all(MAGIC).await?;
    send(stream, &hello).await?;
    let challenge = receive(stream).await?;
    let Challenge { run, .. } = read(&challenge)?;
    send(stream, &proof(member, "caller", &[&hello, &challenge])).await?;
    let verdict = receive(stream).await?;
    let signed = receive(stream).await?;
    let proven = same(&signed, &proof(member, "answerer", &[&hello, &challenge, &verdict]));
    match read(&verdict)? {
        Verdict::Refused(reason) => Err(Refusal::Lasting(reason)),
        Verdict::Wait(reason) => Err(Refusal::Passing(reason)),
        Verdict::Welcome if !proven => Err(Refusal::Lasting("it does not have our token".to_string())),
        Verdict::Welcome => Ok(run),
    }
}

/// Hears who calls `member`, a process of `run`. `admit` tells why a process cannot be taken now. Returns the
/// index of the process that was made welcome, and what its connection is for.
pub async fn answer<S>(
    stream: &mut S,
    member: &Member,
    run: &str,
    admit: impl Fn(usize, Line) -> Result<(), String>,
) -> Result<(usize, Line), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let words = |refusal: Refusal| refusal.reason().to_string();
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await.map_err(|error| words(error.into()))?;
    if magic != *MAGIC {
        return Err("it is no tapeflow process".to_string());
    }
    let hello = receive(stream).await.map_err(words)?;
    let said: Hello = read(&hello).map_err(words)?;
    let challenge = text(&Challenge { run: run.to_string(), nonce: nonce() });
    send(stream, &challenge).await.map_err(words)?;
    let signed = receive(stream).await.map_err(words)?;
    let proven = same(&signed, &proof(member, "caller", &[&hello, &challenge]));
    let verdict = match judge(&said, member, proven) {
        Err(reason) => Verdict::Refused(reason),
        Ok(()) => admit(said.from, said.line).map_or_else(Verdict::Wait, |()| Verdict::Welcome),
    };
    let written = text(&verdict);
    send(stream, &written).await.map_err(words)?;
    // A stranger gets no signature that it could try tokens on.
    let own = if proven { proof(member, "answerer", &[&hello, &challenge, &written]) } else { [0; 32] };
    send(stream, &own).await.map_err(words)?;
    match verdict {
        Verdict::Welcome => Ok((said.from, said.line)),
        Verdict::Wait(reason) | Verdict::Refused(reason) => Err(format!("process {}: {reason}", said.from)),
    }
}

fn judge(said: &Hello, member: &Member, proven: bool) -> Result<(), String> {
    if !proven {
        return Err("it does not have the token of this cluster".to_string());
    }
    if let Some(difference) = member.identity.difference(&said.identity) {
        return Err(difference);
    }
    let (here, from, to) = (member.index, said.from, said.to);
    if to != here {
        return Err(format!("it looks for process {to}, and this is process {here}: the hosts files differ"));
    }
    match from {
        _ if from >= member.identity.processes => Err(format!("there is no process {from}")),
        // Every process calls those before it.
        _ if from <= here => Err(format!("it calls itself process {from}, as another does")),
        _ => Ok(()),
    }
}

fn proof(member: &Member, role: &str, said: &[&[u8]]) -> [u8; 32] {
    let mut message = role.as_bytes().to_vec();
    for part in said {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    sign(member.token.as_ref(), &message)
}

fn nonce() -> String {
    Uuid::new_v4().simple().to_string()
}

fn text(value: &impl Serialize) -> Vec<u8> {
    // Plain structs always serialise; an empty frame would be refused by the other side.
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Refusal> {
    let cannot = |_| Refusal::Passing("it speaks another protocol".to_string());
    serde_json::from_slice(frame).map_err(cannot)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> Result<(), Refusal> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, Refusal> {
    let length = stream.read_u32().await? as usize;
    if length > LONGEST {
        return Err(Refusal::Passing("it speaks another protocol".to_string()));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn member(index: usize, token: &str, cluster: &str, workers: usize) -> Member {
        let variable = |name: &str| (name == "TAPEFLOW_TOKEN").then(|| token.repeat(16));
        let config = Config::read("t".as_ref(), "", &Vec::new(), &variable).expect("settings");
        let identity = Identity::new("1".to_string(), cluster.to_string(), 3, workers);
        Member { identity, index, known: 0, token: config.token.value }
    }

    type Talk = (Result<String, Refusal>, Result<(usize, Line), String>);

    /// What both sides learn when `caller` calls `answerer` as process `to`.
    async fn talk(caller: Member, answerer: Member, to: usize) -> Talk {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let admit = |index, _| if index == 2 { Err("it is there already".to_string()) } else { Ok(()) };
        tokio::join!(call(&mut near, &caller, to, Line::Pulse), answer(&mut far, &answerer, "run", admit))
    }

    #[tokio::test]
    async fn processes_of_one_cluster_find_each_other() {
        let (called, answered) = talk(member(1, "t", "c", 2), member(0, "t", "c", 2), 0).await;
        assert_eq!((called, answered), (Ok("run".to_string()), Ok((1, Line::Pulse))));
        let (called, _) = talk(member(2, "t", "c", 2), member(0, "t", "c", 2), 0).await;
        assert_eq!(called, Err(Refusal::Passing("it is there already".to_string())));
    }

    #[tokio::test]
    async fn all_others_are_refused_and_told_why() {
        let wrong = [
            (member(1, "x", "c", 2), 0, "does not have the token"),
            (member(1, "t", "d", 2), 0, "the name of the cluster is d there and c here"),
            (member(1, "t", "c", 1), 0, "the number of workers is 1 there and 2 here"),
            (member(0, "t", "c", 2), 0, "as another does"),
            (member(7, "t", "c", 2), 0, "there is no process 7"),
            (member(2, "t", "c", 2), 1, "this is process 0"),
        ];
        for (caller, to, reason) in wrong {
            let (called, answered) = talk(caller, member(0, "t", "c", 2), to).await;
            assert!(matches!(&called, Err(Refusal::Lasting(said)) if said.contains(reason)), "{called:?}");
            assert!(answered.expect_err("refused").contains(reason));
        }
    }

    #[tokio::test]
    async fn an_answerer_without_the_token_is_not_believed() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let impostor = async {
            let mut magic = [0; 8];
            far.read_exact(&mut magic).await?;
            receive(&mut far).await?;
            send(&mut far, &text(&Challenge { run: "run".to_string(), nonce: nonce() })).await?;
            receive(&mut far).await?;
            send(&mut far, &text(&Verdict::Welcome)).await?;
            send(&mut far, &[0; 32]).await
        };
        let caller = member(1, "t", "c", 2);
        let (called, _): (_, Result<(), Refusal>) = tokio::join!(call(&mut near, &caller, 0, Line::Data), impostor);
        assert_eq!(called, Err(Refusal::Lasting("it does not have our token".to_string())));
    }

    #[tokio::test]
    async fn noise_is_no_handshake() {
        for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"tapeflow\xff\xff\xff\xff", b"tapeflow\0\0\0\x02{}", b"tape"] {
            let (mut near, mut far) = tokio::io::duplex(4096);
            near.write_all(noise).await.expect("sent");
            drop(near);
            assert!(answer(&mut far, &member(0, "t", "c", 2), "run", |_, _| Ok(())).await.is_err());
        }
    }
}
