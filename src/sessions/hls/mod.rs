//! Live HLS over many upstream sessions, and footage longer than one session shows.

mod discontinuity;
mod init_segments;
pub(super) mod long_vod;
mod mark;
mod offered;
mod saved;
mod timeline;
mod track_playlist;

pub(super) use saved::SavedTimeline;
pub(super) use timeline::Timeline;

#[cfg(test)]
mod tests {
    mod hls_js;
    mod timeline;
}
