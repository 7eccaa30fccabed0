//! An HTTP client of a hostile or an ordinary caller. Each has an address of loopback of its own, so that bounds per
//! address hold for it alone, and every answer that it sees is searched for what must never leave.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long an answer may take, from the request to its last byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// What must not be seen by any client, and where it was.
#[derive(Clone, Default)]
pub struct Secrets {
    texts: Arc<Vec<String>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Secrets {
    pub fn new(texts: Vec<String>) -> Self {
        Self { texts: Arc::new(texts), seen: Arc::default() }
    }

    /// Searches bytes that came from `place`.
    pub fn search(&self, place: &str, bytes: &[u8]) {
        for text in self.texts.iter() {
            if memchr::memmem::find(bytes, text.as_bytes()).is_some() {
                self.seen.lock().unwrap().push(format!("{text} in {place}"));
            }
        }
    }

    /// What was seen, each once.
    pub fn seen(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap().clone();
        seen.sort();
        seen.dedup();
        seen
    }
}

#[derive(Clone)]
pub struct Client {
    get: Pool<HttpConnector, Empty<Bytes>>,
    post: Pool<HttpConnector, Full<Bytes>>,
    secrets: Secrets,
}

/// An answer. Status 0: there was none.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    /// The body ended early, or was shorter than its `Content-Length`.
    pub broken: bool,
    pub first_byte: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn is_whole(&self, status: u16) -> bool {
        self.status == status && !self.broken
    }
}

impl Client {
    pub fn from(address: Ipv4Addr, secrets: &Secrets) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address.into()));
        connector.set_nodelay(true);
        connector.set_reuse_address(true);
        let mut builder = Pool::builder(TokioExecutor::new());
        builder.pool_idle_timeout(Duration::from_secs(20));
        Self {
            get: builder.build(connector.clone()),
            post: builder.build(connector),
            secrets: secrets.clone(),
        }
    }

    pub async fn get(&self, url: &str, token: Option<&str>) -> Answer {
        let mut request = http::Request::get(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let Ok(request) = request.body(Empty::new()) else { return Answer::none(Instant::now()) };
        self.read(url, self.get.request(request)).await
    }

    pub async fn post(&self, url: &str, token: &str, body: String) -> Answer {
        let request = http::Request::post(url).header("authorization", format!("Bearer {token}"));
        let request = request.body(Full::from(body)).unwrap();
        self.read(url, self.post.request(request)).await
    }

    async fn read(
        &self,
        url: &str,
        sent: impl Future<
            Output = Result<http::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error>,
        >,
    ) -> Answer {
        let began = Instant::now();
        let whole = async {
            let Ok(answer) = sent.await else { return Answer::none(began) };
            let first_byte = began.elapsed();
            let (parts, body) = answer.into_parts();
            let announced =
                parts.headers.get("content-length").and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
            let (body, broken) = match body.collect().await {
                Ok(body) => (body.to_bytes(), false),
                Err(_) => (Bytes::new(), true),
            };
            let broken = broken || announced.is_some_and(|announced| announced != body.len() as u64);
            Answer { status: parts.status.as_u16(), headers: parts.headers, body, broken, first_byte }
        };
        let answer = tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| Answer::none(began));
        let place =
            url.split_once("//").map_or(url, |(_, rest)| rest.find('/').map_or(rest, |at| &rest[at..]));
        self.secrets.search(place, &answer.body);
        self.secrets.search(place, format!("{:?}", answer.headers).as_bytes());
        answer
    }
}

impl Answer {
    fn none(began: Instant) -> Self {
        Self {
            status: 0,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            broken: true,
            first_byte: began.elapsed(),
        }
    }
}
