//! Real processes on free ports of this machine, in folders of their own; whatever happens, none outlives its test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// The token of the clusters that have one.
pub const TOKEN: &str = "a-token-for-tests-0123456789";
/// Nothing takes so long on an idle machine, and hardly anything on a busy one.
pub const SOON: Duration = Duration::from_secs(60);

/// Waits until `done` says so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nothing listens on, and that no other test gets.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 8_000) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a command has said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// It ended with this code.
    pub fn with(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).expect("JSON on stdout")
    }
}

/// The program, with nothing of our environment that it would read.
pub fn tapeflow(folder: &Path) -> Command {
    bare(Path::new(env!("CARGO_BIN_EXE_tapeflow")), folder)
}

fn bare(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    std::env::vars().filter(|(name, _)| name.starts_with("TAPEFLOW_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "0").current_dir(folder);
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Said {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// One process of a cluster; killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `log` too, with `.out` behind its name.
    pub fn spawn(mut command: Command, log: PathBuf) -> Process {
        let to = |path: &Path| File::options().create(true).append(true).open(path).expect("a log");
        let (out, err) = (to(&log.with_extension("out")), to(&log));
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("starts");
        Process { child, log }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> i32 {
        let mut code = None;
        let log = self.log.clone();
        wait_until(&format!("{} ends", log.display()), || {
            code = self.child.try_wait().expect("a child").map(|status| status.code().unwrap_or(-1));
            code.is_some()
        });
        code.expect("a code")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster on this machine.
pub struct Cluster {
    pub folder: TempDir,
    /// What the processes run.
    pub program: PathBuf,
    pub processes: Vec<Option<Process>>,
    /// Where each process listens.
    pub addresses: Vec<String>,
    /// The network namespaces that they run in, where they have their own.
    pub namespaces: Vec<String>,
    pub mesh: Vec<u16>,
    pub http: Vec<u16>,
    pub token: Option<&'static str>,
    /// Whether its processes begin anew when one is lost.
    pub restart: bool,
    pub environment: Vec<(String, String)>,
    workers: usize,
}

impl Cluster {
    /// A cluster that is complete and ready.
    pub fn start(processes: usize, workers: usize) -> Cluster {
        let mut cluster = Cluster::plan(processes, workers);
        (0..processes).for_each(|index| cluster.launch(index));
        cluster.wait_ready();
        cluster
    }

    /// A cluster of which nothing runs yet.
    pub fn plan(processes: usize, workers: usize) -> Cluster {
        Cluster::plan_in(&std::env::temp_dir(), processes, workers)
    }

    /// Likewise, in a folder of its own in `parent`.
    pub fn plan_in(parent: &Path, processes: usize, workers: usize) -> Cluster {
        let ports = || (0..processes).map(|_| free_port()).collect::<Vec<_>>();
        let (mesh, http) = (ports(), ports());
        let cluster = Cluster {
            folder: tempfile::tempdir_in(parent).expect("a folder"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_tapeflow")),
            processes: (0..processes).map(|_| None).collect(),
            addresses: vec!["127.0.0.1".to_string(); processes],
            namespaces: Vec::new(),
            mesh,
            http,
            token: Some(TOKEN),
            restart: false,
            environment: Vec::new(),
            workers,
        };
        cluster.write_hosts();
        cluster
    }

    /// Tells where each process listens. Those that begin anew read it again.
    pub fn write_hosts(&self) {
        let ports = self.mesh.iter().zip(&self.http);
        let lines = self.addresses.iter().zip(ports).map(|(at, (mesh, http))| format!("{at} {mesh} {http}\n"));
        self.file("hosts", &lines.collect::<String>());
    }

    /// The command that starts the process `index`.
    pub fn worker(&self, index: usize) -> Command {
        let mut command = match self.namespaces.get(index) {
            None => self.command(),
            Some(namespace) => {
                let mut command = self.equipped(Command::new("ip"));
                command.args(["netns", "exec", namespace]).arg(&self.program).current_dir(self.folder.path());
                command
            }
        };
        command.args(["worker", "--hosts", "hosts", "--index", &index.to_string()]);
        // By the environment, so that a test can say something else.
        if !self.environment.iter().any(|(name, _)| name == "TAPEFLOW_WORKERS") {
            command.env("TAPEFLOW_WORKERS", self.workers.to_string());
        }
        command.env("TAPEFLOW_NO_RESTART", (!self.restart).to_string());
        command
    }

    pub fn launch(&mut self, index: usize) {
        let log = self.folder.path().join(format!("log-{index}"));
        self.processes[index] = Some(Process::spawn(self.worker(index), log));
    }

    pub fn process(&mut self, index: usize) -> &mut Process {
        self.processes[index].as_mut().expect("it was launched")
    }

    pub fn wait_ready(&self) {
        for index in 0..self.processes.len() {
            wait_until("the cluster is ready", || self.status(index, "/readyz") == 200);
        }
    }

    /// Writes a file into the cluster's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn command(&self) -> Command {
        self.equipped(bare(&self.program, self.folder.path()))
    }

    fn equipped(&self, mut command: Command) -> Command {
        command.envs(self.environment.iter().cloned());
        if let Some(token) = self.token {
            command.env("TAPEFLOW_TOKEN", token);
        }
        command
    }

    /// Runs a command of the command line against the process `at`.
    pub fn cli(&self, at: usize, args: &[&str]) -> Said {
        let mut command = self.command();
        command.args(args).args(["--at", &format!("{}:{}", self.addresses[at], self.http[at])]);
        run(command)
    }

    /// What the process `at` says of the job `name`.
    pub fn job(&self, at: usize, name: &str) -> Json {
        self.cli(at, &["status", name, "--json"]).with(0).json()
    }

    /// Sends a request with the cluster's token: status, head and body.
    pub fn ask(&self, index: usize, request: &str, body: &str) -> (u16, String, String) {
        let token = self.token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let address = (self.addresses[index].as_str(), self.http[index]);
        ask_at(address, &format!("{request} HTTP/1.1\r\nHost: localhost\r\n{token}"), body).unwrap_or_default()
    }

    pub fn get(&self, index: usize, path: &str) -> Json {
        let (status, _, body) = self.ask(index, &format!("GET {path}"), "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The status that `path` answers with; 0 where nobody answers.
    pub fn status(&self, index: usize, path: &str) -> u16 {
        self.ask(index, &format!("GET {path}"), "").0
    }
}

/// Sends a request, its head without the last lines, and reads the answer.
pub fn ask(port: u16, head: &str, body: &str) -> std::io::Result<(u16, String, String)> {
    ask_at(("127.0.0.1", port), head, body)
}

fn ask_at(address: (&str, u16), head: &str, body: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    stream.write_all(format!("{head}Connection: close\r\n{length}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, head.to_lowercase(), body.to_string()))
}
