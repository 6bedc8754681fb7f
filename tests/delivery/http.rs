//! A little HTTP server that notes what is posted and answers as a test wants.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::Value as Json;

use super::{Stream, encrypted};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The status it was answered with; 0 for none.
    pub status: u16,
}

impl Request {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn key(&self) -> String {
        self.headers["idempotency-key"].clone()
    }
}

/// How it is answered.
pub enum Answer {
    /// With a status, a further header line, and a text.
    Say(u16, String, String),
    /// Not within this time.
    Late(Duration),
    /// Not at all.
    HangUp,
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer::Say(status, String::new(), String::new())
    }
}

type Script = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// The server, until the end of the process.
#[derive(Clone)]
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    /// How often each body has come.
    bodies: Arc<Mutex<HashMap<String, usize>>>,
}

impl Server {
    /// `script` is told the request and how many with the same body came before.
    pub fn start(script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Server {
        Server::listen(None, Arc::new(script))
    }

    /// The same by TLS.
    pub fn encrypted(
        tls: Arc<ServerConfig>,
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Server {
        Server::listen(Some(tls), Arc::new(script))
    }

    fn listen(tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Server { port, requests: Arc::default(), bodies: Arc::default() };
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, script, tls) = (shared.clone(), Arc::clone(&script), tls.clone());
                std::thread::spawn(move || {
                    let stream = match tls {
                        Some(tls) => encrypted(&tls, stream),
                        None => Box::new(stream),
                    };
                    shared.serve(BufReader::new(stream), script.as_ref())
                });
            }
        });
        server
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Those that were answered well.
    pub fn accepted(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| (200..300).contains(&request.status)).collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn serve(&self, mut reader: BufReader<Box<dyn Stream>>, script: &Script) -> Option<()> {
        loop {
            let mut request = read(&mut reader)?;
            let before = {
                let mut bodies = self.bodies.lock().expect("no panic");
                let count = bodies.entry(request.body.clone()).or_default();
                *count += 1;
                *count - 1
            };
            let answer = script(&request, before);
            if let Answer::Say(status, ..) = &answer {
                request.status = *status;
            }
            self.requests.lock().expect("no panic").push(request);
            match answer {
                Answer::Say(status, header, text) => {
                    let length = text.len();
                    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{header}\r\n{text}");
                    let stream = reader.get_mut();
                    stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).ok()?;
                }
                Answer::Late(time) => {
                    std::thread::sleep(time);
                    return None;
                }
                Answer::HangUp => return None,
            }
        }
    }
}

fn read(reader: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let mut words = first.split_whitespace().map(str::to_string);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_string());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).expect("text");
    Some(Request { at: Instant::now(), method, path, headers, body, status: 0 })
}
