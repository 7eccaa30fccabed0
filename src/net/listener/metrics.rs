//! The listener's metrics.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::sync::Arc;

/// Why a connection or a request was not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// The listener has `limits.connections_total` connections.
    ConnectionsTotal,
    /// The address has `limits.connections_per_address` connections.
    ConnectionsPerAddress,
    /// TLS handshake or PROXY protocol header did not come in time.
    HandshakeTimeout,
    /// The TLS handshake failed.
    Handshake,
    /// The PROXY protocol header was missing or malformed.
    ProxyProtocol,
    /// A request head did not come in time.
    HeaderTimeout,
    /// A request body did not come in time.
    BodyTimeout,
    /// A request body was too large.
    BodyTooLarge,
    /// A URL was too long.
    UrlTooLong,
    /// Headers were too large or too many.
    HeadersTooLarge,
    /// Bytes that are not a strict HTTP request.
    Malformed,
    /// A well-formed request that is refused: an ambiguous path or host, CONNECT, TRACE, Upgrade.
    Strict,
    /// A client read nothing for too long.
    WriteStall,
    /// A client read too slowly.
    WriteMinimum,
    /// A peer abandoned too many requests.
    RapidReset,
    /// Memory is short.
    Overload,
    /// A caller made too many requests, or used too many bytes or points.
    Rate,
}

impl Rejection {
    /// Every reason there is.
    pub const ALL: [Self; 17] = [
        Self::ConnectionsTotal,
        Self::ConnectionsPerAddress,
        Self::HandshakeTimeout,
        Self::Handshake,
        Self::ProxyProtocol,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::UrlTooLong,
        Self::HeadersTooLarge,
        Self::Malformed,
        Self::Strict,
        Self::WriteStall,
        Self::WriteMinimum,
        Self::RapidReset,
        Self::Overload,
        Self::Rate,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionsTotal => "connections_total",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Handshake => "handshake",
            Self::ProxyProtocol => "proxy_protocol",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UrlTooLong => "url_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Malformed => "malformed",
            Self::Strict => "strict",
            Self::WriteStall => "write_stall",
            Self::WriteMinimum => "write_minimum",
            Self::RapidReset => "rapid_reset",
            Self::Overload => "overload",
            Self::Rate => "rate",
        }
    }
}

/// The listener's metrics; clones count together.
#[derive(Clone)]
pub struct Metrics {
    pub(super) open: IntGauge,
    /// In the order of [`Rejection::ALL`].
    rejected: Arc<[IntCounter]>,
}

impl Metrics {
    /// Registers `kvs_edge_connections_open`, and creates every series of `rejected`, the registered family
    /// `kvs_edge_requests_rejected_total{reason}`, at 0. The gateway counts in the same family.
    ///
    /// # Errors
    /// The name is taken, or the family has other labels.
    pub fn register(registry: &Registry, rejected: &IntCounterVec) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("kvs_edge_connections_open", "Connections of clients that are open")?;
        registry.register(Box::new(open.clone()))?;
        let counters =
            Rejection::ALL.iter().map(|reason| rejected.get_metric_with_label_values(&[reason.as_str()]));
        Ok(Self { open, rejected: counters.collect::<Result<_, _>>()? })
    }

    /// Metrics in a registry of their own that is not shown: for the admin listener and for tests.
    #[must_use]
    pub fn unseen() -> Self {
        let rejected = IntCounterVec::new(Opts::new("rejected", "Rejected."), &["reason"]);
        let unseen = rejected.and_then(|rejected| Self::register(&Registry::new(), &rejected));
        unseen.expect("the names are valid, and new in a registry of their own")
    }

    /// Counts one rejection; the gateway does too.
    pub fn reject(&self, reason: Rejection) {
        self.rejected[reason as usize].inc();
    }

    /// How many there were.
    #[must_use]
    pub fn rejections(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize].get()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.open.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_there_at_zero_and_counts_for_itself() {
        let registry = Registry::new();
        let family =
            IntCounterVec::new(Opts::new("kvs_edge_requests_rejected_total", "x"), &["reason"]).unwrap();
        registry.register(Box::new(family.clone())).unwrap();
        let metrics = Metrics::register(&registry, &family).unwrap();
        for (n, reason) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, metrics.rejections(reason)), (n, 0));
        }
        metrics.reject(Rejection::Rate);
        assert_eq!((metrics.rejections(Rejection::Rate), metrics.rejections(Rejection::Overload)), (1, 0));
        let rejected =
            registry.gather().into_iter().find(|f| f.name() == "kvs_edge_requests_rejected_total").unwrap();
        assert_eq!(rejected.get_metric().len(), Rejection::ALL.len());
    }
}
