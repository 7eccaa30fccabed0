//! What identity counts: reads of key documents, and how old the keys are.
//!
//! The age is computed when somebody looks, so that it is right between two reads.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, Opts, Registry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The metrics of this part; issuers are few and come from the settings.
#[derive(Clone)]
pub struct Metrics {
    reads: IntCounterVec,
    ages: Ages,
}

/// How a read of a key document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Changed,
    Unchanged,
    Failed,
}

impl Read {
    const ALL: [Self; 3] = [Self::Changed, Self::Unchanged, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// If one is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reads = IntCounterVec::new(
            Opts::new(
                "kvs_edge_jwks_refresh_total",
                "Reads of an issuer's keys, by result: changed, unchanged, failed.",
            ),
            &["issuer", "result"],
        )?;
        let ages = Ages::new()?;
        registry.register(Box::new(reads.clone()))?;
        registry.register(Box::new(ages.clone()))?;
        Ok(Self { reads, ages })
    }

    /// The handles of one issuer, at 0 from now on.
    pub(super) fn issuer(&self, issuer: &str) -> IssuerMetrics {
        let reads = Read::ALL.map(|result| self.reads.with_label_values(&[issuer, result.as_str()]));
        IssuerMetrics { reads, issuer: issuer.to_owned(), ages: self.ages.clone() }
    }
}

/// The handles of one issuer.
pub(super) struct IssuerMetrics {
    reads: [IntCounter; 3],
    issuer: String,
    ages: Ages,
}

impl IssuerMetrics {
    pub fn count(&self, outcome: Read) {
        self.reads[outcome as usize].inc();
    }

    pub fn read_at(&self, when: Instant) {
        self.ages.last.lock().unwrap_or_else(PoisonError::into_inner).insert(self.issuer.clone(), when);
    }
}

/// A gauge that is computed when it is read.
#[derive(Clone)]
struct Ages {
    gauge: GaugeVec,
    last: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Ages {
    fn new() -> Result<Self, prometheus::Error> {
        let options =
            Opts::new("kvs_edge_jwks_age_seconds", "Seconds since an issuer's keys were last read well.");
        Ok(Self { gauge: GaugeVec::new(options, &["issuer"])?, last: Arc::default() })
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (issuer, when) in self.last.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.gauge.with_label_values(&[issuer]).set(when.elapsed().as_secs_f64());
        }
        self.gauge.collect()
    }
}
