//! Keeps child processes running: restarts those that end, hands on what they say, ends them all together.

use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use super::print::tell;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::runtime::system::terminate;

/// How often the children are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that ended waits before it is started again; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// And at most so long.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// One that ran for so long starts again at once.
const WELL: Duration = Duration::from_secs(60);
/// How much longer than they may take themselves the children may take to end.
const GRACE: Duration = Duration::from_secs(15);
/// The exit code of one that was started in a wrong way: it would be wrong again.
const USAGE: i32 = 2;
/// The longest line that is handed on in one piece.
const LONGEST: u64 = 64 << 10;

/// Child processes, by their index.
pub struct Children {
    list: Vec<One>,
}

struct One {
    command: Command,
    child: Option<Child>,
    /// When it was started last, or is to be started.
    at: Instant,
    wait: Duration,
}

impl Children {
    /// Those that `commands` start; none runs yet.
    pub fn new(commands: Vec<Command>) -> Children {
        let one = |mut command: Command| {
            // Ctrl-C is for us: we tell them once.
            command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
            One { command, child: None, at: Instant::now(), wait: Duration::ZERO }
        };
        Children { list: commands.into_iter().map(one).collect() }
    }

    fn terminate(&self) {
        for child in self.list.iter().filter_map(|one| one.child.as_ref()) {
            terminate(child);
        }
    }

    fn is_empty(&self) -> bool {
        self.list.iter().all(|one| one.child.is_none())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for mut child in self.list.iter_mut().filter_map(|one| one.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl One {
    fn start(&mut self, index: usize) -> Result<()> {
        self.at = Instant::now();
        let mut child =
            self.command.spawn().map_err(|error| Error::run(format!("cannot start process {index}: {error}")))?;
        if let Some(words) = child.stderr.take() {
            let thread = Builder::new().name(format!("tapeflow-log-{index}"));
            thread.spawn(move || hand_on(index, words)).map_err(Error::run)?;
        }
        self.child = Some(child);
        Ok(())
    }

    /// How it has ended, if it has just now.
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait().map_err(Error::run)?;
        if status.is_some() {
            self.child = None;
            self.wait = match self.at.elapsed() > WELL {
                true => Duration::ZERO,
                false => (2 * self.wait).clamp(FIRST_WAIT, LONGEST_WAIT),
            };
            self.at = Instant::now() + self.wait;
        }
        Ok(status)
    }
}

/// Starts the children and starts them again until a signal comes; then ends them, within `drain`.
pub fn supervise(mut children: Children, signals: &Signals, drain: Duration) -> Result<()> {
    let (mut ending, mut failure) = (None, Ok(()));
    while ending.is_none() || !children.is_empty() {
        for index in 0..children.list.len() {
            let one = &mut children.list[index];
            if ending.is_none() && one.child.is_none() && one.at <= Instant::now() {
                one.start(index)?;
            }
            let Some(status) = one.ended()? else { continue };
            let told = format!("process {index} has ended: {status}");
            if status.success() || ending.is_some() || status.code() == Some(USAGE) {
                // One that was asked to end ends the whole cluster.
                if ending.is_none() {
                    ending = Some(Instant::now());
                    children.terminate();
                }
                if !status.success() && failure.is_ok() {
                    failure = Err(if status.code() == Some(USAGE) { Error::Usage(told) } else { Error::Run(told) });
                }
            } else {
                tell(format!("{told}; it is started again in {:?}", one.wait));
            }
        }
        if ending.is_none() && signals.seen() {
            tell("the cluster ends: what was read is still written; once more ends at once");
            ending = Some(Instant::now());
            children.terminate();
        }
        if ending.is_some_and(|since| since.elapsed() > drain + GRACE) {
            return Err(Error::TimedOut("the processes did not end in time, and were killed".to_string()));
        }
        sleep(LOOK);
    }
    failure
}

/// Hands on what process `index` says, line by line.
fn hand_on(index: usize, words: impl Read) {
    let mut words = BufReader::new(words);
    let mut line = Vec::new();
    while matches!((&mut words).take(LONGEST).read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let mut whole = format!("{index} | ").into_bytes();
        whole.append(&mut line);
        if whole.last() != Some(&b'\n') {
            whole.push(b'\n');
        }
        // Where nobody listens, the process goes on all the same.
        let _ = stderr().lock().write_all(&whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn one_that_fails_is_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("runs");
        // Fails twice, then ends well, and with it the other.
        let script = format!("echo run >>{0}; [ $(wc -l <{0}) -ge 3 ]", file.display());
        let children = Children::new(vec![shell("exec sleep 600"), shell(&script)]);
        let signals = Signals::watch().expect("signals");
        let ended = supervise(children, &signals, Duration::from_secs(5));
        assert!(ended.is_err_and(|error| error.to_string().contains("process 0 has ended: signal: 15")));
        assert_eq!(std::fs::read_to_string(file).expect("runs").lines().count(), 3);
    }

    #[test]
    fn one_that_was_started_in_a_wrong_way_ends_all() {
        let children = Children::new(vec![shell("exec sleep 600"), shell("exit 2")]);
        let ended = supervise(children, &Signals::watch().expect("signals"), Duration::from_secs(5));
        assert!(matches!(ended, Err(Error::Usage(told)) if told.contains("process 1")));
    }
}
