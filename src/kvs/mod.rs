//! The vocabulary of Kinesis Video Streams: its operations, how streams are named, and its errors.
//!
//! Everything here is pure: text and bytes in, meaning out, without HTTP, sockets, callers or caches. The
//! wire facts come from AWS's API model (2017-09-30) and published captures; each file names its section of
//! docs/KVS.md.
//!
//! ```
//! use kvs_edge::kvs::{Call, Operation, Timestamp};
//! let body = br#"{"StreamName":"cam-1","APIName":"GET_CLIP"}"#;
//! let call = Call::read(Operation::GetDataEndpoint, body, Timestamp::from_millis(0)).unwrap();
//! assert_eq!(call.stream().unwrap().name().as_str(), "cam-1");
//! ```

pub mod answer;
pub mod bounds;
pub mod ebml;
mod fault;
mod fragment;
mod fragment_tags;
mod json;
pub mod leak;
mod listed_fragment;
mod media_format;
mod operation;
pub mod operations;
mod packaged;
mod range;
mod request;
mod resource;
mod session;
mod stream;
pub mod strict;
mod timestamp;

pub use fault::Fault;
pub use fragment::{FragmentNumber, FragmentParts};
pub use fragment_tags::FragmentTags;
pub use json::{Invalid, Members};
pub use listed_fragment::ListedFragment;
pub use media_format::MediaFormat;
pub use operation::{ApiName, Operation};
pub use packaged::{MediaKind, PackagedPart, PackagedResource, SegmentAddress};
pub use range::{PlaybackMode, SelectorType, TimeRange};
pub use request::{Call, Request};
pub use resource::Resource;
pub use session::{Container, DiscontinuityMode, Protocol, SessionParameters};
pub use stream::{StreamArn, StreamName, StreamRef};
pub use timestamp::Timestamp;
