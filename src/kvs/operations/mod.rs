//! One operation, one file: its members with all bounds and cross-rules of docs/KVS.md 2 and 4, read and
//! written.
//!
//! `read` refuses what KVS would refuse, before anything goes upstream; `write` gives the canonical body
//! with the members that were understood and nothing else.

mod describe_stream;
mod get_clip;
mod get_dash_streaming_session_url;
mod get_data_endpoint;
mod get_hls_streaming_session_url;
mod get_images;
mod get_media_for_fragment_list;
mod list_fragments;
mod list_streams;
mod shared_members;

pub use describe_stream::DescribeStream;
pub use get_clip::GetClip;
pub use get_dash_streaming_session_url::GetDashStreamingSessionUrl;
pub use get_data_endpoint::GetDataEndpoint;
pub use get_hls_streaming_session_url::GetHlsStreamingSessionUrl;
pub use get_images::{GetImages, ImageFormat};
pub use get_media_for_fragment_list::GetMediaForFragmentList;
pub use list_fragments::{FragmentSelector, ListFragments};
pub use list_streams::ListStreams;
