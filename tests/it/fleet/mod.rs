//! Replicas that share a store: real Redis servers, started by each test.

mod faults;
#[allow(clippy::module_inception)] // what it holds is a fleet
mod fleet;
mod presence;
mod purges;
mod quotas;
mod rotation;
mod round_robin;
mod store;
