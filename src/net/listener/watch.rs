//! The watch over all connections of a listener: who may come in, and who has had his time.
//!
//! One sweep, a few times a second, reads every connection's notes and decides in [`verdict`], a plain function. No
//! connection owns a timer, so ten thousand idle ones cost a walk over their notes and nothing else.

use super::limits::Limits;
use super::memory::Memory;
use super::metrics::{Metrics, Rejection};
use super::pulse::{Clock, Notes, Order, Pulse, Stage};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a peer may still send after our last answer, in milliseconds.
const LINGER: u64 = 2_000;
/// How long a peer that was asked to leave may stay without a request.
const FAREWELL: u64 = 5_000;
/// Idle connections may stay this long when nine of ten places are taken, or memory is short.
const IDLE_WHEN_CROWDED: u64 = 5_000;
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
    /// When it is retired, or, when the listener closes, asked to leave.
    until: u64,
    /// When it was asked, or 0.
    asked: u64,
    window: Window,
}

/// Since when a connection's reader holds us up, and what had been written then.
#[derive(Clone, Copy, Default)]
struct Window {
    since: u64,
    written: u64,
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
        let entry = Entry { pulse: pulse.clone(), until, asked: 0, window: Window::default() };
        room.seats.insert(number, entry);
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
        for entry in room.seats.values_mut() {
            let notes = entry.pulse.notes();
            match verdict(&notes, entry, &self.limits, now, crowded, self.closing()) {
                Verdict::Stay => {}
                Verdict::Retire => {
                    entry.until = u64::MAX;
                    entry.pulse.give(Order::Retire);
                }
                Verdict::Leave => {
                    entry.asked = now;
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
            entry.until = entry.until.min(now + spread(*number) % SPREAD);
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Stay,
    Retire,
    Leave,
    Cut(Option<Rejection>),
}

/// What is due for a connection with these notes.
fn verdict(
    notes: &Notes,
    entry: &mut Entry,
    limits: &Limits,
    now: u64,
    crowded: bool,
    closing: bool,
) -> Verdict {
    let over = |since: u64, limit: Duration| now.saturating_sub(since) >= millis(limit);
    match notes.stage {
        Stage::Handshake if over(notes.stage_since, limits.tls_handshake.0) => {
            return Verdict::Cut(Some(Rejection::HandshakeTimeout));
        }
        Stage::Handshake => {
            return if now >= entry.until { Verdict::Cut(None) } else { Verdict::Stay };
        }
        Stage::Lingering if now.saturating_sub(notes.stage_since) >= LINGER => return Verdict::Cut(None),
        Stage::Lingering | Stage::Open => {}
    }
    if floods(notes, limits.h2_early_resets) {
        return Verdict::Cut(Some(Rejection::RapidReset));
    }
    let blocked = notes.blocked_since != 0;
    if blocked && over(notes.blocked_since, limits.write_stall.0) {
        return Verdict::Cut(Some(Rejection::WriteStall));
    }
    if notes.offered > 0 && over(notes.asked_at, limits.write_stall.0) {
        return Verdict::Cut(Some(Rejection::WriteStall));
    }
    if crawls(notes, &mut entry.window, limits, now) {
        return Verdict::Cut(Some(Rejection::WriteMinimum));
    }
    if notes.active == 0 && !blocked {
        if notes.head_since != 0 && over(notes.head_since.max(notes.idle_since), limits.header_read.0) {
            return Verdict::Cut(Some(Rejection::HeaderTimeout));
        }
        if notes.requests == 0 && over(notes.idle_since, limits.header_read.0) {
            return Verdict::Cut(Some(Rejection::HeaderTimeout));
        }
        let idle = now.saturating_sub(notes.idle_since);
        let bound = millis(limits.keep_alive_idle.0);
        if notes.head_since == 0 && (idle >= bound || crowded && idle >= bound.min(IDLE_WHEN_CROWDED)) {
            // The second time round it has been asked and did not go.
            return if idle >= bound + FAREWELL { Verdict::Cut(None) } else { leave(entry) };
        }
        if entry.asked != 0 && idle >= FAREWELL && now.saturating_sub(entry.asked) >= FAREWELL {
            return Verdict::Cut(None);
        }
    }
    match now >= entry.until {
        true if closing => leave(entry),
        true => Verdict::Retire,
        false => Verdict::Stay,
    }
}

fn leave(entry: &Entry) -> Verdict {
    if entry.asked == 0 { Verdict::Leave } else { Verdict::Stay }
}

/// Whether the peer makes requests only to give them up.
fn floods(notes: &Notes, early: u32) -> bool {
    notes.abandoned >= early && (notes.ended < early.saturating_mul(2) || notes.abandoned >= notes.ended / 2)
}

/// Whether the peer takes less than the minimum. A look at which we are not held up by him begins a new window.
fn crawls(notes: &Notes, window: &mut Window, limits: &Limits, now: u64) -> bool {
    let span = millis(limits.write_window.0);
    let fresh = Window { since: now, written: notes.written };
    if notes.blocked_since == 0 || window.since == 0 {
        *window = fresh;
        return false;
    }
    let passed = now - window.since;
    if passed < span {
        return false;
    }
    let wanted = limits.write_minimum.0.saturating_mul(passed) / 1_000;
    let crawls = notes.written - window.written < wanted;
    *window = fresh;
    crawls
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
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

    const OPEN: Notes = Notes {
        stage: Stage::Open,
        stage_since: 1,
        active: 0,
        idle_since: 1,
        head_since: 0,
        blocked_since: 0,
        written: 0,
        offered: 0,
        asked_at: 1,
        requests: 1,
        ended: 0,
        abandoned: 0,
        order: Order::Stay,
    };

    fn judge(notes: Notes, now: u64, asked: u64, crowded: bool) -> Verdict {
        let pulse = Arc::new(Pulse::new(Arc::new(Clock::new())));
        let mut entry = Entry { pulse, until: 3_600_000, asked, window: Window::default() };
        verdict(&notes, &mut entry, &Limits::default(), now, crowded, false)
    }

    #[test]
    fn each_limit_has_its_moment() {
        let cut = |reason| Verdict::Cut(Some(reason));
        let shaking = Notes { stage: Stage::Handshake, ..OPEN };
        let busy = Notes { active: 1, ..OPEN };
        for (notes, now, expected) in [
            (shaking, 9_999, Verdict::Stay),
            (shaking, 10_001, cut(Rejection::HandshakeTimeout)),
            (Notes { requests: 0, ..OPEN }, 9_999, Verdict::Stay),
            (Notes { requests: 0, ..OPEN }, 10_001, cut(Rejection::HeaderTimeout)),
            (Notes { head_since: 50_000, idle_since: 40_000, ..OPEN }, 59_999, Verdict::Stay),
            (Notes { head_since: 50_000, idle_since: 40_000, ..OPEN }, 60_000, cut(Rejection::HeaderTimeout)),
            (Notes { head_since: 1, idle_since: 40_000, ..OPEN }, 45_000, Verdict::Stay), // pipelined behind a long answer
            (OPEN, 60_000, Verdict::Stay),
            (OPEN, 60_001, Verdict::Leave),
            (OPEN, 65_001, Verdict::Cut(None)),
            (busy, 3_000_000, Verdict::Stay),
            (busy, 3_600_000, Verdict::Retire),
            (Notes { blocked_since: 5_000, ..busy }, 34_999, Verdict::Stay),
            (Notes { blocked_since: 5_000, ..busy }, 35_000, cut(Rejection::WriteStall)),
            (Notes { blocked_since: 5_000, ..OPEN }, 35_000, cut(Rejection::WriteStall)), // the last bytes of an answer
            (Notes { offered: 1, asked_at: 5_000, ..busy }, 34_999, Verdict::Stay),
            (Notes { offered: 1, asked_at: 5_000, ..busy }, 35_000, cut(Rejection::WriteStall)),
            (Notes { abandoned: 249, ended: 249, ..busy }, 10, Verdict::Stay),
            (Notes { abandoned: 250, ended: 250, ..busy }, 10, cut(Rejection::RapidReset)),
            (Notes { abandoned: 250, ended: 900, ..busy }, 10, Verdict::Stay),
            (Notes { abandoned: 450, ended: 900, ..busy }, 10, cut(Rejection::RapidReset)),
            (Notes { stage: Stage::Lingering, ..busy }, 1_999, Verdict::Stay),
            (Notes { stage: Stage::Lingering, ..busy }, 2_001, Verdict::Cut(None)),
        ] {
            assert_eq!(judge(notes, now, 0, false), expected, "{notes:?} at {now}");
        }
        assert_eq!(judge(OPEN, 5_001, 0, true), Verdict::Leave);
        assert_eq!(judge(OPEN, 9_000, 4_001, false), Verdict::Stay);
        assert_eq!(judge(OPEN, 9_001, 4_001, false), Verdict::Cut(None));
    }

    #[test]
    fn who_takes_less_than_the_minimum_is_cut_after_the_window() {
        let limits = Limits::default();
        let mut window = Window::default();
        let at = |now: u64, written: u64| Notes { active: 1, blocked_since: now - 10, written, ..OPEN };
        assert!(!crawls(&at(1_000, 0), &mut window, &limits, 1_000));
        assert!(!crawls(&at(31_000, 100), &mut window, &limits, 31_000));
        assert!(crawls(&at(61_000, 61_000), &mut window, &limits, 61_000)); // 61,440 were due
        assert!(!crawls(&at(121_000, 61_000 + 61_440), &mut window, &limits, 121_000));
        assert!(!crawls(&OPEN, &mut window, &limits, 181_000)); // the reader waits for us
        assert_eq!(window.since, 181_000);
    }

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
