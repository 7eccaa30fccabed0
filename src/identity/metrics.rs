//! What identity counts: reads of key documents, and how old the keys are.
//!
//! The age is computed when the metrics are collected, so that it is right between two reads.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The metrics of this part; issuers are few and come from the settings.
#[derive(Clone)]
pub struct Metrics {
    reads: IntCounterVec,
    available: IntGaugeVec,
    ages: Ages,
    /// The issuers that have series.
    issuers: Arc<Mutex<BTreeSet<String>>>,
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
        let available = IntGaugeVec::new(
            Opts::new(
                "kvs_edge_issuer_keys_available",
                "1 while tokens of the issuer can be verified, 0 while its keys are missing or too old.",
            ),
            &["issuer"],
        )?;
        let ages = Ages::new()?;
        registry.register(Box::new(reads.clone()))?;
        registry.register(Box::new(available.clone()))?;
        registry.register(Box::new(ages.clone()))?;
        Ok(Self { reads, available, ages, issuers: Arc::default() })
    }

    /// The series of one issuer, which begin at 0. The age of keys that were never read counts from here;
    /// keys that are read one by one have none.
    pub(super) fn issuer(&self, issuer: &str, aged: bool) -> IssuerMetrics {
        let reads = Read::ALL.map(|result| self.reads.with_label_values(&[issuer, result.as_str()]));
        self.issuers().insert(issuer.to_owned());
        if aged {
            self.ages.last().entry(issuer.to_owned()).or_insert_with(Instant::now);
        }
        IssuerMetrics { reads, issuer: issuer.to_owned(), ages: self.ages.clone() }
    }

    /// Shows whether an issuer's keys can be used now.
    pub(super) fn show_available(&self, issuer: &str, usable: bool) {
        self.available.with_label_values(&[issuer]).set(i64::from(usable));
    }

    /// Drops the series of issuers that are no longer configured, or their age would raise alarms for ever.
    pub(super) fn keep_only(&self, issuers: &[&str]) {
        let gone = |name: &String| !issuers.contains(&name.as_str());
        let names: Vec<String> = self.issuers().iter().filter(|name| gone(name)).cloned().collect();
        for name in names {
            self.issuers().remove(&name);
            self.ages.last().remove(&name);
            // These fail only for series that are not there.
            let _ = self.available.remove_label_values(&[&name]);
            let _ = self.ages.gauge.remove_label_values(&[&name]);
            for result in Read::ALL {
                let _ = self.reads.remove_label_values(&[&name, result.as_str()]);
            }
        }
    }

    fn issuers(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series of one issuer.
pub(super) struct IssuerMetrics {
    reads: [IntCounter; 3],
    issuer: String,
    ages: Ages,
}

impl IssuerMetrics {
    pub fn count(&self, outcome: Read) {
        self.reads[outcome as usize].inc();
    }

    /// Notes when the keys were read, unless the issuer has been removed from the settings meanwhile.
    pub fn read_at(&self, when: Instant) {
        if let Some(last) = self.ages.last().get_mut(&self.issuer) {
            *last = when;
        }
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

    fn last(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (issuer, when) in self.last().iter() {
            self.gauge.with_label_values(&[issuer]).set(when.elapsed().as_secs_f64());
        }
        self.gauge.collect()
    }
}
