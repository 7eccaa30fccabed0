//! Objects in S3, or in what speaks its protocol: GET with a range, HEAD, PUT and DELETE over the program's
//! own HTTP client and SigV4 signer.
//!
//! Nothing rests on conditional requests: several stores ignore `If-None-Match`. A body is sent in one piece
//! with its real digest, because not every store reads `aws-chunked`. A store that answers a range with the
//! whole object is understood.
//!
//! Everything has a time limit: a look-up that S3 is too slow for is the caller's miss. What is written is
//! written behind the request that brought it.

mod address;
mod body;
mod config;
mod error;

pub use config::Config;
pub use error::Error;

use super::health::{Failure, Health, ShardId};
use super::metrics::{Backend, Metrics, Operation, OperationResult};
use crate::aws;
use crate::aws::credentials::{self, CachedCredentials};
use crate::aws::sign::Signer;
use crate::base::clock;
use crate::base::task::OwnedTask;
use crate::net::client::{self, Client, Limits, Options};
use crate::setting::Mistake;
use address::Address;
use aws_credential_types::Credentials;
use body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// From the request to the head of the answer, the connection and the credentials included.
const FIRST_BYTE: Duration = Duration::from_millis(300);
/// A whole PUT or DELETE.
const WRITE: Duration = Duration::from_secs(10);
/// A whole GET; its pace is bounded by [`Body`].
const WHOLE: Duration = Duration::from_secs(600);
/// The longest body of a refusal that is read for its reason.
const REASON: usize = 4 << 10;
/// How much of an object may come before the range that was asked for.
const SKIPPED: u64 = 1 << 20;
/// How often credentials are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// A bucket. Clones share it.
#[derive(Clone)]
pub struct S3(Arc<BucketState>);

struct BucketState {
    address: Address,
    signer: Signer,
    client: Client,
    credentials: Arc<CachedCredentials>,
    health: Health,
    metrics: Metrics,
    _renewal: OwnedTask,
}

/// The bucket is one shard: it is ill or well as a whole.
const BUCKET: ShardId = ShardId(0);

/// A range of an object.
pub struct ObjectRange {
    /// The length of the whole object.
    pub length: u64,
    /// The bytes of the range, or of what the object has of it.
    pub chunks: Vec<Bytes>,
}

impl ObjectRange {
    /// The same in one piece.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}

type HttpAnswer = Response<crate::net::body::ByteStream>;

impl S3 {
    /// A bucket, reached by a client with the trust and the proxies of `client`. Nothing is sent yet but for
    /// credentials.
    ///
    /// # Errors
    /// What is wrong with the settings at `at`, such as `cache.shared.s3`.
    pub async fn open(config: &Config, at: &str, client: &Client, metrics: Metrics) -> Result<Self, Mistake> {
        let mistake = |key: &str, problem: &str| Mistake::at(format!("{at}.{key}"), problem);
        let address = config.address().map_err(|problem| mistake("endpoint_url", problem))?;
        let options = Options {
            allow_http: address.is_plain(),
            connect_timeout: FIRST_BYTE,
            idle: Duration::from_secs(60),
            ..Options::default()
        };
        let source = config.credentials().map_err(|(key, problem)| mistake(key, &problem))?;
        let lent = client.sibling(Options { allow_http: true, ..Options::default() });
        // Boxed: AWS's chain is a large future.
        let provider = Box::pin(credentials::provider(&source, aws::transport(lent))).await;
        let provider = provider.map_err(|error| mistake("profile", &error.to_string()))?;
        let credentials = CachedCredentials::new(provider, Box::new(|_| {}));
        let kept = credentials.clone();
        let renewal = OwnedTask::spawn(async move {
            loop {
                let _ = kept.get().await;
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self(Arc::new(BucketState {
            address,
            signer: Signer::new(&config.region, "s3"),
            client: client.sibling(options),
            credentials,
            health: Health::default(),
            metrics,
            _renewal: renewal,
        })))
    }

    /// Why there are no credentials at the moment; `None` while there are.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.credentials.problem()
    }

    /// Reads an object, or a range of it that begins inside of it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none; as [`Error`] says.
    pub async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<ObjectRange, Error> {
        self.counted(Operation::Get, async {
            let (length, body) = self.begin(name, range).await?;
            Ok(ObjectRange { length, chunks: body.collect().await? })
        })
        .await
    }

    /// The length of the whole object, and the body of a range of it.
    async fn begin(&self, name: &str, range: Option<Range<u64>>) -> Result<(u64, Body), Error> {
        let header = range.as_ref().map(|range| {
            let last = range.end.saturating_sub(1);
            HeaderValue::from_str(&format!("bytes={}-{last}", range.start)).expect("digits are legal")
        });
        let answer = self.ask(Method::GET, name, header).await?;
        let sent = length_of(answer.headers())?;
        let wanted = range.unwrap_or(0..u64::MAX);
        let (first, length) = match content_range(answer.headers()) {
            Some((of, length)) if of.start == wanted.start && of.end - of.start == sent => (of.start, length),
            Some(_) => return Err(Error::Answer("with another range")),
            None if answer.status() == StatusCode::PARTIAL_CONTENT => {
                return Err(Error::Answer("with a range that it does not name"));
            }
            None => (0, sent),
        };
        let skip = wanted.start - first;
        if skip > SKIPPED {
            return Err(Error::Answer("with the whole object instead of a range"));
        }
        if wanted.start >= length && length > 0 {
            return Err(Error::Answer("with an object that ends before the range"));
        }
        let left = wanted.end.min(length).saturating_sub(wanted.start);
        if first + sent < wanted.start + left {
            return Err(Error::Answer("with less than the range"));
        }
        Ok((length, Body::new(answer.into_body(), skip, left)))
    }

    /// The length of an object.
    ///
    /// # Errors
    /// As [`S3::get`].
    pub async fn head(&self, name: &str) -> Result<u64, Error> {
        let asking = async { length_of(self.ask(Method::HEAD, name, None).await?.headers()) };
        self.counted(Operation::Head, asking).await
    }

    /// Writes an object; what was there under its name is replaced.
    ///
    /// # Errors
    /// As [`Error`] says; what is there then is the old object or the new one.
    pub async fn put(&self, name: &str, body: Bytes) -> Result<(), Error> {
        let writing = self.within(WRITE, self.exchange(Method::PUT, name, None, body, WRITE));
        self.counted(Operation::Put, writing).await.map(drop)
    }

    /// Removes an object; that there is none is no error.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let deleting = self.within(WRITE, self.exchange(Method::DELETE, name, None, Bytes::new(), WRITE));
        match self.counted(Operation::Delete, deleting).await {
            Ok(_) | Err(Error::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, method: Method, name: &str, range: Option<HeaderValue>) -> Result<HttpAnswer, Error> {
        self.within(FIRST_BYTE, self.exchange(method, name, range, Bytes::new(), FIRST_BYTE)).await
    }

    /// Does something that the bucket's breaker allows, and counts it.
    async fn counted<T>(
        &self,
        op: Operation,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (bucket, began) = (&*self.0, Instant::now());
        if !bucket.health.pass(BUCKET, began) {
            bucket.metrics.operation(op, OperationResult::Ill, Duration::ZERO);
            return Err(Error::Ill);
        }
        let mut passed = Passed { health: &bucket.health, reported: false };
        let result = work.await;
        passed.reported = true;
        let (ending, failure) = match &result {
            Ok(_) | Err(Error::Missing) => (OperationResult::Ok, None),
            Err(error) if error.is_late() => (OperationResult::Timeout, Some(Failure::TimedOut)),
            Err(_) => (OperationResult::Error, Some(Failure::Broken)),
        };
        bucket.metrics.operation(op, ending, began.elapsed());
        match failure {
            None => {
                bucket.health.answered(BUCKET);
                bucket.metrics.up(Backend::S3, true);
            }
            Some(failure) => {
                if bucket.health.failed(BUCKET, failure, Instant::now()) {
                    bucket.metrics.up(Backend::S3, false);
                    if let Err(error) = &result {
                        tracing::warn!(%error, "the bucket of cache.shared.s3 is not used for a moment");
                    }
                }
            }
        }
        result
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Late(limit)))
    }

    /// Sends a request that may be repeated. It is, once: over a connection that was closed while it lay
    /// idle, or with new credentials if S3 says that these have expired.
    async fn exchange(
        &self,
        method: Method,
        name: &str,
        range: Option<HeaderValue>,
        body: Bytes,
        limit: Duration,
    ) -> Result<HttpAnswer, Error> {
        let mut keys = self.0.credentials.get().await?;
        let mut again = true;
        loop {
            let mut request = Request::new(body.clone());
            *request.method_mut() = method.clone();
            *request.uri_mut() = self.0.address.of_object(name).ok_or(Error::Name)?;
            if method == Method::PUT {
                // hyper leaves it out of an empty body, which some stores refuse.
                request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            }
            if let Some(range) = &range {
                request.headers_mut().insert(header::RANGE, range.clone());
            }
            let request = self.signed(request, &body, &keys).await?;
            let limits = Limits { first_byte: limit, between_bytes: WRITE, whole: WHOLE };
            match self.0.client.send(request, &limits).await {
                Err(client::Error::Reset(_)) if again => again = false,
                Err(error) => return Err(error.into()),
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => match refusal(answer).await {
                    Error::Refused { code, .. } if again && EXPIRED.contains(&code.as_str()) => {
                        again = false;
                        keys = self.0.credentials.renewed(&keys).await?;
                    }
                    error => return Err(error),
                },
            }
        }
    }

    /// A body is hashed for its signature, a long one on a thread for such work.
    async fn signed(
        &self,
        mut request: Request<Bytes>,
        body: &Bytes,
        keys: &Arc<Credentials>,
    ) -> Result<Request<Bytes>, Error> {
        const HASHED_AT_ONCE: usize = 256 << 10;
        let (body, keys, store) = (body.clone(), keys.clone(), self.0.clone());
        let long = body.len() > HASHED_AT_ONCE;
        let work = move || store.signer.sign(&mut request, &body, &keys, clock::now()).map(|()| request);
        if !long {
            return Ok(work()?);
        }
        let signed = tokio::task::spawn_blocking(work).await;
        Ok(signed.map_err(|_| Error::Answer("nothing: the process is ending"))??)
    }
}

/// An operation that the breaker allowed. If it is dropped, nothing is known of the bucket.
struct Passed<'a> {
    health: &'a Health,
    reported: bool,
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.health.dropped(BUCKET, Instant::now());
        }
    }
}

/// What S3 calls credentials that have run out.
const EXPIRED: [&str; 2] = ["ExpiredToken", "InvalidToken"];

/// What a refusal says. The body is S3's XML, of which only the code is taken.
async fn refusal(answer: HttpAnswer) -> Error {
    let (parts, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while text.len() < REASON
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(chunk) = frame.into_data() {
            text.extend_from_slice(&chunk);
        }
    }
    let code = code_of(&text);
    match parts.status {
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Error::Trouble { status, code }
        }
        StatusCode::NOT_FOUND if matches!(code.as_str(), "" | "NoSuchKey") => Error::Missing,
        status => Error::Refused { status, code },
    }
}

/// What stands in `<Code>`, if it is a word.
fn code_of(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let is_word = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    code.map(|(code, _)| code).filter(is_word).unwrap_or_default().to_owned()
}

fn length_of(headers: &HeaderMap) -> Result<u64, Error> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.ok_or(Error::Answer("without a length"))
}

/// `bytes 0-99/1000`: the range, and the length of the whole.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, length) = value.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length): (u64, u64, u64) =
        (first.parse().ok()?, last.parse().ok()?, length.parse().ok()?);
    (first <= last && last < length).then_some((first..last + 1, length))
}

#[cfg(test)]
#[path = "tests/answers.rs"]
mod tests;
