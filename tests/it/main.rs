//! The one test program: each module is a promise, seen from outside.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where by panicking

mod architecture;
mod audit;
mod authentication;
mod authorisation;
mod byte_ranges;
mod cli;
mod console;
mod crowds;
mod first_light;
mod harness;
mod hot_reload;
mod media_cache;
mod pages;
mod playback;
mod rust_sdk;
mod sdk_clients;
mod upstream;
