//! The audit log: who was permitted to see what, by which policy, and what was then watched; one JSON object
//! per line.
//!
//! It is separate from the access log: it has a sink of its own, its entries are decisions and not transfers,
//! and with `required` nothing is served without its entry.

mod config;
mod event;
mod repeats;
mod sink;
mod viewings;

pub use config::{Config, Target};
pub use event::{Decision, Event, Playback, StreamLocation};
pub use sink::{Receipt, Sink, Unavailable};
pub use viewings::{PlaybackRefusal, Viewer, Viewings};
