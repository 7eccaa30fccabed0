//! How a client connects, and how long each phase of an exchange can take.

use std::time::Duration;

/// How a client connects and keeps connections.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether `http://` is allowed at all; an emulator and metadata endpoints need it.
    pub allow_http: bool,
    /// Bound on name resolution, TCP and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// How many unused connections are kept per host.
    pub per_host: usize,
    /// Names that must never resolve to this machine or its link: such addresses are not connected to,
    /// whatever DNS says. Private networks are allowed, because VPC endpoints are there.
    pub must_not_be_local: fn(&str) -> bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: Duration::from_secs(3),
            idle: Duration::from_secs(20),
            per_host: 64,
            must_not_be_local: |_| false,
        }
    }
}

/// How long each phase of one exchange may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From sending to the response's head, connecting included.
    pub first_byte: Duration,
    /// Between two chunks of the body, while a reader waits for the next one.
    pub between_bytes: Duration,
    /// From sending to the body's end.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            between_bytes: Duration::from_secs(15),
            whole: Duration::from_secs(30),
        }
    }
}
