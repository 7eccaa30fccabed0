//! KVS's quotas, kept from our side: requests wait here, in fair turns, instead of being throttled there.
//!
//! The numbers and what each call is charged are docs/KVS.md 6 and 5.7: two buckets of points per stream,
//! requests per second per stream, account and session, and five connections per stream for media. A call
//! passes every bucket that it is charged to before each attempt. If the wait is too long, what it has
//! taken is given back, and the error says when to try again.

mod bucket;
pub(super) mod cost;

use super::account;
use super::entry::AwsEntry;
use super::error::Error;
use super::metrics::Metrics;
use super::request::KvsRequest;
use crate::base::fair_slots::{FairSlots, HeldSlots};
use crate::kvs::Call;
use crate::kvs::operations::GetClip;
use bucket::QuotaBucket;
use bytes::Bytes;
use cost::{Cost, RequestRate, SessionRate};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// All buckets of all entries.
pub(super) struct Quotas {
    patience: Duration,
    /// By entry and stream.
    streams: Arc<Counters<StreamKey, StreamQuotas>>,
    accounts: Counters<Arc<str>, AccountQuotas>,
    sessions: Counters<Arc<str>, SessionQuotas>,
    /// When clips were charged, by entry and request.
    clips: moka::sync::Cache<(Arc<str>, Bytes), Instant>,
    metrics: Metrics,
}

/// An entry and a stream.
type StreamKey = (Arc<str>, Arc<str>);

type Counters<K, V> = moka::sync::Cache<K, Arc<V>>;

/// What is counted per stream.
struct StreamQuotas {
    metadata: Arc<QuotaBucket>,
    media: Arc<QuotaBucket>,
    endpoint: Arc<QuotaBucket>,
    describe: Arc<QuotaBucket>,
    tags: Arc<QuotaBucket>,
    hls: Arc<QuotaBucket>,
    dash: Arc<QuotaBucket>,
    connections: Arc<FairSlots>,
}

/// What is counted per account and region.
struct AccountQuotas {
    endpoint: Arc<QuotaBucket>,
    describe: Arc<QuotaBucket>,
    tags: Arc<QuotaBucket>,
    list: Arc<QuotaBucket>,
    /// Every request, if the way to KVS has a bound of its own, as a VPC endpoint has.
    requests: Option<Arc<QuotaBucket>>,
}

/// What is counted per playback session.
struct SessionQuotas {
    master: Arc<QuotaBucket>,
    playlist: Arc<QuotaBucket>,
    init: Arc<QuotaBucket>,
    media: Arc<QuotaBucket>,
}

/// A place among the connections of a stream, if the call needs one; given back when dropped.
pub(super) type Turn = Option<HeldSlots>;

/// What a stream has few of, in words.
const CONNECTION: &str = "GetMediaForFragmentList connection";
/// Buckets that were not used for so long are full, and are forgotten.
const UNUSED: Duration = Duration::from_secs(600);
/// More streams than one process plays; the buckets of one take some 3 KB.
const MOST: u64 = 20_000;
/// The share of a call's time that may go by in waiting.
const LEFT_FOR_WAITING: f64 = 0.8;
/// How long after a clip was charged it may be settled; a bucket is full again long before.
const SETTLED: Duration = Duration::from_secs(30);

impl Quotas {
    pub(super) fn new(patience: Duration, metrics: Metrics) -> Self {
        fn counters<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static>() -> Counters<K, V> {
            moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build()
        }
        let streams: Arc<Counters<StreamKey, StreamQuotas>> = Arc::new(counters());
        let watched = Arc::downgrade(&streams);
        metrics.on_scrape(Box::new(move |set| {
            for (key, stream) in watched.upgrade().iter().flat_map(|streams| streams.iter()) {
                set(&key.1, "metadata", stream.metadata.utilization());
                set(&key.1, "media", stream.media.utilization());
            }
        }));
        let clips = moka::sync::Cache::builder().max_capacity(MOST).time_to_live(SETTLED).build();
        Self { patience, streams, accounts: counters(), sessions: counters(), clips, metrics }
    }

    /// Waits for the call's turn in every bucket, but leaves some of the call's own time: otherwise a call
    /// that waited too long would look as if KVS had not answered.
    ///
    /// # Errors
    /// [`Error::Busy`], and nothing is taken then.
    pub(super) async fn turn(
        &self,
        entry: &AwsEntry,
        request: &KvsRequest,
        call_ends: Instant,
    ) -> Result<Turn, Error> {
        let now = Instant::now();
        let most = call_ends.saturating_duration_since(now).mul_f64(LEFT_FOR_WAITING);
        let deadline = now + self.patience.min(most);
        let mut taken = TakenTokens::default();
        for (bucket, cost) in self.buckets(entry, request) {
            if let Err(retry_after) = bucket.take(cost, &request.principal, deadline).await {
                return Err(Error::Busy { retry_after, what: bucket.what() });
            }
            taken.0.push((bucket, cost, Instant::now()));
        }
        let slot = match &request.stream {
            Some(stream) if request.cost.connection => {
                let slots = &self.stream(entry, stream.as_str()).connections;
                let busy = |retry_after| Error::Busy { retry_after, what: CONNECTION };
                Some(slots.take(&request.principal, 1, deadline).await.map_err(busy)?)
            }
            _ => None,
        };
        taken.0.clear(); // and not to be given back
        if request.cost.assumed {
            self.clips.insert((entry.name.clone(), request.body.clone()), Instant::now());
        }
        self.count(request);
        Ok(slot)
    }

    /// KVS throttled a call nevertheless: others use the stream too. The buckets that it was charged to
    /// start again empty.
    pub(super) fn throttled(&self, entry: &AwsEntry, request: &KvsRequest) {
        for (bucket, _) in self.buckets(entry, request) {
            bucket.empty();
        }
    }

    /// A clip has so many fragments. If it was charged lately for as many as could start in its range, the
    /// rest is given back, once per charge.
    pub(super) fn settle(&self, entry: &AwsEntry, clip: &GetClip, actual: u32) {
        let body = Call::GetClip(clip.clone()).body();
        let Some(charged) = self.clips.remove(&(entry.name.clone(), body)) else { return };
        let rest = Cost::clip_fragments(clip).saturating_sub(actual);
        let stream = self.stream(entry, clip.stream.name().as_str());
        stream.metadata.give_back(rest, charged);
        stream.media.give_back(rest, charged);
    }

    /// What a call is charged to, and how much.
    fn buckets(&self, entry: &AwsEntry, request: &KvsRequest) -> Vec<(Arc<QuotaBucket>, u32)> {
        let cost = &request.cost;
        let mut buckets = Vec::with_capacity(4);
        if let Some((id, rate)) = &cost.session {
            let session = self.session(entry, id);
            let bucket = match rate {
                SessionRate::Master => &session.master,
                SessionRate::Playlist => &session.playlist,
                SessionRate::Init => &session.init,
                SessionRate::Media => &session.media,
            };
            buckets.push((bucket.clone(), 1));
        }
        let account = self.account(entry);
        buckets.extend(account.requests.clone().map(|bucket| (bucket, 1)));
        buckets.extend(cost.rate.and_then(|rate| account.of(rate)).map(|bucket| (bucket, 1)));
        if let Some(stream) = &request.stream {
            let stream = self.stream(entry, stream.as_str());
            buckets.extend(cost.rate.and_then(|rate| stream.of(rate)).map(|bucket| (bucket, 1)));
            if cost.metadata > 0 {
                buckets.push((stream.metadata.clone(), cost.metadata));
            }
            if cost.media > 0 {
                buckets.push((stream.media.clone(), cost.media));
            }
        }
        buckets
    }

    fn stream(&self, entry: &AwsEntry, name: &str) -> Arc<StreamQuotas> {
        let key = (entry.name.clone(), name.into());
        self.streams.get_with(key, || Arc::new(StreamQuotas::new(&entry.config.quotas)))
    }

    /// Entries of one account and region share what KVS counts per account.
    fn account(&self, entry: &AwsEntry) -> Arc<AccountQuotas> {
        let account = entry.config.known_account().unwrap_or(&entry.name);
        let key = format!("{}/{account}", entry.config.region).into();
        self.accounts.get_with(key, || Arc::new(AccountQuotas::new(&entry.config.quotas)))
    }

    fn session(&self, entry: &AwsEntry, id: &Arc<str>) -> Arc<SessionQuotas> {
        self.sessions.get_with(id.clone(), || Arc::new(SessionQuotas::new(&entry.config.quotas)))
    }

    fn count(&self, request: &KvsRequest) {
        let Some(stream) = &request.stream else { return };
        for (kind, points) in [("metadata", request.cost.metadata), ("media", request.cost.media)] {
            if points > 0 {
                self.metrics.points(stream.as_str(), kind).inc_by(points.into());
            }
        }
    }
}

/// What a call has taken so far; given back if the call does not get all that it needs, or is dropped while
/// it waits.
#[derive(Default)]
struct TakenTokens(Vec<(Arc<QuotaBucket>, u32, Instant)>);

impl Drop for TakenTokens {
    fn drop(&mut self) {
        for (bucket, cost, since) in &self.0 {
            bucket.give_back(*cost, *since);
        }
    }
}

impl StreamQuotas {
    fn new(quotas: &account::Quotas) -> Self {
        Self {
            metadata: QuotaBucket::new("metadata points", quotas.metadata_points),
            media: QuotaBucket::new("media points", quotas.media_points),
            endpoint: QuotaBucket::new("GetDataEndpoint", quotas.endpoint_tps),
            describe: QuotaBucket::new("DescribeStream", quotas.describe_tps),
            tags: QuotaBucket::new("ListTagsForStream", quotas.describe_tps),
            hls: QuotaBucket::new("GetHLSStreamingSessionURL", quotas.session_url_tps),
            dash: QuotaBucket::new("GetDASHStreamingSessionURL", quotas.session_url_tps),
            connections: FairSlots::new(quotas.media_connections, quotas.media_connections),
        }
    }

    fn of(&self, rate: RequestRate) -> Option<Arc<QuotaBucket>> {
        match rate {
            RequestRate::Endpoint => Some(self.endpoint.clone()),
            RequestRate::Describe => Some(self.describe.clone()),
            RequestRate::Tags => Some(self.tags.clone()),
            RequestRate::HlsUrl => Some(self.hls.clone()),
            RequestRate::DashUrl => Some(self.dash.clone()),
            RequestRate::ListStreams => None,
        }
    }
}

impl AccountQuotas {
    fn new(quotas: &account::Quotas) -> Self {
        Self {
            endpoint: QuotaBucket::new("account's GetDataEndpoint", quotas.account_tps),
            describe: QuotaBucket::new("account's DescribeStream", quotas.account_tps),
            // "Other control-plane APIs" share the number of ListStreams (docs/KVS.md 6).
            tags: QuotaBucket::new("account's ListTagsForStream", quotas.account_list_tps),
            list: QuotaBucket::new("account's ListStreams", quotas.account_list_tps),
            requests: quotas.requests_per_second.map(|most| QuotaBucket::new("account's requests", most)),
        }
    }

    fn of(&self, rate: RequestRate) -> Option<Arc<QuotaBucket>> {
        match rate {
            RequestRate::Endpoint => Some(self.endpoint.clone()),
            RequestRate::Describe => Some(self.describe.clone()),
            RequestRate::Tags => Some(self.tags.clone()),
            RequestRate::ListStreams => Some(self.list.clone()),
            RequestRate::HlsUrl | RequestRate::DashUrl => None,
        }
    }
}

impl SessionQuotas {
    fn new(quotas: &account::Quotas) -> Self {
        Self {
            master: QuotaBucket::new("session's master playlist", quotas.session_playlist_tps),
            playlist: QuotaBucket::new("session's playlist", quotas.session_playlist_tps),
            init: QuotaBucket::new("session's init segment", quotas.session_playlist_tps),
            media: QuotaBucket::new("session's media segment", quotas.session_media_tps),
        }
    }
}
