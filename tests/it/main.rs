//! The one test program: each module is a promise, seen from outside.

mod architecture;
mod cli;
mod first_light;
mod harness;
mod rust_sdk;
mod sdk_clients;
mod upstream;
