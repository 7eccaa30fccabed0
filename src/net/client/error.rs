//! Why an exchange failed, sorted by how far it came.

use hyper_util::client::legacy;
use std::error::Error as _;
use std::time::Duration;

/// Why there is no response, or no whole body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// No connection: name not found, refused, timed out, handshake failed. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke before the response's head. The request may have been acted upon.
    #[error("the connection broke before an answer: {0}")]
    Reset(String),
    /// What came back is not HTTP, or its head is too large.
    #[error("the answer is not HTTP: {0}")]
    Garbled(String),
    /// No response within the time limit.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The request itself cannot be sent: not absolute, or plain HTTP where that is not allowed.
    #[error("{0}")]
    Refused(&'static str),
    /// The body broke; only from [`Client::fetch`].
    #[error("{0}")]
    Broken(String),
    /// The body is larger than allowed; only from [`Client::fetch`].
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The system's root certificates cannot be used; only from [`Client::new`].
    #[error("TLS: {0}")]
    Tls(String),
    /// The environment names a proxy that cannot be used; only from [`Client::new`].
    #[error("{0}")]
    Proxy(String),
}

/// Sorts hyper's errors by how far the exchange came.
pub(super) fn sort(error: &legacy::Error) -> Error {
    let text = chain(error);
    if error.is_connect() {
        return Error::Connect(text);
    }
    match error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) {
        Some(source) if source.is_parse() || source.is_parse_too_large() => Error::Garbled(text),
        _ => Error::Reset(text),
    }
}

/// An error with its causes on one line; hyper's own texts say little.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
