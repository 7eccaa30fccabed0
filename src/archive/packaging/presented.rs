//! What is remembered of footage that is presented: presentations, and what was written of them.

use crate::archive::Error;
use crate::base::fair_slots::FairSlots;
use crate::base::room::{Kept, Room};
use crate::base::single_flight::SingleFlight;
use crate::base::stored_text::{HeldText, StoredText};
use crate::cache::{Outcome, Tier};
use crate::kvs::{
    FragmentNumber, ListedFragment, MediaKind, SegmentAddress, SelectorType, StreamArn, TimeRange,
};
use crate::package::presentation::{DashOptions, HlsOptions, Presentation};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many ranges are remembered.
const RANGES: u64 = 10_000;
/// How long a presentation of settled footage is remembered: hours by the producer's clock may grow later.
const SETTLED: Duration = Duration::from_secs(60);
/// How long one is remembered that may still change.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How long a range is remembered without a request.
const IDLE: Duration = Duration::from_secs(600);
/// What the short playlists of a presentation take at most, plain and compressed, in bytes of each row.
const ROW_IN_TEXTS: usize = 160;
/// Presentations of more rows have long playlists, which are weighed on their own.
const SHORT: usize = 4_000;
/// So many streams and ranges are remembered that cannot be packaged.
const REFUSED: u64 = 10_000;
/// How long that is remembered before it is tried again.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// Which footage is presented: what presentations are shared by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PresentedRange {
    /// The clock that selects.
    pub clock: SelectorType,
    /// From the first instant to the last, both inclusive.
    pub range: TimeRange,
    /// The most fragments: the oldest ones are presented.
    pub most: usize,
}

/// The presentations that were made lately. Clones share them.
#[derive(Clone)]
pub(super) struct Presentations {
    /// Where presentations and their long playlists are kept.
    pub(super) room: Room,
    /// What was found in ranges. Many ranges have the same fragments, and share one presentation.
    pub(super) ranges: moka::sync::Cache<PresentationKey, FoundRange>,
    /// The presentations by their fragments.
    pub(super) by_footage: moka::sync::Cache<FootageKey, Kept<FoundPresentation>>,
    /// Hours of footage that may be listed and written at a time.
    pub(super) hours: Arc<FairSlots>,
    pub(super) making: Arc<SingleFlight<PresentationKey, Result<Option<Arc<FoundPresentation>>, Error>>>,
    /// Ranges that cannot be packaged.
    pub(super) refused: moka::sync::Cache<PresentationKey, ()>,
    /// Streams whose fragments may not be read.
    pub(super) denied: moka::sync::Cache<StreamArn, ()>,
    /// Streams of which a warning has been logged.
    pub(super) warned: moka::sync::Cache<StreamArn, ()>,
}

/// What there is to present.
pub enum Presented {
    /// Footage, and where it came from.
    Found(Arc<FoundPresentation>, Outcome),
    /// Nothing is recorded.
    Nothing,
    /// It cannot be packaged, or AWS does not let us read fragments: only KVS's own session can show it. That
    /// has been counted, and logged once for the stream.
    Refused,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PresentationKey {
    pub(super) stream: StreamArn,
    pub(super) range: PresentedRange,
}

/// What a range was found to have.
#[derive(Clone)]
pub(super) struct FoundRange {
    pub(super) presentation: Kept<FoundPresentation>,
    /// When its rows were listed, and whether they may still change.
    pub(super) listed: Instant,
    pub(super) may_change: bool,
}

/// Fragments that follow each other, by the first, the last and how many. Those between may change.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct FootageKey {
    stream: StreamArn,
    clock: SelectorType,
    first: FragmentNumber,
    last: FragmentNumber,
    count: usize,
}

/// The presentation of a range, and what has been written of it.
pub struct FoundPresentation {
    pub(super) presentation: Arc<Presentation>,
    pub(super) texts: Mutex<HashMap<TextKind, HeldText>>,
    /// One text is written at a time.
    pub(super) writing: tokio::sync::Mutex<()>,
}

/// What can be written of a presentation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TextKind {
    /// The HLS master playlist.
    Master,
    /// The HLS media playlist of a kind of media.
    Media(MediaKind, HlsOptions),
    /// The DASH manifest.
    Manifest(DashOptions),
}

/// A segment, or an init segment.
pub struct FoundSegment {
    /// Its bytes, shared with the cache.
    pub pieces: Vec<Bytes>,
    /// A strong entity tag with its quotation marks: the same in every replica.
    pub etag: String,
    /// How the fragment came.
    pub outcome: Outcome,
}

/// Hours of footage that are listed and written for players at a time, in all and for one caller. An hour of
/// one-second fragments takes some 1 MB meanwhile, so that a caller may have three days under way, or many
/// short ranges.
const HOURS: u32 = 288;
const HOURS_OF_ONE: u32 = 96;
/// How long a request waits for other ranges to be listed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

impl Presentations {
    pub(super) fn new(room: Room) -> Self {
        let ranges = moka::sync::Cache::builder().max_capacity(RANGES).time_to_idle(IDLE);
        let by_footage = moka::sync::Cache::builder().max_capacity(RANGES).time_to_idle(IDLE);
        Self {
            room,
            ranges: ranges.build(),
            by_footage: by_footage.build(),
            hours: FairSlots::new(HOURS, HOURS_OF_ONE),
            making: Arc::default(),
            refused: moka::sync::Cache::builder().max_capacity(REFUSED).time_to_live(REFUSED_FOR).build(),
            denied: moka::sync::Cache::builder().max_capacity(REFUSED).time_to_live(REFUSED_FOR).build(),
            warned: moka::sync::Cache::builder().max_capacity(REFUSED).build(),
        }
    }

    /// Forgets a stream, by its ARN.
    pub(super) fn purge(&self, stream: &str) {
        for (key, found) in self.ranges.iter().filter(|(key, _)| key.stream.as_str() == stream) {
            self.room.forget(&found.presentation);
            self.ranges.invalidate(&*key);
        }
    }

    /// The presentation of exactly these rows, if it is held.
    pub(super) fn of_rows(
        &self,
        key: &FootageKey,
        rows: &[ListedFragment],
    ) -> Option<(Kept<FoundPresentation>, Arc<FoundPresentation>)> {
        let kept = self.by_footage.get(key)?;
        let found = self.room.get(&kept)?;
        (**found.presentation.rows() == *rows).then_some((kept, found))
    }

    /// Holds a presentation.
    pub(super) fn hold(&self, key: FootageKey, found: &Arc<FoundPresentation>) -> Kept<FoundPresentation> {
        let kept = self.room.keep(found.clone(), found.weight());
        self.by_footage.insert(key, kept.clone());
        kept
    }
}

impl FoundRange {
    pub(super) fn is_fresh(&self) -> bool {
        self.listed.elapsed() < if self.may_change { UNSETTLED } else { SETTLED }
    }
}

impl FootageKey {
    /// The key of rows; `None` if there are none.
    pub(super) fn of(stream: &StreamArn, clock: SelectorType, rows: &[ListedFragment]) -> Option<Self> {
        let (first, last) = (rows.first()?.number.clone(), rows.last()?.number.clone());
        Some(Self { stream: stream.clone(), clock, first, last, count: rows.len() })
    }
}

impl FoundSegment {
    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl FoundPresentation {
    pub(super) fn new(presentation: Presentation) -> Self {
        let (texts, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { presentation: Arc::new(presentation), texts, writing }
    }

    /// Bytes of memory that it takes, with its short playlists.
    fn weight(&self) -> usize {
        self.presentation.weight() + self.presentation.rows().len().min(SHORT) * ROW_IN_TEXTS
    }

    /// The row of the fragment that an address stands for, whatever the kind.
    #[must_use]
    pub fn row(&self, address: SegmentAddress) -> Option<&ListedFragment> {
        self.presentation.index(address.time).map(|index| &self.presentation.rows()[index])
    }

    /// The init segment at an address.
    #[must_use]
    pub fn init(&self, address: SegmentAddress) -> Option<FoundSegment> {
        let segment = self.presentation.init(address)?;
        let outcome = Outcome::Hit(Tier::Memory);
        Some(FoundSegment { pieces: segment.bytes, etag: segment.etag, outcome })
    }

    /// What is written of it, if it is held.
    pub(super) fn held(&self, kind: TextKind, room: &Room) -> Option<Arc<StoredText>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(&kind)?.get(room)
    }

    /// The kind of media that a track of HLS has.
    #[must_use]
    pub fn kind(&self, track: u8) -> Option<MediaKind> {
        self.presentation.kind(track)
    }
}
