//! The path of one request, a straight line: route, authenticate, read, authorize, answer, record.
//!
//! Each step is a file. A step gives the next one a value that it cannot do without: a [`Route`], a caller, a
//! request, a `Permitted`. A permit is made by policy alone and owns the request that was judged, so what was
//! permitted is what is served, from the cache too (law 1).

mod api;
mod audit;
mod authenticate;
mod authenticated;
mod authorize;
mod clip_options;
mod clips;
mod console;
mod error;
mod footage_query;
mod link_target;
mod links;
mod packaged_playback;
mod pages;
mod parameters;
mod permitted;
mod playback_url;
mod player;
mod prewarm_request;
mod read;
mod refusal;
mod reply;
mod route;
mod sign_in;
mod streams;

pub use audit::Audit;
pub use console::{Console, ConsoleFile};

use crate::accounting::rates::{self, Callers};
use crate::accounting::{Body, Incoming, Record, Recorder};
use crate::archive::Archive;
use crate::fleet::PurgeLog;
use crate::identity::{Identity, TokenPlaces};
use crate::net::cors::Cors;
use crate::net::listener::{Limits, Peer};
use crate::playback::{self, Keys, OpenedCapabilities};
use crate::policy::Policy;
use crate::sessions::Sessions;
use crate::sign_in::SignIn;
use crate::telemetry::spans::Tracer;
use crate::upstream::Upstream;
use api::Api;
use authenticate::Authenticator;
use authorize::Authorizer;
use clips::Clips;
use error::Error;
use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use packaged_playback::PackagedPlayback;
use pages::Pages;
use permitted::Permitted;
use playback_url::PlaybackUrls;
use player::Player;
use read::Reader;
use reply::Reply;
use route::{Page, Route};
use std::sync::Arc;
use streams::Streams;

/// One generation of settings at work. A reload builds a new one beside it.
pub struct Gateway {
    recorder: Recorder,
    cors: Cors,
    authenticator: Authenticator,
    reader: Reader,
    authorizer: Authorizer,
    api: Api,
    pages: Pages,
    player: Player,
    console: Console,
    purge_log: Option<PurgeLog>,
}

/// What a gateway is made of.
pub struct GatewayParts {
    /// Verifies tokens.
    pub identity: Arc<Identity>,
    /// Where a token may stand in a request.
    pub sources: TokenPlaces,
    /// Signs people in to the console.
    pub sign_in: Arc<SignIn>,
    /// Decides.
    pub policy: Arc<Policy>,
    /// Seals and opens capabilities and page tokens.
    pub keys: Arc<Keys>,
    /// How capabilities are made.
    pub playback: playback::Config,
    /// Calls to KVS.
    pub upstream: Upstream,
    /// What KVS has stored.
    pub archive: Archive,
    /// Shared playback sessions.
    pub sessions: Sessions,
    /// What playback URLs and data endpoints begin with; no slash at its end.
    pub public_url: Arc<str>,
    /// Bounds on requests.
    pub limits: Limits,
    /// Origins whose pages may call.
    pub cors: Cors,
    /// Where decisions and watching are written.
    pub audit: Audit,
    /// Begins the record of each request.
    pub recorder: Recorder,
    /// The page for people.
    pub console: Console,
    /// What one caller may take.
    pub rates: Arc<rates::Config>,
    /// What callers took.
    pub callers: Callers,
    /// What other replicas were ordered to purge.
    pub purge_log: Option<PurgeLog>,
}

/// Which pages may embed an answer.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Gateway {
    /// A gateway of these parts.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts { policy, keys, archive, sessions, upstream, public_url, audit, .. } = parts;
        let streams =
            Streams { archive: archive.clone(), policy: policy.clone(), upstream: upstream.clone() };
        let (live_window, bind) = (parts.playback.live_window, parts.playback.bind);
        let packaged = Arc::new(PackagedPlayback {
            archive: archive.clone(),
            policy: policy.clone(),
            audit: audit.clone(),
            packager: parts.playback.archive,
            settle: archive.settle(),
        });
        let playback_urls = Arc::new(PlaybackUrls {
            archive: archive.clone(),
            sessions: sessions.clone(),
            packaged: packaged.clone(),
            policy: policy.clone(),
            keys: keys.clone(),
            config: parts.playback,
            public_url: public_url.clone(),
        });
        let clips =
            Clips { archive: archive.clone(), policy: policy.clone(), playback_urls: playback_urls.clone() };
        Self {
            recorder: parts.recorder,
            cors: parts.cors,
            authenticator: Authenticator {
                identity: parts.identity,
                sources: parts.sources,
                sign_in: parts.sign_in,
                keys: keys.clone(),
                opened: OpenedCapabilities::default(),
                bind,
                policy: policy.clone(),
                audit: audit.clone(),
            },
            reader: Reader { limits: parts.limits, keys: keys.clone(), upstream: upstream.clone() },
            authorizer: Authorizer {
                policy: policy.clone(),
                upstream: upstream.clone(),
                audit: audit.clone(),
                rates: parts.rates,
                callers: parts.callers,
                streams: streams.clone(),
            },
            api: Api {
                archive: archive.clone(),
                streams: streams.clone(),
                playback_urls: playback_urls.clone(),
                keys,
                upstream,
                public_url,
            },
            pages: Pages { archive, streams, playback_urls, clips },
            player: Player { sessions, policy, audit, packaged, live_window },
            console: parts.console,
            purge_log: parts.purge_log,
        }
    }

    /// Answers one request. Never fails: a failure is an answer too.
    pub async fn handle(&self, request: Incoming, peer: &Peer) -> http::Response<Body> {
        let mut record = self.recorder.begin(&request, peer);
        let preflight = Cors::is_preflight(request.method(), request.headers());
        let origin = self.cors.origin(request.headers());
        let head_only = request.method() == Method::HEAD;
        let access = Route::access(request.uri().path());
        let reply = if preflight {
            Reply::empty(StatusCode::NO_CONTENT)
        } else {
            match self.answer(request, &mut record).await {
                Ok(reply) => reply,
                Err(error) => refusal::reply(&error, &mut record),
            }
        };
        let mut reply = if head_only { reply.without_body() } else { reply };
        self.cors.apply(origin.as_ref(), &mut reply.headers, access, preflight);
        reply.headers.entry(CROSS_ORIGIN_RESOURCE_POLICY).or_insert(self.cors.resource_policy(access));
        reply.into_response(record)
    }

    /// The whole path, top to bottom.
    async fn answer(&self, incoming: Incoming, record: &mut Record) -> Result<Reply, Error> {
        let (parts, body) = incoming.into_parts();
        let path = parts.uri.clone();
        let route = Route::find(&parts.method, path.path())?;
        if let Route::Console(path) = route {
            // Its files belong to no caller.
            return Box::pin(self.console.answer(path, &parts, &self.authenticator, record)).await;
        }
        if let Route::SignIn(step) = route {
            self.authorizer.admit_stranger(record)?;
            return Box::pin(sign_in::answer(&self.authenticator.sign_in, step, &parts, record)).await;
        }
        let caller = self.authenticator.authenticate(&route, &parts, record).await?;
        let request = self.reader.read(&route, &caller, &parts, body, record).await?;
        let permitted = self.authorizer.authorize(caller, request, parts, record).await?;
        if permitted.request().is_footage() && self.purge_log.as_ref().is_some_and(PurgeLog::closes) {
            return Err(Error::Withheld);
        }
        match route {
            Route::Api(_) => self.api.answer(&permitted, record).await,
            Route::Page(page) => {
                let reply = match self.pages.answer(page, &permitted, record).await {
                    Err(error) if error.is_not_found() => {
                        return Err(self.suggest(error, &permitted).await);
                    }
                    answered => answered?,
                };
                Ok(reply.with(header::VARY, self.authenticator.sources.vary().clone()))
            }
            Route::Link { file, .. } => {
                let name = permitted.request().stream().map(|stream| stream.name().clone());
                let name = name.ok_or(Error::Bug("a link to no stream"))?;
                self.pages.answer(Page::of_link(name, file), &permitted, record).await
            }
            Route::Playback { .. } => self.player.answer(&permitted, record).await,
            Route::Console(_) | Route::SignIn(_) => {
                Err(Error::Bug("the console is answered before a caller is known"))
            }
        }
    }

    /// A 404 with the stream that was probably meant.
    async fn suggest(&self, error: Error, permitted: &Permitted) -> Error {
        let Some(stream) = permitted.request().stream() else { return error };
        let (streams, context) = (&self.pages.streams, &permitted.context);
        streams.with_similar(error, stream.name(), permitted.caller(), context).await
    }

    /// Verifies tokens.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.authenticator.identity
    }

    /// Signs people in to the console.
    #[must_use]
    pub fn sign_in(&self) -> &Arc<SignIn> {
        &self.authenticator.sign_in
    }

    /// Decides.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.authorizer.policy
    }

    /// Calls to KVS.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.authorizer.upstream
    }

    /// What KVS has stored.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.pages.archive
    }

    /// Shared playback sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.player.sessions
    }

    /// Spans of requests, if a collector is configured.
    #[must_use]
    pub fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.recorder.tracer.as_ref()
    }

    /// Where decisions and watching are written.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.authorizer.audit
    }
}
