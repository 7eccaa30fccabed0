//! Memory for what can be made again, within one bound of bytes for all kinds of it: the least recently used
//! makes room.
//!
//! What is kept here can be gone at any time, so whoever keeps something must be able to make it anew. A
//! [`Kept`] names it; it does not hold it.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The memory. Clones share it.
#[derive(Clone)]
pub struct Room {
    kept: moka::sync::Cache<u64, Weighed, foldhash::fast::RandomState>,
    numbered: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Weighed {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
}

/// The name of something in a [`Room`].
pub struct Kept<T> {
    number: u64,
    of: PhantomData<fn() -> T>,
}

/// All of it by default.
const MEMORY: u64 = 128 << 20;
/// What was not used for so long is dropped.
const IDLE: Duration = Duration::from_secs(600);

impl Default for Room {
    fn default() -> Self {
        Self::new(MEMORY)
    }
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let kept = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, weighed: &Weighed| weighed.bytes)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .time_to_idle(IDLE);
        Self { kept: kept.build_with_hasher(Default::default()), numbered: Arc::default() }
    }

    /// Keeps something that takes `bytes`.
    #[must_use]
    pub fn keep<T: Send + Sync + 'static>(&self, value: Arc<T>, bytes: usize) -> Kept<T> {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed);
        self.kept.insert(number, Weighed { value, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
        Kept { number, of: PhantomData }
    }

    /// What was kept, if it is still here.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self, kept: &Kept<T>) -> Option<Arc<T>> {
        self.kept.get(&kept.number)?.value.downcast().ok()
    }

    /// Drops something now.
    pub fn forget<T>(&self, kept: &Kept<T>) {
        self.kept.invalidate(&kept.number);
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(crate) fn settle(&self) -> u64 {
        self.kept.run_pending_tasks();
        self.kept.weighted_size()
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { number: self.number, of: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_makes_room_whatever_it_is() {
        let room = Room::new(1000);
        let (text, number) = (room.keep(Arc::new(String::from("a")), 400), room.keep(Arc::new(7_u64), 400));
        room.settle();
        assert_eq!(room.get(&text).as_deref().map(String::as_str), Some("a"));
        let other = room.keep(Arc::new(8_u64), 400);
        assert!(room.settle() <= 1000);
        assert_eq!((room.get(&number), room.get(&other).as_deref()), (None, Some(&8)));
        assert!(room.get(&text).is_some());
        room.forget(&text);
        assert!(room.get(&text).is_none());
        assert_eq!(room.settle(), 400);
    }
}
