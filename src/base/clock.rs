//! The wall clock, read in one place.
//!
//! Code that decides something takes `now` as a parameter, so that tests choose the time. Only the edge of
//! the program reads the clock: where a request, a command or a background task begins.

use std::time::SystemTime;

/// The present time.
#[must_use]
pub fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that the rule asks for")]
    SystemTime::now()
}
