//! A TCP proxy in front of a real HTTP/1.1 server that spoils what the server answers, as a broken network or
//! a sick server would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to an answer. Bytes of its head do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoil {
    Nothing,
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// One bit of this byte of the body is another.
    Flip(usize),
    /// So many bytes each 50 ms.
    Trickle(usize),
    /// Nothing ever comes.
    Silence,
    /// `503 Slow Down` in its place.
    Unavailable,
    /// Connections are closed at once.
    Refuse,
}

pub struct FaultyLink {
    pub url: String,
    spoil: Arc<Mutex<Spoil>>,
    /// Requests that passed, by their first line.
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl FaultyLink {
    pub async fn start(to: &str) -> Self {
        let to: SocketAddr = to.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spoil = Arc::new(Mutex::new(Spoil::Nothing));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (by, noted) = (spoil.clone(), requests.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (by, noted) = (by.clone(), noted.clone());
                tokio::spawn(async move { pass(client, to, &by, &noted).await });
            }
        });
        Self { url, spoil, requests, task }
    }

    pub fn spoil(&self, spoil: Spoil) {
        *self.spoil.lock().unwrap() = spoil;
    }

    /// The requests since the last time.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    client: TcpStream,
    to: SocketAddr,
    spoil: &Mutex<Spoil>,
    requests: &Mutex<Vec<String>>,
) -> Option<()> {
    let now = || *spoil.lock().unwrap();
    if now() == Spoil::Refuse {
        return None;
    }
    let server = TcpStream::connect(to).await.ok()?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    loop {
        let (head, body) = read_head(&mut from_client).await?;
        requests.lock().unwrap().push(String::from_utf8_lossy(&head).lines().next()?.to_owned());
        let left = content_length(&head).unwrap_or(0).saturating_sub(body.len());
        to_server.write_all(&head).await.ok()?;
        to_server.write_all(&body).await.ok()?;
        copy(&mut from_client, &mut to_server, left).await?;
        let (head, body) = read_head(&mut from_server).await?;
        let is_head_request = requests.lock().unwrap().last().is_some_and(|line| line.starts_with("HEAD"));
        let length = if is_head_request { 0 } else { content_length(&head).unwrap_or(0) };
        let mut whole = body;
        let missing = length.saturating_sub(whole.len());
        let at = whole.len();
        whole.resize(at + missing, 0);
        from_server.read_exact(&mut whole[at..]).await.ok()?;
        match now() {
            Spoil::Silence => {
                std::future::pending::<()>().await;
            }
            Spoil::Refuse => return None,
            Spoil::Unavailable => {
                let body = "<Error><Code>SlowDown</Code></Error>";
                let head = "HTTP/1.1 503 Slow Down\r\ncontent-length: ";
                let answer = format!("{head}{}\r\n\r\n{body}", body.len());
                to_client.write_all(answer.as_bytes()).await.ok()?;
                continue;
            }
            Spoil::Flip(at) => {
                if let Some(byte) = whole.get_mut(at) {
                    *byte ^= 1;
                }
            }
            Spoil::Nothing | Spoil::CutAfter(_) | Spoil::Trickle(_) => {}
        }
        to_client.write_all(&head).await.ok()?;
        match now() {
            Spoil::CutAfter(bytes) if bytes < whole.len() => {
                to_client.write_all(&whole[..bytes]).await.ok()?;
                return None;
            }
            Spoil::Trickle(bytes) => {
                for part in whole.chunks(bytes) {
                    to_client.write_all(part).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            _ => to_client.write_all(&whole).await.ok()?,
        }
    }
}

/// A head with its empty line, and what came behind it.
async fn read_head(from: &mut (impl AsyncReadExt + Unpin)) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((bytes, rest));
        }
        let read = from.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    line.trim().parse().ok()
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut left: usize,
) -> Option<()> {
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let most = left.min(buffer.len());
        let read = from.read(&mut buffer[..most]).await.ok().filter(|read| *read > 0)?;
        to.write_all(&buffer[..read]).await.ok()?;
        left -= read;
    }
    Some(())
}
