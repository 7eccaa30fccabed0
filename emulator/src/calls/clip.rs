//! GetClip: an ordinary MP4 of a range, cut without an error at 200 fragments or 100 MB (docs/KVS.md 4.4).

use super::call::{Call, selector_and_range};
use crate::answer::{Answer, KvsError};
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
    let mut size = 0;
    let fits = fragments.iter().take(FRAGMENTS).take_while(|f| {
        size += f.recording().size(f.index, stream.producer.tracks());
        size <= BYTES
    });
    let fits = fits.count();
    fragments.truncate(fits);
    let Some(first) = fragments.first() else {
        return Err(KvsError::not_found("No fragments found in the stream for the clip request."));
    };
    if fragments.iter().any(|f| f.recording != first.recording) {
        let message = "The codec private data changes within the requested range.";
        return Err(KvsError::new(400, "InvalidCodecPrivateDataException", message));
    }
    call.state.charge_points(&stream, fragments.len(), fragments.len())?;
    let clip_fragments: Vec<ClipFragment> =
        fragments.iter().map(|f| ClipFragment { index: f.index, start_millis: f.start(selector) }).collect();
    let created = call.state.config.clip_creation_time.unwrap_or(call.now);
    Ok(Answer::parts("video/mp4", clip(first.recording(), stream.producer, &clip_fragments, created)))
}
