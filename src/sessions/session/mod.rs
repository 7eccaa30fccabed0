//! One upstream session, or several in its place, and everything that its viewers share.

mod alone;
pub(super) mod cached_playlist;
mod in_common;
mod load;
mod locate;
mod lost;
mod media;
mod open;
mod parts;
mod prefetch;
mod refusals;
mod shared;
mod shift_timestamps;
mod spare_sessions;
mod state;
mod timing;
mod upstream_session;

pub(super) use media::get as get_segment;
pub(super) use shared::{SharedSession, lock};
pub(super) use upstream_session::{Location, UpstreamSession};
