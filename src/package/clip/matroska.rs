//! Matroska: the stored clusters one after the other behind one header with an index, for analysis that
//! wants what the camera sent (RFC 9559).
//!
//! Of each document the Cluster alone is taken, byte for byte but for its time, which becomes the clip's.

use super::basis::Basis;
use crate::package::output::Output;
use crate::package::{Document, Fragment, Refusal, TrackSettings};
use bytes::Bytes;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const CUES: u32 = 0x1C53_BB6B;
const CLUSTER: u32 = 0x1F43_B675;
const VOID: u32 = 0xEC;
/// The head of a Cluster, whose size has eight bytes, and its Timestamp of eight bytes.
const CLUSTER_HEAD: usize = 12 + 10;
/// The head of a Void whose size has eight bytes.
const VOID_HEAD: usize = 9;

/// What stands ahead of the slots: header, Info with the duration, the first fragment's Tracks, and Cues.
pub(super) fn header(
    basis: &Basis,
    first: &Document,
    fragment: &Fragment,
    sizes: &[u32],
) -> Result<Bytes, Refusal> {
    let ticks = |millis: u64| u64::try_from(u128::from(millis) * 1_000_000 / u128::from(basis.tick));
    let ticks = |millis: u64| ticks(millis).map_err(|_| Refusal::Malformed("a time is out of range"));
    let tracks = first.copy(fragment.tracks_content.clone());
    let duration = ticks(basis.timeline.total() + basis.lead)? as f64;
    let info = [
        element(0x2AD7B1, &basis.tick.to_be_bytes()),
        element(0x4489, &duration.to_be_bytes()),
        element(0x4D80, b"kvs-edge"),
        element(0x5741, b"kvs-edge"),
    ]
    .concat();
    let mut content = [element(INFO, &info), element(TRACKS, &tracks)].concat();
    // Positions count from the content of the Segment, and every cue has the same length.
    let cued = fragment.tracks.get(basis.tracks[0].0).map_or(1, |track| track.number);
    let cue = |time: u64, position: u64| {
        let place = [element(0xF7, &cued.to_be_bytes()), element(0xF1, &position.to_be_bytes())].concat();
        element(0xBB, &[element(0xB3, &time.to_be_bytes()), element(0xB7, &place)].concat())
    };
    let cues = cue(0, 0).len() * sizes.len();
    let mut position = (content.len() + 12 + cues) as u64;
    content.extend(head(CUES, cues as u64));
    for (at, size) in sizes.iter().enumerate() {
        content.extend(cue(ticks(basis.time(at))?, position));
        position += u64::from(*size);
    }
    let document = [
        element(0x4286, &[1]),
        element(0x42F7, &[1]),
        element(0x42F2, &[4]),
        element(0x42F3, &[8]),
        element(0x4282, b"matroska"),
        element(0x4287, &[4]),
        element(0x4285, &[2]),
    ]
    .concat();
    Ok([element(EBML, &document), head(SEGMENT, position), content].concat().into())
}

/// One fragment's Cluster in its slot.
pub(super) fn slot(
    basis: &Basis,
    index: usize,
    document: &Document,
    stored: &Fragment,
    size: usize,
) -> Result<Vec<Bytes>, Refusal> {
    check(basis, stored)?;
    let (content, time) = (stored.cluster.clone(), stored.cluster_timestamp.clone());
    let kept = content.len() - time.len();
    let padding = size.checked_sub(CLUSTER_HEAD + kept).ok_or(Refusal::Overflow)?;
    if padding > 0 && padding < VOID_HEAD {
        return Err(Refusal::Overflow);
    }
    let ticks = u128::from(basis.time(index)) * 1_000_000 / u128::from(basis.tick);
    let mut output = Output::default();
    // The padding belongs to the Cluster: so the slots follow each other without a gap.
    output.copy(&head(CLUSTER, (size - 12) as u64));
    output.copy(&element(0xE7, &(ticks as u64).to_be_bytes())[..10]);
    output.stored(document, content.start..time.start);
    output.stored(document, time.end..content.end);
    if padding > 0 {
        output.copy(&head(VOID, (padding - VOID_HEAD) as u64));
        output.zeros(padding - VOID_HEAD);
    }
    Ok(output.finish())
}

/// One header serves all clusters, so nothing that it says may change.
pub(super) fn check(basis: &Basis, stored: &Fragment) -> Result<(), Refusal> {
    basis.check_tracks(stored)?;
    if stored.tick != basis.tick {
        return Err(Refusal::Unsupported("TimestampScale changes inside the range"));
    }
    for (index, settings) in &basis.tracks {
        let same = |track| TrackSettings::of(track).is_ok_and(|own| own.private == settings.private);
        if !stored.tracks.get(*index).is_some_and(same) {
            return Err(Refusal::Unsupported(
                "codec settings change inside the range, which Matroska cannot say: use clip.mp4",
            ));
        }
    }
    Ok(())
}

/// An element with its content.
fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = short_head(id, content.len());
    bytes.extend_from_slice(content);
    bytes
}

/// The head of an element whose size has as few bytes as it takes, or eight.
fn short_head(id: u32, size: usize) -> Vec<u8> {
    if size < 0x7f {
        let mut bytes = id_bytes(id);
        bytes.push(0x80 | size as u8);
        bytes
    } else {
        head(id, size as u64)
    }
}

/// The head of an element whose size has eight bytes.
fn head(id: u32, size: u64) -> Vec<u8> {
    let mut bytes = id_bytes(id);
    bytes.extend_from_slice(&(1 << 56 | size).to_be_bytes());
    bytes
}

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}
