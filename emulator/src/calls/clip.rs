//! GetClip: an ordinary MP4 of a range, cut without an error at 200 fragments or 100 MB (docs/KVS.md 4.4).

use super::call::{Call, selector_and_range, unsupported};
use crate::answer::{Answer, KvsError};
use crate::media::SoundCodec;
use crate::media::clip::{ClipFragment, clip};

/// Fragments in a clip.
const FRAGMENTS: usize = 200;
/// Bytes of samples in a clip.
const BYTES: usize = 100_000_000;

pub(super) fn get_clip(call: &Call<'_>) -> Result<Answer, KvsError> {
    let (selector, range) = selector_and_range(call.members, "ClipFragmentSelector")?;
    let stream = call.recording_stream()?;
    let (from, to) = call.played_range(&stream, selector, range)?;
    let mut fragments = if call.no_data { Vec::new() } else { stream.pass(selector, from, to, call.now) };
    fragments.retain(|f| !call.is_missing(f));
    let mut size = 0;
    let clip_fragments = fragments
        .iter()
        .take(FRAGMENTS)
        .map(|f| ClipFragment { footage: stream.archive.footage(f), start_millis: f.start(selector) });
    let clip_fragments: Vec<ClipFragment> = clip_fragments
        .take_while(|f| {
            size += f.footage.size(f.footage.tracks());
            size <= BYTES
        })
        .collect();
    fragments.truncate(clip_fragments.len());
    let Some(first) = fragments.first() else {
        return Err(KvsError::not_found("No fragments found in the stream for the clip request."));
    };
    if first.sound == SoundCodec::Mulaw {
        return Err(unsupported("Clips cannot have G.711 U-law."));
    }
    if fragments.iter().any(|f| !f.is_alike(first)) {
        let message = "The codec private data or the tracks change within the requested range.";
        return Err(KvsError::new(400, "InvalidCodecPrivateDataException", message));
    }
    call.state.charge_points(&stream, fragments.len(), fragments.len())?;
    let created = call.state.config.clip_creation_time.unwrap_or(call.now);
    Ok(Answer::parts("video/mp4", clip(clip_fragments, created)))
}
