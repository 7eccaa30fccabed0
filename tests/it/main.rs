//! The one test program: each module is a promise, seen from outside.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where by panicking
#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn what ends with their runtime, and compare with the clock"
)]

mod agreement;
mod architecture;
mod audit;
mod authentication;
mod authorisation;
mod balancers;
mod binding;
mod byte_ranges;
mod bytes_counted;
mod cli;
mod clip_in_browser;
mod conformance;
mod console;
mod console_files;
mod crowding;
mod crowds;
mod dead_addresses;
mod demo_clients;
mod documents;
mod egress;
mod facts;
mod first_light;
mod fleet;
mod fleet_objects;
mod fleet_s3;
mod fleet_tampering;
mod floods;
mod footage;
mod harness;
mod hot_reload;
mod identity_providers;
mod image;
mod issuers;
mod limits;
mod links;
mod media_cache;
mod memory;
mod messages;
mod one_credential;
mod one_timeline;
mod packaged_clips;
mod pages;
mod planted;
mod playback;
mod policy_words;
mod rates;
mod rust_sdk;
mod sdk_clients;
mod settled;
mod shared_bounds;
mod shared_browser;
mod sign_in;
mod stream_lists;
mod traces;
mod upstream;
mod vod;
mod withdrawn;
