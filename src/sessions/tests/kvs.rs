//! A KVS with one camera, in memory, that fails as told. Time is tokio's, paused.

use crate::kvs::operations::FragmentSelector;
use crate::kvs::{PlaybackMode, Protocol, Resource, SessionParameters, StreamRef, Timestamp};
use crate::net::body::whole;
use crate::sessions::Visit;
use crate::sessions::hls::Recent;
use crate::sessions::key::tests::key;
use crate::sessions::kvs::SessionSource;
use crate::sessions::numbering::tests::fragment;
use crate::sessions::session::lock;
use crate::sessions::tests::ALICE;
use crate::upstream::{Answer, Error, SessionUrl};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A KVS with one camera that makes a fragment every 2 s of (paused) time.
pub(super) struct FakeKvs {
    pub(super) start: Instant,
    pub(super) opens: AtomicU64,
    pub(super) loads: AtomicU64,
    /// Sessions up to this number are no more.
    pub(super) dropped: AtomicU64,
    pub(super) lifetime: Duration,
    pub(super) faults: Mutex<Faults>,
    /// The parameters of each session, in the order of opening.
    pub(super) asked: Mutex<Vec<SessionParameters>>,
    /// When each was opened.
    opened: Mutex<Vec<Instant>>,
    /// Fragments that were fetched: the session and the resource.
    pub(super) fetched: Mutex<Vec<String>>,
    /// What was recorded of late; `None`: that cannot be listed.
    pub(super) recent: Mutex<Option<Vec<Recent>>>,
    /// Whose turn each request took.
    pub(super) principals: Mutex<Vec<Arc<str>>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) silent: bool,
    pub(super) down: bool,
    pub(super) fatal: bool,
    pub(super) delay: Duration,
    /// In place of the usual five seconds.
    pub(super) playlist_deadline: Option<Duration>,
}

pub(super) const EPOCH: u64 = 1_800_000_000_000;
/// Ticks per second of the camera's media.
const TIMESCALE: u32 = 16_000;

impl FakeKvs {
    pub(super) fn new(lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            opens: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            lifetime,
            faults: Mutex::default(),
            asked: Mutex::default(),
            opened: Mutex::default(),
            fetched: Mutex::default(),
            principals: Mutex::default(),
            recent: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH).plus(self.start.elapsed())
    }

    /// A request of the only caller.
    pub(super) fn visit(&self) -> Visit<'static> {
        Visit { caller: &ALICE, now: self.now() }
    }

    pub(super) fn fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.faults));
    }

    async fn faulty(&self) -> Result<(), Error> {
        let faults = *lock(&self.faults);
        tokio::time::sleep(faults.delay).await;
        match faults {
            Faults { fatal: true, .. } => Err(Error::NotServed("no stream".into())),
            Faults { down: true, .. } => Err(Error::Unreachable("it is down".into())),
            Faults { silent: true, .. } => Err(Error::NoData("no fragments".into())),
            _ => Ok(()),
        }
    }

    pub(super) fn opens(&self) -> u64 {
        self.opens.load(Ordering::SeqCst)
    }

    pub(super) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Number of the newest fragment at that time.
    fn made(&self, at: Instant) -> u64 {
        at.duration_since(self.start).as_secs() / 2 + 10
    }

    fn playlist(
        &self,
        number: u64,
        opened: Instant,
        parameters: &SessionParameters,
        resource: &Resource,
    ) -> Result<String, Error> {
        let (oldest, newest) = (self.made(opened) - 4, self.made(Instant::now()));
        let first = (newest - 4).max(oldest);
        if *resource == Resource::Manifest {
            return Ok(manifest(oldest, first..=newest));
        }
        if let (5000, Some(from), Some(to)) = (parameters.max_fragments, parameters.start, parameters.end) {
            return day(from, to, resource);
        }
        let mut text = String::from("#EXTM3U\n");
        if parameters.mode == PlaybackMode::OnDemand {
            text += &format!("# {resource} of {number}\n");
        }
        if *resource == Resource::MasterPlaylist {
            return Ok(text + "getHLSMediaPlaylist.m3u8?TrackNumber=1\n");
        }
        if parameters.mode == PlaybackMode::OnDemand {
            text.extend((0..30).map(|n| format!("getTSFragment.ts?FragmentNumber={n}\n")));
            return Ok(text);
        }
        text += &format!(
            "#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber=1\"\n",
            first - oldest
        );
        for counter in first..=newest {
            let number = fragment(counter, EPOCH + counter * 2000, 3);
            text += &format!("#EXTINF:2,\ngetMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1\n");
        }
        Ok(text)
    }
}

/// The camera as a source of sessions.
pub(super) struct FakeSource(pub(super) Arc<FakeKvs>);

#[async_trait]
impl SessionSource for FakeSource {
    async fn open(
        &self,
        _: &StreamRef,
        parameters: &SessionParameters,
        principal: &Arc<str>,
    ) -> Result<SessionUrl, Error> {
        lock(&self.0.principals).push(principal.clone());
        self.0.faulty().await?;
        let number = self.0.opens.fetch_add(1, Ordering::SeqCst) + 1;
        lock(&self.0.asked).push(parameters.clone());
        lock(&self.0.opened).push(Instant::now());
        Ok(SessionUrl::of_test(&format!("s{number}"), self.0.now().plus(self.0.lifetime)))
    }

    fn adopt(&self, _: &StreamRef, _: &str, token: &str, expires: Timestamp) -> Result<SessionUrl, Error> {
        Ok(SessionUrl::of_test(token, expires))
    }

    async fn fetch(
        &self,
        _: &StreamRef,
        session: &SessionUrl,
        resource: &Resource,
        _: u16,
        principal: &Arc<str>,
    ) -> Result<Answer, Error> {
        let kvs = &self.0;
        lock(&kvs.principals).push(principal.clone());
        if resource.is_playlist() {
            kvs.loads.fetch_add(1, Ordering::SeqCst);
        }
        let number: u64 = session.id[1..].parse().unwrap();
        let at = usize::try_from(number).unwrap() - 1;
        let (opened, parameters) = (lock(&kvs.opened)[at], lock(&kvs.asked)[at].clone());
        if opened + kvs.lifetime <= Instant::now() || number <= kvs.dropped.load(Ordering::SeqCst) {
            return Err(Error::SessionExpired);
        }
        kvs.faulty().await?;
        let body = match resource {
            Resource::InitSegment { .. } => init_segment(),
            Resource::Mp4Fragment { .. } | Resource::TsFragment { .. } => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                lock(&kvs.fetched).push(format!("{} {resource}", session.id));
                mp4_fragment()
            }
            _ => kvs.playlist(number, opened, &parameters, resource)?.into_bytes(),
        };
        let (length, body) = (Some(body.len() as u64), whole(Bytes::from(body)));
        Ok(Answer { length, request_id: None, attempts: 1, body })
    }

    fn playlist_deadline(&self) -> Duration {
        lock(&self.0.faults).playlist_deadline.unwrap_or(Duration::from_secs(5))
    }

    async fn recent(
        &self,
        _: &StreamRef,
        selector: FragmentSelector,
        most: u16,
        _: &Arc<str>,
    ) -> Result<Vec<Recent>, Error> {
        assert!(most > 0 && selector.range.start < selector.range.end.unwrap());
        lock(&self.0.recent).clone().ok_or_else(|| Error::Unreachable("no list".into()))
    }
}

fn mp4_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, body].concat()
}

fn init_segment() -> Vec<u8> {
    let mdhd = [&[0; 12][..], &TIMESCALE.to_be_bytes(), &[0; 8]].concat();
    let stbl = mp4_box(b"stbl", &mp4_box(b"stsd", b"avc1"));
    let mdia = [mp4_box(b"mdhd", &mdhd), mp4_box(b"minf", &stbl)].concat();
    [mp4_box(b"ftyp", b"iso5"), mp4_box(b"moov", &mp4_box(b"trak", &mp4_box(b"mdia", &mdia)))].concat()
}

fn mp4_fragment() -> Vec<u8> {
    let tfdt = [&[1, 0, 0, 0][..], &0_u64.to_be_bytes()].concat();
    let traf = [mp4_box(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]), mp4_box(b"tfdt", &tfdt)].concat();
    let moof = [mp4_box(b"mfhd", &[0, 0, 0, 0, 0, 0, 0, 7]), mp4_box(b"traf", &traf)].concat();
    [mp4_box(b"moof", &moof), mp4_box(b"mdat", b"media")].concat()
}

/// A fragment each ten minutes, but none on the second day.
pub(super) fn day(from: Timestamp, to: Timestamp, resource: &Resource) -> Result<String, Error> {
    let start = key(PlaybackMode::OnDemand, Protocol::Hls).parameters.start.unwrap();
    let since = |time: Timestamp| u64::try_from(start.age(time).as_millis()).unwrap();
    let starts = (since(from).div_ceil(600_000)..=since(to) / 600_000).map(|n| n * 600);
    let starts: Vec<_> = starts.filter(|at| !(86_400..=172_800).contains(at)).collect();
    if starts.is_empty() {
        return Err(Error::NoData("no fragments".into()));
    }
    if *resource == Resource::MasterPlaylist {
        return Ok(format!("#EXTM3U\n# from {}\ngetHLSMediaPlaylist.m3u8?TrackNumber=1\n", since(from)));
    }
    let mut text = String::from(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber=1\"\n",
    );
    for at in starts {
        let time = start.plus(Duration::from_secs(at));
        let number = fragment(at, time.millis(), 0);
        text += &format!(
            "#EXT-X-PROGRAM-DATE-TIME:{time}\n#EXTINF:2,\ngetMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1\n"
        );
    }
    Ok(text)
}

/// As docs/KVS.md 5.6 has it: numbers count from the session's first fragment.
pub(super) fn manifest(from: u64, fragments: std::ops::RangeInclusive<u64>) -> String {
    let mut text = format!(
        "<MPD type=\"dynamic\" availabilityStartTime=\"{}\"><Period><SegmentTemplate timescale=\"1000\" startNumber=\"{}\" \
         initialization=\"getMP4InitFragment.mp4?TrackNumber=1\" \
         media=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;TrackNumber=1\"><SegmentTimeline>",
        Timestamp::from_millis(EPOCH + from * 2000),
        fragments.start() - from + 1
    );
    for counter in fragments {
        let number = fragment(counter, EPOCH + counter * 2000, 3);
        text += &format!("<S t=\"{}\" d=\"2000\" kvs:fn=\"{number}\"/>", (counter - from) * 2000);
    }
    text + "</SegmentTimeline></SegmentTemplate></Period></MPD>"
}
