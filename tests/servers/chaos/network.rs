//! Hosts made of network namespaces, one for each process, behind a switch that can be told to fail. The servers are on a
//! host of their own: this one.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::switch::{Link, Switch, tap};

/// A network of hosts.
pub struct Network {
    switch: Switch,
    pub namespaces: Vec<String>,
    /// Where the hosts are reached.
    pub addresses: Vec<String>,
    /// Where the servers listen.
    pub server: String,
}

impl Network {
    /// As many hosts, in namespaces that begin with `name`; why not, where it may not be made.
    pub fn make(name: &str, hosts: usize) -> Result<Network, String> {
        let number = std::process::id();
        let subnet = format!("10.77.{}", number % 250);
        let device = |host: usize| format!("ch{}x{host}", number % 100_000);
        let namespaces: Vec<String> = (0..hosts).map(|host| format!("{name}-{host}")).collect();
        let addresses: Vec<String> = (0..hosts).map(|host| format!("{subnet}.{}", host + 1)).collect();
        let server = format!("{subnet}.254");
        let mut ports = Vec::new();
        for host in 0..=hosts {
            ports.push(tap(&device(host)).map_err(|error| format!("a TAP device: {error}"))?);
        }
        for (host, (namespace, address)) in namespaces.iter().zip(&addresses).enumerate() {
            let device = device(host);
            ip(&["netns", "add", namespace])?;
            ip(&["link", "set", &device, "netns", namespace])?;
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", &device])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", &device, "up"])?;
        }
        ip(&["addr", "add", &format!("{server}/24"), "dev", &device(hosts)])?;
        ip(&["link", "set", &device(hosts), "up"])?;
        Ok(Network { switch: Switch::start(ports), namespaces, addresses, server })
    }

    /// Nothing reaches this host, and nothing comes from it.
    pub fn cut_off(&self, host: usize) {
        self.change(host, LOST, LOST);
    }

    /// What comes from this host is lost, what goes to it is not.
    pub fn mute(&self, host: usize) {
        self.change(host, LOST, Link::default());
    }

    /// A part of all that comes from and goes to this host is lost.
    pub fn lose(&self, host: usize, loss: f64) {
        let link = Link { loss, ..Link::default() };
        self.change(host, link, link);
    }

    /// All that comes from and goes to this host takes so much longer.
    pub fn delay(&self, host: usize, delay: Duration) {
        let link = Link { delay, ..Link::default() };
        self.change(host, link, link);
    }

    pub fn heal(&self) {
        self.switch.heal();
    }

    fn change(&self, host: usize, from: Link, to: Link) {
        for other in (0..=self.namespaces.len()).filter(|other| *other != host) {
            self.switch.set(host, other, from);
            self.switch.set(other, host, to);
        }
    }
}

const LOST: Link = Link { loss: 1.0, delay: Duration::ZERO };

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = || format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    output.status.success().then_some(()).ok_or_else(said)
}

#[test]
#[ignore = "makes network namespaces: make chaos-net"]
fn links_lose_and_delay_what_they_are_told_to() {
    /// The exit code of `timeout`.
    const TIMED_OUT: i32 = 124;
    let name = format!("chaos-switch-{}", std::process::id());
    let Ok(network) = Network::make(&name, 2) else { return };
    // Nobody listens there: the answer is a refusal, and comes at once.
    let answers_within = |seconds: &str| {
        let connect = format!(": </dev/tcp/{}/9", network.addresses[1]);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.namespaces[0], "timeout", seconds, "bash", "-c", &connect]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.code() != Some(TIMED_OUT))
    };
    let found = [
        answers_within("1"),
        {
            network.cut_off(1);
            answers_within("1")
        },
        {
            network.heal();
            network.mute(1);
            answers_within("1")
        },
        {
            network.heal();
            network.delay(1, Duration::from_millis(600));
            answers_within("1")
        },
        answers_within("4"),
        {
            network.heal();
            answers_within("1")
        },
    ];
    for namespace in &network.namespaces {
        ip(&["netns", "del", namespace]).expect("removed");
    }
    assert_eq!(found, [true, false, false, false, true, true]);
}
