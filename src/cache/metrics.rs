//! What the cache counts. Names, labels and their words are docs/BEHAVIOUR.md 11's; every series is there
//! at 0 from the start, and each is looked up once.

use super::entry::{Outcome, Tier};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The cache's counters and gauges.
#[derive(Clone)]
pub struct Metrics {
    pub(super) memory: TierMetrics,
    pub(super) disk: TierMetrics,
    pub(super) filling: IntGauge,
    pub(super) leaving: IntGauge,
    miss: IntCounter,
    collapsed: IntCounter,
    stale: IntCounter,
    bypass: IntCounter,
    pub(super) trouble: Trouble,
    pub(super) shared: SharedMetrics,
}

/// What replicas share: the store and the bucket.
#[derive(Clone)]
pub(super) struct SharedMetrics {
    pub(super) redis: SharedCounters,
    pub(super) s3: SharedCounters,
}

/// One of them. All but hits were misses.
#[derive(Clone)]
pub(super) struct SharedCounters {
    pub(super) hit: IntCounter,
    pub(super) miss: IntCounter,
    pub(super) error: IntCounter,
    pub(super) slow: IntCounter,
    pub(super) damaged: IntCounter,
    pub(super) skipped: IntCounter,
}

impl SharedMetrics {
    /// Counts an object that was found there.
    pub(super) fn hit(&self, tier: Tier) {
        match tier {
            Tier::S3 => self.s3.hit.inc(),
            Tier::Memory | Tier::Disk | Tier::Redis => self.redis.hit.inc(),
        }
    }
}

/// One tier's.
#[derive(Clone)]
pub(super) struct TierMetrics {
    pub(super) hit: IntCounter,
    pub(super) miss: IntCounter,
    pub(super) bytes: IntGauge,
    pub(super) entries: IntGauge,
    pub(super) evicted: Evicted,
}

/// Why entries went.
#[derive(Clone)]
pub(super) struct Evicted {
    pub(super) size: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) purged: IntCounter,
    pub(super) replaced: IntCounter,
    pub(super) damaged: IntCounter,
}

/// What went wrong on the disk; each of them was a miss for the viewer.
#[derive(Clone)]
pub(super) struct Trouble {
    pub(super) error: IntCounter,
    pub(super) slow: IntCounter,
    pub(super) damaged: IntCounter,
    pub(super) skipped: IntCounter,
}

impl Metrics {
    /// Registers the cache's metrics.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let family = IntGaugeVec::new(Opts::new(name, help), &["tier"])?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let requests = counter(
            "kvs_edge_cache_requests_total",
            "Lookups by tier and result; collapsed ones joined a fetch under way. \
             Below memory: error, slow, damaged and skipped were misses for the viewer",
            &["tier", "result"],
        )?;
        let evictions =
            counter("kvs_edge_cache_evictions_total", "Entries that went, and why", &["tier", "reason"])?;
        let bytes = gauge(
            "kvs_edge_cache_bytes",
            "Bytes held, bookkeeping included; filling: not whole yet; \
             leaving: no tier has them, but a reader or the disk's queue",
        )?;
        let entries = gauge("kvs_edge_cache_entries", "Entries held")?;
        let tier = |tier: Tier| {
            let tier = tier.as_str();
            let why = |reason| evictions.with_label_values(&[tier, reason]);
            TierMetrics {
                hit: requests.with_label_values(&[tier, "hit"]),
                miss: requests.with_label_values(&[tier, "miss"]),
                bytes: bytes.with_label_values(&[tier]),
                entries: entries.with_label_values(&[tier]),
                evicted: Evicted {
                    size: why("size"),
                    expired: why("expired"),
                    purged: why("purged"),
                    replaced: why("replaced"),
                    damaged: why("damaged"),
                },
            }
        };
        let shared = |tier: Tier| {
            let result = |result| requests.with_label_values(&[tier.as_str(), result]);
            SharedCounters {
                hit: result("hit"),
                miss: result("miss"),
                error: result("error"),
                slow: result("slow"),
                damaged: result("damaged"),
                skipped: result("skipped"),
            }
        };
        let memory = |result| requests.with_label_values(&["memory", result]);
        let disk = |result| requests.with_label_values(&["disk", result]);
        Ok(Self {
            memory: tier(Tier::Memory),
            disk: tier(Tier::Disk),
            filling: bytes.with_label_values(&["filling"]),
            leaving: bytes.with_label_values(&["leaving"]),
            miss: memory("miss"),
            collapsed: memory("collapsed"),
            stale: memory("stale"),
            bypass: memory("bypass"),
            trouble: Trouble {
                error: disk("error"),
                slow: disk("slow"),
                damaged: disk("damaged"),
                skipped: disk("skipped"),
            },
            shared: SharedMetrics { redis: shared(Tier::Redis), s3: shared(Tier::S3) },
        })
    }

    /// Counts how a lookup went. A tier counts its own hits and misses as well; this is the request's last
    /// word.
    pub(super) fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Hit(Tier::Memory) => self.memory.hit.inc(),
            Outcome::Hit(_) | Outcome::Miss => self.miss.inc(),
            Outcome::Collapsed => self.collapsed.inc(),
            Outcome::Stale => self.stale.inc(),
            Outcome::Bypass => self.bypass.inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let registry = Registry::new();
        Metrics::register(&registry).unwrap();
        let count = |name: &str| {
            registry.gather().iter().find(|f| f.name() == name).map_or(0, |f| f.get_metric().len())
        };
        assert_eq!(count("kvs_edge_cache_requests_total"), 5 + 2 + 4 + 2 * 6);
        assert_eq!(count("kvs_edge_cache_evictions_total"), 10);
        assert_eq!((count("kvs_edge_cache_bytes"), count("kvs_edge_cache_entries")), (4, 2));
    }
}
