//! What is done to a running cluster.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::Rng;

use super::network::Network;
use super::segment::Segment;
use crate::support::cluster::free_port;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a process.
    Kill,
    /// And of another, or the same, while the cluster recovers from the first.
    Again,
    /// `kill -9` of the broker, which is started again.
    Broker,
    /// Likewise of the database.
    Database,
    /// A process stands still for long and goes on.
    Stop,
    /// Likewise, while another has taken its place.
    Replace,
    /// The database stands still for longer than a checkpoint takes; then it and a process are killed.
    Hang,
    /// A commit of a transaction reaches the broker when its process is dead and another has taken over.
    LateCommit,
    /// A host is cut off from all others.
    Partition,
    /// What a host says is lost, what it is told is not.
    OneWay,
    /// Of all that a host says and is told three in ten packets are lost.
    Loss,
    /// All that a host says and is told takes 200 ms longer each way.
    Delay,
    /// The disk under the state is full for a while; a process may be killed meanwhile.
    Disk,
}

/// What is waited for at most before something that was killed is started again.
const GONE: Duration = Duration::from_millis(1500);
/// Within which a second kill comes.
const RECOVERING: Duration = Duration::from_millis(2500);
/// How long a disk is full.
const FULL: Duration = Duration::from_secs(5);
/// How long a network is bad, at most.
const DISCONNECTED: Duration = Duration::from_secs(12);
/// How long the broker does not answer a process that is stopped then.
const UNANSWERED: Duration = Duration::from_millis(300);
/// How long a process that was replaced may go on before it is ended.
const ZOMBIE: Duration = Duration::from_secs(5);

impl Segment<'_> {
    /// Does it. What a fault of this kind comes along with counts, too.
    pub fn act(&mut self, kind: Kind) {
        match kind {
            Kind::Kill => self.kill_one(),
            Kind::Again => self.kill_twice(),
            Kind::Broker => {
                self.servers.kafka.kill();
                self.wait_up_to(GONE);
                self.servers.kafka.start();
            }
            Kind::Database => {
                self.servers.cassandra.kill();
                self.wait_up_to(GONE);
                self.servers.cassandra.start();
            }
            Kind::Stop => self.stop_in_place(),
            Kind::Replace => self.stop_and_replace(),
            Kind::Hang => self.hang(),
            Kind::LateCommit => self.commit_late(),
            Kind::Partition => self.disconnect(Network::cut_off),
            Kind::OneWay => self.disconnect(Network::mute),
            Kind::Loss => self.disconnect(|network, host| network.lose(host, 0.3)),
            Kind::Delay => self.disconnect(|network, host| network.delay(host, Duration::from_millis(200))),
            Kind::Disk => self.fill_disk(),
        }
    }

    fn kill_one(&mut self) {
        let index = self.any_process();
        self.cluster.process(index).signal("KILL");
        self.cluster.process(index).ended();
        self.absent = Some(index);
        self.wait_up_to(GONE);
        self.absent = None;
        self.cluster.launch(index);
    }

    fn kill_twice(&mut self) {
        self.kill_one();
        self.wait_up_to(RECOVERING);
        self.landed(Kind::Again);
        self.kill_one();
    }

    fn stop_in_place(&mut self) {
        let index = self.any_process();
        self.cluster.process(index).signal("STOP");
        self.wait(self.settings.stopped);
        self.cluster.process(index).signal("CONT");
    }

    /// As where a machine hangs and its work is moved to another: the others read the new address when they begin anew.
    fn stop_and_replace(&mut self) {
        let index = self.any_process();
        (self.cluster.mesh[index], self.cluster.http[index]) = (free_port(), free_port());
        self.cluster.write_hosts();
        let zombie = self.cluster.processes[index].take().expect("it runs");
        // It has transactions under way that the broker has not answered when it stops.
        self.servers.kafka.signal("STOP");
        sleep(UNANSWERED);
        zombie.signal("STOP");
        self.servers.kafka.signal("CONT");
        self.cluster.launch(index);
        self.wait(self.settings.stopped);
        zombie.signal("CONT");
        self.wait(ZOMBIE);
    }

    fn hang(&mut self) {
        self.servers.cassandra.signal("STOP");
        self.wait(self.settings.checkpoint * 4);
        self.kill_one();
        // What it was sent and has not read is lost, too.
        self.servers.cassandra.kill();
        self.servers.cassandra.start();
    }

    fn commit_late(&mut self) {
        let proxy = self.servers.kafka.proxy.as_ref().expect("there is one");
        proxy.arm();
        self.wait_while(|_| !proxy.holds());
        for index in 0..self.cluster.processes.len() {
            self.cluster.process(index).signal("KILL");
        }
        for index in 0..self.cluster.processes.len() {
            self.cluster.process(index).ended();
            self.cluster.launch(index);
        }
        let launched = Instant::now();
        self.wait_while(|this| this.aim.completed_after(launched).is_none());
        proxy.release();
    }

    /// A host has a bad network for a while: for less or for more than it takes the others to notice.
    fn disconnect(&mut self, worsen: impl Fn(&Network, usize)) {
        let network = self.servers.network.as_ref().expect("there is one");
        let host = self.any_process();
        worsen(network, host);
        self.wait_up_to(DISCONNECTED);
        network.heal();
    }

    /// Not for ever: what is waited for in vain is seen by what comes out.
    fn wait_while(&mut self, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while holds(self) && began.elapsed() < DISCONNECTED * 5 {
            self.wait(Duration::from_millis(10));
        }
    }

    fn fill_disk(&mut self) {
        let disk = self.disk.as_ref().expect("there is one");
        disk.fill();
        if self.random.random_bool(0.5) {
            self.kill_one();
        }
        self.wait_up_to(FULL);
        self.disk.as_ref().expect("there is one").free();
    }

    fn any_process(&mut self) -> usize {
        self.random.random_range(0..self.cluster.processes.len())
    }

    fn wait_up_to(&mut self, longest: Duration) {
        let span = longest.mul_f64(self.random.random());
        self.wait(span);
    }

    /// Waits, and starts processes again that have ended meanwhile, as whoever supervises them would.
    pub fn wait(&mut self, span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span {
            self.supervise();
            sleep(Duration::from_millis(10).min(span));
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Kill => "kill a process",
            Kind::Again => "kill a process again during recovery",
            Kind::Broker => "kill the broker",
            Kind::Database => "kill the database",
            Kind::Stop => "stop a process",
            Kind::Replace => "stop a process and replace it",
            Kind::LateCommit => "a commit of a dead process comes late",
            Kind::Partition => "cut a host off",
            Kind::OneWay => "lose what a host says",
            Kind::Loss => "lose 30 % of the packets of a host",
            Kind::Delay => "delay the packets of a host by 200 ms",
            Kind::Hang => "the database hangs, then it and a process are killed",
            Kind::Disk => "fill the disk of the state",
        })
    }
}
