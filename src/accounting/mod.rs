//! What becomes of every request: each byte that leaves is counted, and each caller has its share.
//!
//! A [`Recorder`] begins the [`Record`] of a request; its [`Body`] counts what is sent. When the last byte
//! has left, or the client has, the record becomes a line of the access log, metrics, a span and the end of
//! a viewing. [`rates`] says what one caller may take. Nothing here knows how a request is answered.

mod body;
mod metrics;
pub mod rates;
mod record;
mod recorder;
mod viewing;

pub use body::{Body, BodySource};
pub use metrics::Metrics;
pub use record::Record;
pub use recorder::{Incoming, Recorder};
pub use viewing::Viewing;
