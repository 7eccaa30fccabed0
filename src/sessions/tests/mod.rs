//! One upstream session for any number of viewers, opened, renewed, let go.

use super::error::Effect;
use super::hls::Recent;
use super::key::tests::key;
use super::session::lock;
use super::turn::tests::caller;
use super::*;
use crate::cache::Tier;
use crate::caller::Caller;
use crate::kvs::{PlaybackMode, Protocol, Timestamp};
use kvs::{FakeKvs, FakeSource};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

mod crowding;
mod faults;
mod kvs;
mod refused;
mod segments;

const SECOND: Duration = Duration::from_secs(1);

/// The caller of tests that need only one.
static ALICE: LazyLock<Caller> = LazyLock::new(|| caller("alice"));

struct Edge {
    kvs: Arc<FakeKvs>,
    registry: prometheus::Registry,
    sessions: Sessions,
}

fn sessions(kvs: &Arc<FakeKvs>, config: Config, registry: &prometheus::Registry) -> Sessions {
    let metrics = Metrics::register(registry, str::to_owned).unwrap();
    let cache_config = cache::Config::default();
    let cache_metrics = cache::Metrics::register(&prometheus::Registry::new()).unwrap();
    let cache = Cache::open(&cache_config, cache_metrics).unwrap();
    let rules = Rules::new(&cache_config, None);
    Sessions::over(Context::new(
        Arc::new(FakeSource(kvs.clone())),
        cache,
        rules,
        config,
        metrics,
        Room::default(),
        None,
    ))
}

const LIVE: Resource = Resource::MediaPlaylist { track: 1 };

impl Edge {
    fn start(lifetime: Duration) -> Self {
        let kvs = FakeKvs::new(lifetime);
        let registry = prometheus::Registry::new();
        let sessions = sessions(&kvs, Config::default(), &registry);
        Self { kvs, registry, sessions }
    }

    /// A request of the only caller.
    fn visit(&self) -> Visit<'static> {
        self.kvs.visit()
    }

    /// The upstream session of a key.
    async fn upstream(&self, key: &SessionKey) -> Arc<UpstreamSession> {
        self.sessions.0.session(key, self.visit()).await.unwrap().session().await.unwrap()
    }

    async fn load(&self, mode: PlaybackMode, resource: &Resource, viewer: &str) -> Result<Playlist, Error> {
        self.sessions
            .playlist(&key(mode, Protocol::Hls), resource, ViewerId::of(viewer), self.kvs.visit())
            .await
    }

    async fn live(&self) -> Result<Playlist, Error> {
        self.load(PlaybackMode::Live, &LIVE, "one").await
    }

    /// The media sequence number of the live playlist as it is now.
    async fn sequence(&self) -> u64 {
        sequence(&self.live().await.unwrap())
    }

    fn metric(&self, series: &str) -> i64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line =
            text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// KVS has said that it does not know what was located.
async fn refused(
    edge: &Edge,
    key: &SessionKey,
    resource: &Resource,
    at: &Location,
) -> Result<Location, Error> {
    edge.sessions.relocate(key, resource, &at.session, SegmentRefusal::NotFound, edge.kvs.visit()).await
}

/// The key of three days.
fn three_days() -> SessionKey {
    let mut key = key(PlaybackMode::OnDemand, Protocol::Hls);
    key.parameters.max_fragments = crate::sessions::WHOLE_RANGE;
    key.parameters.end = key.parameters.start.map(|start| start.plus(Duration::from_secs(3 * 86_400 - 1)));
    key
}

/// The text of a playlist.
fn shown(playlist: &Playlist) -> String {
    let pieces: Vec<_> = playlist.text.pieces().collect();
    String::from_utf8(pieces.concat()).unwrap()
}

fn sequence(playlist: &Playlist) -> u64 {
    let text = &shown(playlist);
    text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap()
}

const HALF_A_DAY: Duration = Duration::from_secs(43_200);

#[tokio::test(start_paused = true)]
async fn a_crowd_that_comes_at_once_is_one_viewer_to_kvs() {
    let edge = Arc::new(Edge::start(HALF_A_DAY));
    edge.kvs.fault(|faults| faults.delay = Duration::from_millis(300));
    let crowd: Vec<_> = (0..200)
        .map(|n| {
            let edge = edge.clone();
            tokio::spawn(async move { edge.load(PlaybackMode::Live, &LIVE, &n.to_string()).await.unwrap() })
        })
        .collect();
    let mut outcomes = Vec::new();
    let mut texts = Vec::new();
    for viewer in crowd {
        let playlist = viewer.await.unwrap();
        outcomes.push(playlist.outcome);
        texts.push(playlist.text.etag().clone());
    }
    assert_eq!((edge.kvs.opens(), edge.kvs.loads()), (1, 1));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == cache::Outcome::Miss).count(), 1);
    texts.dedup();
    assert_eq!(texts.len(), 1, "the same bytes for all");
    assert_eq!(edge.metric("kvs_edge_viewers_active{stream=\"cam-1\"}"), 200);
    assert_eq!(edge.metric("kvs_edge_sessions_active{protocol=\"hls\"}"), 1);
    assert_eq!(edge.sessions.list()[0].viewers, 200);
}

#[tokio::test(start_paused = true)]
async fn many_polls_are_at_most_one_a_second_and_never_older() {
    let edge = Edge::start(HALF_A_DAY);
    for poll in 0..300 {
        let playlist = edge.live().await.unwrap();
        assert!(playlist.age < SECOND && playlist.max_age <= SECOND, "{poll}: {playlist:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(edge.kvs.opens(), 1);
    assert!(edge.kvs.loads() <= 61, "{}", edge.kvs.loads());
}

#[tokio::test(start_paused = true)]
async fn sessions_that_expire_each_minute_are_renewed_ahead() {
    let edge = Edge::start(Duration::from_secs(60));
    let mut last = 0;
    for _ in 0..1200 {
        let playlist = edge.live().await.unwrap();
        assert_ne!(playlist.outcome, cache::Outcome::Stale);
        assert!(sequence(&playlist) >= last);
        last = sequence(&playlist);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(last > 290, "{last}");
    assert_eq!(edge.metric("kvs_edge_session_renewals_total{result=\"reopened\"}"), 0);
    assert!(edge.metric("kvs_edge_session_renewals_total{result=\"renewed\"}") >= 10);
    assert!(edge.kvs.opens() <= 16);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_kvs_dropped_is_reopened_within_the_request() {
    let edge = Edge::start(HALF_A_DAY);
    let before = edge.sequence().await;
    tokio::time::sleep(10 * SECOND).await;
    edge.kvs.dropped.store(1, Ordering::SeqCst);
    let playlist = edge.live().await.unwrap();
    assert_eq!((playlist.outcome, sequence(&playlist)), (cache::Outcome::Miss, before + 5));
    assert_eq!(edge.kvs.opens(), 2);
    assert_eq!(edge.metric("kvs_edge_session_renewals_total{result=\"reopened\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn while_kvs_is_down_the_last_playlist_stands_three_target_durations() {
    let edge = Edge::start(HALF_A_DAY);
    let before = edge.sequence().await;
    edge.kvs.fault(|faults| faults.down = true);
    let mut stood = 0;
    while let Ok(playlist) = edge.live().await {
        assert_eq!(sequence(&playlist), before);
        stood += 1;
        tokio::time::sleep(SECOND / 2).await;
    }
    assert!((13..=16).contains(&stood), "{stood}");
    assert!(edge.kvs.loads() <= 9, "asked once a second: {}", edge.kvs.loads());
    assert_eq!(edge.live().await.unwrap_err().effect(), Effect::Transient);
    edge.kvs.fault(|faults| faults.down = false);
    tokio::time::sleep(SECOND).await;
    assert!(edge.sequence().await > before);
}

#[tokio::test(start_paused = true)]
async fn a_silent_camera_keeps_its_playlist_and_comes_back_by_itself() {
    let edge = Edge::start(HALF_A_DAY);
    let before = edge.sequence().await;
    edge.kvs.fault(|faults| faults.silent = true);
    for _ in 0..90 {
        let playlist = edge.live().await.unwrap();
        assert_eq!(sequence(&playlist), before);
        tokio::time::sleep(SECOND).await;
    }
    // Meanwhile KVS has forgotten the session.
    edge.kvs.dropped.store(edge.kvs.opens(), Ordering::SeqCst);
    edge.kvs.fault(|faults| faults.silent = false);
    let playlist = edge.live().await.unwrap();
    assert_eq!(playlist.outcome, cache::Outcome::Miss);
    assert!(sequence(&playlist) > before);
    let text = shown(&playlist);
    assert!(text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_target_duration_is_learned_at_opening_and_kvs_lists_no_more_than_the_window() {
    for (recent, target) in [(None, 2), (Some(vec![Recent { start: 0, length: 9_000 }]), 9)] {
        let edge = Edge::start(HALF_A_DAY);
        *lock(&edge.kvs.recent) = recent;
        let text = edge.live().await.unwrap().text;
        let tag = format!("#EXT-X-TARGETDURATION:{target}\n");
        assert!(std::str::from_utf8(text.plain().unwrap()).unwrap().contains(&tag));
        assert_eq!(lock(&edge.kvs.asked)[0].max_fragments, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_playlist_ends_while_the_camera_is_silent_if_that_was_asked_for() {
    let edge = Edge::start(HALF_A_DAY);
    let mut key = key(PlaybackMode::Live, Protocol::Hls);
    key.parameters.ends_when_silent = true;
    let live =
        async || edge.sessions.playlist(&key, &LIVE, ViewerId::of("one"), edge.kvs.visit()).await.unwrap();
    let ends = |playlist: &Playlist| playlist.text.plain().unwrap().ends_with(b"#EXT-X-ENDLIST\n");
    let before = live().await;
    assert!(!ends(&before));
    edge.kvs.fault(|faults| faults.silent = true);
    tokio::time::sleep(SECOND).await;
    for _ in 0..3 {
        let playlist = live().await;
        assert!(
            ends(&playlist)
                && sequence(&playlist) == sequence(&before)
                && playlist.text.etag() != before.text.etag()
        );
        tokio::time::sleep(SECOND).await;
    }
    edge.kvs.fault(|faults| faults.silent = false);
    assert!(!ends(&live().await), "it goes on when the camera does");
}

#[tokio::test(start_paused = true)]
async fn a_slow_kvs_delays_a_viewer_two_seconds_at_most() {
    let edge = Edge::start(HALF_A_DAY);
    edge.live().await.unwrap();
    tokio::time::sleep(SECOND).await;
    edge.kvs.fault(|faults| faults.delay = 3 * SECOND);
    let asked = Instant::now();
    let playlist = edge.live().await.unwrap();
    assert_eq!((playlist.outcome, asked.elapsed()), (cache::Outcome::Stale, 2 * SECOND));
    // What was late is shown when it comes.
    let playlist = edge.live().await.unwrap();
    assert_eq!(playlist.outcome, cache::Outcome::Collapsed);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_helped_is_told_and_not_asked_for_again_at_once() {
    let edge = Edge::start(HALF_A_DAY);
    edge.live().await.unwrap();
    tokio::time::sleep(SECOND).await;
    edge.kvs.fault(|faults| faults.fatal = true);
    for _ in 0..20 {
        assert_eq!(edge.live().await.unwrap_err().effect(), Effect::Permanent);
    }
    assert_eq!(edge.kvs.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_leaves_does_not_stop_the_load() {
    let edge = Arc::new(Edge::start(HALF_A_DAY));
    edge.kvs.fault(|faults| faults.delay = SECOND);
    let first = tokio::spawn({
        let edge = edge.clone();
        async move { edge.live().await }
    });
    // It is opened, and the load has begun.
    tokio::time::sleep(SECOND * 3 / 2).await;
    first.abort();
    assert_eq!(edge.live().await.unwrap().outcome, cache::Outcome::Collapsed);
    assert_eq!((edge.kvs.opens(), edge.kvs.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_watches_is_let_go() {
    let edge = Edge::start(HALF_A_DAY);
    edge.live().await.unwrap();
    edge.sessions.count_bytes(&key(PlaybackMode::Live, Protocol::Hls), ViewerId::of("one"), 1234);
    assert_eq!(edge.sessions.list()[0].bytes, 1234);
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(edge.metric("kvs_edge_viewers_active{stream=\"cam-1\"}"), 0);
    assert_eq!(edge.metric("kvs_edge_sessions_active{protocol=\"hls\"}"), 1);
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(edge.sessions.list(), []);
    assert_eq!(edge.metric("kvs_edge_sessions_active{protocol=\"hls\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn footage_is_loaded_once_and_outlives_its_session() {
    let edge = Edge::start(Duration::from_secs(300));
    let master = Resource::MasterPlaylist;
    let first = edge.load(PlaybackMode::OnDemand, &LIVE, "one").await.unwrap();
    edge.load(PlaybackMode::OnDemand, &master, "one").await.unwrap();
    for _ in 0..100 {
        let again = edge.load(PlaybackMode::OnDemand, &LIVE, "two").await.unwrap();
        assert_eq!(
            (again.outcome, again.text.etag()),
            (cache::Outcome::Hit(Tier::Memory), first.text.etag())
        );
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!((edge.kvs.opens(), edge.kvs.loads()), (1, 2));
    assert_eq!(lock(&edge.kvs.asked)[0].mode, PlaybackMode::OnDemand);
}

#[tokio::test(start_paused = true)]
async fn more_sessions_than_allowed_are_refused() {
    let kvs = FakeKvs::new(HALF_A_DAY);
    let config = Config { most: 1, ..Config::default() };
    let sessions = sessions(&kvs, config, &prometheus::Registry::new());
    let (one, other) = (key(PlaybackMode::Live, Protocol::Hls), key(PlaybackMode::OnDemand, Protocol::Hls));
    assert!(sessions.playlist(&one, &LIVE, ViewerId::of("one"), kvs.visit()).await.is_ok());
    assert!(matches!(sessions.open(&other, kvs.visit()).await.err(), Some(Error::Full)));
}

#[tokio::test(start_paused = true)]
async fn dash_goes_on_over_sessions_and_its_numbers_lead_back() {
    let edge = Edge::start(Duration::from_secs(30));
    let key = key(PlaybackMode::Live, Protocol::Dash);
    let load = async || {
        let viewer = ViewerId::of("one");
        let playlist =
            edge.sessions.playlist(&key, &Resource::Manifest, viewer, edge.kvs.visit()).await.unwrap();
        shown(&playlist)
    };
    let attribute = |text: &str, name: &str| -> u64 {
        let value = text.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap();
        value.parse().unwrap()
    };
    let behind = async |number: u64| {
        let number = crate::kvs::FragmentNumber::parse(&number.to_string()).unwrap();
        let resource = Resource::Mp4Fragment { protocol: Protocol::Dash, number, track: 1 };
        let located = edge.sessions.locate(&key, &resource, edge.kvs.visit()).await?;
        Ok::<_, Error>(format!("{} {}", located.session.url.id, located.resource))
    };
    let text = load().await;
    let first = attribute(&text, "t");
    assert!(
        text.contains("availabilityStartTime=\"1970-01-01T00:00:00.000Z\"") && !text.contains("kvs:fn"),
        "{text}"
    );
    assert!(lock(&edge.kvs.asked)[0].show_numbers);
    let named = |number| format!("getMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1");
    assert_eq!(behind(first + 4000).await.unwrap(), format!("s1 {}", named(3)));
    let mut last = first;
    for _ in 0..120 {
        let text = load().await;
        assert!(attribute(&text, "t") >= last && text.matches("<Period").count() == 1, "{text}");
        last = attribute(&text, "t");
        tokio::time::sleep(SECOND / 2).await;
    }
    // Sessions end each thirty seconds.
    assert!(edge.kvs.opens() >= 2 && last >= first + 50_000, "{last} {first}");
    assert_eq!(edge.metric("kvs_edge_session_renewals_total{result=\"reopened\"}"), 0);
    // The first session is over; what it gave may be in the cache. If not, KVS says so, and so do we.
    let number = crate::kvs::FragmentNumber::parse(&first.to_string()).unwrap();
    let resource = Resource::Mp4Fragment { protocol: Protocol::Dash, number, track: 1 };
    let over = edge.sessions.locate(&key, &resource, edge.kvs.visit()).await.unwrap().session;
    assert!(over.url.expires < edge.kvs.now());
    let opens = edge.kvs.opens();
    let now = edge.kvs.visit();
    let elsewhere = edge.sessions.relocate(&key, &resource, &over, SegmentRefusal::TokenRefused, now).await;
    assert!(matches!(elsewhere.err(), Some(Error::Gone)), "no session lists it any more");
    assert!(edge.kvs.opens() <= opens + 1, "no more than is renewed anyway");
    assert!(matches!(behind(last + 1_000_000).await, Err(Error::Gone)));
    assert!(behind(last).await.unwrap().starts_with('s'));
}
