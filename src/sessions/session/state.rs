//! What a shared session remembers between requests, under one lock.

use super::prefetch::Prefetch;
use super::refusals::{AbsentAddresses, Probed, ReopeningPace};
use super::upstream_session::UpstreamSession;
use crate::kvs::{DiscontinuityMode, PlaybackMode, Protocol, Resource, SelectorType, Timestamp};
use crate::sessions::common::{StoredSession, StoredSessions};
use crate::sessions::error::Error;
use crate::sessions::key::SessionKey;
use crate::sessions::metrics::GaugeGuard;
use crate::sessions::numbering::{self, Generation};
use crate::sessions::places::Place;
use crate::sessions::saved_state::SavedStream;
use crate::sessions::{dash, hls};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// What a shared session remembers between requests.
pub(super) struct SessionState {
    pub(super) current: Option<Arc<UpstreamSession>>,
    /// Sessions that were replaced. What they listed may still be in the cache or be fetched.
    pub(super) older: VecDeque<Arc<UpstreamSession>>,
    pub(super) generation: Generation,
    /// The last failure to open a session, and when it happened.
    pub(super) failed: Option<(Instant, Error)>,
    pub(super) reopening: ReopeningPace,
    pub(super) absent: AbsentAddresses,
    pub(super) probed: Option<Probed>,
    pub(super) hls: hls::Timeline,
    pub(super) dash: dash::Timeline,
    /// The delays of sessions that all replicas hold in common, in nanoseconds, by their ids.
    pub(super) anchors: BTreeMap<String, Option<u64>>,
    /// KVS's manifest has a shape that cannot be kept continuous: it is passed on as it is.
    pub(super) pass_manifest: bool,
    pub(super) prefetch: Prefetch,
    /// The time that the last request came with, and when that was.
    pub(super) clock: (Timestamp, Instant),
    pub(super) touched: Instant,
    pub(super) replaced: u32,
    /// Held from the first opening on: its place in the metric and among `sessions.most`.
    pub(super) active: Option<(GaugeGuard, Place)>,
}

impl SessionState {
    pub(super) fn new(key: &SessionKey, ahead: u8, saved: Option<SavedStream>, now: Timestamp) -> Self {
        let start = Instant::now();
        let parameters = &key.parameters;
        let window = usize::from(parameters.max_fragments);
        let always = parameters.discontinuity == DiscontinuityMode::Always;
        let mut hls = hls::Timeline::new(window, always, parameters.mode == PlaybackMode::LiveReplay);
        let shown = (parameters.show_timestamps, parameters.show_numbers);
        let mut dash = dash::Timeline::new(window, shown, parameters.mode == PlaybackMode::Live);
        if let Some(saved) = saved {
            saved.hls.iter().for_each(|saved| hls.resume(saved, now));
            saved.dash.into_iter().for_each(|saved| dash.resume(saved));
        }
        Self {
            current: None,
            older: VecDeque::new(),
            generation: 0,
            failed: None,
            reopening: ReopeningPace::default(),
            absent: AbsentAddresses::default(),
            probed: None,
            hls,
            dash,
            anchors: BTreeMap::new(),
            pass_manifest: false,
            prefetch: Prefetch::new(usize::from(ahead)),
            clock: (now, start),
            touched: start,
            replaced: 0,
            active: None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        let (time, then) = self.clock;
        time.plus(instant.saturating_duration_since(then)).minus(then.saturating_duration_since(instant))
    }

    /// The generation of the session in use.
    pub(super) fn current_generation(&self) -> Option<Generation> {
        self.current.as_ref().map(|session| session.generation)
    }

    /// The session in use if it has not ended and is not `other_than`.
    pub(super) fn usable(&self, other_than: Option<Generation>) -> Option<Arc<UpstreamSession>> {
        let usable = |session: &&Arc<UpstreamSession>| {
            Some(session.generation) != other_than && session.until > Instant::now()
        };
        self.current.as_ref().filter(usable).cloned()
    }

    /// The sessions that addresses may lead to, newest first. One may be over: what it gave may still be in
    /// the cache, and if it is not, KVS refuses and another session is looked for.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Arc<UpstreamSession>> {
        self.current.iter().chain(self.older.iter().rev())
    }

    /// The sessions as other replicas read them, oldest first; `None` without any.
    pub(super) fn stored_sessions(&self) -> Option<StoredSessions> {
        let current = self.current.as_ref()?;
        let stored = |session: &Arc<UpstreamSession>| {
            let (base, token) = session.url.secret_parts();
            StoredSession {
                generation: session.generation,
                base,
                token: token.expose().to_owned(),
                opened: self.at(session.opened),
                expires: session.url.expires,
                parameters: session.parameters.clone(),
            }
        };
        Some(StoredSessions { sessions: self.older.iter().chain([current]).map(stored).collect() })
    }

    /// The session of a generation.
    pub(super) fn session(&self, generation: Generation) -> Option<Arc<UpstreamSession>> {
        self.sessions().find(|session| session.generation == generation).cloned()
    }

    /// Where a replay has come to: the start of the newest fragment that it listed.
    pub(super) fn reached(&self, key: &SessionKey) -> Option<Timestamp> {
        if key.parameters.protocol == Protocol::Dash {
            return self.dash.reached();
        }
        let (number, date) = self.hls.newest()?;
        let by_server = key.parameters.selector == SelectorType::Server;
        date.or_else(|| numbering::server_time(&number).filter(|_| by_server))
    }

    /// The fragments to fetch ahead of requests, after a playlist or manifest that changes was published.
    pub(super) fn plan_live(&mut self, resource: &Resource) -> Vec<Resource> {
        match resource {
            Resource::MediaPlaylist { track } => {
                let listed = self.hls.fragments(*track);
                self.prefetch.plan_newest(&listed)
            }
            Resource::Manifest => {
                let listed = self.dash.fragments();
                listed.into_iter().flat_map(|track| self.prefetch.plan_newest(&track)).collect()
            }
            _ => Vec::new(),
        }
    }
}
