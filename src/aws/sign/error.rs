//! What can go wrong with a signature.

use http::HeaderName;

/// Why a request cannot be signed. None of these depends on what a caller sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URI has no host.
    #[error("only requests to an absolute address can be signed")]
    NoHost,
    /// A header to be signed holds bytes that are not text.
    #[error("header {0} is not text and cannot be signed")]
    Header(HeaderName),
    /// The query is not percent-encoded.
    #[error("the query of an address to be signed is not percent-encoded UTF-8")]
    Query,
    /// The clock is before 1970 or after 9999.
    #[error("the clock shows a year that no signature can have")]
    Clock,
}
