//! A network switch in this process, whose links lose and delay what they carry: ethernet frames between TAP devices.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// What becomes of the frames from one port to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// The part that is lost.
    pub loss: f64,
    pub delay: Duration,
}

/// A switch. It works until its devices are gone.
pub struct Switch(Arc<Shared>);

struct Shared {
    ports: Vec<File>,
    links: Mutex<HashMap<(usize, usize), Link>>,
    /// Which port an address was seen at.
    seen: Mutex<HashMap<[u8; 6], usize>>,
    delayed: Mutex<BinaryHeap<Reverse<Delayed>>>,
    more: Condvar,
}

/// When, in which order, to which port, what.
type Delayed = (Instant, u64, usize, Vec<u8>);

/// Longer than any frame.
const LONGEST: usize = 2048;
/// More frames than wait in a queue of a real switch; what is more is lost.
const QUEUE: usize = 10_000;

/// Makes a TAP device.
#[allow(unsafe_code, reason = "the standard library has no `ioctl`")]
pub fn tap(name: &str) -> Result<File> {
    let device = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: a request of zeros is one without a name or flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    request.ifr_name.iter_mut().zip(name.bytes().take(room)).for_each(|(to, byte)| *to = byte as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the request outlives the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &mut request) } {
        0 => Ok(device),
        _ => Err(Error::last_os_error()),
    }
}

impl Switch {
    /// Connects TAP devices; all links are good.
    pub fn start(ports: Vec<File>) -> Switch {
        let count = ports.len();
        let shared = Arc::new(Shared {
            ports,
            links: Mutex::default(),
            seen: Mutex::default(),
            delayed: Mutex::default(),
            more: Condvar::new(),
        });
        for port in 0..count {
            let shared = Arc::clone(&shared);
            spawn(move || shared.carry(port));
        }
        let later = Arc::downgrade(&shared);
        spawn(move || {
            while let Some(shared) = later.upgrade() {
                shared.deliver();
            }
        });
        Switch(shared)
    }

    /// From now on the link from one port to another is so.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.0.links.lock().expect("no panic").insert((from, to), link);
    }

    /// All links are good again.
    pub fn heal(&self) {
        self.0.links.lock().expect("no panic").clear();
    }
}

impl Shared {
    fn carry(&self, from: usize) {
        let (mut frame, mut random, mut number) = ([0; LONGEST], StdRng::seed_from_u64(from as u64), 0);
        // An error says that the device is gone.
        while let Ok(length) = (&self.ports[from]).read(&mut frame) {
            let frame = &frame[..length];
            let (Some(to), Some(source)) = (frame.first_chunk::<6>(), frame[6..].first_chunk::<6>()) else { continue };
            self.seen.lock().expect("no panic").insert(*source, from);
            let known = self.seen.lock().expect("no panic").get(to).copied();
            for port in (0..self.ports.len()).filter(|port| *port != from && known.is_none_or(|known| known == *port)) {
                let link = self.links.lock().expect("no panic").get(&(from, port)).copied().unwrap_or_default();
                if random.random_bool(link.loss) {
                    continue;
                }
                number += 1;
                self.send(port, frame, link.delay, number);
            }
        }
    }

    fn send(&self, port: usize, frame: &[u8], delay: Duration, number: u64) {
        if delay.is_zero() {
            // What a device does not take is lost, as elsewhere.
            let _ = (&self.ports[port]).write(frame);
            return;
        }
        let mut delayed = self.delayed.lock().expect("no panic");
        if delayed.len() < QUEUE {
            delayed.push(Reverse((Instant::now() + delay, number, port, frame.to_vec())));
            self.more.notify_one();
        }
    }

    /// Delivers what is due, or waits a little.
    fn deliver(&self) {
        let mut delayed = self.delayed.lock().expect("no panic");
        let now = Instant::now();
        match delayed.peek().map(|Reverse((due, ..))| due.saturating_duration_since(now)) {
            Some(Duration::ZERO) => {
                let Some(Reverse((_, _, port, frame))) = delayed.pop() else { return };
                drop(delayed);
                let _ = (&self.ports[port]).write(&frame);
            }
            wait => {
                let wait = wait.unwrap_or(Duration::from_secs(1));
                drop(self.more.wait_timeout(delayed, wait).expect("no panic"));
            }
        }
    }
}
