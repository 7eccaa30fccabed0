//! Who has had his time: plain decisions on the notes of a connection.

use super::limits::Limits;
use super::metrics::Rejection;
use super::connection_state::{Notes, Stage};
use std::time::Duration;

/// What is to be done with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Stay,
    Park,
    Retire,
    Leave,
    /// With a reason, if the peer is to blame.
    Cut(Option<Rejection>),
}

/// What the watch remembers of a connection between two looks.
#[derive(Clone, Copy)]
pub(super) struct Dues {
    /// When it is retired, or, when the listener closes, asked to leave.
    pub(super) until: u64,
    /// When it was asked to leave, or 0.
    pub(super) asked: u64,
    window: Window,
}

impl Dues {
    pub(super) fn new(until: u64) -> Self {
        Self { until, asked: 0, window: Window::default() }
    }
}

/// Since when a connection's reader holds us up, and what had been written then.
#[derive(Clone, Copy, Default)]
struct Window {
    since: u64,
    written: u64,
}

/// The circumstances of one look.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Milliseconds on the listener's clock.
    pub(super) now: u64,
    /// Nine of ten places are taken, or memory is short.
    pub(super) crowded: bool,
    /// Nothing new is accepted any more.
    pub(super) closing: bool,
}

impl Look {
    fn over(&self, since: u64, limit: Duration) -> bool {
        self.now.saturating_sub(since) >= millis(limit)
    }
}

/// What a peer may still send after our last answer, in milliseconds.
const LINGER: u64 = 2_000;
/// How long a peer that was asked to leave may stay without a request.
const FAREWELL: u64 = 5_000;
/// After doing nothing for this long a connection lets its buffers go.
const PARK: u64 = 1_000;
/// How long a connection may do nothing when it is crowded.
const IDLE_WHEN_CROWDED: u64 = 5_000;

/// What is due for a connection with these notes.
pub(super) fn verdict(notes: &Notes, dues: &mut Dues, limits: &Limits, look: Look) -> Verdict {
    match notes.stage {
        Stage::Handshake if look.over(notes.stage_since, limits.tls_handshake.0) => {
            return Verdict::Cut(Some(Rejection::HandshakeTimeout));
        }
        Stage::Handshake if look.now >= dues.until => return Verdict::Cut(None),
        Stage::Handshake => return Verdict::Stay,
        Stage::Lingering if look.now.saturating_sub(notes.stage_since) >= LINGER => {
            return Verdict::Cut(None);
        }
        Stage::Lingering | Stage::Open => {}
    }
    if let Some(reason) = abuse(notes, &mut dues.window, limits, look) {
        return Verdict::Cut(Some(reason));
    }
    if notes.active == 0
        && notes.blocked_since == 0
        && let Some(verdict) = idle(notes, dues, limits, look)
    {
        return verdict;
    }
    match look.now >= dues.until {
        true if look.closing => leave(dues),
        true => Verdict::Retire,
        false => Verdict::Stay,
    }
}

/// What a peer does to us, whether or not it means to.
fn abuse(notes: &Notes, window: &mut Window, limits: &Limits, look: Look) -> Option<Rejection> {
    let blocked = notes.blocked_since != 0 && look.over(notes.blocked_since, limits.write_stall.0);
    // HTTP/2: the socket takes bytes, but no stream has a window.
    let shut = notes.shut_since != 0 && look.over(notes.shut_since, limits.write_stall.0);
    if floods(notes, limits.h2_early_resets) {
        Some(Rejection::RapidReset)
    } else if blocked || shut {
        Some(Rejection::WriteStall)
    } else {
        crawls(notes, window, limits, look.now).then_some(Rejection::WriteMinimum)
    }
}

/// What is due for a connection without a request, if anything.
fn idle(notes: &Notes, dues: &Dues, limits: &Limits, look: Look) -> Option<Verdict> {
    // A head that was begun behind a long answer has its time from the answer's end.
    let head_late =
        notes.head_since != 0 && look.over(notes.head_since.max(notes.idle_since), limits.header_read.0);
    let first_late = notes.requests == 0 && look.over(notes.idle_since, limits.header_read.0);
    if head_late || first_late {
        return Some(Verdict::Cut(Some(Rejection::HeaderTimeout)));
    }
    let idle = look.now.saturating_sub(notes.idle_since);
    let bound = millis(limits.keep_alive_idle.0);
    if notes.head_since == 0 && (idle >= bound || look.crowded && idle >= bound.min(IDLE_WHEN_CROWDED)) {
        // The second time round it has been asked and did not go.
        return Some(if idle >= bound + FAREWELL { Verdict::Cut(None) } else { leave(dues) });
    }
    if dues.asked != 0 && idle >= FAREWELL && look.now.saturating_sub(dues.asked) >= FAREWELL {
        return Some(Verdict::Cut(None));
    }
    let parks = idle >= PARK && notes.head_since == 0 && notes.requests > 0 && !notes.parked;
    (parks && look.now < dues.until).then_some(Verdict::Park)
}

fn leave(dues: &Dues) -> Verdict {
    if dues.asked == 0 { Verdict::Leave } else { Verdict::Stay }
}

/// Whether the peer makes requests only to give them up.
fn floods(notes: &Notes, early: u32) -> bool {
    notes.abandoned >= early && (notes.ended < early.saturating_mul(2) || notes.abandoned >= notes.ended / 2)
}

/// Whether the peer takes less than the minimum. A look at which we are not held up by him begins a new window.
fn crawls(notes: &Notes, window: &mut Window, limits: &Limits, now: u64) -> bool {
    let fresh = Window { since: now, written: notes.written };
    if notes.blocked_since == 0 || window.since == 0 {
        *window = fresh;
        return false;
    }
    let passed = now - window.since;
    if passed < millis(limits.write_window.0) {
        return false;
    }
    let wanted = limits.write_minimum.0.saturating_mul(passed) / 1_000;
    let crawls = notes.written - window.written < wanted;
    *window = fresh;
    crawls
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::connection_state::Order;
    use super::*;

    const OPEN: Notes = Notes {
        stage: Stage::Open,
        stage_since: 1,
        active: 0,
        idle_since: 1,
        head_since: 0,
        blocked_since: 0,
        written: 0,
        shut_since: 0,
        requests: 1,
        ended: 0,
        abandoned: 0,
        order: Order::Stay,
        parked: true,
    };
    const QUIET: Look = Look { now: 0, crowded: false, closing: false };

    fn judge(notes: Notes, look: Look, asked: u64) -> Verdict {
        let mut dues = Dues { asked, ..Dues::new(3_600_000) };
        verdict(&notes, &mut dues, &Limits::default(), look)
    }

    #[test]
    fn each_limit_has_its_moment() {
        let cut = |reason| Verdict::Cut(Some(reason));
        let shaking = Notes { stage: Stage::Handshake, ..OPEN };
        let lingering = Notes { stage: Stage::Lingering, ..OPEN };
        let busy = Notes { active: 1, ..OPEN };
        let begun = Notes { head_since: 50_000, idle_since: 40_000, ..OPEN };
        let blocked = Notes { blocked_since: 5_000, ..busy };
        let shut = Notes { shut_since: 5_000, ..busy };
        let gave_up = |abandoned, ended| Notes { abandoned, ended, ..busy };
        for (notes, now, expected) in [
            (shaking, 9_999, Verdict::Stay),
            (shaking, 10_001, cut(Rejection::HandshakeTimeout)),
            (Notes { requests: 0, ..OPEN }, 9_999, Verdict::Stay),
            (Notes { requests: 0, ..OPEN }, 10_001, cut(Rejection::HeaderTimeout)),
            (begun, 59_999, Verdict::Stay),
            (begun, 60_000, cut(Rejection::HeaderTimeout)),
            (Notes { head_since: 1, idle_since: 40_000, ..OPEN }, 45_000, Verdict::Stay),
            (Notes { parked: false, ..OPEN }, 1_000, Verdict::Stay),
            (Notes { parked: false, ..OPEN }, 1_001, Verdict::Park),
            (OPEN, 60_000, Verdict::Stay),
            (OPEN, 60_001, Verdict::Leave),
            (OPEN, 65_001, Verdict::Cut(None)),
            (busy, 3_000_000, Verdict::Stay),
            (busy, 3_600_000, Verdict::Retire),
            (blocked, 34_999, Verdict::Stay),
            (blocked, 35_000, cut(Rejection::WriteStall)),
            (Notes { active: 0, ..blocked }, 35_000, cut(Rejection::WriteStall)), // the last bytes of an answer
            (shut, 34_999, Verdict::Stay),
            (shut, 35_000, cut(Rejection::WriteStall)),
            (gave_up(249, 249), 10, Verdict::Stay),
            (gave_up(250, 250), 10, cut(Rejection::RapidReset)),
            (gave_up(250, 900), 10, Verdict::Stay),
            (gave_up(450, 900), 10, cut(Rejection::RapidReset)),
            (lingering, 1_999, Verdict::Stay),
            (lingering, 2_001, Verdict::Cut(None)),
        ] {
            assert_eq!(judge(notes, Look { now, ..QUIET }, 0), expected, "{notes:?} at {now}");
        }
    }

    #[test]
    fn circumstances_shorten_a_stay() {
        assert_eq!(judge(OPEN, Look { now: 5_001, crowded: true, ..QUIET }, 0), Verdict::Leave);
        assert_eq!(
            judge(OPEN, Look { now: 3_600_000, closing: true, ..QUIET }, 3_599_999),
            Verdict::Cut(None)
        );
        let busy = Notes { active: 1, ..OPEN };
        assert_eq!(judge(busy, Look { now: 3_600_000, closing: true, ..QUIET }, 0), Verdict::Leave);
        assert_eq!(judge(busy, Look { now: 3_600_000, closing: true, ..QUIET }, 3_599_000), Verdict::Stay);
        assert_eq!(judge(OPEN, Look { now: 9_000, ..QUIET }, 4_001), Verdict::Stay);
        assert_eq!(judge(OPEN, Look { now: 9_001, ..QUIET }, 4_001), Verdict::Cut(None));
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
}
