//! What is remembered of footage that is presented: presentations, and what was written of them.

use crate::archive::Error;
use crate::base::hex;
use crate::base::single_flight::SingleFlight;
use crate::cache::{Outcome, Tier};
use crate::kvs::{ListedFragment, MediaKind, SegmentAddress, SelectorType, StreamArn, TimeRange};
use crate::net::body::Broken;
use crate::package::presentation::{DashOptions, HlsOptions, Presentation};
use aws_lc_rs::digest;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most memory for presentations and their playlists.
const MEMORY: u64 = 64 << 20;
/// How long a presentation of settled footage is remembered: hours by the producer's clock may grow later.
const SETTLED: Duration = Duration::from_secs(60);
/// How long one is remembered that may still change.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How long one is held without a request.
const IDLE: Duration = Duration::from_secs(600);
/// Playlists that are remembered of one presentation.
const TEXTS: usize = 6;
/// What a row takes in the playlists of a presentation, plain and compressed, in bytes.
const ROW_IN_TEXTS: usize = 160;
/// Playlists of more rows are written off the runtime.
const QUICK: usize = 2_000;
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
    pub(super) held: moka::sync::Cache<PresentationKey, Arc<FoundPresentation>>,
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

/// The presentation of a range, and what has been written of it.
pub struct FoundPresentation {
    pub(super) presentation: Arc<Presentation>,
    texts: Mutex<HashMap<TextKind, Arc<PresentationText>>>,
    /// When its rows were listed, and whether they may still change.
    listed: Mutex<(Instant, bool)>,
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

/// A playlist or manifest.
pub struct PresentationText {
    /// The same bytes for all viewers.
    pub text: Bytes,
    /// A strong entity tag with its quotation marks.
    pub etag: Arc<str>,
    /// Compressed by the first request that needs it.
    pub packed: Arc<OnceLock<Bytes>>,
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

impl Default for Presentations {
    fn default() -> Self {
        let weight = |_: &PresentationKey, found: &Arc<FoundPresentation>| {
            let texts = found.presentation.rows().len() * ROW_IN_TEXTS;
            u32::try_from(found.presentation.weight() + texts).unwrap_or(u32::MAX)
        };
        let held = moka::sync::Cache::builder().max_capacity(MEMORY).weigher(weight).time_to_idle(IDLE);
        Self {
            held: held.build(),
            making: Arc::default(),
            refused: moka::sync::Cache::builder().max_capacity(REFUSED).time_to_live(REFUSED_FOR).build(),
            denied: moka::sync::Cache::builder().max_capacity(REFUSED).time_to_live(REFUSED_FOR).build(),
            warned: moka::sync::Cache::builder().max_capacity(REFUSED).build(),
        }
    }
}

impl Presentations {
    /// Forgets a stream, by its ARN.
    pub(super) fn purge(&self, stream: &str) {
        for (key, _) in self.held.iter().filter(|(key, _)| key.stream.as_str() == stream) {
            self.held.invalidate(&*key);
        }
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
    pub(super) fn new(presentation: Presentation, listed: Instant, may_change: bool) -> Self {
        let (presentation, texts) = (Arc::new(presentation), Mutex::default());
        Self { presentation, texts, listed: Mutex::new((listed, may_change)) }
    }

    /// Its footage was listed again, and is the same.
    pub(super) fn is_listed(&self, listed: Instant, may_change: bool) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = (listed, may_change);
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

    /// What is written of it, from memory or written now; `None` if it has no such track.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn text(&self, kind: TextKind) -> Result<Arc<PresentationText>, Error> {
        let texts = || self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = texts().get(&kind) {
            return Ok(text.clone());
        }
        let presentation = self.presentation.clone();
        let write = move || Arc::new(PresentationText::of(&presentation, kind));
        let text = if self.presentation.rows().len() <= QUICK {
            write()
        } else {
            let written = tokio::task::spawn_blocking(write).await;
            written.map_err(|broken| Broken::Cut(broken.to_string()))?
        };
        let mut texts = texts();
        if texts.len() >= TEXTS {
            texts.clear();
        }
        Ok(texts.entry(kind).or_insert(text).clone())
    }

    /// The kind of media that a track of HLS has.
    #[must_use]
    pub fn kind(&self, track: u8) -> Option<MediaKind> {
        self.presentation.kind(track)
    }

    pub(super) fn is_fresh(&self) -> bool {
        let (listed, may_change) = *self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.elapsed() < if may_change { UNSETTLED } else { SETTLED }
    }
}

impl PresentationText {
    fn of(presentation: &Presentation, kind: TextKind) -> Self {
        let text = match kind {
            TextKind::Master => presentation.master_playlist(),
            TextKind::Media(kind, options) => presentation.media_playlist(kind, options),
            TextKind::Manifest(options) => presentation.manifest(options),
        };
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let etag = format!("\"{}\"", hex::encode(&digest.as_ref()[..16]));
        Self { text: text.into(), etag: etag.into(), packed: Arc::default() }
    }
}
