//! Live HLS over many upstream sessions, and footage longer than one session shows.

mod discontinuity;
pub(in crate::sessions) mod init_segments;
pub(in crate::sessions) mod long_vod;
mod offered;
pub(in crate::sessions) mod playlist;
mod saved;
mod timeline;

pub(in crate::sessions) use saved::Kept;
pub(in crate::sessions) use timeline::{Generation, Timeline};

#[cfg(test)]
mod tests {
    mod timeline;
}
