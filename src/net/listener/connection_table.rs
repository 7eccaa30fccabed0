//! All connections of a listener: admission, and the sweep that enforces every time limit.
//!
//! A few times a second the sweep reads the state of every connection and does what [`decide`] says. No
//! connection has a timer of its own, so ten thousand idle ones cost a walk over their states and nothing
//! else.

use super::connection_state::{ConnectionState, Instruction, Stage, TickingClock};
use super::limits::Limits;
use super::memory_limit::MemoryLimit;
use super::metrics::{Metrics, Rejection};
use super::timeouts::{Action, Conditions, Deadlines, decide, millis};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// When a drain closes, idle connections are closed spread over this time, not all at once. In milliseconds.
const SPREAD: u64 = 2_000;

/// The connections of one listener.
pub(super) struct ConnectionTable {
    clock: Arc<TickingClock>,
    limits: Limits,
    metrics: Metrics,
    entries: Mutex<Entries>,
    all_closed: Notify,
    is_closing: AtomicBool,
    memory: Option<MemoryLimit>,
    memory_is_short: AtomicBool,
}

#[derive(Default)]
struct Entries {
    slots: HashMap<u64, TrackedConnection>,
    by_address: HashMap<IpAddr, u32>,
    next: u64,
}

struct TrackedConnection {
    state: Arc<ConnectionState>,
    deadlines: Deadlines,
}

/// One connection's place in the table; dropping it frees the place.
pub(super) struct ConnectionSlot {
    table: Arc<ConnectionTable>,
    number: u64,
    address: Option<IpAddr>,
    state: Arc<ConnectionState>,
}

impl ConnectionTable {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            clock: Arc::new(TickingClock::new()),
            memory: MemoryLimit::new(limits.memory.map(|size| size.0)),
            memory_is_short: AtomicBool::new(false),
            limits,
            metrics,
            entries: Mutex::default(),
            all_closed: Notify::new(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Whether the listener accepts nothing new any more. Responses then close their connection.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    /// Whether new requests are refused because memory is short.
    pub(super) fn memory_is_short(&self) -> bool {
        self.memory_is_short.load(Relaxed)
    }

    /// Measures the memory left, and logs when it becomes short or no longer is.
    pub(super) fn check_memory(&self) {
        let Some(memory) = &self.memory else { return };
        let memory_is_short = memory.is_short();
        if self.memory_is_short.swap(memory_is_short, Relaxed) != memory_is_short {
            if memory_is_short {
                tracing::error!("memory is short: new requests are answered 503");
            } else {
                tracing::warn!("memory is no longer short");
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection, unless `limits.connections_total` are taken.
    pub(super) fn admit(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let state = Arc::new(ConnectionState::new(self.clock.clone()));
        let mut entries = self.entries();
        if entries.slots.len() >= self.limits.connections_total {
            drop(entries);
            self.metrics.reject(Rejection::ConnectionsTotal);
            return None;
        }
        let number = entries.next;
        entries.next += 1;
        let retire_at = self.clock.now() + jittered(millis(self.limits.connection_age.0), number);
        entries
            .slots
            .insert(number, TrackedConnection { state: state.clone(), deadlines: Deadlines::new(retire_at) });
        drop(entries);
        self.metrics.open.inc();
        Some(ConnectionSlot { table: self.clone(), number, address: None, state })
    }

    /// How often to sweep, so that the shortest limit is exceeded by a quarter at most.
    pub(super) fn sweep_interval(&self) -> Duration {
        let limits = &self.limits;
        let spans = [limits.header_read, limits.tls_handshake, limits.keep_alive_idle, limits.write_stall];
        let least = spans.iter().map(|span| span.0).min().unwrap_or_default();
        (least / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }

    /// Reads all states and instructs connections that have reached a limit.
    pub(super) fn sweep(&self) {
        let now = self.clock.tick();
        let mut entries = self.entries();
        let crowded = self.memory_is_short()
            || entries.slots.len() * 10 >= self.limits.connections_total.saturating_mul(9);
        let conditions = Conditions { now, crowded, closing: self.is_closing() };
        for entry in entries.slots.values_mut() {
            let snapshot = entry.state.snapshot();
            match decide(&snapshot, &mut entry.deadlines, &self.limits, conditions) {
                Action::Keep => {}
                Action::Park => entry.state.park(),
                Action::LastRequest => {
                    entry.deadlines.retire_at = u64::MAX;
                    entry.state.instruct(Instruction::LastRequest);
                }
                Action::Finish => {
                    entry.deadlines.told_at = now;
                    entry.state.instruct(Instruction::Finish);
                }
                Action::Close(reason) => {
                    if let Some(reason) = reason
                        && snapshot.instruction != Instruction::Close
                    {
                        self.metrics.reject(reason);
                    }
                    entry.state.instruct(Instruction::Close);
                }
            }
        }
    }

    /// Lets every connection finish; idle ones are closed spread over [`SPREAD`].
    pub(super) fn start_closing(&self) {
        self.is_closing.store(true, Relaxed);
        let now = self.clock.tick();
        for (number, entry) in &mut self.entries().slots {
            entry.deadlines.retire_at = entry.deadlines.retire_at.min(now + spread(*number) % SPREAD);
        }
    }

    /// Closes every connection at once.
    pub(super) fn close_all(&self) {
        for entry in self.entries().slots.values() {
            entry.state.instruct(Instruction::Close);
        }
    }

    /// Closes some idle connections, because file descriptors ran out.
    pub(super) fn close_idle(&self) {
        let mut left = 64;
        for entry in self.entries().slots.values_mut() {
            let snapshot = entry.state.snapshot();
            if left > 0 && snapshot.active == 0 && snapshot.stage == Stage::Open && snapshot.requests > 0 {
                entry.state.instruct(Instruction::Finish);
                left -= 1;
            }
        }
    }

    /// Returns when there is no connection.
    pub(super) async fn wait_until_empty(&self) {
        loop {
            let all_closed = self.all_closed.notified();
            if self.entries().slots.is_empty() {
                return;
            }
            all_closed.await;
        }
    }
}

impl ConnectionSlot {
    pub(super) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Counts the connection towards its address; `false` when that has `limits.connections_per_address`
    /// already.
    pub(super) fn count_address(&mut self, address: IpAddr) -> bool {
        let address = counted_as(address);
        let mut entries = self.table.entries();
        let count = entries.by_address.entry(address).or_default();
        if *count >= self.table.limits.connections_per_address {
            drop(entries);
            self.table.metrics.reject(Rejection::ConnectionsPerAddress);
            return false;
        }
        *count += 1;
        self.address = Some(address);
        true
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        entries.slots.remove(&self.number);
        if let Some(address) = self.address
            && let Some(count) = entries.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                entries.by_address.remove(&address);
            }
        }
        let wait_until_empty = entries.slots.is_empty();
        drop(entries);
        self.table.metrics.open.dec();
        if wait_until_empty {
            self.table.all_closed.notify_waiters();
        }
    }
}

/// The address that a connection is counted under: for IPv6 the /64, since one customer has all of it.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// `base`, up to a tenth more or less, so that connections of one age do not end together.
fn jittered(base: u64, number: u64) -> u64 {
    let tenth = base / 10;
    base - tenth + spread(number) % (2 * tenth + 1)
}

/// Spreads consecutive numbers evenly (the finaliser of splitmix64).
fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_freed() {
        let limits = Limits { connections_total: 3, connections_per_address: 2, ..Limits::default() };
        let table = Arc::new(ConnectionTable::new(limits, Metrics::unseen()));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut slots: Vec<_> = (0..3).map(|_| table.admit().unwrap()).collect();
        assert!(table.admit().is_none());
        assert!(slots[0].count_address(address("2001:db8::1")));
        assert!(slots[1].count_address(address("2001:db8::ffff")));
        assert!(!slots[2].count_address(address("2001:db8::2")));
        drop(slots.remove(0));
        assert!(slots[1].count_address(address("2001:db8::2")));
        assert_eq!(table.metrics.open.get(), 2);
        drop(slots);
        assert_eq!((table.metrics.open.get(), table.entries().by_address.len()), (0, 0));
    }

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let ages: Vec<u64> = (0..1000).map(|n| jittered(1_000, n)).collect();
        assert!(ages.iter().all(|age| (900..=1_100).contains(age)));
        assert!(ages.iter().any(|age| *age < 930) && ages.iter().any(|age| *age > 1_070));
    }
}
