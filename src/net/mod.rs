//! HTTP on both sides: listeners, TLS, the pooled client, bodies, ranges.
//!
//! `listener` accepts requests and enforces limits, `request_checks` refuses ambiguous ones, `request_body`
//! reads their bodies, and `drain` has the phases in which a process ends. `client` makes all outgoing
//! requests. `range`, `gzip` and `cors` decide what a request's headers select or allow, and `chunk_list`
//! holds the chunks of one write.

pub mod body;
pub mod certificate;
pub mod chunk_list;
pub mod client;
pub mod cors;
pub mod drain;
pub mod forwarded;
pub mod gzip;
pub mod listener;
pub mod proxy_protocol;
pub mod query;
pub mod range;
pub mod request_body;
pub mod request_checks;
pub mod stepped_body;
pub mod tls;
pub mod tls_tickets;
