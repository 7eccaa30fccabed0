//! Replicas that share a store: real Redis servers, started by each test.

mod store;
