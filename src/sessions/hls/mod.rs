//! Live HLS over many upstream sessions, and footage longer than one session shows.

mod discontinuity;
mod init_segments;
pub(super) mod long_vod;
mod mark;
mod media_times;
mod offered;
mod pairs;
mod recent;
mod saved;
mod shown;
mod target_duration;
mod timeline;
mod track_playlist;
mod unread;

pub(super) use media_times::{FragmentTime, MediaPlace};
pub(super) use saved::SavedTimeline;
pub(super) use target_duration::Recent;
pub(super) use timeline::Timeline;

#[cfg(test)]
mod tests {
    mod camera;
    mod hls_js;
    mod timeline;
    mod timeline_properties;
}
