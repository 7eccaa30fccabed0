//! The vocabulary of Kinesis Video Streams: what can be asked, of which stream, and how KVS says no.
//!
//! Everything here is pure: text and bytes in, meaning out. Nothing here knows HTTP, sockets, callers or caches. The
//! wire facts come from AWS's API model (2017-09-30) and published captures; each file names its section of
//! `KVS.md`.

mod fragment;
mod operation;
mod request;
mod resource;
mod session;
mod stream;
mod timestamp;

pub use fragment::FragmentNumber;
pub use operation::{ApiName, Operation};
pub use request::{PlaybackMode, SelectorType, TimeRange};
pub use resource::Resource;
pub use session::{Container, DiscontinuityMode, Protocol, SessionParameters};
pub use stream::{StreamArn, StreamName, StreamRef};
pub use timestamp::Timestamp;
