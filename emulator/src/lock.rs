//! Short locks that are never held across a wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. The state that a panicking test leaves behind still serves the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
