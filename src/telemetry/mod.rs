//! Setting up the sinks: log, metrics, audit.
