//! The values of the labels of request metrics, all known ahead but the names of streams.

use crate::kvs::{Operation, Resource};

/// Value of the `api` label for the console's files.
pub const CONSOLE: &str = "Console";
/// Value of the `api` label for what leads nowhere.
pub const OTHER: &str = "Other";
/// Value of the `cache` label where no cache was asked.
pub const NO_CACHE: &str = "none";
/// All values of the `cache` label.
pub const CACHE_WORDS: [&str; 6] = ["hit", "miss", "collapsed", "stale", "bypass", NO_CACHE];
/// Value of the `stream` label where no stream is known to exist, where it is not permitted, and for all
/// beyond `metrics.max_streams`.
pub const NO_STREAM: &str = "_other";

/// All values of the `api` label.
pub fn apis() -> impl Iterator<Item = &'static str> {
    Operation::ALL.map(Operation::name).into_iter().chain(Resource::NAMES).chain([CONSOLE, OTHER])
}
