//! The path of one call to KVS: wait for its turn, resolve, sign, send, look, and try again where that helps.
//!
//! Everything here is bounded by the call's deadline. Dropping the future drops the request under way with it.

use super::Inner;
use super::answer::Answer;
use super::attempt::{Expects, Failure, Received, attempt};
use super::endpoints::{Endpoint, Key, LookUp};
use super::entry::Entry;
use super::error::Error;
use super::origin::Origin;
use super::quota::{Cost, Turn};
use super::retry::{self, Next, Sent, Tries};
use crate::aws::sign::{Scope, sign};
use crate::kvs::operations::GetDataEndpoint;
use crate::kvs::{ApiName, Call, Operation, StreamName, StreamRef};
use crate::net::client::Limits;
use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One thing to ask KVS for.
#[derive(Clone)]
pub(super) struct Ask {
    /// CloudWatch's name, the metric's label.
    pub(super) api: &'static str,
    /// The stream's name, for labels and quotas.
    pub(super) stream: Option<StreamName>,
    pub(super) to: To,
    pub(super) body: Bytes,
    pub(super) limits: Limits,
    pub(super) expects: Expects,
    pub(super) cost: Cost,
    /// Who is waiting, for fair queueing.
    pub(super) principal: Arc<str>,
}

/// Where it goes.
#[derive(Clone)]
pub(super) enum To {
    /// The control plane.
    Control { path: &'static str },
    /// The host that GetDataEndpoint names.
    Data { path: &'static str, api: ApiName, stream: StreamRef },
    /// A playback resource: a GET on a session's host, with a token in its query and no signature.
    Playback { origin: Origin, path_and_query: String },
}

/// What became of one attempt.
struct Once {
    outcome: Result<Received, Failure>,
    /// Its place under the quotas, to be given back.
    turn: Turn,
    /// What it was signed with, and for which time.
    signed: Option<(Arc<Credentials>, SystemTime)>,
}

/// Up to this size a JSON answer is held back whole, so that a cut one is asked for again unseen.
const SMALL_JSON: usize = 1 << 20;
/// Pictures in JSON are too large for that.
const IMAGES_HEAD: usize = 4 << 10;
/// Sent with every request instead of the client's own.
const USER_AGENT: &str = concat!("kvs-edge/", env!("CARGO_PKG_VERSION"));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Ask {
    /// What a call of the API needs.
    pub(super) fn of_call(inner: &Inner, call: &Call, principal: &str) -> Self {
        let operation = call.operation();
        let config = &inner.config;
        let (first_byte, whole) = match operation {
            Operation::GetClip => (config.clip_first_byte, config.download_deadline),
            Operation::GetMediaForFragmentList | Operation::GetImages => {
                (config.first_byte, config.download_deadline)
            }
            _ => (config.first_byte, config.api_deadline),
        };
        let expects = match operation {
            Operation::GetClip => Expects::Bytes,
            Operation::GetMediaForFragmentList => Expects::Mkv,
            Operation::GetImages => Expects::Json(IMAGES_HEAD),
            _ => Expects::Json(SMALL_JSON),
        };
        let to = match (operation.api_name(), call.stream()) {
            (Some(api), Some(stream)) => To::Data { path: operation.path(), api, stream: stream.clone() },
            _ => To::Control { path: operation.path() },
        };
        Self {
            api: operation.name(),
            stream: call.stream().map(|stream| stream.name().clone()),
            to,
            body: call.body(),
            limits: inner.limits(first_byte.0, whole.0),
            expects,
            cost: Cost::of_call(call),
            principal: principal.into(),
        }
    }
}

impl Inner {
    pub(super) fn limits(&self, first_byte: Duration, whole: Duration) -> Limits {
        Limits { first_byte, between_bytes: self.config.between_bytes.0, whole }
    }

    /// Asks, with everything that belongs to it.
    pub(super) async fn ask(self: &Arc<Self>, entry: &Arc<Entry>, ask: &Ask) -> Result<Answer, Error> {
        let deadline = Instant::now() + ask.limits.whole;
        let asking = Box::pin(self.until_answered(entry, ask, deadline));
        tokio::time::timeout_at(deadline, asking).await.unwrap_or(Err(Error::Timeout(ask.limits.whole)))
    }

    async fn until_answered(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        self.budget.earn(Instant::now());
        let mut tries = Tries::default();
        let mut attempts = 0;
        let mut endpoint = match &ask.to {
            To::Data { api, stream, .. } => Some(self.endpoint(entry, *api, stream).await?),
            _ => None,
        };
        loop {
            let origin = match (&ask.to, &endpoint) {
                (To::Playback { origin, .. }, _) => origin,
                (_, Some(endpoint)) => &endpoint.origin,
                _ => &entry.control,
            };
            attempts += 1;
            let Once { outcome, turn, signed } = self.once(entry, origin, ask, deadline).await?;
            let failure = match outcome {
                Ok(received) => return Ok(self.answer(ask, received, attempts, turn)),
                Err(failure) => failure,
            };
            drop(turn);
            let sent = Sent { data: endpoint.is_some(), signed_at: signed.as_ref().map(|(_, at)| *at) };
            match retry::next(&failure, tries, sent, &self.config) {
                Next::Again { at_most, reason, paid } => {
                    let wait = retry::jittered(at_most, random());
                    if Instant::now() + wait >= deadline || (paid && !self.budget.pay(Instant::now())) {
                        return Err(error(failure));
                    }
                    tokio::time::sleep(wait).await;
                    self.metrics.retried(reason);
                    tries.count(reason);
                }
                Next::Resolve { sure } => {
                    tries.moved = true;
                    let (Some(old), To::Data { api, stream, .. }) = (&endpoint, &ask.to) else {
                        return Err(error(failure));
                    };
                    let Some(new) = self.doubt(entry, *api, stream, old, sure).await else {
                        return Err(error(failure));
                    };
                    endpoint = Some(new);
                    self.metrics.retried(retry::Reason::Moved);
                }
                Next::Renew => {
                    tries.renewed = true;
                    let Some((keys, _)) = signed else { return Err(error(failure)) };
                    if entry.credentials.renewed(&keys).await.is_err() {
                        return Err(error(failure));
                    }
                    self.metrics.retried(retry::Reason::Credentials);
                }
                Next::SetClock { kvs_time } => {
                    tries.set_clock = true;
                    entry.set_clock(kvs_time, SystemTime::now());
                    self.metrics.retried(retry::Reason::Clock);
                }
                Next::Give => return Err(error(failure)),
            }
        }
    }

    /// One attempt: its turn under the quotas, leave of the breaker, a signature, the request.
    async fn once(
        &self,
        entry: &Arc<Entry>,
        origin: &Origin,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Once, Error> {
        let turn = self.quotas.turn(entry, ask, deadline).await?;
        let mut request = request(origin, ask)?;
        let signed = match ask.to {
            To::Playback { .. } => None,
            _ => Some((entry.credentials.get().await?, entry.time(SystemTime::now()))),
        };
        if let Some((keys, time)) = &signed {
            let scope = Scope { region: &entry.config.region, service: "kinesisvideo" };
            sign(&mut request, &ask.body, keys, scope, *time)
                .map_err(|e| Error::BrokenAnswer(format!("the request could not be signed: {e}")))?;
        }
        let pass = self
            .breakers
            .pass(origin.authority(), ask.api)
            .map_err(|retry_after| Error::CircuitOpen { retry_after })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limits = Limits { whole: left, first_byte: ask.limits.first_byte.min(left), ..ask.limits };
        let sent = Instant::now();
        let (code, outcome) = attempt(&self.client, request, &limits, ask.expects).await;
        self.metrics.answered(ask.api, code, sent.elapsed());
        match &outcome {
            Err(Failure::Fault { fault, .. }) if fault.is_trouble() => pass.failed(),
            Err(Failure::Fault { fault, .. }) => {
                if fault.is_throttle() {
                    self.metrics.throttled(ask.api);
                    self.quotas.throttled(entry, ask);
                }
                pass.answered();
            }
            Ok(_) | Err(Failure::WrongHost | Failure::FragmentNotFound(_)) => pass.answered(),
            Err(_) => pass.failed(),
        }
        Ok(Once { outcome, turn, signed })
    }

    fn answer(&self, ask: &Ask, received: Received, attempts: u32, turn: Turn) -> Answer {
        let stream = ask.stream.as_ref().map(StreamName::as_str);
        Answer::new(received, attempts, self.metrics.bytes(ask.api, stream), turn)
    }

    async fn endpoint(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        api: ApiName,
        stream: &StreamRef,
    ) -> Result<Arc<Endpoint>, Error> {
        let key = Key { entry: entry.name.clone(), stream: stream.name().clone(), api };
        self.endpoints.find(&key, || self.look_up(entry, api, stream)).await
    }

    async fn doubt(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        api: ApiName,
        stream: &StreamRef,
        old: &Arc<Endpoint>,
        sure: bool,
    ) -> Option<Arc<Endpoint>> {
        let key = Key { entry: entry.name.clone(), stream: stream.name().clone(), api };
        self.endpoints.doubt(&key, old, sure, || self.look_up(entry, api, stream)).await
    }

    /// GetDataEndpoint, as work for a flight of its own.
    fn look_up(self: &Arc<Self>, entry: &Arc<Entry>, api: ApiName, stream: &StreamRef) -> LookUp {
        let (this, entry) = (Arc::clone(self), Arc::clone(entry));
        let call = Call::GetDataEndpoint(GetDataEndpoint { stream: stream.clone(), api });
        Box::pin(async move {
            // One principal for all: whoever flies, flies for everybody.
            let ask = Ask::of_call(&this, &call, "");
            let answer = this.ask(&entry, &ask).await?;
            let json = json(answer).await?;
            let url = json.get("DataEndpoint").and_then(|url| url.as_str());
            let origin = url
                .and_then(Origin::parse)
                .ok_or_else(|| Error::BrokenAnswer("GetDataEndpoint gave no endpoint".into()))?;
            entry.guard.allow(&origin).map_err(|why| Error::BrokenAnswer(why.into()))?;
            Ok(origin)
        })
    }
}

/// A request made from scratch: nothing of a client's is in it.
fn request(origin: &Origin, ask: &Ask) -> Result<Request<Bytes>, Error> {
    let (method, path) = match &ask.to {
        To::Control { path } | To::Data { path, .. } => (Method::POST, *path),
        To::Playback { path_and_query, .. } => (Method::GET, path_and_query.as_str()),
    };
    let is_post = method == Method::POST;
    let uri = origin.uri(path).ok_or_else(|| Error::BrokenAnswer("the address cannot be built".into()))?;
    let mut request = Request::new(ask.body.clone());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if is_post {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

/// A small JSON answer, read.
pub(super) async fn json(answer: Answer) -> Result<serde_json::Value, Error> {
    let bytes = answer.bytes(SMALL_JSON).await.map_err(|broken| Error::BrokenAnswer(broken.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|_| Error::BrokenAnswer("it is not JSON".into()))
}

/// A failure that is given up on, in this part's words.
fn error(failure: Failure) -> Error {
    match failure {
        Failure::Fault { fault, .. } if fault.is_throttle() => {
            Error::Throttled { retry_after: retry::COME_BACK, message: fault.message }
        }
        Failure::Fault { fault, .. } => Error::Kvs(fault),
        Failure::WrongHost => Error::BrokenAnswer("the endpoint does not know the call".into()),
        Failure::Connect(why) => Error::Unreachable(why),
        Failure::Reset(why) => Error::Unreachable(why),
        Failure::Late(limit) => Error::Timeout(limit),
        Failure::Garbled(why) => Error::BrokenAnswer(why),
        Failure::Refused(why) => Error::BrokenAnswer(why.into()),
        Failure::FragmentNotFound(number) => Error::Kvs(crate::kvs::Fault {
            status: 404,
            kind: "ResourceNotFoundException".into(),
            message: format!("Fragment {number} was not found."),
            request_id: None,
        }),
    }
}

/// From 0 to 1, good enough to spread retries.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(Instant::now());
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
