//! One upstream session and everything that its viewers share.

pub(in crate::sessions) mod cached_playlist;
mod load;
mod locate;
mod lost;
mod parts;
mod prefetch;
pub(in crate::sessions) mod shared;
pub(in crate::sessions) mod spare_sessions;
mod timing;

pub use lost::Refusal;
pub use shared::Session;
pub(in crate::sessions) use shared::{Shared, lock};
