//! A lease: the right to do something once for all replicas, for as long as this process is alive to do it.

use super::scripts::{EXTEND, RELEASE};
use crate::base::task::{OwnedTask, spawn_self_ending};
use crate::fleet::{Arg, Key, Operation, Store};
use std::time::Duration;

/// How long a lease lasts if it is not prolonged: as long as others wait when its holder has died.
pub(super) const LIFE: Duration = Duration::from_millis(700);
/// How often it is prolonged.
const BEAT: Duration = Duration::from_millis(200);

/// A lease that is held. It is prolonged until it is dropped, and given back then.
pub(in crate::sessions) struct Lease {
    pub(super) nonce: String,
    key: Key,
    store: Store,
    /// It ended with a commit: there is nothing to give back.
    ended: bool,
    _beat: OwnedTask,
}

impl Lease {
    pub(super) fn held(store: &Store, key: &Key, nonce: String) -> Self {
        let (beating, of, by) = (store.clone(), key.clone(), nonce.clone());
        let beat = OwnedTask::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let args = [by.as_str().into(), LIFE.into()];
                // One beat that fails is made up for by the next; a lease that is lost is noticed at its end.
                let _ = beating.run(Operation::Lease, &EXTEND, &[&of], &args, BEAT).await;
            }
        });
        Self { nonce, key: key.clone(), store: store.clone(), ended: false, _beat: beat }
    }

    /// Notes that the lease has ended in the store.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (store, key, nonce) = (self.store.clone(), self.key.clone(), std::mem::take(&mut self.nonce));
        spawn_self_ending(async move {
            let args: [Arg<'_>; 1] = [nonce.as_str().into()];
            // Without an answer it ends by itself.
            let _ = store.run(Operation::Lease, &RELEASE, &[&key], &args, LIFE).await;
        });
    }
}
