//! What was reserved in the store. It is given back unless the call is made.

use super::gate::ReserveOutcome;
use super::script::{self, CONNECTION_LIFE, Charge, TakeAnswer};
use crate::base::task::OwnedTask;
use crate::fleet::{Error, Key, Store};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A reservation. Dropping it gives back what it took.
pub(in crate::upstream::quota) struct Reservation {
    store: Store,
    charges: Arc<Vec<Charge>>,
    /// For when it is, on the store's clock, in milliseconds.
    since: u64,
    used: bool,
    connection: Option<SharedSlot>,
}

/// One of a stream's connections, held in the store. Dropping this gives it back.
pub(in crate::upstream) struct SharedSlot {
    store: Store,
    key: Key,
    holder: String,
    _renewal: OwnedTask,
}

/// The answer to a request for a reservation.
pub(super) type Taking = Pin<Box<dyn Future<Output = Result<ReserveOutcome<Reservation>, Error>> + Send>>;

/// Reserves what all charges need together, at most so far ahead.
pub(super) fn take(
    store: Store,
    charges: Arc<Vec<Charge>>,
    connections: Option<(Key, u32)>,
    most: Duration,
    cold: bool,
) -> Taking {
    Box::pin(async move {
        let connections = connections.map(|(key, most)| (key, most, store.unique_name()));
        let wanted = connections.as_ref().map(|(key, most, holder)| (key, *most, holder.as_str()));
        Ok(match script::take(&store, &charges, wanted, most, cold).await? {
            TakeAnswer::After(wait, now) => {
                let since = now + u64::try_from(wait.as_millis()).unwrap_or(0);
                let connection = connections.map(|(key, _, holder)| SharedSlot::new(&store, key, holder));
                ReserveOutcome::After(wait, Reservation { store, charges, since, used: false, connection })
            }
            TakeAnswer::Late(wait) => ReserveOutcome::Late(wait),
            TakeAnswer::NoConnection => ReserveOutcome::NoConnection,
        })
    })
}

impl Reservation {
    /// For when it is, on the store's clock, in milliseconds.
    pub(in crate::upstream::quota) fn since(&self) -> u64 {
        self.since
    }

    /// The call is made: nothing is given back but its connection, later.
    pub(in crate::upstream::quota) fn used(mut self) -> Option<SharedSlot> {
        self.used = true;
        self.connection.take()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used && !self.charges.is_empty() {
            script::give_back(&self.store, self.charges.to_vec(), self.since);
        }
    }
}

impl SharedSlot {
    fn new(store: &Store, key: Key, holder: String) -> Self {
        let renewed = (store.clone(), key.clone(), holder.clone());
        let renewal = OwnedTask::spawn(async move {
            let (store, key, holder) = renewed;
            loop {
                tokio::time::sleep(CONNECTION_LIFE / 3).await;
                script::hold(&store, key.clone(), holder.clone(), CONNECTION_LIFE);
            }
        });
        Self { store: store.clone(), key, holder, _renewal: renewal }
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        let holder = std::mem::take(&mut self.holder);
        script::hold(&self.store, self.key.clone(), holder, Duration::ZERO);
    }
}
