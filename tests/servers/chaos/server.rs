//! A Kafka or Cassandra of the run's own, which may be killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::proxy::Proxy;
use crate::support::cluster::free_port;
use crate::support::repository;

pub const LOOPBACK: &str = "127.0.0.1";

/// A server that was started by its script.
pub struct Server {
    script: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    host: String,
    port: u16,
    arguments: Vec<String>,
    /// What clients connect to instead.
    pub proxy: Option<Proxy>,
}

impl Server {
    /// A broker at an address of this machine.
    pub fn kafka(folder: &Path, host: &str) -> Server {
        Server::new("kafka", folder, host, &[])
    }

    /// A broker that is reached by a proxy.
    pub fn kafka_behind_a_proxy(folder: &Path) -> Server {
        let mut server = Server::kafka(folder, LOOPBACK);
        let proxy = Proxy::start(server.address());
        server.arguments = vec!["--advertised".to_string(), proxy.port.to_string()];
        Server { proxy: Some(proxy), ..server }
    }

    /// A database that has on disk what it has acknowledged.
    pub fn cassandra(folder: &Path, host: &str) -> Server {
        Server::new("cassandra", folder, host, &["--commitlog", "batch"])
    }

    fn new(name: &str, folder: &Path, host: &str, arguments: &[&str]) -> Server {
        Server {
            script: repository().join("cluster").join(name).join("start"),
            folder: folder.to_path_buf(),
            data: folder.join(name),
            host: host.to_string(),
            port: two_ports(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            proxy: None,
        }
    }

    /// Starts it, with the data that it has.
    pub fn start(&self) {
        let mut command = Command::new(&self.script);
        let port = self.port.to_string();
        command.args(["--port", &port, "--host", &self.host, "--data"]).arg(&self.data).args(&self.arguments);
        let output = command.current_dir(&self.folder).output().expect("the script runs");
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

    /// Where clients reach it.
    pub fn address(&self) -> String {
        let port = self.proxy.as_ref().map_or(self.port, |proxy| proxy.port);
        format!("{}:{port}", self.host)
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
