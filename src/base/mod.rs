//! Mechanisms that several parts use, each written once.

pub mod bucket;
pub mod file_watch;
pub mod single_flight;
