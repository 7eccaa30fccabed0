//! Fragments as a session lists them, and the time that passed between two of them.

use super::timeline::{Position, Track};
use crate::kvs::{FragmentNumber, Resource};
use crate::sessions::hls::playlist::{MediaPlaylist, Segment};
use crate::sessions::numbering::{self, Generation};

/// A fragment as a session lists it.
pub(in crate::sessions) struct Offered<'a> {
    pub position: Position,
    pub segment: &'a Segment,
    /// KVS's own sequence number.
    pub upstream: u64,
}

pub(in crate::sessions) fn offered(
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
        // LIVE inserts nothing late (KVS.md 4.6). A list out of order would break every count, so what goes back is
        // left out.
        if offered.last().is_none_or(|last| last.position < position) {
            offered.push(Offered { position, segment, upstream });
        }
    }
    Ok(offered)
}

/// How long nothing is recorded before a camera counts as away, in milliseconds, by a target duration in seconds.
pub(in crate::sessions) fn absence(target: u64) -> u128 {
    u128::from(target) * 2000
}

/// True if the camera recorded nothing for that long between these two.
pub(in crate::sessions) fn absent(
    position: &Position,
    segment: &Segment,
    next: &Offered<'_>,
    target: u64,
) -> bool {
    let began =
        |number: &FragmentNumber, segment: &Segment| segment.date.or_else(|| numbering::server_time(number));
    let began = (began(&position.number, segment), began(&next.position.number, next.segment));
    let (Some(then), Some(next)) = began else { return false };
    then.plus(std::time::Duration::from_millis(segment.millis)).age(next).as_millis() > absence(target)
}

/// Index of the first fragment after the last absence among these; 0 if there was none.
pub(in crate::sessions) fn after_last_absence(offered: &[Offered<'_>], target: u64) -> usize {
    let away = |pair: &[Offered<'_>]| absent(&pair[0].position, pair[0].segment, &pair[1], target);
    offered.windows(2).rposition(away).map_or(0, |at| at + 1)
}

/// True if the time between the last fragment listed and this one is longer than two target durations.
pub(in crate::sessions) fn gap(state: &Track, segment: &Segment) -> bool {
    let Some((last, date)) = state.listed.back().and_then(|l| Some((&l.segment, l.segment.date?))) else {
        return false;
    };
    let end = date.plus(std::time::Duration::from_millis(last.millis));
    segment.date.is_some_and(|start| end.age(start).as_millis() > u128::from(state.target) * 2000)
}
