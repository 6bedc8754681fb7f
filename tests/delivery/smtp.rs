//! A little mail server that keeps what it is sent and fails as a test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;

use super::{Stream, encrypted, tls};

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and text, as they came.
    pub data: String,
    pub encrypted: bool,
}

impl Mail {
    /// The value of a header.
    pub fn header(&self, name: &str) -> String {
        let lines = self.data.replace("\r\n ", " ");
        let value = lines.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_string));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.data))
    }

    /// The lines of the text.
    pub fn lines(&self) -> Vec<String> {
        let (_, text) = self.data.split_once("\r\n\r\n").expect("a text");
        text.lines().map(str::to_string).collect()
    }
}

/// What a server does instead of what it should.
pub enum Act {
    /// It does what it should.
    Right,
    /// It says this.
    Say(&'static str),
    /// It says nothing for this time, and hangs up.
    Late(Duration),
    /// It hangs up.
    HangUp,
}

/// How it protects connections.
#[derive(Clone, Copy, PartialEq)]
pub enum Security {
    None,
    Starttls,
    Tls,
}

type Script = dyn Fn(usize, &str) -> Act + Send + Sync;

/// The server, until the end of the process.
#[derive(Clone)]
pub struct Server {
    pub port: u16,
    /// What vouches for it, as PEM.
    pub certificate: String,
    security: Security,
    tls: Arc<ServerConfig>,
    /// The lines it was told, and the mails it has.
    heard: Arc<Mutex<Vec<String>>>,
    mails: Arc<Mutex<Vec<Mail>>>,
    connections: Arc<Mutex<usize>>,
    script: Arc<Script>,
}

impl Server {
    /// `script` is told the number of the connection and what is said: `CONNECT`, `EHLO`, ..., `.` at the end of a mail.
    pub fn start(security: Security, script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Server {
        let (tls, certificate) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Server {
            port: listener.local_addr().expect("an address").port(),
            certificate,
            security,
            tls,
            heard: Arc::default(),
            mails: Arc::default(),
            connections: Arc::default(),
            script: Arc::new(script),
        };
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        server
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().expect("no panic").clone()
    }

    /// All that was said to it.
    pub fn heard(&self) -> String {
        self.heard.lock().expect("no panic").join("\n")
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let number = {
            let mut connections = self.connections.lock().expect("no panic");
            *connections += 1;
            *connections
        };
        let again = stream.try_clone().ok()?;
        let from_the_first_byte = self.security == Security::Tls;
        let stream: Box<dyn Stream> = if from_the_first_byte { encrypted(&self.tls, stream) } else { Box::new(stream) };
        let mut session =
            Session { server: self, number, encrypted: from_the_first_byte, reader: BufReader::new(stream) };
        session.greet()?;
        if session.talk()? {
            let reader = BufReader::new(encrypted(&self.tls, again));
            Session { server: self, number, encrypted: true, reader }.talk()?;
        }
        Some(())
    }
}

/// One connection. What returns nothing has ended it.
struct Session<'a> {
    server: &'a Server,
    number: usize,
    encrypted: bool,
    reader: BufReader<Box<dyn Stream>>,
}

impl Session<'_> {
    fn say(&mut self, text: &str) -> Option<()> {
        let stream = self.reader.get_mut();
        stream.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| stream.flush()).ok()
    }

    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end_matches(['\r', '\n']).to_string();
        self.server.heard.lock().expect("no panic").push(line.clone());
        Some(line)
    }

    /// Whether it goes on as it should.
    fn act(&mut self, verb: &str) -> Option<bool> {
        match (self.server.script)(self.number, verb) {
            Act::Right => Some(true),
            Act::Say(text) => self.say(text).map(|()| false),
            Act::Late(time) => {
                std::thread::sleep(time);
                None
            }
            Act::HangUp => None,
        }
    }

    fn greet(&mut self) -> Option<()> {
        if self.act("CONNECT")? { self.say("220 here") } else { None }
    }

    /// Talks to the end, or until the connection is to be encrypted.
    fn talk(&mut self) -> Option<bool> {
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = self.hear()?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            if !self.act(&verb)? {
                continue;
            }
            let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_string();
            match verb.as_str() {
                "EHLO" if self.server.security == Security::Starttls && !self.encrypted => {
                    self.say("250-here\r\n250 STARTTLS")?;
                }
                "EHLO" => self.say("250-here\r\n250 AUTH PLAIN LOGIN")?,
                "STARTTLS" => {
                    self.say("220 go on")?;
                    return Some(true);
                }
                "AUTH" => self.say("235 welcome")?,
                "MAIL" => {
                    (from, to) = (address(), Vec::new());
                    self.say("250 fine")?;
                }
                "RCPT" => {
                    to.push(address());
                    self.say("250 fine")?;
                }
                "DATA" => {
                    self.say("354 go on")?;
                    let data = self.data()?;
                    if self.act(".")? {
                        let mail = Mail { from: from.clone(), to: to.clone(), data, encrypted: self.encrypted };
                        self.server.mails.lock().expect("no panic").push(mail);
                        self.say("250 taken")?;
                    }
                }
                "QUIT" => {
                    self.say("221 bye")?;
                    return None;
                }
                _ => self.say("250 fine")?,
            }
        }
    }

    fn data(&mut self) -> Option<String> {
        let mut data = String::new();
        loop {
            let line = self.hear()?;
            if line == "." {
                return Some(data);
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push_str("\r\n");
        }
    }
}
