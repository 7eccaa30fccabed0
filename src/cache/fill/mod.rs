//! Bodies on their way into the cache: one fetch per key, shared by its readers.
//!
//! - `in_flight` is the table of fills in progress, by key.
//! - `handle` is a fill as its writer and its readers hold it: the lock around its `state`.
//! - `state` is what has arrived of a body, without locks, clocks or tasks; `writer` holds the methods of
//!   its writer.
//! - `task` fetches, moves the body into the state and stores it; `compact` copies chunks into the cache's
//!   own blocks.
//!
//! `tests/model` runs `handle`, `in_flight`, `state` and `writer` through every order in which threads may
//! meet.

pub(super) mod compact;
pub(super) mod handle;
pub(super) mod in_flight;
pub(super) mod state;
pub(super) mod task;
pub(super) mod writer;
