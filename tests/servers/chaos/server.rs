//! A Kafka or Cassandra of the run's own, which may be killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cluster::free_port;
use crate::support::repository;

/// A server that was started by its script.
pub struct Server {
    script: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    port: u16,
    arguments: &'static [&'static str],
}

impl Server {
    /// A broker.
    pub fn kafka(folder: &Path) -> Server {
        Server::new("kafka", folder, &[])
    }

    /// A database that has on disk what it has acknowledged.
    pub fn cassandra(folder: &Path) -> Server {
        Server::new("cassandra", folder, &["--commitlog", "batch"])
    }

    fn new(name: &str, folder: &Path, arguments: &'static [&'static str]) -> Server {
        let script = repository().join("cluster").join(name).join("start");
        Server { script, folder: folder.to_path_buf(), data: folder.join(name), port: two_ports(), arguments }
    }

    /// Starts it, with the data that it has.
    pub fn start(&self) {
        let mut command = Command::new(&self.script);
        let port = self.port.to_string();
        command.args(["--port", &port, "--data"]).arg(&self.data).args(self.arguments).current_dir(&self.folder);
        let output = command.output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends it as a failing machine would.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    pub fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.data.join("pid")).expect("it runs");
        let status = Command::new("kill").args([&format!("-{name}"), pid.trim()]).status();
        assert!(status.expect("kill runs").success(), "kill -{name} {pid}");
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A free port, behind which is another.
fn two_ports() -> u16 {
    loop {
        let port = free_port();
        if free_port() == port + 1 {
            return port;
        }
    }
}
