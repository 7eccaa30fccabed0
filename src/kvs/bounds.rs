//! The bounds that KVS has fixed. Each stands here once, with the section of docs/KVS.md that documents it.

use std::time::Duration;

/// Fragments in a clip: KVS stops silently at this many (4.4).
pub const CLIP_FRAGMENTS: u32 = 200;
/// Bytes in a clip: KVS stops silently at this many (4.4).
pub const CLIP_BYTES: u64 = 100_000_000;
/// The longest range of a clip or a session (4.1).
pub const LONGEST_RANGE: Duration = Duration::from_secs(24 * 3600);
/// Rows in a page of ListFragments (4.2).
pub const FRAGMENTS_PAGE: u16 = 1000;
/// Rows in a page of ListFragments that does not say `MaxResults` (4.2).
pub const FRAGMENTS_PAGE_DEFAULT: u16 = 100;
/// Fragments in one GetMediaForFragmentList (4.3).
pub const MEDIA_FRAGMENTS: usize = 1000;
/// Pictures in one GetImages (4.5).
pub const IMAGES: u8 = 100;
/// Pictures in a page of GetImages; also when `MaxResults` is absent (4.5).
pub const IMAGES_PAGE: u8 = 25;
/// The longest range of GetImages (4.5).
pub const IMAGES_RANGE: Duration = Duration::from_secs(300);
/// The least time between two pictures of GetImages, in milliseconds (4.5).
pub const IMAGES_INTERVAL_MILLIS: u32 = 200;
/// The shortest life of a playback session in seconds, and the one if the request does not say (4.6).
pub const SESSION_SECONDS_MIN: u32 = 300;
/// The longest life of a playback session in seconds (4.6).
pub const SESSION_SECONDS_MAX: u32 = 43_200;
/// Fragments in a playlist or manifest (4.6).
pub const PLAYLIST_FRAGMENTS: u16 = 5000;
/// Fragments in an ON_DEMAND playlist or manifest if the request does not say (4.6).
pub const ON_DEMAND_FRAGMENTS_DEFAULT: u16 = 1000;
/// Fragments in a LIVE or LIVE_REPLAY playlist or manifest if the request does not say (4.6).
pub const LIVE_FRAGMENTS_DEFAULT: u16 = 5;
/// Fragments per second that one playback session gives (5.7).
pub const SESSION_FRAGMENTS_PER_SECOND: u32 = 20;
/// The smallest window of a LIVE playlist, in fragments, that players can follow (4.6).
pub const LIVE_WINDOW_MIN: u16 = 3;
/// The largest window of a LIVE playlist, in fragments, that kvs-edge lists (4.6).
pub const LIVE_WINDOW_MAX: u16 = 10;
/// Streams in a page of ListStreams (2.2).
pub const STREAMS_PAGE: u16 = 10_000;

/// How far ahead of our clock a range that must lie in the past may end. This one is ours: clocks differ,
/// and KVS has the last word.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
