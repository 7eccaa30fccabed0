//! The registry, the families of every process (`process_*`, build), the bound on stream labels, and the text
//! that Prometheus reads. Each part owns its families and registers them here.

use crate::base::version;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, PoisonError, RwLock};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// `[metrics]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many streams have a label value of their own; all others count as `_other`.
    pub max_streams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_streams: 1_000 }
    }
}

/// The families of the program, and apart from them those that every process has.
pub struct Registries {
    own: Registry,
    process: Registry,
}

impl Registries {
    /// With the process and the build in them already.
    ///
    /// # Errors
    /// Never in practice: the names are valid and new.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registries = Self { own: Registry::new(), process: Registry::new() };
        registries.process.register(Box::new(Process::new()?))?;
        let build = IntGaugeVec::new(
            Opts::new("kvs_edge_build_info", "Always 1; the labels say which build this is"),
            &["version", "revision", "date", "os", "arch"],
        )?;
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let labels = [version::VERSION, version::REVISION, version::DATE, os, arch];
        build.with_label_values(&labels).set(1);
        registries.own.register(Box::new(build))?;
        Ok(registries)
    }

    /// Where parts register their families, with the prefix `kvs_edge_` in their names.
    #[must_use]
    pub fn own(&self) -> &Registry {
        &self.own
    }

    /// All families, with their present values.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.own.gather();
        families.extend(self.process.gather());
        families
    }
}

/// All families as Prometheus' text format, version 0.0.4.
#[must_use]
pub fn text(families: &[MetricFamily]) -> String {
    // It fails only on families without a metric, which the registry leaves out.
    TextEncoder::new().encode_to_string(families).unwrap_or_default()
}

/// Label values for streams, bounded in number: the first ones that are known to exist have their own name,
/// all others are `_other`.
#[derive(Clone)]
pub struct StreamLabels {
    known: Arc<RwLock<HashSet<Arc<str>>>>,
    other: Arc<str>,
    most: usize,
}

/// The label value of the streams beyond the bound, and of no stream at all.
pub const OTHER_STREAM: &str = "_other";

impl StreamLabels {
    /// At most `most` names.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { known: Arc::default(), other: OTHER_STREAM.into(), most }
    }

    /// The label value for a stream. It makes none: a caller could name any number of streams.
    #[must_use]
    pub fn label(&self, stream: &str) -> Arc<str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(stream).unwrap_or(&self.other).clone()
    }

    /// The label value for a stream that exists, as KVS's answer or kept footage has shown: its own name, as
    /// long as there is room.
    #[must_use]
    pub fn label_of_existing(&self, stream: &str) -> Arc<str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(stream) {
            return label.clone();
        }
        if known.len() >= self.most {
            return self.other.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most && !known.contains(stream) {
            return self.other.clone();
        }
        let label: Arc<str> = stream.into();
        known.insert(label.clone());
        label
    }
}

/// The standard `process_*` families, read from `/proc` at each scrape.
struct Process {
    cpu: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    resident: Gauge,
    virtual_memory: Gauge,
    started: Gauge,
    threads: Gauge,
}

/// `/proc/self/stat` counts time in hundredths of a second on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

impl Process {
    fn new() -> Result<Self, prometheus::Error> {
        let process = Self {
            cpu: Gauge::new("process_cpu_seconds_total", "User and system time spent, in seconds")?,
            open_files: Gauge::new("process_open_fds", "Open file descriptors")?,
            most_files: Gauge::new("process_max_fds", "Most file descriptors that may be open")?,
            resident: Gauge::new("process_resident_memory_bytes", "Resident memory, in bytes")?,
            virtual_memory: Gauge::new("process_virtual_memory_bytes", "Virtual memory, in bytes")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "When the process started, since 1970, in seconds",
            )?,
            threads: Gauge::new("process_threads", "Threads of the process")?,
        };
        process.read();
        Ok(process)
    }

    fn gauges(&self) -> [&Gauge; 7] {
        let Self { cpu, open_files, most_files, resident, virtual_memory, started, threads } = self;
        [cpu, open_files, most_files, resident, virtual_memory, started, threads]
    }

    /// What cannot be read keeps its last value.
    fn read(&self) -> Option<()> {
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(files.count() as f64);
        }
        if let Some(most) =
            fs::read_to_string("/proc/self/limits").ok().and_then(|limits| most_files(&limits))
        {
            self.most_files.set(most);
        }
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the command in parentheses and may hold anything; the third follows its end.
        let fields: Vec<f64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or_default()).collect();
        let field = |number: usize| fields.get(number - 3).copied(); // numbered as in proc(5)
        self.cpu.set((field(14)? + field(15)?) / TICKS);
        self.threads.set(field(20)?);
        self.virtual_memory.set(field(23)?);
        let memory = fs::read_to_string("/proc/self/status").ok()?;
        let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        self.resident.set(resident.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0);
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        self.started.set(boot + field(22)? / TICKS);
        Some(())
    }
}

fn most_files(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        let mut families: Vec<_> = self.gauges().into_iter().flat_map(Collector::collect).collect();
        for family in &mut families {
            if family.name().ends_with("_total") {
                family.set_field_type(prometheus::proto::MetricType::COUNTER);
                for metric in family.mut_metric() {
                    let mut counter = prometheus::proto::Counter::default();
                    counter.set_value(metric.get_gauge().get_value());
                    metric.set_counter(counter);
                }
            }
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_the_build_are_told() {
        let text = text(&Registries::new().unwrap().gather());
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in {text}"))
                .rsplit(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") > 2.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_threads") >= 1.0 && value("process_virtual_memory_bytes") > 1e6);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
        assert!(text.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{text}");
    }

    #[test]
    fn streams_beyond_the_bound_share_a_label() {
        let labels = StreamLabels::new(2);
        for _ in 0..3 {
            assert_eq!(&*labels.label("made-up"), OTHER_STREAM, "names alone take no room");
        }
        assert_eq!(&*labels.label_of_existing("a"), "a");
        assert_eq!(&*labels.label_of_existing("b"), "b");
        assert_eq!(&*labels.label_of_existing("c"), OTHER_STREAM);
        assert_eq!((&*labels.label("a"), &*labels.label("c")), ("a", OTHER_STREAM));
        assert_eq!(&*StreamLabels::new(0).label_of_existing("a"), OTHER_STREAM);
    }
}
