//! What KVS has stored: clips, pictures, fragment lists, fragments, stream lists, JSON answers.
//!
//! What is kept as one piece is an [`Object`]: a key, a kind of freshness and a fetch. [`Archive::get`] does
//! the rest once for all of them: it looks in the cache, charges the caller, joins the fetch under way or
//! starts one, and keeps the result. Everything here has been permitted: the gateway decides before it comes
//! here, and no key holds a caller (law 1).

mod answer;
mod clip;
mod error;
mod footage;
mod fragment_list;
mod fragments;
mod image;
mod listing;
mod object;
mod packaging;
pub mod page_token;
pub mod prewarm;
mod remembered;
mod streams;
mod truncation;

pub use answer::{FoundAnswer, JsonAnswer, NextToken};
pub use clip::Clip;
pub use error::Error;
pub use footage::{ListedFootage, Nearest};
pub use fragment_list::FragmentList;
pub use fragments::{Batches, Failure, FoundFragment, FragmentReader, FragmentsAnswer, MATROSKA};
pub use image::{Image, LONG_PICTURE_SPAN, PICTURE_SPAN, STALEST_PICTURE, instant_shown};
pub use object::{Object, Source};
pub use packaging::{
    FoundPresentation, FoundSegment, Metrics, PackagedClip, Packaging, Presented, PresentedRange, TextKind,
};
pub use remembered::{ListedStream, Truncation};
pub use streams::StreamList;

use crate::cache::freshness::Rules;
use crate::cache::{self, Cache, Found};
use crate::kvs::{StreamArn, Timestamp};
use crate::upstream::{Located, OnBehalfOf, Upstream};
use remembered::{DecodedHours, NewestImages, StreamLists, Truncations};
use std::sync::Arc;
use std::time::Duration;

/// The archive, under one generation of settings. Clones share everything.
#[derive(Clone)]
pub struct Archive(Arc<ArchiveState>);

struct ArchiveState {
    upstream: Upstream,
    cache: Cache,
    settings: cache::Config,
    batches: Batches,
    packaging: Packaging,
    newest_images: NewestImages,
    truncations: Truncations,
    decoded_hours: DecodedHours,
    streams: StreamLists,
}

/// A stream whose ARN and retention are known, described once per request. Clones share it.
#[derive(Clone)]
pub struct Stream(Arc<Described>);

struct Described {
    located: Located,
    arn: StreamArn,
    retention: Duration,
}

impl Stream {
    /// Where it is served from.
    #[must_use]
    pub fn located(&self) -> &Located {
        &self.0.located
    }

    /// Its ARN as KVS gives it.
    #[must_use]
    pub fn arn(&self) -> &StreamArn {
        &self.0.arn
    }

    /// How long KVS keeps its footage; zero if nothing is archived.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.0.retention
    }

    /// That an instant is older than what the stream keeps, in words; `None` if it is not.
    #[must_use]
    pub fn too_old(&self, parameter: &str, at: Timestamp, now: Timestamp) -> Option<String> {
        let (hours, name) = (self.retention().as_secs() / 3600, self.arn().name());
        let is_old = at.age(now) > self.retention();
        is_old.then(|| format!("{parameter} is older than the {hours} h that {name} keeps"))
    }
}

impl Archive {
    /// The archive over these calls and this cache. `batches` and `packaging` outlive reloads, so that
    /// fragments on their way are found again.
    #[must_use]
    pub fn new(
        upstream: Upstream,
        cache: Cache,
        settings: cache::Config,
        batches: Batches,
        packaging: Packaging,
    ) -> Self {
        let truncations = Truncations::new(settings.max_age.0);
        Self(Arc::new(ArchiveState {
            upstream,
            cache,
            settings,
            batches,
            packaging,
            newest_images: NewestImages::default(),
            truncations,
            decoded_hours: DecodedHours::default(),
            streams: StreamLists::default(),
        }))
    }

    /// What KVS says a stream is, from memory where that is fresh. `principal` is called only if KVS must be:
    /// it takes the turn under the quotas.
    ///
    /// # Errors
    /// KVS's, if it does not describe the stream.
    pub async fn describe(
        &self,
        located: &Located,
        principal: impl FnOnce() -> Arc<str>,
    ) -> Result<Stream, Error> {
        let description = self.0.upstream.describe(located, principal).await?;
        Ok(Stream(Arc::new(Described {
            located: located.clone(),
            arn: description.arn.clone(),
            retention: Duration::from_secs(u64::from(description.retention_hours) * 3600),
        })))
    }

    /// One object: from the cache, from the fetch under way, or fetched now and kept. `on_behalf_of` is
    /// called only if KVS must be called.
    ///
    /// # Errors
    /// KVS's, the same for all who waited for the fetch, or that of `on_behalf_of`.
    pub async fn get<O: Object, E: From<Error>>(
        &self,
        object: &O,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<Found, E> {
        let key = object.key();
        if let Some(found) = self.0.cache.get(&key) {
            return Ok(found);
        }
        let source = self.source(object, on_behalf_of()?);
        let object = object.clone();
        let fetch = move || object.clone().fetch(source.clone());
        self.0.cache.get_or_fill(key, fetch).await.map_err(|error| Error::from(error).into())
    }

    /// Whether an object is held, so that getting it need not cost a call.
    #[must_use]
    pub fn holds(&self, object: &impl Object) -> bool {
        self.0.cache.holds(&object.key())
    }

    /// `cache.settle`: what reached KVS longer ago does not change any more.
    #[must_use]
    pub fn settle(&self) -> Duration {
        self.0.settings.settle.0
    }

    fn source(&self, object: &impl Object, on_behalf_of: OnBehalfOf) -> Source {
        Source {
            upstream: self.0.upstream.clone(),
            cache: self.0.cache.clone(),
            located: object.located().clone(),
            rules: self.rules(object.retention()),
            on_behalf_of,
        }
    }

    /// What decides how long answers are kept, for a stream of this retention.
    fn rules(&self, retention: Option<Duration>) -> Rules {
        Rules::new(&self.0.settings, retention)
    }
}
