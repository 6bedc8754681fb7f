//! `tapeflow up`: a cluster on this machine under one command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{endless, market};
use crate::support::cluster::{Process, free_port, run, tapeflow, wait_until};

/// A cluster of `processes` that `tapeflow up` has started in `folder`.
pub struct Up {
    pub process: Process,
    port: u16,
    processes: u16,
}

impl Up {
    fn start(folder: &Path, processes: u16) -> Up {
        Up::start_with(folder, processes, processes, |_| {})
    }

    /// With room for up to `most` processes.
    pub fn start_with(folder: &Path, processes: u16, most: u16, more: impl FnOnce(&mut Command)) -> Up {
        // As many in a row as are taken.
        let port = (0..).map(|_| free_port()).find(|port| (1..2 * most).all(|_| free_port() > *port));
        let port = port.expect("ports");
        let mut command = tapeflow(folder);
        command.args(["up", "-n", &processes.to_string(), "--port", &port.to_string()]);
        more(&mut command);
        Up { process: Process::spawn(command, folder.join("log")), port, processes }
    }

    pub fn cli(&self, folder: &Path, at: u16, args: &[&str]) -> Command {
        let mut command = tapeflow(folder);
        let at = format!("127.0.0.1:{}", self.port + at);
        command.args(args).args(["--config", ".tapeflow/tapeflow.toml", "--at", &at]);
        command
    }

    /// All answer, and are in generation `number`.
    pub fn ready(&self, folder: &Path, number: u64) {
        wait_for_token(folder);
        for index in 0..self.processes {
            wait_until(&format!("process {index} is in generation {number}"), || {
                self.version(folder, index).contains(&format!("\"generation\":{number},"))
            });
        }
    }

    /// What process `index` says of itself.
    pub fn version(&self, folder: &Path, index: u16) -> String {
        let token = fs::read_to_string(folder.join(".tapeflow/token")).unwrap_or_default();
        let token = token.trim();
        let head = format!("GET /version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
        crate::support::cluster::ask(self.port + index, &head, "").unwrap_or_default().2
    }

    /// The pids of the processes that it has started.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill").success());
}

fn wait_for_token(folder: &Path) {
    wait_until("there is a token", || folder.join(".tapeflow/tapeflow.toml").exists());
}

#[test]
fn a_cluster_comes_up_works_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut up = Up::start(folder, 3);
    wait_for_token(folder);
    up.ready(folder, 1);
    let mode = fs::metadata(folder.join(".tapeflow/token")).expect("a token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(folder.join("m.toml"), market("m", 5, "type = \"discard\"")).expect("written");
    run(up.cli(folder, 1, &["submit", "m.toml", "--wait", "--timeout", "50s"])).with(0);
    fs::write(folder.join("live.toml"), endless("live", 200)).expect("written");
    run(up.cli(folder, 2, &["submit", "live.toml"])).with(0);
    let mut second = tapeflow(folder);
    second.args(["up", "-n", "2"]);
    assert!(run(second).with(2).err.contains("another `tapeflow up` runs"));
    let rows = || fs::read_to_string(folder.join("live.jsonl")).unwrap_or_default();
    wait_until("it writes", || rows().lines().count() > 10);
    let log = up.process.log();
    assert!((0..3).all(|index| log.contains(&format!("{index} | "))), "{log}");
    up.process.signal("INT");
    assert_eq!(up.process.ended(), 0, "{}", up.process.log());
    assert!(rows().ends_with("}\n"));
}

#[test]
fn a_process_that_dies_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut up = Up::start(folder, 2);
    wait_for_token(folder);
    up.ready(folder, 1);
    let before = up.children();
    assert_eq!(before.len(), 2);
    kill("KILL", before[1]);
    up.ready(folder, 2);
    let after = up.children();
    assert!(after.contains(&before[0]) && !after.contains(&before[1]), "{before:?} {after:?}");
    assert!(up.process.log().contains("it is started again"), "{}", up.process.log());
    fs::write(folder.join("m.toml"), market("m", 5, "type = \"discard\"")).expect("written");
    run(up.cli(folder, 0, &["submit", "m.toml", "--wait", "--timeout", "50s"])).with(0);
    up.process.signal("TERM");
    assert_eq!(up.process.ended(), 0, "{}", up.process.log());
}

#[test]
fn nothing_outlives_it() {
    for (signal, times) in [("KILL", 1), ("TERM", 2)] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let mut up = Up::start(folder, 2);
        wait_for_token(folder);
        up.ready(folder, 1);
        let children = up.children();
        // What stands still cannot end by itself.
        if times == 2 {
            kill("STOP", children[1]);
        }
        for _ in 0..times {
            std::thread::sleep(std::time::Duration::from_millis(100));
            up.process.signal(signal);
        }
        let code = up.process.ended();
        assert_eq!(code, if times == 2 { 143 } else { -1 });
        if times == 2 {
            kill("CONT", children[1]);
        }
        for pid in children {
            wait_until("its processes have ended", || {
                let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                state.is_empty() || state.contains(") Z ")
            });
        }
    }
}
