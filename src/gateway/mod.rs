//! The path of one request, a straight line: route, authenticate, read, authorize, answer, record.
//!
//! Each step is a file. A step gives the next one a value that it cannot do without: a [`Route`], a [`Caller`], a
//! [`Request`], a [`Permit`]. `Permit` is made by policy alone and owns the request that was judged, so what was
//! permitted is what is served, from the cache too (law 1).

mod api;
mod authenticate;
mod batch;
mod body;
mod cors;
mod encoding;
mod error;
mod fragments;
mod handles;
mod listing;
mod media;
pub mod metrics;
mod page_token;
mod pages;
mod pictures;
mod players;
mod playlist;
pub mod rates;
mod read;
mod record;
mod refusal;
mod reply;
mod route;
mod together;
mod truncation;
mod warm;
mod witness;

pub use batch::Batches;
pub use body::Body;
pub use cors::Cors;
pub use listing::Listing;
pub use metrics::Metrics;
pub use pictures::NewestPictures;
pub use players::Players;
pub use rates::Callers;
pub use record::Record;
pub use together::Together;
pub use truncation::Cuts;
pub use warm::Warming;
pub use witness::Witness;

use crate::cache::{self, Cache};
use crate::caller::Caller;
use crate::identity::{Identity, Sources};
use crate::kvs::{Request, StreamRef, Timestamp};
use crate::net::listener::{Limits, Peer};
use crate::playback::{self, Keys};
use crate::policy::{self, Permit, Policy, Scene, StreamFacts};
use crate::sessions::Sessions;
use crate::telemetry::spans::{self, Steps, Tracer};
use crate::telemetry::trace;
use crate::upstream::{self, Asker, Located, Upstream};
use error::Error;
use http::{Method, StatusCode};
use rates::Allowance;
use reply::Reply;
use route::Route;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use witness::Told;

/// Everything that one generation of settings answers with. A reload builds a new one beside it.
pub struct Gateway {
    /// Who is asking.
    pub identity: Arc<Identity>,
    /// Where a token may stand in a request.
    pub sources: Sources,
    /// May they.
    pub policy: Arc<Policy>,
    /// Seals and opens capabilities.
    pub keys: Arc<Keys>,
    /// Capabilities that were opened lately.
    pub players: Players,
    /// How capabilities are made.
    pub playback: playback::Config,
    /// Calls to KVS.
    pub upstream: Upstream,
    /// Media bytes.
    pub cache: Cache,
    /// Fragments on their way into it.
    pub batches: Batches,
    /// Shared playback sessions.
    pub sessions: Sessions,
    /// All streams of all accounts, for a moment.
    pub listing: Listing,
    /// Other JSON answers, for all who ask at once.
    pub together: Together,
    /// Where the newest picture of a camera is.
    pub newest_pictures: NewestPictures,
    /// Where clips are cut short.
    pub cuts: Cuts,
    /// What playback URLs and data endpoints begin with; no slash at its end.
    pub public_url: Arc<str>,
    /// How long media is kept.
    pub cache_settings: cache::Config,
    /// Bounds on requests.
    pub limits: Limits,
    /// Origins whose pages may call.
    pub cors: Cors,
    /// Where decisions and watching are written down.
    pub witness: Witness,
    /// Whether access lines are written.
    pub access_log: bool,
    /// Our own numbers.
    pub metrics: Metrics,
    /// The pages for people.
    pub console: Console,
    /// What one caller may take.
    pub rates: Arc<rates::Config>,
    /// What they took.
    pub callers: Callers,
    /// Spans of requests, if a collector is configured.
    pub tracer: Option<Arc<Tracer>>,
}

/// The console, handed in: its files belong to nobody, and it asks for everything else like any other client.
pub struct Console {
    /// The file at a path.
    pub file: fn(&str) -> Option<ConsoleFile>,
    /// Headers of every file.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What it must know before anybody has signed in.
    pub settings: serde_json::Value,
}

/// A file of the console.
pub struct ConsoleFile {
    /// The body.
    pub bytes: &'static [u8],
    /// Its type.
    pub content_type: &'static str,
    /// Whether its name changes with its content.
    pub immutable: bool,
    /// Its entity tag, quotes included.
    pub etag: &'static str,
}

/// A request whose body has not been read.
pub type Incoming = http::Request<hyper::body::Incoming>;

impl Gateway {
    /// Answers one request. Never fails: a failure is an answer too.
    pub async fn handle(&self, request: Incoming, peer: &Peer) -> http::Response<Body> {
        let mut record = self.record(&request, peer);
        let preflight = Cors::is_preflight(request.method(), request.headers());
        let origin = self.cors.origin(request.headers());
        let head_only = request.method() == Method::HEAD;
        let reply = if preflight {
            Reply::empty(StatusCode::NO_CONTENT)
        } else {
            match self.answer(request, &mut record).await {
                Ok(reply) => reply,
                Err(error) => refusal::reply(&error, &mut record),
            }
        };
        let mut reply = if head_only { reply.without_body() } else { reply };
        self.cors.apply(origin.as_ref(), &mut reply.headers, preflight);
        finish(reply, record)
    }

    /// The whole path, top to bottom.
    async fn answer(&self, request: Incoming, record: &mut Record) -> Result<Reply, Error> {
        let (parts, body) = request.into_parts();
        let route = Route::find(&parts.method, parts.uri.path())?;
        let now = record.at;
        let who = match &route {
            Route::Console(path) => return Box::pin(self.console(path, &parts, record)).await,
            Route::Playback { capability, .. } => self.open(capability, &parts, record)?,
            Route::Api(_) | Route::Page(_) => self.recognize(&parts, now).await?,
        };
        record.step("authenticate");
        record.caller = Some(who.caller().clone());
        let wanted = self.read(&route, &who, &parts, body, now).await?;
        record.asked(&wanted);
        record.step("read");
        let told = Told::of(&wanted);
        let located = match wanted.stream().map(|stream| self.upstream.locate(stream)).transpose() {
            Ok(located) => located,
            Err(error) => {
                let receipt = self.tell_unserved(&who, &told, record)?;
                self.told(receipt).await?;
                return Err(error.into());
            }
        };
        let reads = self.policy.reads_for(wanted.operation());
        let mut scene = scene(located.as_ref(), record.client, now);
        let allowance = self.callers.of(who.caller(), &self.rates);
        let mut absent = None;
        if scene.lacks(reads) && !self.policy.is_hopeless(who.caller(), &wanted, &scene) {
            absent = self.learn(&mut scene, located.as_ref(), reads, &allowance, who.caller()).await?;
        }
        let judged = self.policy.permit(who.caller().clone(), wanted, &scene);
        let receipt = self.tell(&judged, &who, &told, located.as_ref(), record)?;
        if receipt.is_due() {
            self.told(receipt).await?;
        }
        let permit = judged?;
        if let Some(absent) = absent {
            // What was judged were facts of no stream: good enough to say so, not to show anything.
            return Err(absent.into());
        }
        record.allowed();
        record.step("authorize");
        let allowance = self.admit(allowance, record)?;
        let (located, scene, steps) = (located.as_ref(), &scene, record.steps());
        let ask = Ask { permit, located, scene, parts: &parts, now, allowance, steps };
        // Each in a box of its own: hyper moves the future of a request about before it is first polled, and one with room
        // for the largest of these would cost a segment more than its whole answer.
        match route {
            Route::Api(_) => Box::pin(self.api(ask, record)).await,
            Route::Playback { .. } => Box::pin(self.play(ask, who, record)).await,
            Route::Page(page) => Box::pin(self.page(page, ask, record)).await,
            // Answered above: it shows nothing that belongs to anybody.
            Route::Console(_) => Ok(Reply::empty(StatusCode::NOT_FOUND)),
        }
    }

    fn record(&self, request: &Incoming, peer: &Peer) -> Box<Record> {
        let trusted = peer.is_trusted_proxy();
        let id =
            trace::request_id_of(request.headers()).filter(|_| trusted).unwrap_or_else(trace::request_id);
        let mut record = Box::new(Record::new(&self.metrics, id, peer.address, request.version()));
        record.logged = self.access_log;
        record.tls = peer.link.tls;
        let parent = trace::Trace::read(request.headers());
        record.trace(parent, self.tracer.as_ref().and_then(|tracer| tracer.begin(parent, trusted)));
        let header =
            |name: http::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        if self.access_log {
            record.user_agent = header(http::header::USER_AGENT)
                .map(|agent| agent.chars().take(200).collect::<String>().into());
        }
        record
    }

    /// Lets a caller in who has not taken too much, and has his bytes counted.
    fn admit(&self, allowance: Allowance, record: &mut Record) -> Result<Allowance, Error> {
        allowance.admit(Instant::now())?;
        if allowance.bounds_bytes() {
            record.allowance = Some(allowance.clone());
        }
        Ok(allowance)
    }

    /// Asks KVS for facts that policies read. What cannot be learnt stays unknown, which permits nothing. If there is no such
    /// stream, gives KVS's words for that, for those who may do this with one that has nothing but its name.
    ///
    /// # Errors
    /// The caller has made KVS be asked too much lately.
    async fn learn(
        &self,
        scene: &mut Scene,
        located: Option<&Located>,
        reads: policy::Reads,
        allowance: &Allowance,
        caller: &Caller,
    ) -> Result<Option<upstream::Error>, Error> {
        let (Some(facts), Some(located)) = (&mut scene.stream, located) else { return Ok(None) };
        let (principal, in_debt) = (caller.principal(), AtomicBool::new(false));
        // Called only if KVS is asked, and for him: what is remembered costs nobody.
        let may_ask = || match allowance.may_ask(Instant::now()) {
            Ok(()) => {
                allowance.spend_points(1, Instant::now());
                true
            }
            Err(_) => {
                in_debt.store(true, Ordering::Relaxed);
                false
            }
        };
        let asker = || Asker { principal: &principal, may_ask };
        let learnt = async {
            if reads.arn || (reads.account && facts.account.is_none()) {
                let description = self.upstream.identify(located, asker()).await?;
                facts.account = Some(description.arn.account().into());
                facts.arn = Some(description.arn.clone());
            }
            if reads.tags {
                facts.tags = Some(self.upstream.tags(located, asker()).await?.as_ref().clone());
            }
            Ok::<_, upstream::Error>(())
        };
        match learnt.await {
            Ok(()) => {}
            Err(upstream::Error::Kvs(fault)) if fault.is_not_found() => {
                facts.assume_bare(&located.stream);
                return Ok(Some(upstream::Error::Kvs(fault)));
            }
            Err(error) => {
                if in_debt.into_inner() {
                    allowance.may_ask(Instant::now())?;
                }
                tracing::warn!(stream = %facts.name, "cannot learn what policies read of the stream: {error}");
            }
        }
        Ok(None)
    }

    /// The stream's ARN as KVS tells it: what caches key on.
    async fn arn(&self, located: &Located) -> Result<crate::kvs::StreamArn, Error> {
        Ok(self.upstream.describe(located).await?.arn.clone())
    }
}

/// What policy may look at, apart from the caller, as far as it is known without asking.
fn scene(located: Option<&Located>, source_ip: IpAddr, now: Timestamp) -> Scene {
    let stream = located.map(|located| StreamFacts {
        name: located.stream.name().clone(),
        region: located.region.clone(),
        account: located.account.clone(),
        arn: None,
        tags: None,
    });
    Scene { now, source_ip, stream }
}

/// A permitted request with what its answer needs.
struct Ask<'a> {
    permit: Permit,
    located: Option<&'a Located>,
    scene: &'a Scene,
    parts: &'a http::request::Parts,
    now: Timestamp,
    /// What the caller may still take.
    allowance: Allowance,
    /// Where the steps of the answer are noted.
    steps: Steps,
}

/// Whoever makes KVS be asked: the points are charged to him, and the time stands in his trace. Those who wait for the
/// same answer pay nothing.
#[derive(Clone, Default)]
struct Payer {
    allowance: Option<Allowance>,
    steps: Steps,
}

impl Payer {
    async fn ask<T>(&self, points: u32, asking: impl Future<Output = T>) -> T {
        self.charge(points);
        self.steps.time(spans::UPSTREAM, asking).await
    }

    fn charge(&self, points: u32) {
        if let Some(allowance) = &self.allowance {
            allowance.spend_points(points, Instant::now());
        }
    }
}

/// Puts an answer and its record together: the record is written when the body has gone.
fn finish(reply: Reply, mut record: Box<Record>) -> http::Response<Body> {
    record.status = reply.status.as_u16();
    let id = http::HeaderValue::from_str(&record.request_id);
    let mut response = http::Response::new(Body::new(reply.source, record));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    let headers = response.headers_mut();
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    headers.insert(http::header::REFERRER_POLICY, http::HeaderValue::from_static("no-referrer"));
    if let Ok(id) = id {
        headers.insert(http::HeaderName::from_static("x-request-id"), id.clone());
        headers.insert(reply::AMZN_REQUEST_ID, id);
    }
    response
}

impl Ask<'_> {
    fn caller(&self) -> &Arc<Caller> {
        self.permit.caller()
    }

    fn request(&self) -> &Request {
        self.permit.request()
    }

    /// Where the stream is served from.
    fn located(&self) -> Result<&Located, Error> {
        self.located.ok_or(Error::Lost(route::Lost::Unknown))
    }

    fn stream(&self) -> Option<&StreamRef> {
        self.request().stream()
    }

    /// Before KVS is asked on behalf of this caller: who pays.
    ///
    /// # Errors
    /// He has asked for too much lately.
    fn payer(&self) -> Result<Payer, Error> {
        self.allowance.may_ask(Instant::now())?;
        Ok(Payer { allowance: Some(self.allowance.clone()), steps: self.steps.clone() })
    }
}
