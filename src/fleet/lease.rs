//! A lease: the right to do something once for all replicas, for as long as this process is alive to do it.
//!
//! It is taken by the script that looks for what is wanted, so that nothing is done twice between the look
//! and the lease, and it ends with the script that writes the result. Each part has scripts of its own for
//! these two; what happens in between is the same for all.

use super::key::Key;
use super::metrics::Operation;
use super::script::{Arg, Script};
use super::store::Store;
use crate::base::task::{OwnedTask, spawn_self_ending};
use std::time::Duration;

/// How long a lease lasts if it is not prolonged: as long as others wait when its holder has died.
pub const LEASE_LIFE: Duration = Duration::from_millis(700);
/// How often it is prolonged.
const BEAT: Duration = Duration::from_millis(200);

/// Prolongs a lease. Key: lease. Arguments: holder, life (ms).
static PROLONG: Script = Script::new(
    r"if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
);

/// Gives a lease back. Key: lease. Argument: holder.
static RELEASE: Script = Script::new(
    r"if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])",
);

/// A lease that is held. It is prolonged until it is dropped, and given back then.
pub struct Lease {
    holder: String,
    key: Key,
    store: Store,
    ended: bool,
    _beat: OwnedTask,
}

impl Lease {
    /// The lease that a script has just taken, for [`LEASE_LIFE`], by writing `holder` to `key`:
    /// a name of [`Store::unique_name`].
    #[must_use]
    pub fn held(store: &Store, key: &Key, holder: String) -> Self {
        let (beating, of, by) = (store.clone(), key.clone(), holder.clone());
        let beat = OwnedTask::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let args = [by.as_str().into(), LEASE_LIFE.into()];
                // One beat that fails is made up for by the next; a lease that is lost is noticed at its end.
                let _ = beating.run(Operation::Lease, &PROLONG, &[&of], &args, BEAT).await;
            }
        });
        Self { holder, key: key.clone(), store: store.clone(), ended: false, _beat: beat }
    }

    /// What the lease is recognised by.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Notes that the lease has ended in the store, so that there is nothing to give back.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After shutdown there is no runtime, and the lease lapses.
        if self.ended || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (store, key, holder) = (self.store.clone(), self.key.clone(), std::mem::take(&mut self.holder));
        spawn_self_ending(async move {
            let args: [Arg<'_>; 1] = [holder.as_str().into()];
            // Without an answer it lapses.
            let _ = store.run(Operation::Lease, &RELEASE, &[&key], &args, LEASE_LIFE).await;
        });
    }
}
