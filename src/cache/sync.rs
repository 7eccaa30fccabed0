//! The one lock that the cache uses, in one place, so that a model checker can put its own in.

use std::sync::PoisonError;
pub(super) use std::sync::{Mutex, MutexGuard};

/// Locks. What a lock guards here is whole after each statement, so a panic elsewhere leaves it usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
