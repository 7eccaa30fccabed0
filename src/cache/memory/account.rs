//! Bytes counted against a limit: a [`Weight`] stands for some of them, and dropping it gives them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes there may be, and how many there are.
pub(in crate::cache) struct Account {
    limit: u64,
    used: AtomicU64,
}

impl Account {
    pub(in crate::cache) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    pub(in crate::cache) fn limit(&self) -> u64 {
        self.limit
    }

    pub(in crate::cache) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What something counts for; given back when dropped.
pub(in crate::cache) struct Weight {
    account: Arc<Account>,
    bytes: u64,
}

impl Weight {
    pub(in crate::cache) fn nothing(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), bytes: 0 }
    }

    pub(in crate::cache) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `more` bytes too, or says that there is no room for them.
    pub(in crate::cache) fn grow(&mut self, more: u64) -> bool {
        let used = &self.account.used;
        if more > 0 && used.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.account.limit {
            used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// As `grow`, for bytes that exist whether or not there is room.
    pub(in crate::cache) fn stretch(&mut self, more: u64) {
        self.account.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
    }

    /// A weight of its own for at most `bytes` of these.
    pub(in crate::cache) fn split(&mut self, bytes: u64) -> Self {
        let bytes = self.bytes.min(bytes);
        self.bytes -= bytes;
        Self { account: Arc::clone(&self.account), bytes }
    }

    /// Whether there is room for `more` idle bytes.
    pub(in crate::cache) fn leaves_room_for(&self, more: u64) -> bool {
        self.account.used().saturating_add(more) <= self.account.limit
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
