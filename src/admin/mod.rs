//! Health, readiness, metrics, on a listener of their own.
