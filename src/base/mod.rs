//! Mechanisms that several parts use, each written once. They know nothing of KVS, HTTP or any other part.

pub mod bucket;
pub mod clock;
pub mod file_watch;
pub mod single_flight;
pub mod task;
