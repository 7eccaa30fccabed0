//! HTTP on both sides: listeners, TLS, the pooled client, bodies, ranges.
//!
//! `listener` accepts requests and enforces limits, `strict` refuses ambiguous ones, `intake` reads their
//! bodies, and `drain` has the phases in which a process ends. `client` makes all outgoing requests. `range`
//! evaluates `Range` headers, and `piece` holds the chunks of one write.

pub mod body;
pub mod certificate;
pub mod client;
pub mod drain;
pub mod forwarded;
pub mod intake;
pub mod listener;
pub mod piece;
pub mod proxy_protocol;
pub mod range;
pub mod strict;
pub mod tls;
