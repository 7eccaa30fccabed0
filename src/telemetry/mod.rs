//! Setting up the sinks: log, metrics, audit; and the ids that tie their lines together.

pub mod audit;
pub mod log;
pub mod metrics;
pub mod sink;
pub mod spans;
pub mod trace;
