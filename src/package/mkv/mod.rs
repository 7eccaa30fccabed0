//! Reads one stored fragment (docs/KVS.md 9.2; RFC 8794, RFC 9559).
//!
//! Sizes are followed and nothing is searched for: a SeekHead of the producer is stale, and media may hold
//! any bytes. No frame is copied, only heads of elements and small elements are.

mod block;
mod outline;
mod track;
mod walk;

use super::{Document, Fragment, Frame, Refusal, Track};
use block::{FrameSpacing, MOST_FRAMES};
use outline::Outline;
use std::ops::Range;

/// KVS takes fragments of 50 MB.
const MOST_BYTES: usize = 64 << 20;

/// Reads a fragment that is here whole.
///
/// A document of unknown size that was cut between two elements looks like a whole one: its bytes must come
/// from a body that ended as announced.
///
/// # Errors
/// What about it is not understood; nothing is guessed.
pub fn read(document: &Document) -> Result<Fragment, Refusal> {
    if document.len() > MOST_BYTES {
        return Err(Refusal::TooLarge("bytes"));
    }
    let outline = Outline::read(document)?;
    let mut frames = Vec::with_capacity(outline.blocks.len());
    let spacings: Vec<_> = outline.tracks.iter().map(|track| FrameSpacing::of(track, outline.tick)).collect();
    for block in &outline.blocks {
        let head = block.head(document)?;
        let number_of = |track: &Track| track.number == head.track;
        // A block of a track that no entry describes cannot be presented; players skip it as well.
        let Some(index) = outline.tracks.iter().position(number_of) else { continue };
        let track = &outline.tracks[index];
        let Some(codec) = track.codec else { continue };
        let first = outline.cluster_time.checked_add(i64::from(head.relative)).ok_or(block::TIME)?;
        let key = !codec.is_video() || head.key;
        let frame = |place: &Range<usize>, time| Frame {
            // At most 8 tracks, and 64 MiB: see `MOST_BYTES` and `track::MOST_TRACKS`.
            track: index as u8,
            key,
            time,
            at: place.start as u32,
            length: place.len() as u32,
        };
        if let Some(place) = head.single()? {
            if frames.len() == MOST_FRAMES {
                return Err(Refusal::TooLarge("frames"));
            }
            frames.push(frame(&place, first));
            continue;
        }
        let places = head.frames(document, MOST_FRAMES - frames.len())?;
        let times = spacings[index].times(first, &places)?;
        frames.extend(places.iter().zip(times).map(|(place, time)| frame(place, time)));
    }
    begin_with_key_frames(&outline.tracks, &mut frames)?;
    if frames.is_empty() {
        return Err(Refusal::Unsupported("it has no media"));
    }
    Ok(Fragment {
        tracks: outline.tracks,
        frames,
        tick: outline.tick,
        cluster_time: outline.cluster_time,
        tracks_content: outline.places.tracks_content,
        cluster: outline.places.cluster,
        cluster_timestamp: outline.places.cluster_timestamp,
        number: outline.tags.number,
        server: outline.tags.server,
        producer: outline.tags.producer,
    })
}

/// Drops the pictures that stand before the first key frame of their track: they refer to pictures that are
/// not in the fragment.
fn begin_with_key_frames(tracks: &[Track], frames: &mut Vec<Frame>) -> Result<(), Refusal> {
    let video = |track: &Track| track.codec.is_some_and(super::Codec::is_video);
    for (index, _) in tracks.iter().enumerate().filter(|(_, track)| video(track)) {
        let here = |frame: &Frame| usize::from(frame.track) == index;
        if !frames.iter().any(here) {
            continue;
        }
        let Some(first) = frames.iter().position(|frame| here(frame) && frame.key) else {
            return Err(Refusal::Unsupported("its pictures have no key frame"));
        };
        let mut place = 0;
        frames.retain(|frame| {
            place += 1;
            !here(frame) || place > first
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "../tests/mkv.rs"]
mod tests;

#[cfg(test)]
#[path = "../tests/mkv_refused.rs"]
mod refused;
