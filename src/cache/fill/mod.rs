//! Bodies on their way into the cache: one fetch per key, shared by its readers.
//!
//! - `in_flight` knows the fill in progress of each key.
//! - `handle` is a fill as its writer and its readers hold it: the lock around its `state`.
//! - `state` is what has come of a fill, without locks, clocks or tasks; `writer` is the half of it that the writer uses.
//! - `task` fetches, moves the body into the state and stores it; `compact` copies what has come into the cache's own blocks.
//!
//! `tests/model` runs `handle`, `in_flight`, `state` and `writer` through every order in which threads may meet.

pub(super) mod compact;
pub(super) mod handle;
pub(super) mod in_flight;
pub(super) mod state;
pub(super) mod task;
pub(super) mod writer;
