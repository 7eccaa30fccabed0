//! Live HLS over many upstream sessions, and footage longer than one session shows.

mod discontinuity;
mod init_segments;
pub(super) mod long_vod;
mod offered;
pub(super) mod playlist;
mod saved;
mod timeline;

pub(super) use saved::SavedTimeline;
pub(super) use timeline::Timeline;

#[cfg(test)]
mod tests {
    mod timeline;
}
