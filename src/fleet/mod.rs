//! The stores that replicas share: what lets any number of them be one client of KVS and one cache.
//!
//! - [`s3`] holds large objects.

pub mod s3;
