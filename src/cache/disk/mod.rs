//! The tier below memory: a disk that keeps bodies across restarts.
//!
//! Why an engine of our own: foyer silently drops what is larger than its block and reads whole entries
//! only; cacache and opendal do not evict by bytes. Ours is one file per object, with moka as the index in
//! memory. Files are written by one thread only; that thread deletes what was evicted, and a purge deletes
//! on its own thread.
//!
//! - `file` is the format: what a file contains and how it is checked.
//! - `index` is the index in memory, with the state that the next two share.
//! - `lookup` answers lookups on threads for blocking work, with a bound on their number and a time limit:
//!   trouble is a miss.
//! - `writer` claims the folder, takes in what the last run left, writes, and deletes what was evicted.

mod file;
mod health;
mod index;
mod lookup;
mod writer;

pub(super) use lookup::Disk;
