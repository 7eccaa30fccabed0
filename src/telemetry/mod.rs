//! Setting up the sinks: log, metrics, audit.

pub mod audit;
