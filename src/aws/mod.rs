//! What every AWS call needs: host names, credentials, signatures.
//!
//! Nothing here knows Kinesis Video Streams' operations or how bytes travel; `upstream` and the S3 tier put these
//! together with `net`'s client, which is lent to the credential chain as a function.

pub mod credentials;
pub mod hosts;
mod lent;
pub mod sign;

pub use lent::{Failure, Transport};
