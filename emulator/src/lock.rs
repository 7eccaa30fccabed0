//! Locks for short times; none is held across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks also after a panic of another holder: no critical section here leaves half a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
