//! The network's rim: listeners, TLS, the pooled client, bodies, ranges.
//!
//! `listener` lets requests in and keeps peers to their limits, `strict` says which requests are taken at all, `intake`
//! reads their bodies, `drain` ends a process in good order; `client` is how anything leaves; `range` is which part of
//! a body is wanted, `piece` what goes to a socket at once.

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
