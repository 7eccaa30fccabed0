//! Requests that another server on the way could read in another way than the gateway: each is refused and its
//! connection ends, so that nothing of it is ever taken for a second request.

use super::target::Target;
use super::{Finding, Until};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Header lines that must make the gateway refuse the request (RFC 9112 5, 6.1, 6.3, 11.2).
const REFUSED: &[&str] = &[
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 4",
    "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: \x0cchunked",
    "Transfer-Encoding: chunked\x00",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer_Encoding: chunked",
    "Content-Length: 4\r\nContent-Length: 5",
    "Content-Length: 4, 5",
    "Content-Length: +4",
    "Content-Length: -4",
    "Content-Length: 0x4",
    "Content-Length: 4 4",
    "Content-Length: 4;",
    "Content-Length: 99999999999999999999",
    "Content-Length:",
    "Content-Length : 4",
    "Content_Length: 4",
    "\x00: x",
    "X: \x00",
    " X: folded",
    "X: a\r\n\tb",
    "X\tY: z",
    ": no name",
    "no colon",
    "Host: other.example",
    "Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
];
/// Lines that change nothing, put around the others.
const HARMLESS: &[&str] =
    &["Accept: */*", "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Via: 1.1 a", "TE: trailers"];
/// Request lines that must be refused.
const LINES: &[&str] = &[
    "GET  /streams HTTP/1.1",
    "GET /streams  HTTP/1.1",
    "GET /streams HTTP/1.1 ",
    "GET\t/streams HTTP/1.1",
    " GET /streams HTTP/1.1",
    "GET /streams HTTP/1.2",
    "GET /streams http/1.1",
    "GET /str\x00eams HTTP/1.1",
    "GET /streams#fragment HTTP/1.1",
    "GET /streams/..%2f HTTP/1.1",
    "GET /streams%5c HTTP/1.1",
    "CONNECT 127.0.0.1:80 HTTP/1.1",
    "TRACE / HTTP/1.1",
    "PRI * HTTP/1.1",
];
/// What follows each request; its answer would carry this name.
const SMUGGLED: &str = "GET /streams/smuggled-name HTTP/1.1\r\nHost: edge\r\n\r\n";

/// How many exchanges are under way at once.
const WIDTH: usize = 32;

pub async fn requests(target: Arc<Target>, until: Until) -> Finding {
    let mut workers = JoinSet::new();
    for worker in 0..WIDTH {
        let target = target.clone();
        workers.spawn(async move {
            let mut finding = Finding::default();
            for n in (worker..60_000).step_by(WIDTH) {
                if until.is_over() {
                    break;
                }
                attempt(&target, &request(n), &mut finding).await;
            }
            finding
        });
    }
    let mut all = Finding::default();
    while let Some(finding) = workers.join_next().await {
        all.join(finding.unwrap());
    }
    all
}

async fn attempt(target: &Target, request: &[u8], finding: &mut Finding) {
    let Some(read) = exchange(&target.address, request).await else {
        return finding.note("no connection");
    };
    target.secrets.search("an answer to a smuggler", &read.bytes);
    let text = String::from_utf8_lossy(&read.bytes);
    finding.note(text.get(9..12).unwrap_or("closed"));
    let breach = if !read.ended {
        "left the connection open"
    } else if text.matches("HTTP/1.1 ").count() > 1 || text.contains("smuggled-name") {
        "was read as two requests"
    } else if text.contains("HTTP/1.1 2") {
        "was accepted"
    } else {
        return;
    };
    finding.breach(format!("\"{}\" {breach}", request.escape_ascii()));
}

/// The n-th request.
fn request(n: usize) -> Vec<u8> {
    let bad_lines = n % 4 == 3;
    let line = if bad_lines { LINES[n / 4 % LINES.len()] } else { "POST /describeStream HTTP/1.1" };
    let mut head = format!("{line}\r\nHost: edge\r\n");
    let harmless = HARMLESS[n / 3 % HARMLESS.len()];
    let bad = if bad_lines { "Accept: */*" } else { REFUSED[n % REFUSED.len()] };
    let second = REFUSED[n / REFUSED.len() % REFUSED.len()];
    let order = match n / 7 % 4 {
        0 => vec![bad],
        1 => vec![harmless, bad],
        2 => vec![bad, harmless],
        _ if bad_lines => vec![bad],
        _ => vec![bad, second],
    };
    for header in order {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n0\r\n\r\n");
    head.push_str(SMUGGLED);
    head.into_bytes()
}

struct Read {
    bytes: Vec<u8>,
    /// The gateway closed the connection.
    ended: bool,
}

async fn exchange(address: &str, request: &[u8]) -> Option<Read> {
    let mut connection = connect(address, 50).await?;
    // The gateway may close before it has read everything.
    let _ = connection.write_all(request).await;
    let mut bytes = Vec::new();
    let reading = connection.read_to_end(&mut bytes);
    let ended = tokio::time::timeout(Duration::from_secs(20), reading).await.is_ok();
    Some(Read { bytes, ended })
}

/// A connection from an address of its own.
pub async fn connect(address: &str, last: u8) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 9, last), 0))).ok()?;
    socket.connect(address.parse().ok()?).await.ok()
}
