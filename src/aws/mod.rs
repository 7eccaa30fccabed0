//! What every AWS call needs: host names, credentials, signatures.
//!
//! Nothing here knows the operations of Kinesis Video Streams or of S3. `upstream` and `fleet` put these
//! together with the HTTP client of `net`, which the credential chain is given as a function.

pub mod connect_token;
pub mod credentials;
pub mod hosts;
pub mod sign;
mod transport;

pub use transport::{Transport, TransportError, transport};
