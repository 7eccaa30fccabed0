//! Footage for players, made of stored fragments: the presentation of a range, and its segments.
//!
//! A presentation is the same for every viewer of a range, so it is made once and remembered for a while, as
//! are the playlists that are written of it. Of a range that may still change it is remembered for two
//! seconds. Segments are made anew for each request, unless they are small (`written_parts`): that costs
//! little beside sending them, and the fragments they are made of are in the cache.

use super::metrics::ACCESS_DENIED;
use super::pieces;
use super::presented::PresentedRange;
use super::presented::{
    FootageKey, FoundPresentation, FoundRange, FoundSegment, PATIENCE, PresentationKey, Presented,
};
use super::written_parts::PartKey;
use crate::archive::{Archive, Error, Stream};
use crate::cache::{Outcome, Tier};
use crate::kvs::{ListedFragment, Protocol, SegmentAddress, Timestamp};
use crate::net::body::{Broken, ByteStream};
use crate::package::Refusal;
use crate::package::presentation::{Observation, Presentation, to_observe};
use crate::upstream::OnBehalfOf;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most fragments of a presentation: a day of one second each, and half a day more. It takes some 20 MB.
const MOST_FRAGMENTS: usize = 130_000;
/// So many fragments ahead of what a viewer asks for are looked after, and fetched if they are not here.
const AHEAD: usize = 4;

impl Archive {
    /// The presentation of a range, from memory where that is fresh, or made now, once for concurrent
    /// requests. `on_behalf_of` is called only if it must be made.
    ///
    /// # Errors
    /// KVS's, or that of `on_behalf_of`.
    pub async fn presentation<E: From<Error>>(
        &self,
        stream: &Stream,
        range: &PresentedRange,
        now: Timestamp,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<Presented, E> {
        let key = PresentationKey { stream: stream.arn().clone(), range: range.clone() };
        let memory = &self.0.packaging.presentations;
        if let Some(found) = memory.ranges.get(&key).filter(FoundRange::is_fresh)
            && let Some(found) = memory.room.get(&found.presentation)
        {
            return Ok(Presented::Found(found, Outcome::Hit(Tier::Memory)));
        }
        if memory.refused.contains_key(&key) || memory.denied.contains_key(&key.stream) {
            return Ok(Presented::Refused);
        }
        let on_behalf_of = on_behalf_of()?;
        let mut is_second = false;
        loop {
            let (archive, stream, making) = (self.clone(), stream.clone(), key.clone());
            let on_behalf_of = on_behalf_of.clone();
            let flight = memory.making.run(key.clone(), move || async move {
                archive.present(&stream, making, now, on_behalf_of).await
            });
            let is_joined = flight.joined();
            let outcome = if is_joined { Outcome::Collapsed } else { Outcome::Miss };
            return match flight.result().await {
                Ok(Ok(Some(found))) => Ok(Presented::Found(found, outcome)),
                Ok(Ok(None)) => Ok(Presented::Nothing),
                // What the caller that began it must wait for, this one may not have to.
                Ok(Err(error)) if is_joined && !is_second && error.is_of_caller() => {
                    is_second = true;
                    continue;
                }
                Ok(Err(error)) if self.is_refused(key, &error) => Ok(Presented::Refused),
                Ok(Err(error)) => Err(error.into()),
                Err(interrupted) => Err(Error::from(Broken::Cut(interrupted.to_string())).into()),
            };
        }
    }

    /// Whether a failure means that footage cannot be packaged here. It is remembered then, so that it is
    /// counted and tried anew once in a while, and not for each request.
    fn is_refused(&self, key: PresentationKey, error: &Error) -> bool {
        let memory = &self.0.packaging.presentations;
        let stream = key.stream.clone();
        let (is_new, reason) = match error {
            Error::Package { refusal, .. } => {
                (memory.refused.entry(key).or_insert(()).is_fresh(), refusal.reason())
            }
            Error::Upstream(error) if error.is_access_denied() => {
                (memory.denied.entry(stream.clone()).or_insert(()).is_fresh(), ACCESS_DENIED)
            }
            _ => return false,
        };
        if is_new {
            self.0.packaging.metrics().refused(reason);
            if memory.warned.entry(stream.clone()).or_insert(()).is_fresh() {
                let name = stream.name();
                tracing::warn!(stream = %name, "its archive is played from KVS's sessions: {error}");
            }
        }
        true
    }

    /// Lists a range, and makes its presentation unless there is one of the same fragments.
    async fn present(
        &self,
        stream: &Stream,
        key: PresentationKey,
        now: Timestamp,
        on_behalf_of: OnBehalfOf,
    ) -> Result<Option<Arc<FoundPresentation>>, Error> {
        let listed = Instant::now();
        let (range, memory) = (&key.range, &self.0.packaging.presentations);
        let end = range.range.end.unwrap_or(now);
        // Both ends belong to the range, and a fragment that began ahead of it does not (docs/KVS.md 4.1).
        let until = end.plus(Duration::from_millis(1));
        let hours = range.range.start.age(end.min(now)).as_secs() / 3600 + 1;
        let turn = memory.hours.take(
            on_behalf_of.principal(),
            u32::try_from(hours).unwrap_or(u32::MAX),
            tokio::time::Instant::now() + PATIENCE,
        );
        let _turn = turn.await.map_err(Error::Crowded)?;
        let grant = on_behalf_of.clone();
        let granted = move || Ok::<_, Error>(grant);
        let footage = self.footage(stream, range.clock, range.range.start..until, now, granted).await?;
        let from = footage.rows.partition_point(|row| row.start(range.clock) < range.range.start);
        let inside = &footage.rows[from..];
        let rows = &inside[..inside.len().min(range.most)];
        let Some(footage_key) = FootageKey::of(&key.stream, range.clock, rows) else {
            memory.ranges.invalidate(&key);
            return Ok(None);
        };
        if rows.len() > MOST_FRAGMENTS {
            return Err(Error::refused(None, Refusal::TooLarge("fragments for one presentation")));
        }
        let may_change = end.plus(self.0.settings.settle.0) > now;
        let (presentation, found) = if let Some(held) = memory.of_rows(&footage_key, rows) {
            held
        } else {
            let is_all = rows.len() == footage.rows.len();
            let rows: Arc<[ListedFragment]> = if is_all { footage.rows.clone() } else { rows.into() };
            let observed = self.observe(stream, &rows, on_behalf_of).await?;
            let presentation = Presentation::new(rows.clone(), observed);
            let presentation = presentation.map_err(|refusal| Error::refused(rows.first(), refusal))?;
            let found = Arc::new(FoundPresentation::new(presentation));
            (memory.hold(footage_key, &found), found)
        };
        memory.ranges.insert(key, FoundRange { presentation, listed, may_change });
        Ok(Some(found))
    }

    /// Looks into the fragments at which settings may have changed.
    async fn observe(
        &self,
        stream: &Stream,
        rows: &[ListedFragment],
        on_behalf_of: OnBehalfOf,
    ) -> Result<Vec<(usize, Observation)>, Error> {
        let places = to_observe(rows);
        let wanted: Vec<ListedFragment> = places.iter().map(|place| rows[*place].clone()).collect();
        let mut reader = self.fragments_of(stream, wanted.into_iter(), on_behalf_of);
        let mut observed: Vec<(usize, Observation)> = Vec::with_capacity(places.len());
        for place in places {
            match reader.next().await {
                Some(Ok(document)) => {
                    let observation = Observation::of(&document);
                    let observation =
                        observation.map_err(|refusal| Error::refused(Some(&rows[place]), refusal))?;
                    observed.push((place, observation));
                }
                // It is gone since it was listed; what follows is taken for what came before.
                Some(Err(failure)) if failure.is_not_found() && !observed.is_empty() => {}
                Some(Err(failure)) => return Err(failure.into_error()),
                None => break,
            }
        }
        Ok(observed)
    }

    /// The segment at an address, and the row of its fragment; `None` if the presentation has none there.
    /// Fragments that will probably be asked for next are fetched with it. `on_behalf_of` is called only if
    /// something is not held.
    ///
    /// # Errors
    /// KVS's; that of `on_behalf_of`; or [`Error::Package`].
    pub async fn segment<E: From<Error>>(
        &self,
        stream: &Stream,
        found: &FoundPresentation,
        address: SegmentAddress,
        on_behalf_of: impl Fn() -> Result<OnBehalfOf, E>,
    ) -> Result<Option<FoundSegment>, E> {
        let presentation = &found.presentation;
        let Some(index) = presentation.index(address.time) else { return Ok(None) };
        let Some(etag) = presentation.segment_tag(index, address.kind) else { return Ok(None) };
        let rows = presentation.rows();
        let parts = &self.0.packaging.parts;
        let key = PartKey::new(&etag, 0);
        if let Some(part) = key.and_then(|key| parts.get(key, stream.arn())) {
            self.prefetch(stream, rows.get(index + AHEAD..).unwrap_or_default(), &on_behalf_of);
            return Ok(Some(FoundSegment { pieces: vec![part], etag, outcome: Outcome::Hit(Tier::Memory) }));
        }
        // One call brings several fragments, for this viewer and for all others.
        self.prefetch(stream, &rows[index..], &on_behalf_of);
        let fragment = self.fragment(stream, &rows[index].number, &on_behalf_of).await?;
        self.prefetch(stream, rows.get(index + AHEAD..).unwrap_or_default(), &on_behalf_of);
        let pieces = presentation.segment(index, address.kind, &fragment.document);
        let mut pieces = pieces.map_err(|refusal| self.refuse(&rows[index], refusal))?;
        if let Some(key) = key {
            pieces = parts.keep(key, stream.arn(), pieces);
        }
        Ok(Some(FoundSegment { pieces, etag, outcome: fragment.outcome }))
    }
}

impl Archive {
    /// A part of a segment as a body, counted as packaged for a protocol.
    #[must_use]
    pub fn segment_body(&self, segment: FoundSegment, part: Range<u64>, protocol: Protocol) -> ByteStream {
        // It is in memory.
        let part = part.start as usize..part.end as usize;
        pieces::body(segment.pieces, part, self.0.packaging.metrics().bytes(protocol.as_str()))
    }
}
