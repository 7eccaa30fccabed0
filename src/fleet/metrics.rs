//! What the fleet counts. Every series is there at 0 from the start, also without a store.

use super::rejection::Rejection;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::sync::Arc;
use std::time::Duration;

/// A store of the fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Redis or Valkey.
    Redis,
    /// S3-compatible storage.
    S3,
}

/// What is done in a store, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// State is looked at, and perhaps leased.
    Look,
    /// State is written by the holder of its lease.
    Commit,
    /// A lease is prolonged or given back.
    Lease,
    /// State is read from a replica of the store.
    ReadReplica,
    /// A quota is reserved.
    Take,
    /// An endpoint or a description is looked up or written.
    Describe,
    /// An object is looked up.
    ObjectLook,
    /// An object is written.
    ObjectCommit,
    /// A replica says that it is there.
    Presence,
    /// The log of purges is read or written.
    Log,
    /// An object is read from S3.
    Get,
    /// An object is written to S3.
    Put,
    /// An object of S3 is looked at.
    Head,
    /// An object of S3 is deleted.
    Delete,
}

impl Operation {
    /// All of them.
    const ALL: [Self; 14] = [
        Self::Look,
        Self::Commit,
        Self::Lease,
        Self::ReadReplica,
        Self::Take,
        Self::Describe,
        Self::ObjectLook,
        Self::ObjectCommit,
        Self::Presence,
        Self::Log,
        Self::Get,
        Self::Put,
        Self::Head,
        Self::Delete,
    ];

    /// The value of the label `op`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Commit => "commit",
            Self::Lease => "lease",
            Self::ReadReplica => "read_replica",
            Self::Take => "take",
            Self::Describe => "describe",
            Self::ObjectLook => "object_look",
            Self::ObjectCommit => "object_commit",
            Self::Presence => "presence",
            Self::Log => "log",
            Self::Get => "get",
            Self::Put => "put",
            Self::Head => "head",
            Self::Delete => "delete",
        }
    }

    fn backend(self) -> Backend {
        match self {
            Self::Get | Self::Put | Self::Head | Self::Delete => Backend::S3,
            _ => Backend::Redis,
        }
    }
}

impl Backend {
    fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::S3 => "s3",
        }
    }
}

/// How an operation ended, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperationResult {
    /// It was answered.
    Ok,
    /// No answer came in time.
    Timeout,
    /// The store refused, or the connection broke.
    Error,
    /// It was not sent: there is no connection, or the breaker is open.
    Ill,
    /// It was not sent: too much is under way already.
    Dropped,
}

impl OperationResult {
    const ALL: [Self; 5] = [Self::Ok, Self::Timeout, Self::Error, Self::Ill, Self::Dropped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Ill => "ill",
            Self::Dropped => "dropped",
        }
    }
}

/// What is leased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseKind {
    /// The right to open an upstream session.
    Session,
    /// The right to load a playlist.
    Playlist,
    /// The right to look an endpoint up.
    Endpoint,
    /// The right to fetch an object.
    Object,
}

/// What became of a request for a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseResult {
    /// It was given.
    Taken,
    /// Another replica has it.
    Busy,
    /// It was lost before its work was done, whose result was refused.
    Lost,
}

impl LeaseKind {
    const ALL: [Self; 4] = [Self::Session, Self::Playlist, Self::Endpoint, Self::Object];

    fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Playlist => "playlist",
            Self::Endpoint => "endpoint",
            Self::Object => "object",
        }
    }
}

impl LeaseResult {
    const ALL: [Self; 3] = [Self::Taken, Self::Busy, Self::Lost];

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Busy => "busy",
            Self::Lost => "lost",
        }
    }
}

/// The fleet's counters and gauges.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

struct Series {
    up: IntGaugeVec,
    operations: IntCounterVec,
    durations: HistogramVec,
    rejected: IntCounterVec,
    leases: IntCounterVec,
    rebuilt: IntCounter,
    alone: IntGauge,
    replicas: IntGauge,
    configurations: IntGauge,
    purge_lag: IntGauge,
}

impl Metrics {
    /// Registers the fleet's metrics.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn added<C: prometheus::core::Collector + Clone + 'static>(
            registry: &Registry,
            family: Result<C, prometheus::Error>,
        ) -> Result<C, prometheus::Error> {
            let family = family?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        }
        let opts = |name: &str, help: &str| Opts::new(format!("kvs_edge_{name}"), help);
        let counters = |name: &str, help: &str, labels: &[&str]| {
            added(registry, IntCounterVec::new(opts(name, help), labels))
        };
        let gauge = |name: &str, help: &str| added(registry, IntGauge::with_opts(opts(name, help)));
        let durations = HistogramOpts::new(
            "kvs_edge_shared_operation_duration_seconds",
            "Time that operations of the shared store took",
        );
        let buckets = vec![0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
        let series = Series {
            up: added(
                registry,
                IntGaugeVec::new(
                    opts("shared_up", "1 while the shared store answers, 0 while it does not or is not used"),
                    &["store"],
                ),
            )?,
            operations: counters(
                "shared_operations_total",
                "Operations of the shared store, by what became of them",
                &["store", "op", "result"],
            )?,
            durations: added(registry, HistogramVec::new(durations.buckets(buckets), &["store", "op"]))?,
            rejected: counters(
                "shared_rejected_total",
                "Values in the shared store that did not open, by reason; they were not used",
                &["reason"],
            )?,
            leases: counters(
                "fleet_leases_total",
                "Requests for leases, by what became of them",
                &["kind", "result"],
            )?,
            rebuilt: added(
                registry,
                IntCounter::with_opts(opts(
                    "shared_rebuilt_total",
                    "Connections to the shared store built anew",
                )),
            )?,
            alone: gauge("fleet_alone", "Streams that this replica plays without the shared store")?,
            replicas: gauge("fleet_replicas", "Replicas seen in the shared store")?,
            configurations: gauge("fleet_configurations", "Different configurations among these replicas")?,
            purge_lag: gauge("fleet_purge_lag_seconds", "Seconds since the log of purges was last read")?,
        };
        for backend in [Backend::Redis, Backend::S3] {
            series.up.with_label_values(&[backend.as_str()]).set(0);
        }
        for op in Operation::ALL {
            let (store, op) = (op.backend().as_str(), op.as_str());
            series.durations.with_label_values(&[store, op]);
            for ending in OperationResult::ALL {
                series.operations.with_label_values(&[store, op, ending.as_str()]);
            }
        }
        for reason in Rejection::ALL {
            series.rejected.with_label_values(&[reason.as_str()]);
        }
        for kind in LeaseKind::ALL {
            for result in LeaseResult::ALL {
                series.leases.with_label_values(&[kind.as_str(), result.as_str()]);
            }
        }
        Ok(Self(Arc::new(series)))
    }

    /// An operation has ended after so long.
    pub fn operation(&self, op: Operation, ending: OperationResult, took: Duration) {
        let (store, name) = (op.backend().as_str(), op.as_str());
        self.0.operations.with_label_values(&[store, name, ending.as_str()]).inc();
        if ending == OperationResult::Ok {
            self.0.durations.with_label_values(&[store, name]).observe(took.as_secs_f64());
        }
    }

    /// Whether a store answers.
    pub fn up(&self, backend: Backend, up: bool) {
        self.0.up.with_label_values(&[backend.as_str()]).set(i64::from(up));
    }

    /// A value did not open.
    pub fn rejected(&self, reason: Rejection) {
        self.0.rejected.with_label_values(&[reason.as_str()]).inc();
    }

    /// A lease was requested.
    pub fn lease(&self, kind: LeaseKind, result: LeaseResult) {
        self.0.leases.with_label_values(&[kind.as_str(), result.as_str()]).inc();
    }

    /// A connection was built anew.
    pub(super) fn rebuilt(&self) {
        self.0.rebuilt.inc();
    }

    /// One stream more, or less, is played without the store.
    pub fn alone(&self, change: i64) {
        self.0.alone.add(change);
    }

    /// What is known of the replicas: how many there are, with how many configurations.
    pub fn replicas(&self, replicas: usize, configurations: usize) {
        self.0.replicas.set(i64::try_from(replicas).unwrap_or(i64::MAX));
        self.0.configurations.set(i64::try_from(configurations).unwrap_or(i64::MAX));
    }

    /// How long ago the log of purges was read.
    pub fn purge_lag(&self, lag: Duration) {
        self.0.purge_lag.set(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
    }
}
