//! The cache's own files of `src/cache/fill`, all but those that know tasks and time.

#[path = "../../../../../src/cache/fill/handle.rs"]
pub mod handle;
#[path = "../../../../../src/cache/fill/in_flight.rs"]
pub mod in_flight;
#[path = "../../../../../src/cache/fill/state.rs"]
pub mod state;
#[path = "../../../../../src/cache/fill/writer.rs"]
pub mod writer;
