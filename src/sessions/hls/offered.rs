//! Fragments as an upstream session lists them, and the time that passed between two of them.

use super::mark::Position;
use crate::kvs::{Resource, Timestamp};
use crate::playback::hls::{MediaPlaylist, Segment};
use crate::sessions::numbering::{self, Generation};
use std::time::Duration;

/// A fragment as an upstream session lists it.
pub(super) struct Offered<'a> {
    pub position: Position,
    pub segment: &'a Segment,
    /// The sequence number that KVS gave it.
    pub upstream: u64,
}

pub(super) fn offered(
    generation: Generation,
    playlist: &MediaPlaylist,
) -> Result<Vec<Offered<'_>>, &'static str> {
    let mut offered: Vec<Offered<'_>> = Vec::with_capacity(playlist.segments.len());
    for (segment, upstream) in playlist.segments.iter().zip(playlist.sequence..) {
        let (Resource::Mp4Fragment { number, .. } | Resource::TsFragment { number }) = &segment.resource
        else {
            return Err("KVS's media playlist lists something that is no media");
        };
        let era = if numbering::is_global(number) { 0 } else { generation };
        let position = Position { era, number: number.clone() };
        // LIVE inserts nothing late (docs/KVS.md 4.6). A list out of order would break every count, so a
        // fragment that goes back is left out.
        if offered.last().is_none_or(|last| last.position < position) {
            offered.push(Offered { position, segment, upstream });
        }
    }
    Ok(offered)
}

/// How long nothing is recorded before a camera counts as away, in milliseconds, by a target duration in
/// seconds.
pub(super) fn absence(target: u64) -> u128 {
    u128::from(target) * 2000
}

/// True if the camera recorded nothing for that long between these two.
pub(super) fn is_absence(position: &Position, segment: &Segment, next: &Offered<'_>, target: u64) -> bool {
    let times = (began(position, segment), began(&next.position, next.segment));
    let (Some(then), Some(next)) = times else { return false };
    then.plus(Duration::from_millis(segment.millis)).age(next).as_millis() > absence(target)
}

/// When a fragment began, by its PROGRAM-DATE-TIME, else by its number.
pub(super) fn began(position: &Position, segment: &Segment) -> Option<Timestamp> {
    segment.date.or_else(|| numbering::server_time(&position.number))
}

/// Index of the first fragment after the last absence among these; 0 if there was none.
pub(super) fn after_last_absence(offered: &[Offered<'_>], target: u64) -> usize {
    let away = |pair: &[Offered<'_>]| is_absence(&pair[0].position, pair[0].segment, &pair[1], target);
    offered.windows(2).rposition(away).map_or(0, |at| at + 1)
}
