//! The console: see your cameras.
