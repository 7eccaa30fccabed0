//! The signed calls: one function each, in the files below.

mod call;
mod clip;
mod control;
mod fragments;
mod images;
mod media;
mod open;

pub(super) use call::{Call, stream_name};

use crate::answer::{Answer, KvsError};
use crate::operation::Operation;

/// Answers a call.
pub(super) fn answer(operation: Operation, call: &Call<'_>) -> Result<Answer, KvsError> {
    match operation {
        Operation::GetDataEndpoint => control::get_data_endpoint(call),
        Operation::DescribeStream => control::describe_stream(call),
        Operation::ListStreams => control::list_streams(call),
        Operation::ListTagsForStream => control::list_tags_for_stream(call),
        Operation::ListFragments => fragments::list_fragments(call),
        Operation::GetMediaForFragmentList => media::get_media_for_fragment_list(call),
        Operation::GetClip => clip::get_clip(call),
        Operation::GetImages => images::get_images(call),
        Operation::GetHLSStreamingSessionURL => open::get_hls_streaming_session_url(call),
        Operation::GetDASHStreamingSessionURL => open::get_dash_streaming_session_url(call),
        _ => Ok(Answer::unknown_operation()),
    }
}

#[cfg(test)]
mod tests;
