//! Mechanisms that several parts use, each written once.

pub mod file_watch;
