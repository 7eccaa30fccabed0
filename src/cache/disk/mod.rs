//! The tier below memory: a disk that keeps bodies across restarts.
//!
//! Why an engine of our own: foyer drops what is larger than its block without an error and reads whole entries only;
//! cacache and opendal do not evict by bytes (DEPENDENCIES.md 2.8). Ours is one file per object, moka as the index in
//! memory, and one thread, the writer, that alone changes the folder. A second kind of store would make this a trait.
//!
//! - `file` is the format: what a file says of itself and how it is checked.
//! - `index` is the index, and what the two that follow share.
//! - `lookup` answers lookups, off the runtime's threads, behind a gate and a time limit: trouble is a miss.
//! - `writer` claims the folder, finds what the last run left, writes, and deletes what was evicted.

mod file;
mod health;
mod index;
mod lookup;
mod writer;

pub(super) use lookup::{Disk, Loaded, OpenFile};
