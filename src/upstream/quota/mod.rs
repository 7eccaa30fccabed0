//! KVS's quotas, kept from our side: requests wait here, in fair turns, instead of being throttled there.
//!
//! The numbers and what each call is charged are docs/KVS.md 6 and 5.7: two buckets of points per stream,
//! requests per second per stream, account and session, and five connections per stream for media. A call
//! passes every bucket that it is charged to before each attempt. If the wait is too long, what it has
//! taken is given back, and the error says when to try again.
//!
//! With a shared store replicas reserve there (`shared`), so that together they keep to the rates. While it
//! does not answer, each replica keeps to its share by the buckets here.

mod bucket;
pub(super) mod cost;
mod shared;

use super::account;
use super::entry::AwsEntry;
use super::error::Error;
use super::metrics::Metrics;
use super::request::KvsRequest;
use crate::base::fair_slots::{FairSlots, HeldSlots};
use crate::fleet::Store;
use crate::kvs::operations::GetClip;
use crate::kvs::{Call, StreamName};
use bucket::QuotaBucket;
use bytes::Bytes;
use cost::{Cost, RequestRate, SessionRate};
use shared::{ChargeGroup, Grant, Reservation, SharedQuotas, SharedSlot};
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
    clips: moka::sync::Cache<(Arc<str>, Bytes), ClipCharge>,
    /// The quotas in the store that replicas share.
    shared: Option<SharedQuotas>,
    metrics: Metrics,
}

/// When a clip was charged.
#[derive(Clone, Copy)]
struct ClipCharge {
    here: Instant,
    /// On the clock of the shared store, if it was charged there.
    in_store: Option<u64>,
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
#[derive(Default)]
pub(super) struct Turn {
    _here: Option<HeldSlots>,
    _in_store: Option<SharedSlot>,
}

/// A bucket that a call is charged to.
struct Charged {
    bucket: Arc<QuotaBucket>,
    cost: u32,
    of: BucketOwner,
}

/// What a bucket is counted for.
#[derive(Clone, PartialEq, Eq)]
enum BucketOwner {
    Account,
    Stream,
    Session(Arc<str>),
}

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
    pub(super) fn new(patience: Duration, store: Option<Store>, metrics: Metrics) -> Self {
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
        let shared = store.map(SharedQuotas::new);
        Self { patience, streams, accounts: counters(), sessions: counters(), clips, shared, metrics }
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
        let charged = self.buckets(entry, request);
        let mut turn = match &self.shared {
            Some(shared) => self.take_in_store(shared, entry, request, charged, deadline, &mut taken).await?,
            None => {
                self.take_here(&charged, &request.principal, 1, deadline, &mut taken).await?;
                self.connection(entry, request, 1, deadline).await?
            }
        };
        // Nothing is given back from here on.
        taken.here.clear();
        let mut in_store = None;
        for reservation in taken.reservations.drain(..) {
            in_store = Some(reservation.since());
            turn._in_store = reservation.used().or(turn._in_store);
        }
        if request.cost.assumed {
            let charge = ClipCharge { here: Instant::now(), in_store };
            self.clips.insert((entry.name.clone(), request.body.clone()), charge);
        }
        self.count(request);
        Ok(turn)
    }

    /// Reserves in the shared store what a call is charged: for its account, and then for its stream with
    /// its session and its connection. While the store does not answer, the buckets here count.
    async fn take_in_store(
        &self,
        shared: &SharedQuotas,
        entry: &AwsEntry,
        request: &KvsRequest,
        charged: Vec<Charged>,
        deadline: Instant,
        taken: &mut TakenTokens,
    ) -> Result<Turn, Error> {
        let (of_account, of_stream): (Vec<_>, Vec<_>) =
            charged.into_iter().partition(|charged| charged.of == BucketOwner::Account);
        for charged in [of_account, of_stream] {
            let Some(group) = group(entry, request, &charged) else { continue };
            let cold = charged.iter().any(|charged| charged.bucket.was_cut_off());
            match shared.reserve(&group, &request.principal, deadline, cold).await {
                Grant::Go(reservation) => {
                    charged.iter().for_each(|charged| charged.bucket.note(charged.cost));
                    taken.reservations.push(reservation);
                }
                Grant::Late(retry_after) => {
                    let what = charged.first().map_or(CONNECTION, |charged| charged.bucket.what());
                    return Err(Error::Busy { retry_after, what });
                }
                Grant::Away => {
                    let replicas = shared.replicas();
                    let since = shared.away_since(&group);
                    charged.iter().for_each(|charged| charged.bucket.cut_off(since));
                    self.take_here(&charged, &request.principal, replicas, deadline, taken).await?;
                    if group.holds_connection() {
                        return self.connection(entry, request, replicas, deadline).await;
                    }
                }
            }
        }
        Ok(Turn::default())
    }

    /// Takes from the buckets of this process. Each counts for one of so many replicas: a call costs as many
    /// times as much.
    async fn take_here(
        &self,
        charged: &[Charged],
        principal: &Arc<str>,
        replicas: u32,
        deadline: Instant,
        taken: &mut TakenTokens,
    ) -> Result<(), Error> {
        for Charged { bucket, cost, .. } in charged {
            let cost = cost.saturating_mul(replicas);
            if let Err(retry_after) = bucket.take(cost, principal, deadline).await {
                return Err(Error::Busy { retry_after, what: bucket.what() });
            }
            taken.here.push((bucket.clone(), cost, Instant::now()));
        }
        Ok(())
    }

    /// A connection of the stream, if the call needs one. Of so many replicas each has its part of them.
    async fn connection(
        &self,
        entry: &AwsEntry,
        request: &KvsRequest,
        replicas: u32,
        deadline: Instant,
    ) -> Result<Turn, Error> {
        let Some(stream) = request.stream.as_ref().filter(|_| request.cost.connection) else {
            return Ok(Turn::default());
        };
        let slots = &self.stream(entry, stream.as_str()).connections;
        let busy = |retry_after| Error::Busy { retry_after, what: CONNECTION };
        let held = slots.take(&request.principal, replicas, deadline).await.map_err(busy)?;
        Ok(Turn { _here: Some(held), _in_store: None })
    }

    /// KVS throttled a call nevertheless: others use the stream too. The buckets that it was charged to
    /// start again empty.
    pub(super) fn throttled(&self, entry: &AwsEntry, request: &KvsRequest) {
        let charged = self.buckets(entry, request);
        charged.iter().for_each(|charged| charged.bucket.empty());
        let Some(shared) = &self.shared else { return };
        let (of_account, of_stream): (Vec<_>, Vec<_>) =
            charged.into_iter().partition(|charged| charged.of == BucketOwner::Account);
        for group in [of_account, of_stream].iter().filter_map(|charged| group(entry, request, charged)) {
            shared.empty(&group);
        }
    }

    /// A clip has so many fragments. If it was charged lately for as many as could start in its range, the
    /// rest is given back, once per charge.
    pub(super) fn settle(&self, entry: &AwsEntry, clip: &GetClip, actual: u32) {
        let body = Call::GetClip(clip.clone()).body();
        let Some(charged) = self.clips.remove(&(entry.name.clone(), body)) else { return };
        let rest = Cost::clip_fragments(clip).saturating_sub(actual);
        let name = clip.stream.name().as_str();
        let stream = self.stream(entry, name);
        if let (Some(since), Some(shared)) = (charged.in_store, &self.shared) {
            let mut group = ChargeGroup::of_stream(&entry.name, name);
            group.charge(stream.metadata.what(), None, rest, stream.metadata.per_second());
            group.charge(stream.media.what(), None, rest, stream.media.per_second());
            shared.give_back(&group, since);
        } else {
            stream.metadata.give_back(rest, charged.here);
            stream.media.give_back(rest, charged.here);
        }
    }

    /// What a call is charged to, and how much.
    fn buckets(&self, entry: &AwsEntry, request: &KvsRequest) -> Vec<Charged> {
        let cost = &request.cost;
        let mut buckets = Vec::with_capacity(4);
        let mut charge = |bucket: &Arc<QuotaBucket>, cost, of| {
            buckets.push(Charged { bucket: bucket.clone(), cost, of });
        };
        if let Some((id, rate)) = &cost.session {
            let session = self.session(entry, id);
            let bucket = match rate {
                SessionRate::Master => &session.master,
                SessionRate::Playlist => &session.playlist,
                SessionRate::Init => &session.init,
                SessionRate::Media => &session.media,
            };
            charge(bucket, 1, BucketOwner::Session(id.clone()));
        }
        let account = self.account(entry);
        account.requests.iter().for_each(|bucket| charge(bucket, 1, BucketOwner::Account));
        let rate = cost.rate.and_then(|rate| account.of(rate));
        rate.iter().for_each(|bucket| charge(bucket, 1, BucketOwner::Account));
        if let Some(stream) = &request.stream {
            let stream = self.stream(entry, stream.as_str());
            let rate = cost.rate.and_then(|rate| stream.of(rate));
            rate.iter().for_each(|bucket| charge(bucket, 1, BucketOwner::Stream));
            if cost.metadata > 0 {
                charge(&stream.metadata, cost.metadata, BucketOwner::Stream);
            }
            if cost.media > 0 {
                charge(&stream.media, cost.media, BucketOwner::Stream);
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
        let key = format!("{}/{}", entry.config.region, account(entry)).into();
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

/// What names the account of an entry.
fn account(entry: &AwsEntry) -> &str {
    entry.config.known_account().unwrap_or(&entry.name)
}

/// What is charged together in the shared store, if there is anything: all of one account, or of one stream.
fn group(entry: &AwsEntry, request: &KvsRequest, charged: &[Charged]) -> Option<ChargeGroup> {
    let first = charged.first()?;
    let mut group = if first.of == BucketOwner::Account {
        ChargeGroup::of_account(&entry.config.region, account(entry))
    } else {
        ChargeGroup::of_stream(&entry.name, request.stream.as_ref().map_or("", StreamName::as_str))
    };
    for Charged { bucket, cost, of } in charged {
        let session = match of {
            BucketOwner::Session(id) => Some(&**id),
            BucketOwner::Account | BucketOwner::Stream => None,
        };
        group.charge(bucket.what(), session, *cost, bucket.per_second());
    }
    if request.cost.connection && first.of != BucketOwner::Account {
        group.hold_connection(entry.config.quotas.media_connections);
    }
    Some(group)
}

/// What a call has taken so far; given back if the call does not get all that it needs, or is dropped while
/// it waits.
#[derive(Default)]
struct TakenTokens {
    here: Vec<(Arc<QuotaBucket>, u32, Instant)>,
    /// In the shared store; they give themselves back.
    reservations: Vec<Reservation>,
}

impl Drop for TakenTokens {
    fn drop(&mut self) {
        for (bucket, cost, since) in &self.here {
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
