//! What works of the parts that a gateway can do without, as metrics: each has a note in `/readyz` too.

use prometheus::{Gauge, Registry};

/// 1 while a part works, 0 while it does not.
pub(super) struct StateMetrics {
    disk: Gauge,
    audit: Gauge,
}

impl StateMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// A name is taken.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(format!("kvs_edge_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            gauge.set(1.0);
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            disk: gauge("cache_disk_up", "0 while the disk tier cannot use its folder, else 1")?,
            audit: gauge("audit_up", "Whether audit lines can be written")?,
        })
    }

    /// Sets the gauges to what is so now; called ahead of each scrape.
    pub(super) fn show(&self, disk_works: bool, audit_works: bool) {
        self.disk.set(f64::from(u8::from(disk_works)));
        self.audit.set(f64::from(u8::from(audit_works)));
    }
}
