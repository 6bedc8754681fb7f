//! The list of the processes of a cluster: a line for each, `HOST MESH_PORT HTTP_PORT`; `#` begins a comment.

use std::path::Path;

use crate::config::Address;
use crate::error::{Error, Result};

/// Where a process is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// By the other processes.
    pub mesh: Address,
    /// By its control plane.
    pub http: Address,
}

/// Reads the file at `path`.
pub fn load(path: &Path) -> Result<Vec<Host>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("cannot read the hosts file {}: {error}", path.display())))?;
    parse(&text).map_err(|mistakes| {
        let mistakes = mistakes.into_iter().map(|(line, message)| format!("{}:{line}: {message}", path.display()));
        Error::Usage(mistakes.collect::<Vec<_>>().join("\n"))
    })
}

fn parse(text: &str) -> Result<Vec<Host>, Vec<(usize, String)>> {
    let (mut hosts, mut mistakes) = (Vec::<Host>::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            [host, mesh, http] => match (address(host, mesh), address(host, http)) {
                (Some(mesh), Some(http)) => {
                    let twice = hosts.iter().any(|other| other.mesh == mesh || other.http == http);
                    if twice || mesh == http {
                        mistakes.push((number + 1, "two listen on the same port of the same host".to_string()));
                    }
                    hosts.push(Host { mesh, http });
                }
                _ => mistakes.push((number + 1, "a port is a number from 1 to 65535".to_string())),
            },
            _ => mistakes.push((number + 1, "expected a host, its mesh port and its HTTP port".to_string())),
        }
    }
    if hosts.is_empty() && mistakes.is_empty() {
        mistakes.push((1, "there is no host in it".to_string()));
    }
    if mistakes.is_empty() { Ok(hosts) } else { Err(mistakes) }
}

fn address(host: &str, port: &str) -> Option<Address> {
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(Address { host: host.trim_matches(['[', ']']).to_string(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let hosts = parse("# ours\nworker-0 7071 7070\n\n[::1] 7071 7070 # loopback\n").expect("hosts");
        let shown: Vec<_> = hosts.iter().map(|host| format!("{} {}", host.mesh, host.http)).collect();
        assert_eq!(shown, ["worker-0:7071 worker-0:7070", "[::1]:7071 [::1]:7070"]);
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let mistakes = parse("a 1 2\na 1 3\nb\nc x 2\nd 0 1\n").expect_err("mistakes");
        let lines: Vec<usize> = mistakes.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(parse("# nothing\n").is_err());
    }
}
