//! Which build this is. Release builds know their commit; `build.rs` finds it out.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, or `unknown` in a development build.
pub const REVISION: &str = env!("KVS_EDGE_REVISION");
/// The date of the commit, `YYYY-MM-DD`, or `unknown`.
pub const DATE: &str = env!("KVS_EDGE_DATE");
/// All of it in one line.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("KVS_EDGE_REVISION"),
    ", ",
    env!("KVS_EDGE_DATE"),
    ")"
);
