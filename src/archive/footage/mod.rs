//! Which fragments a range of footage has, and in which order: complete, or an error.
//!
//! Ranges are cut into clock hours, and each hour is an object of the cache (`hour`), so that clips,
//! playlists and manifests of any range share what is listed once. Hours are fetched side by side; the pages
//! of one hour follow each other by NextToken.

mod decoded;
mod encoding;
mod hour;
mod pieces;
mod select;

use super::remembered::Rows;
use super::{Archive, Error, Stream};
use crate::kvs::{ListedFragment, SelectorType, Timestamp};
use crate::net::body::Broken;
use crate::upstream::OnBehalfOf;
use hour::HourIndex;
pub(in crate::archive) use pieces::RowPieces;
use pieces::settled_or_split;
use select::{LONGEST, covering};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many hours of one range are fetched side by side. Their pages wait for metadata points in any case:
/// KVS allows ten full pages a second.
const ABREAST: usize = 8;
/// How far from an instant footage is looked for that is nearest to it.
const NEAR: Duration = Duration::from_secs(24 * 3600);

/// The fragments of a range of a stream.
#[derive(Clone, Debug)]
pub struct ListedFootage {
    /// The clock that the range is meant on.
    pub clock: SelectorType,
    /// Sorted by their start on this clock, then by number; each fragment once. The first one covers the
    /// start of the range, if there is such a fragment; all others begin inside the range. Empty if the range
    /// has no footage.
    ///
    /// On the producer's clock no two begin at the same instant. On the server's clock the order is that of
    /// ingestion, in which producer times may go back.
    pub rows: Arc<[ListedFragment]>,
}

/// The footage that is nearest to an instant without any.
#[derive(Clone, Default, Debug)]
pub struct Nearest {
    /// The last fragment that begins before it; `None` if none is known.
    pub before: Option<ListedFragment>,
    /// The first fragment that begins after it; `None` if none is known.
    pub after: Option<ListedFragment>,
}

/// What expires so soon is gone before it has been read.
const EXPIRING: Duration = Duration::from_secs(60);

/// The server time of the oldest footage that will still be there when it is read.
fn oldest(stream: &Stream, now: Timestamp) -> Timestamp {
    now.minus(stream.retention()).plus(EXPIRING)
}

impl Archive {
    /// The fragments of a range, from its first instant to the one before its last. `on_behalf_of` is called
    /// only if an hour is not held in memory. What lies in the future has no footage; footage that is past
    /// its retention is not listed.
    ///
    /// # Errors
    /// An hour could not be listed, or the error of `on_behalf_of`. Then there are no rows at all.
    pub async fn footage<E: From<Error>>(
        &self,
        stream: &Stream,
        clock: SelectorType,
        range: Range<Timestamp>,
        now: Timestamp,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<ListedFootage, E> {
        if range.start >= range.end {
            return Ok(ListedFootage { clock, rows: Arc::new([]) });
        }
        let oldest = oldest(stream, now);
        let is_retained = |row: &ListedFragment| row.server >= oldest;
        let first = HourIndex::of(stream, clock, range.start);
        let last = HourIndex::of(stream, clock, range.end.min(now).minus(Duration::from_millis(1)));
        let hours: Vec<HourIndex> =
            (first.hour..=last.hour).map(|hour| HourIndex { hour, ..first.clone() }).collect();
        let listed = range.start.minus(LONGEST)..range.end;
        let settle = self.0.settings.settle.0;
        let pieces =
            |hours: Vec<HourIndex>| settled_or_split(hours, &listed, now, settle).collect::<Vec<_>>();
        let mut access = Access::Open(on_behalf_of);
        let mut lists = self.hours(pieces(hours), &mut access).await?;
        // The fragment that covers the start may begin in the hour before.
        let covers = |rows: &Rows| covering(rows, clock, range.start, is_retained).is_some();
        if range.start.minus(LONGEST) < first.start()
            && !lists.first().is_some_and(covers)
            && let Some(before) = first.before()
        {
            lists.splice(0..0, self.hours(pieces(vec![before]), &mut access).await?);
        }
        let all = lists.iter().flat_map(|rows| rows.iter());
        // Enough to find the first one.
        let around: Vec<ListedFragment> = all
            .clone()
            .skip_while(|row| row.start(clock) < range.start.minus(LONGEST))
            .take_while(|row| row.start(clock) <= range.start.plus(LONGEST))
            .cloned()
            .collect();
        let covering = covering(&around, clock, range.start, is_retained).map(|place| around[place].clone());
        let inside = all
            .skip_while(|row| row.start(clock) <= range.start)
            .take_while(|row| row.start(clock) < range.end)
            .filter(|row| is_retained(row))
            .cloned();
        Ok(ListedFootage { clock, rows: covering.into_iter().chain(inside).collect() })
    }

    /// The footage that is nearest to an instant, as far as it lies within a day and is held in memory or
    /// listed by one call before and one after it. Nothing is said of what cannot be listed.
    pub async fn nearest<E: From<Error>>(
        &self,
        stream: &Stream,
        clock: SelectorType,
        instant: Timestamp,
        now: Timestamp,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Nearest {
        let oldest = oldest(stream, now);
        let is_retained = |row: &&ListedFragment| row.server >= oldest;
        let mut access = Access::Open(on_behalf_of);
        let is_near = |hour: &HourIndex| {
            hour.can_have_rows(now) && hour.end() > instant.minus(NEAR) && hour.start() < instant.plus(NEAR)
        };
        let here = HourIndex::of(stream, clock, instant);
        let mut nearest = Nearest::default();
        for is_before in [true, false] {
            let mut next = Some(here.clone());
            let mut may_call = true;
            while let Some(hour) = next.take_if(|hour| is_near(hour)) {
                let rows = match self.held_hour(&hour) {
                    Some(rows) => rows,
                    None if !std::mem::take(&mut may_call) => break,
                    None => match self.hours(vec![hour.clone()], &mut access).await {
                        Ok(mut rows) => rows.remove(0),
                        Err(_) => break,
                    },
                };
                let place = rows.partition_point(|row| row.start(clock) < instant);
                let (slot, found) = if is_before {
                    (&mut nearest.before, rows[..place].iter().rev().find(is_retained))
                } else {
                    (&mut nearest.after, rows[place..].iter().find(is_retained))
                };
                *slot = found.cloned();
                next = match slot {
                    Some(_) => None,
                    None if is_before => hour.before(),
                    None => Some(hour.after()),
                };
            }
        }
        nearest
    }

    /// Lists of hours, in the same order, those that are not held some at a time.
    async fn hours<E: From<Error>, F: FnOnce() -> Result<OnBehalfOf, E>>(
        &self,
        hours: Vec<HourIndex>,
        access: &mut Access<F>,
    ) -> Result<Vec<Rows>, E> {
        let mut lists: Vec<Option<Rows>> = hours.iter().map(|hour| self.held_hour(hour)).collect();
        let mut missing: VecDeque<(usize, HourIndex)> =
            hours.into_iter().enumerate().filter(|(place, _)| lists[*place].is_none()).collect();
        let mut fetching = JoinSet::new();
        loop {
            while fetching.len() < ABREAST
                && let Some((place, hour)) = missing.pop_front()
            {
                let (archive, on_behalf_of) = (self.clone(), access.grant()?);
                fetching.spawn(async move { (place, archive.hour(&hour, on_behalf_of).await) });
            }
            let Some(fetched) = fetching.join_next().await else { break };
            let (place, rows) = fetched.map_err(|_| interrupted())?;
            lists[place] = Some(rows?);
        }
        lists.into_iter().map(|rows| rows.ok_or_else(|| interrupted().into())).collect()
    }
}

fn interrupted() -> Error {
    Error::Broken(Broken::Cut("listing an hour was interrupted".to_owned()))
}

/// On whose behalf hours are listed: determined when the first one must be.
enum Access<F> {
    Open(F),
    Granted(OnBehalfOf),
    Refused,
}

impl<F> Access<F> {
    fn grant<E: From<Error>>(&mut self) -> Result<OnBehalfOf, E>
    where
        F: FnOnce() -> Result<OnBehalfOf, E>,
    {
        let granted = match std::mem::replace(self, Self::Refused) {
            Self::Open(on_behalf_of) => on_behalf_of()?,
            Self::Granted(on_behalf_of) => on_behalf_of,
            Self::Refused => return Err(interrupted().into()),
        };
        *self = Self::Granted(granted.clone());
        Ok(granted)
    }
}
