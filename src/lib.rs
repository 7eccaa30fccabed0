//! kvs-edge: a caching, authenticating reverse proxy in front of Amazon Kinesis Video Streams archived media.
//!
//! It finds out who is asking, asks policy for a permit, and serves what was permitted from its cache, a
//! shared session, or AWS. This file is the map: parts import from the floors below their own, and neighbours
//! on a floor are strangers (`tests/it/architecture/` tests it).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests spawn what ends with their runtime, and compare with the clock"
    )
)]

// start
pub mod cli;

// assemble
pub mod app;

// settings
pub mod config;

// answer
pub mod admin;
pub mod console;
pub mod gateway;

// accounting
pub mod accounting;

// services
pub mod archive;
pub mod sessions;
pub mod sign_in;

// parts
pub mod cache;
pub mod identity;
pub mod package;
pub mod playback;
pub mod policy;
pub mod upstream;

// base
pub mod aws;
pub mod base;
pub mod caller;
pub mod fleet;
pub mod kvs;
pub mod net;
pub mod setting;
pub mod telemetry;

// entry points of the fuzz targets in `fuzz/`
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

/// Tests that hold the process to its memory do so with the allocator that ships.
#[cfg(all(test, feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
