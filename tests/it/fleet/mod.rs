//! Replicas that share a store: real Redis servers, started by each test.

mod purges;
mod quotas;
mod rotation;
mod store;
