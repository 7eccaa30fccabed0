//! The fleet: what replicas share, so that any number of them is one client of KVS and one cache.
//!
//! This part knows the store and nothing of KVS, sessions or media. It gives
//!
//! - [`Store::run`]: a [`Script`] over the [`Key`]s of one [`Unit`], with a time-out of the caller's. An
//!   error means "go on without the store"; it comes at once while the store is known to be ill;
//! - [`Store::read_replica`] for when the primary of a shard does not answer;
//! - [`Store::seal`] and [`Store::open_value`]: values are bound to their key and version, what does not
//!   open is a miss and counted. [`Store::set`] and [`Store::get`] do it for single values;
//! - [`Store::seal_blocks`] and [`Store::open_blocks`] for large values that are read by ranges, and [`s3`]
//!   where those are kept;
//! - [`Lease`]: the right to do something once for all replicas;
//! - [`Store::behind`] for writes that no request waits for;
//! - [`PurgeLog`]: what one replica is ordered to purge, all of them purge;
//! - [`Presence`]: which replicas there are, and whether they agree; [`probe`] for `check --online`;
//! - [`Keys::key`] for names, [`Metrics`] for what is counted.
//!
//! Time is the store's: scripts take it by `TIME`, and no decision compares clocks of replicas. Nothing here
//! is needed to serve: every caller has an answer for a store that is away.

mod address;
mod attempt;
mod behind;
mod blocks;
mod config;
mod connect;
mod error;
mod health;
mod key;
mod lease;
mod link;
mod log;
mod metrics;
mod presence;
mod probe;
mod rejection;
pub mod s3;
mod script;
mod seal;
mod state;
mod store;
mod topology;

pub use address::Address;
pub use blocks::{BLOCK, BLOCK_OVERHEAD, BLOCKS_ID, Blocks, BlocksOf};
pub use config::{Config, IamConfig, Live, Mode, Purge, ReplicaReads};
pub use connect::TokenSource;
pub use error::Error;
pub use key::{Digest, Key, KeyPart, Keys, Unit};
pub use lease::{LEASE_LIFE, Lease};
pub use log::{PurgeLog, PurgeOrder};
pub use metrics::{Backend, LeaseKind, LeaseResult, Metrics, Operation, OperationResult};
pub use presence::{Presence, Replica};
pub use probe::{Probed, probe};
pub use rejection::Rejection;
pub use script::{Arg, Reply, Script};
pub use seal::{ID_LEN, SEAL_OVERHEAD, SealingSecret};
pub use store::Store;
