//! A KVS with one camera, in memory, that fails as told. Time is tokio's, paused.

use crate::kvs::{PlaybackMode, Protocol, Resource, SessionParameters, Timestamp};
use crate::sessions::key::tests::key;
use crate::sessions::numbering::tests::fragment;
use crate::sessions::session::lock;
use crate::sessions::{Located, Opened, Origin, SessionKey, Track, Verdict, Viewing};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A KVS with one camera that makes a fragment every 2 s of (paused) time.
pub(super) struct Kvs {
    pub(super) start: Instant,
    pub(super) opens: AtomicU64,
    pub(super) loads: AtomicU64,
    /// Sessions up to this number are no more.
    pub(super) dropped: AtomicU64,
    pub(super) lifetime: Duration,
    pub(super) faults: Mutex<Faults>,
    pub(super) asked: Mutex<Vec<SessionParameters>>,
    pub(super) gone: Mutex<Vec<Viewing>>,
    pub(super) fetched: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) silent: bool,
    pub(super) down: bool,
    pub(super) fatal: bool,
    pub(super) delay: Duration,
}

pub(super) const EPOCH: u64 = 1_800_000_000_000;

impl Kvs {
    pub(super) fn new(lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            opens: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            lifetime,
            faults: Mutex::default(),
            asked: Mutex::default(),
            gone: Mutex::default(),
            fetched: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH).plus(self.start.elapsed())
    }

    pub(super) fn fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.faults));
    }

    async fn faulty(&self) -> Result<(), Failed> {
        let faults = *lock(&self.faults);
        tokio::time::sleep(faults.delay).await;
        match faults {
            Faults { fatal: true, .. } => Err(Failed(Verdict::Fatal)),
            Faults { down: true, .. } => Err(Failed(Verdict::Transient)),
            Faults { silent: true, .. } => Err(Failed(Verdict::NoData)),
            _ => Ok(()),
        }
    }

    pub(super) fn opens(&self) -> u64 {
        self.opens.load(Ordering::SeqCst)
    }

    pub(super) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Failed(pub(super) Verdict);

pub(super) struct Way(pub(super) Arc<Kvs>);

/// A session's number, when it opened, when it ends.
pub(super) type Handle = (u64, Instant, Instant);

impl Origin for Way {
    type Handle = Handle;
    type Error = Failed;

    async fn open(&self, _: &SessionKey, parameters: &SessionParameters) -> Result<Opened<Handle>, Failed> {
        self.0.faulty().await?;
        let number = self.0.opens.fetch_add(1, Ordering::SeqCst) + 1;
        lock(&self.0.asked).push(parameters.clone());
        let now = Instant::now();
        let expires = self.0.now().plus(self.0.lifetime);
        Ok(Opened { id: format!("s{number}"), expires, handle: (number, now, now + self.0.lifetime) })
    }

    async fn playlist(
        &self,
        key: &SessionKey,
        handle: &Handle,
        resource: &Resource,
    ) -> Result<String, Failed> {
        let kvs = &self.0;
        kvs.loads.fetch_add(1, Ordering::SeqCst);
        let (number, opened, until) = *handle;
        if until <= Instant::now() || number <= kvs.dropped.load(Ordering::SeqCst) {
            return Err(Failed(Verdict::Expired));
        }
        kvs.faulty().await?;
        let made = |at: Instant| at.duration_since(kvs.start).as_secs() / 2 + 10;
        let first = (made(Instant::now()) - 4).max(made(opened) - 4);
        if *resource == Resource::Manifest {
            return Ok(manifest(made(opened) - 4, first..=made(Instant::now())));
        }
        if let (5000, Some(from), Some(to)) =
            (key.parameters.max_fragments, key.parameters.start, key.parameters.end)
        {
            return day(from, to, resource);
        }
        if !key.moves() {
            let media: String = (0..30).map(|n| format!("getTSFragment.ts?FragmentNumber={n}\n")).collect();
            return Ok(format!("#EXTM3U\n# {resource} of {number}\n{media}"));
        }
        let mut text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber=1\"\n",
            first - (made(opened) - 4)
        );
        for counter in first..=made(Instant::now()) {
            let number = fragment(counter, EPOCH + counter * 2000, 3);
            text += &format!("#EXTINF:2,\ngetMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1\n");
        }
        Ok(text)
    }

    async fn track(&self, _: &SessionKey, init: Located<Handle>) -> Result<Option<Track>, Failed> {
        assert!(matches!(init.resource, Resource::InitSegment { .. }));
        Ok(Some(Track { timescale: 16_000, mark: 7 }))
    }

    async fn anchor(
        &self,
        _: &SessionKey,
        fragment: Located<Handle>,
        begins: Timestamp,
        track: Track,
    ) -> Result<Option<Duration>, Failed> {
        self.0.faulty().await?;
        lock(&self.0.fetched).push(format!("{} {}", fragment.opened.id, fragment.resource));
        // Times count from the opening.
        let (_, opened, _) = fragment.opened.handle;
        let opened = Timestamp::from_millis(EPOCH).plus(opened.duration_since(self.0.start));
        Ok(track.away(track.ticks(opened.age(begins)), begins))
    }

    fn verdict(error: &Failed) -> Verdict {
        error.0
    }

    async fn prefetch(&self, _: &SessionKey, located: Located<Handle>) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        lock(&self.0.fetched).push(format!("{} {}", located.opened.id, located.resource));
    }

    fn left(&self, viewing: Viewing) {
        lock(&self.0.gone).push(viewing);
    }
}

/// A fragment each ten minutes, but none on the second day.
pub(super) fn day(from: Timestamp, to: Timestamp, resource: &Resource) -> Result<String, Failed> {
    let start = key(PlaybackMode::OnDemand, Protocol::Hls).parameters.start.unwrap();
    let since = |time: Timestamp| u64::try_from(start.age(time).as_millis()).unwrap();
    let starts = (since(from).div_ceil(600_000)..=since(to) / 600_000).map(|n| n * 600);
    let starts: Vec<_> = starts.filter(|at| !(86_400..=172_800).contains(at)).collect();
    if starts.is_empty() {
        return Err(Failed(Verdict::NoData));
    }
    if *resource == Resource::MasterPlaylist {
        return Ok(format!("#EXTM3U\n# from {}\n", since(from)));
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

/// As KVS.md 5.6 has it: numbers count from the session's first fragment.
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
