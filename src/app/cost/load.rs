//! The load generator of the cost measure, a process of its own: a fixed number of connections, one request on each at a
//! time. It never sleeps, since waking it would be at the server's expense: on a virtual machine that is dear, and the
//! slower of two servers would pay for it more often. Nor does it touch a socket before something has come, which would take
//! the socket's lines from the server's core.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ADDRESS: &str = "KVS_EDGE_TEST_COST_ADDRESS";
const PATH: &str = "KVS_EDGE_TEST_COST_PATH";
const TOKENS: &str = "KVS_EDGE_TEST_COST_TOKENS";
const CONNECTIONS: &str = "KVS_EDGE_TEST_COST_CONNECTIONS";

const WARM_UP: Duration = Duration::from_millis(50);
/// For how long answers are counted.
pub const COUNTED: Duration = Duration::from_millis(250);

const CLOSE: &[u8] = b"\r\nconnection: close\r\n";

/// What is asked for, by whom.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub path: String,
    /// A file with a token a line, taken in turn; none is sent without it.
    pub tokens: Option<PathBuf>,
    pub connections: usize,
}

impl Load {
    /// Answers a second, asked for from core 1.
    pub fn rate(&self) -> f64 {
        let mut client = Command::new("taskset");
        client.args(["-c", "1"]).arg(std::env::current_exe().unwrap());
        client.args(["--exact", "app::cost::load::ask", "--ignored", "--nocapture"]);
        client.env(ADDRESS, self.address.to_string()).env(PATH, &self.path);
        client.env(CONNECTIONS, self.connections.to_string());
        if let Some(tokens) = &self.tokens {
            client.env(TOKENS, tokens);
        }
        let output = client.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = || -> f64 { panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)) };
        let count = text.lines().find_map(|line| line.strip_prefix("answers ")?.parse().ok());
        count.unwrap_or_else(problem) / COUNTED.as_secs_f64()
    }
}

fn requests(path: &str, tokens: Option<&Path>) -> Vec<String> {
    let request = |header: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n");
    let Some(tokens) = tokens else { return vec![request("")] };
    let tokens = std::fs::read_to_string(tokens).unwrap();
    tokens.lines().map(|token| request(&format!("authorization: Bearer {token}\r\n"))).collect()
}

/// The process itself, when it is started by [`Load::rate`].
#[test]
#[ignore = "a part of the measure, not a test"]
fn ask() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let path = std::env::var(PATH).unwrap();
    let requests = requests(&path, std::env::var_os(TOKENS).map(PathBuf::from).as_deref());
    let mut requests = requests.iter().map(String::as_bytes).cycle();
    let count: usize = std::env::var(CONNECTIONS).unwrap().parse().unwrap();
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let open = |number: usize, request: &[u8]| Connection::open(&address, request, &registry, Token(number));
    let mut connections: Vec<Connection> =
        (0..count).map(|number| open(number, requests.next().unwrap())).collect();
    let mut events = Events::with_capacity(count);
    let mut answers_in = |time| {
        let (begin, mut answers) = (Instant::now(), 0_u64);
        while begin.elapsed() < time {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            for event in &events {
                let Token(number) = event.token();
                let connection = &mut connections[number];
                if connection.answered() {
                    answers += 1;
                    if connection.is_last() {
                        *connection = open(number, requests.next().unwrap());
                    } else {
                        connection.ask(requests.next().unwrap());
                    }
                }
            }
        }
        answers
    };
    answers_in(WARM_UP);
    println!("\nanswers {}", answers_in(COUNTED));
}

/// One request at a time.
struct Connection {
    stream: TcpStream,
    room: Box<[u8]>,
    filled: usize,
}

impl Connection {
    fn open(address: &str, request: &[u8], registry: &Registry, token: Token) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE).unwrap();
        let mut connection = Self { stream, room: vec![0; 64 << 10].into(), filled: 0 };
        connection.ask(request);
        connection
    }

    fn ask(&mut self, request: &[u8]) {
        self.filled = 0;
        self.stream.write_all(request).unwrap();
    }

    fn answer(&self) -> &[u8] {
        &self.room[..self.filled]
    }

    /// Whether the server closes after this answer (`limits.requests_per_connection`).
    fn is_last(&self) -> bool {
        self.answer().windows(CLOSE.len()).any(|line| line == CLOSE)
    }

    /// Whether the whole answer is here, after something has come.
    fn answered(&mut self) -> bool {
        match self.stream.read(&mut self.room[self.filled..]) {
            Ok(read) => {
                assert_ne!(read, 0, "closed: {}", String::from_utf8_lossy(self.answer()));
                self.filled += read;
                length(self.answer()) == Some(self.filled)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    }
}

/// Of the answer that begins so, once its head is here.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let lines = std::str::from_utf8(&answer[..head]).unwrap();
    assert!(lines.starts_with("HTTP/1.1 200"), "{lines}");
    let (_, body) = lines.split_once("content-length: ").unwrap();
    Some(head + 4 + body.split("\r\n").next().unwrap().parse::<usize>().unwrap())
}
