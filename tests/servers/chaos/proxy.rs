//! Between the clients and the broker: can hold a commit of a transaction back until long after its process has died, as a
//! network may.

use std::io::{Read, Result, Write, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// `EndTxn`, among the requests of Kafka's protocol.
const END_TRANSACTION: [u8; 2] = 26u16.to_be_bytes();
/// The broker answers sooner.
const ANSWERED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// All goes through.
    Open,
    /// The next commit is held.
    Armed,
    /// One is held.
    Holding,
}

/// A proxy of one server; it works as long as this process.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
    changed: Condvar,
}

impl Proxy {
    /// A proxy of `upstream`, which need not run yet.
    pub fn start(upstream: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { upstream, state: Mutex::new(State::Open), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // Where the server does not run, the connection is closed.
                spawn(move || shared.serve(client));
            }
        });
        Proxy { port, shared }
    }

    /// Holds the next commit back.
    pub fn arm(&self) {
        *self.shared.state() = State::Armed;
    }

    /// Whether a commit is held.
    pub fn holds(&self) -> bool {
        *self.shared.state() == State::Holding
    }

    /// Lets it go on its way.
    pub fn release(&self) {
        *self.shared.state() = State::Open;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Result<()> {
        let server = TcpStream::connect(&self.upstream)?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (mut answers, mut to) = (server.try_clone()?, client.try_clone()?);
        spawn(move || {
            if copy(&mut answers, &mut to).is_err() {
                // Who asked is gone; the answer is not.
                let _ = copy(&mut answers, &mut sink());
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let ended = self.requests(client, &server);
        let _ = server.shutdown(Shutdown::Both);
        ended
    }

    fn requests(&self, mut client: TcpStream, mut server: &TcpStream) -> Result<()> {
        loop {
            let mut size = [0; 4];
            client.read_exact(&mut size)?;
            let mut request = vec![0; u32::from_be_bytes(size) as usize];
            client.read_exact(&mut request)?;
            let held = request.starts_with(&END_TRANSACTION) && self.hold();
            server.write_all(&[&size[..], &request].concat())?;
            if held {
                sleep(ANSWERED);
            }
        }
    }

    /// Waits until the commit may go on, if it is the one to be held.
    fn hold(&self) -> bool {
        let mut state = self.state();
        if *state != State::Armed {
            return false;
        }
        *state = State::Holding;
        drop(self.changed.wait_while(state, |state| *state != State::Open).expect("no panic"));
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}
