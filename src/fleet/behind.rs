//! Work that a request does not wait for, bounded by the bytes that it holds.

use crate::base::task::spawn_self_ending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all such work may hold together. Beyond it, work is dropped: the store keeps up or goes without.
const MOST: usize = 32 << 20;

/// The bytes under way.
#[derive(Clone, Default)]
pub(super) struct Behind(Arc<AtomicUsize>);

impl Behind {
    /// Starts `work`, which has a deadline of its own. False: there is no room, and it was dropped.
    pub(super) fn start(&self, bytes: usize, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(held) = self.hold(bytes) else { return false };
        spawn_self_ending(async move {
            work.await;
            drop(held);
        });
        true
    }

    fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        let fits = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= MOST);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(HeldBytes { bytes, of: self.0.clone() })
    }
}

struct HeldBytes {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_room_comes_back() {
        let behind = Behind::default();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        assert!(behind.start(MOST, async move {
            let _ = wait.await;
            drop(done);
        }));
        assert!(!behind.start(1, async {}), "it is full");
        go.send(()).unwrap();
        let _ = finished.await;
        while behind.0.load(Ordering::Acquire) > 0 {
            tokio::task::yield_now().await;
        }
        assert!(behind.start(MOST, async {}));
        assert!(!behind.start(usize::MAX, async {}));
    }
}
