//! Memory for what requests hold beside cached bodies, such as a JSON answer that is read whole: a share of
//! the cache's one budget. It comes out of the quarter that bodies on their way use, so what is held whole
//! never keeps it from them for long.

use super::Cache;
use super::memory::budget::Reservation;
use bytes::Bytes;
use std::sync::Arc;

/// Some bytes of the budget; given back when dropped.
pub struct Share(Reservation);

impl Cache {
    /// An empty share.
    #[must_use]
    pub fn share(&self) -> Share {
        Share(self.0.budget.reserve())
    }
}

impl Share {
    /// Makes the share at least `bytes` large. False if there is no room.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        self.0.grow_to(bytes)
    }

    /// As [`Share::grow_to`], for what is so small that it is counted and never refused.
    pub fn stretch_to(&mut self, bytes: u64) {
        self.0.stretch_to(bytes);
    }

    /// The same bytes, which keep the share until their last slice is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: Arc::clone(self) })
    }
}

struct Held {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::tests::bench;
    use bytes::Bytes;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_share_counts_until_the_last_slice_of_what_it_holds_is_gone() {
        let bench = bench(|_| {});
        let used = || bench.cache.0.budget.used();
        let mut share = bench.cache.share();
        assert!(share.grow_to(5 << 20) && !share.grow_to(1 << 30));
        let share = Arc::new(share);
        let bytes = share.hold(Bytes::from(vec![7; 5 << 20]));
        drop(share);
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((used(), &slice[..]), (5 << 20, &[7][..]));
        drop(slice);
        assert_eq!(used(), 0);
    }
}
