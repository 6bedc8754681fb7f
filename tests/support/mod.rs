//! What the tests share: a folder of their own, the program run in it, rows compared.

pub mod bars;
pub mod cluster;
pub mod groups;
pub mod mended;
pub mod naive;
pub mod running;
pub mod schema;
pub mod tables;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tapeflow");

/// Nothing that a test runs takes longer, also where the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Relative difference up to which two floats are the same.
const SAME: f64 = 1e-9;

/// A row.
pub type Row = Map<String, Json>;

/// The folder of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A temporary folder, removed with everything in it.
pub struct Folder(TempDir);

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        Folder(TempDir::new().expect("a temporary folder"))
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders on its way.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let parent = path.parent().expect("a folder");
        std::fs::create_dir_all(parent).expect("folders");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The text of a file, nothing where there is none.
    pub fn read_if_there(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The names of the files in a folder, sorted; hidden ones too.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs the program in this folder until it ends.
    pub fn tapeflow(&self, arguments: &[&str]) -> Ended {
        self.tapeflow_with(arguments, &[])
    }

    /// Likewise, with these environment variables.
    pub fn tapeflow_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        self.start(arguments, environment).wait()
    }

    /// Starts the program in this folder.
    pub fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.0.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TAPEFLOW_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = collect(child.stdout.take().expect("stdout"));
        let stderr = collect(child.stderr.take().expect("stderr"));
        Running { child, stdout, stderr, what: arguments.join(" ") }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("output");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The program, running.
pub struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    what: String,
}

impl Running {
    /// Sends it a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Whether it has ended; nobody has asked how yet, so that its id is still its own.
    pub fn has_ended(&self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        state.expect("it was not waited for").rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
    }

    /// Waits until it ends, not for ever.
    pub fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            if began.elapsed() > TIMEOUT {
                let _ = self.child.kill();
                panic!("tapeflow {} did not end: {}", self.what, self.stderr.join().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |pipe: JoinHandle<String>| pipe.join().expect("output");
        Ended { status, stdout: text(self.stdout), stderr: text(self.stderr), what: self.what }
    }
}

/// The program, ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it told.
    pub stderr: String,
    what: String,
}

impl Ended {
    /// Its exit code; -1 where a signal killed it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// It must have ended so; returns itself.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Ended {
        assert_eq!(self.code(), code, "tapeflow {}\n{}{}", self.what, self.stdout, self.stderr);
        self
    }

    /// It must have ended well; returns itself.
    #[track_caller]
    pub fn fine(self) -> Ended {
        self.with_code(0)
    }
}

/// The number of the newest checkpoint of a job.
pub fn newest_checkpoint(state: &Path, job: &str) -> Option<u64> {
    let jobs = std::fs::read_dir(state.join("jobs").join(job)).ok()?.flatten();
    let numbers = jobs.filter_map(|job| std::fs::read_dir(job.path()).ok()).flatten().flatten();
    numbers.filter_map(|item| item.file_name().to_str()?.parse().ok()).max()
}

/// JSON lines as rows.
pub fn rows(lines: &str) -> Vec<Row> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// CSV as rows of texts.
pub fn csv_rows(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let records = reader.deserialize::<BTreeMap<String, String>>();
    let row = |record: BTreeMap<String, String>| record.into_iter().map(|(name, value)| (name, cell(value))).collect();
    records.map(|record| row(record.expect("a record"))).collect()
}

/// A number where it reads as one, so that it is compared as such.
fn cell(text: String) -> Json {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Json::from(number),
        _ => Json::from(text),
    }
}

/// Whether two values are the same, floats to 1e-9.
pub fn same(one: &Json, other: &Json) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= SAME * one.abs().max(other.abs()),
        _ => one == other,
    }
}

/// The first difference of rows in order: of those that came, the columns that are expected.
pub fn difference(what: &str, came: &[Row], expected: &[Row]) -> Option<String> {
    for (number, (came, expected)) in came.iter().zip(expected).enumerate() {
        for (column, wanted) in expected {
            let found = came.get(column);
            if !found.is_some_and(|found| same(found, wanted)) {
                let found = found.map_or("not there".to_string(), Json::to_string);
                return Some(format!("{what}, row {number}: `{column}` is {found}, not {wanted}"));
            }
        }
    }
    (came.len() != expected.len()).then(|| format!("{what}: {} rows, not {}", came.len(), expected.len()))
}
