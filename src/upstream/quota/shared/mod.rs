//! Quotas that replicas share: a call reserves its time in the store, in one script for all that it is
//! charged for a stream, and one for its account.
//!
//! The store's clock is the only one. The head of a local queue reserves and sleeps until its time, so that
//! callers have fair turns here and replicas have them among each other. While the store does not answer,
//! the local buckets count, each for its share of the rate (`super::Quotas`).

mod gate;
mod reservation;
mod script;

use crate::fleet::{Digest, KeyPart, Store, Unit};
use gate::Gate;
pub(super) use gate::Grant;
pub(super) use reservation::{Reservation, SharedSlot};
use script::Charge;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The quotas in the store.
pub(super) struct SharedQuotas {
    store: Store,
    /// A queue for each set of buckets: calls of different sets do not wait for each other.
    gates: moka::sync::Cache<String, Arc<Gate<Reservation>>>,
}

/// What a call is charged for one stream, or for one account.
pub(super) struct ChargeGroup {
    unit: Unit,
    charges: Vec<(String, u32, u32)>,
    /// At most so many calls at a time.
    connections: Option<u32>,
}

/// Queues that nothing waited in for so long are forgotten.
const UNUSED: Duration = Duration::from_secs(600);
const MOST: u64 = 50_000;

impl ChargeGroup {
    /// Of a stream, whatever its session.
    pub(super) fn of_stream(entry: &str, stream: &str) -> Self {
        let digest = Digest::of("stream quotas", &[entry.as_bytes(), stream.as_bytes()]);
        Self { unit: Unit::Quota(digest), charges: Vec::new(), connections: None }
    }

    /// Of an account in a region.
    pub(super) fn of_account(region: &str, account: &str) -> Self {
        let digest = Digest::of("account quotas", &[region.as_bytes(), account.as_bytes()]);
        Self { unit: Unit::Quota(digest), charges: Vec::new(), connections: None }
    }

    /// Adds a bucket, named by what it holds. `session`: it is counted for each session.
    pub(super) fn charge(&mut self, what: &str, session: Option<&str>, cost: u32, per_second: u32) {
        let mut name = what.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if let Some(id) = session {
            name = format!("{name}:{}", Digest::of("session", &[id.as_bytes()]).as_str());
        }
        self.charges.push((name, cost, per_second));
    }

    /// The call holds one of so many connections while its answer arrives.
    pub(super) fn hold_connection(&mut self, most: u32) {
        self.connections = Some(most);
    }

    /// Whether it holds one.
    pub(super) fn holds_connection(&self) -> bool {
        self.connections.is_some()
    }

    /// How much of the time of its scarcest bucket the call takes, in milliseconds: what fair turns count.
    fn weight(&self) -> u32 {
        let of = |(_, cost, rate): &(String, u32, u32)| u64::from(*cost) * 1000 / u64::from((*rate).max(1));
        let longest = self.charges.iter().map(of).max().unwrap_or(1);
        u32::try_from(longest).unwrap_or(u32::MAX).max(1)
    }
}

impl SharedQuotas {
    pub(super) fn new(store: Store) -> Self {
        let gates = moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build();
        Self { store, gates }
    }

    /// Among how many replicas the rates are divided while the store is away.
    pub(super) fn replicas(&self) -> u32 {
        u32::try_from(self.store.replicas()).unwrap_or(u32::MAX).max(1)
    }

    /// Since when the store has not answered for this group, if that is known.
    pub(super) fn away_since(&self, group: &ChargeGroup) -> Option<Instant> {
        self.store.out_since(&self.store.keys().key(&group.unit, &KeyPart::Bucket("connections")))
    }

    /// Waits for the call's turn here and for its time in the store, until `deadline` at most. `cold`: the
    /// store does not know what was spent lately, so buckets count as empty.
    pub(super) async fn reserve(
        &self,
        group: &ChargeGroup,
        principal: &Arc<str>,
        deadline: Instant,
        cold: bool,
    ) -> Grant<Reservation> {
        let charges = self.charges(group);
        let connections = |most| (self.store.keys().key(&group.unit, &KeyPart::Bucket("connections")), most);
        let slots = group.connections.map(connections);
        let mut names: Vec<&str> = charges.iter().map(|charge| charge.key.as_str()).collect();
        names.extend(slots.iter().map(|(key, _)| key.as_str()));
        let gate = self.gates.get_with(names.join(" "), || Arc::new(Gate::default()));
        let (store, charges) = (self.store.clone(), Arc::new(charges));
        let reserve = move |most: Duration| {
            reservation::take(store.clone(), charges.clone(), slots.clone(), most, cold)
        };
        gate.pass(principal, group.weight(), deadline, reserve).await
    }

    /// KVS throttled nevertheless: there is nothing left.
    pub(super) fn empty(&self, group: &ChargeGroup) {
        script::empty(&self.store, self.charges(group));
    }

    /// Gives back so much of what each bucket of the group was charged at `since` and KVS did not charge.
    pub(super) fn give_back(&self, group: &ChargeGroup, since: u64) {
        script::give_back(&self.store, self.charges(group), since);
    }

    fn charges(&self, group: &ChargeGroup) -> Vec<Charge> {
        let charge = |(name, cost, per_second): &(String, u32, u32)| Charge {
            key: self.store.keys().key(&group.unit, &KeyPart::Bucket(name)),
            cost: *cost,
            per_second: *per_second,
        };
        group.charges.iter().map(charge).collect()
    }
}
