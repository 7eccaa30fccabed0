//! The network's rim: listeners, TLS, the pooled client, bodies, ranges.

pub mod body;
pub mod client;
