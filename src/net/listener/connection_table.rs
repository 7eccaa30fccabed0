//! The watch over all connections of a listener: who may come in, and who has had his time.
//!
//! One sweep, a few times a second, reads every connection's notes and obeys [`verdict`]. No connection owns a timer, so
//! ten thousand idle ones cost a walk over their notes and nothing else.

use super::limits::Limits;
use super::memory_limit::Memory;
use super::metrics::{Metrics, Rejection};
use super::connection_state::{Clock, Order, Pulse, Stage};
use super::timeouts::{Dues, Look, Verdict, millis, verdict};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// When a drain closes, idle connections leave one by one over this time, not all at once.
const SPREAD: u64 = 2_000;

/// The watch of one listener.
pub(super) struct Watch {
    clock: Arc<Clock>,
    limits: Limits,
    metrics: Metrics,
    room: Mutex<Room>,
    emptied: Notify,
    closing: AtomicBool,
    memory: Option<Memory>,
    short: AtomicBool,
}

#[derive(Default)]
struct Room {
    seats: HashMap<u64, Entry>,
    by_address: HashMap<IpAddr, u32>,
    next: u64,
}

struct Entry {
    pulse: Arc<Pulse>,
    dues: Dues,
}

/// A place taken by one connection; dropping it frees the place.
pub(super) struct Seat {
    watch: Arc<Watch>,
    number: u64,
    address: Option<IpAddr>,
    pulse: Arc<Pulse>,
}

impl Watch {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            clock: Arc::new(Clock::new()),
            memory: Memory::new(limits.memory.map(|size| size.0)),
            short: AtomicBool::new(false),
            limits,
            metrics,
            room: Mutex::default(),
            emptied: Notify::new(),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether the listener takes nothing new any more: answers say so.
    pub(super) fn closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Whether new requests are turned away because memory is short.
    pub(super) fn short(&self) -> bool {
        self.short.load(Relaxed)
    }

    /// Looks at the memory left, and says so in the log when that changes.
    pub(super) fn look_at_memory(&self) {
        let Some(memory) = &self.memory else { return };
        let short = memory.is_short();
        if self.short.swap(short, Relaxed) != short {
            if short {
                tracing::error!("memory is short: new requests are answered 503");
            } else {
                tracing::warn!("memory is no longer short");
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection, unless all are taken.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let pulse = Arc::new(Pulse::new(self.clock.clone()));
        let mut room = self.room();
        if room.seats.len() >= self.limits.connections_total {
            drop(room);
            self.metrics.reject(Rejection::ConnectionsTotal);
            return None;
        }
        let number = room.next;
        room.next += 1;
        let until = self.clock.now() + jittered(millis(self.limits.connection_age.0), number);
        room.seats.insert(number, Entry { pulse: pulse.clone(), dues: Dues::new(until) });
        drop(room);
        self.metrics.open.inc();
        Some(Seat { watch: self.clone(), number, address: None, pulse })
    }

    /// How often to sweep, so that the shortest limit is kept within a quarter.
    pub(super) fn rhythm(&self) -> Duration {
        let limits = &self.limits;
        let spans = [limits.header_read, limits.tls_handshake, limits.keep_alive_idle, limits.write_stall];
        let least = spans.iter().map(|span| span.0).min().unwrap_or_default();
        (least / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }

    /// Reads all notes and gives orders.
    pub(super) fn sweep(&self) {
        let now = self.clock.tick();
        let mut room = self.room();
        let crowded =
            self.short() || room.seats.len() * 10 >= self.limits.connections_total.saturating_mul(9);
        let look = Look { now, crowded, closing: self.closing() };
        for entry in room.seats.values_mut() {
            let notes = entry.pulse.notes();
            match verdict(&notes, &mut entry.dues, &self.limits, look) {
                Verdict::Stay => {}
                Verdict::Park => entry.pulse.park(),
                Verdict::Retire => {
                    entry.dues.until = u64::MAX;
                    entry.pulse.give(Order::Retire);
                }
                Verdict::Leave => {
                    entry.dues.asked = now;
                    entry.pulse.give(Order::Leave);
                }
                Verdict::Cut(reason) => {
                    if let Some(reason) = reason
                        && notes.order != Order::Cut
                    {
                        self.metrics.reject(reason);
                    }
                    entry.pulse.give(Order::Cut);
                }
            }
        }
    }

    /// Asks everybody to leave, idle connections spread over a moment.
    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
        let now = self.clock.tick();
        for (number, entry) in &mut self.room().seats {
            entry.dues.until = entry.dues.until.min(now + spread(*number) % SPREAD);
        }
    }

    /// Cuts everybody.
    pub(super) fn cut(&self) {
        for entry in self.room().seats.values() {
            entry.pulse.give(Order::Cut);
        }
    }

    /// Asks connections that do nothing to leave: file descriptors ran out.
    pub(super) fn make_room(&self) {
        let mut left = 64;
        for entry in self.room().seats.values_mut() {
            let notes = entry.pulse.notes();
            if left > 0 && notes.active == 0 && notes.stage == Stage::Open && notes.requests > 0 {
                entry.pulse.give(Order::Leave);
                left -= 1;
            }
        }
    }

    /// Returns when nobody is there.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.room().seats.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl Seat {
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Counts the connection to its address; `false` when that has too many.
    pub(super) fn claim(&mut self, address: IpAddr) -> bool {
        let address = household(address);
        let mut room = self.watch.room();
        let count = room.by_address.entry(address).or_default();
        if *count >= self.watch.limits.connections_per_address {
            drop(room);
            self.watch.metrics.reject(Rejection::ConnectionsPerAddress);
            return false;
        }
        *count += 1;
        self.address = Some(address);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = self.watch.room();
        room.seats.remove(&self.number);
        if let Some(address) = self.address
            && let Some(count) = room.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                room.by_address.remove(&address);
            }
        }
        let empty = room.seats.is_empty();
        drop(room);
        self.watch.metrics.open.dec();
        if empty {
            self.watch.emptied.notify_waiters();
        }
    }
}

/// Whom an address stands for: one customer has a whole /64 of IPv6.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// `base`, a tenth more or less.
fn jittered(base: u64, number: u64) -> u64 {
    let tenth = base / 10;
    base - tenth + spread(number) % (2 * tenth + 1)
}

/// A number that has nothing to do with its neighbours' (the finaliser of splitmix64).
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
        let watch = Arc::new(Watch::new(limits, Metrics::unseen()));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut seats: Vec<_> = (0..3).map(|_| watch.seat().unwrap()).collect();
        assert!(watch.seat().is_none());
        assert!(seats[0].claim(address("2001:db8::1")));
        assert!(seats[1].claim(address("2001:db8::ffff")));
        assert!(!seats[2].claim(address("2001:db8::2")));
        drop(seats.remove(0));
        assert!(seats[1].claim(address("2001:db8::2")));
        assert_eq!(watch.metrics.open.get(), 2);
        drop(seats);
        assert_eq!((watch.metrics.open.get(), watch.room().by_address.len()), (0, 0));
    }

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let ages: Vec<u64> = (0..1000).map(|n| jittered(1_000, n)).collect();
        assert!(ages.iter().all(|age| (900..=1_100).contains(age)));
        assert!(ages.iter().any(|age| *age < 930) && ages.iter().any(|age| *age > 1_070));
    }
}
