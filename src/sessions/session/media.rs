//! Segments of a session: looked up in the cache, else fetched into it once for all readers.

use super::shift_timestamps::shift_timestamps;
use super::upstream_session::{Location, SpareSession, UpstreamSession};
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::cache::freshness::{self, Kind};
use crate::cache::{Fetched, FillError, Found, Head, Key};
use crate::kvs::{PlaybackMode, Resource, StreamRef, Timestamp};
use crate::playback::mp4;
use crate::sessions::context::Context;
use crate::sessions::hls::MediaPlace;
use crate::telemetry::spans::{self, Steps};
use crate::upstream;
use http::{HeaderValue, StatusCode};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// A segment, from the cache or from KVS.
pub(in crate::sessions) async fn get(
    context: &Arc<Context>,
    stream: &StreamRef,
    at: &Location,
    steps: &Steps,
) -> Result<Found, FillError<upstream::Error>> {
    let key = cache_key(stream, at);
    if let Some(found) = context.cache.get(&key) {
        return Ok(found);
    }
    let fetch = SegmentFetch::new(context, stream, at, steps.clone());
    context.cache.get_or_fill_as(key, at.session.sharing(), fetch.repeatable()).await
}

/// Makes sure that a segment is in the cache, and gives the number of bytes that were fetched for it.
pub(in crate::sessions) async fn warm(
    context: &Arc<Context>,
    stream: &StreamRef,
    at: &Location,
) -> Result<u64, FillError<upstream::Error>> {
    let fetch = SegmentFetch::new(context, stream, at, Steps::default());
    context.cache.warm(cache_key(stream, at), at.session.sharing(), fetch.repeatable()).await
}

/// A fragment, shifted to the place that `anchor` names.
pub(super) async fn get_anchored(
    context: &Arc<Context>,
    stream: &StreamRef,
    at: &Location,
    anchor: Arc<Anchor>,
) -> Result<Found, FillError<upstream::Error>> {
    let mut fetch = SegmentFetch::new(context, stream, at, Steps::default());
    fetch.shift = Shift::Anchored(anchor);
    context.cache.get_or_fill_as(cache_key(stream, at), at.session.sharing(), fetch.repeatable()).await
}

fn cache_key(stream: &StreamRef, at: &Location) -> Key {
    Key::resource(stream, &at.session.url.id, &at.resource)
}

/// How the times in a fragment are shifted.
#[derive(Clone)]
enum Shift {
    Ticks(u64),
    Anchored(Arc<Anchor>),
}

/// Where a fragment is placed, and what was found when it was read.
pub(super) struct Anchor {
    place: MediaPlace,
    init: mp4::Init,
    /// How long it lasts if its media does not say.
    millis: u64,
    read: OnceLock<Option<PlacedFragment>>,
}

/// A fragment that was read: by how much it is delayed, and from when to when it is presented, in
/// milliseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct PlacedFragment {
    pub(super) delay: Duration,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Anchor {
    pub(super) fn new(place: MediaPlace, init: mp4::Init, millis: u64) -> Arc<Self> {
        Arc::new(Self { place, init, millis, read: OnceLock::new() })
    }

    /// What was found. `None` if nothing was fetched, or if its times cannot be shifted there.
    pub(super) fn read(&self) -> Option<PlacedFragment> {
        self.read.get().copied().flatten()
    }

    /// Ticks to add for a fragment whose own time is `own`. A second attempt of the same fetch shifts by as
    /// much as the first.
    fn ticks(&self, own: u64, length: Option<u64>) -> u64 {
        let read = self.read.get_or_init(|| {
            let rate = u128::from(self.init.timescale.max(1));
            let millis =
                |ticks: u64| u64::try_from((u128::from(ticks) * 1000 + rate / 2) / rate).unwrap_or(u64::MAX);
            let lasts = length.map_or(self.millis, millis);
            let begins = match self.place {
                MediaPlace::BeginsAt(begins) => begins,
                MediaPlace::EndsAt(end) => end.saturating_sub(lasts),
            };
            let delay = self.init.delay(own, Timestamp::from_millis(begins))?;
            let start = millis(own.saturating_add(self.init.ticks(delay)));
            Some(PlacedFragment { delay, start, end: start.saturating_add(lasts) })
        });
        read.map_or(0, |read| self.init.ticks(read.delay))
    }
}

/// Everything that one fetch of a segment needs, so that the cache can repeat it.
#[derive(Clone)]
struct SegmentFetch {
    context: Arc<Context>,
    stream: StreamRef,
    at: Location,
    shift: Shift,
    steps: Steps,
}

/// A fetch under way.
type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>>;

impl SegmentFetch {
    fn new(context: &Arc<Context>, stream: &StreamRef, at: &Location, steps: Steps) -> Self {
        let (context, stream, at) = (context.clone(), stream.clone(), at.clone());
        Self { shift: Shift::Ticks(at.shift), context, stream, at, steps }
    }

    fn repeatable(self) -> impl Fn() -> Fetching + Send + Sync + 'static {
        move || Box::pin(self.clone().fetch())
    }

    async fn fetch(self) -> Result<Fetched, upstream::Error> {
        let spare = self.spare_session();
        let url = spare.as_ref().map_or(&self.at.session.url, |spare| &spare.url);
        let principal = self.at.session.turn.principal();
        let fetching = self.context.source.fetch(&self.stream, url, &self.at.resource, 1, &principal);
        let answer = self.steps.time(spans::UPSTREAM, fetching).await?;
        let answer = match self.shift {
            Shift::Ticks(0) => answer,
            Shift::Ticks(ticks) => shift_timestamps(answer, |_, _| ticks).await?,
            Shift::Anchored(anchor) => {
                shift_timestamps(answer, |own, length| anchor.ticks(own, length)).await?
            }
        };
        let now = Timestamp::from(clock::now());
        let kind = Kind::Media { session_ends: self.at.session.url.expires };
        let keep = freshness::keep(kind, StatusCode::OK, now, &self.context.rules);
        let content_type = HeaderValue::from_static(self.at.resource.content_type());
        Ok(Fetched { head: Head::new(content_type, answer.length, now), keep, body: answer.body })
    }

    /// The spare session to fetch a fragment of footage from; `None` for the session itself. Opens another
    /// spare session when all are busy.
    fn spare_session(&self) -> Option<Arc<SpareSession>> {
        let session = &self.at.session;
        let is_footage = session.parameters.mode == PlaybackMode::OnDemand
            && matches!(self.at.resource, Resource::Mp4Fragment { .. } | Resource::TsFragment { .. });
        if !is_footage {
            return None;
        }
        let choice = session.spares.choose(Instant::now());
        if choice.open_another {
            spawn_self_ending(open_spare(self.context.clone(), self.stream.clone(), session.clone()));
        }
        choice.spare
    }
}

/// Opens another session for the same footage. If that fails, the sessions that are open must do.
async fn open_spare(context: Arc<Context>, stream: StreamRef, session: Arc<UpstreamSession>) {
    let Ok(place) = context.places.take_for_crowd() else { return };
    let principal = session.turn.principal();
    if let Ok(url) = context.source.open(&stream, &session.parameters, &principal).await {
        session.spares.add(SpareSession { url, _place: place });
    }
}
