//! Which limit a connection has reached: plain decisions on its state, without side effects.

use super::connection_state::{Snapshot, Stage};
use super::limits::Limits;
use super::metrics::Rejection;
use std::time::Duration;

/// What is to be done with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Keep,
    /// Free its buffers until the peer sends something.
    Park,
    /// The next response is the last one.
    LastRequest,
    /// Finish the requests in progress, accept no more.
    Finish,
    /// Close at once; with a reason, if the peer caused it.
    Close(Option<Rejection>),
}

/// What the table remembers of a connection between two sweeps.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// When its next response is the last one, or, while the listener closes, when it has to finish.
    pub(super) retire_at: u64,
    /// When it was instructed to finish, or 0.
    pub(super) told_at: u64,
    window: RateWindow,
}

impl Deadlines {
    pub(super) fn new(retire_at: u64) -> Self {
        Self { retire_at, told_at: 0, window: RateWindow::default() }
    }
}

/// Since when writing is blocked by the reader, and the bytes written until then.
#[derive(Clone, Copy, Default)]
struct RateWindow {
    since: u64,
    written: u64,
}

/// What is the same for all connections in one sweep.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    /// Milliseconds on the listener's clock.
    pub(super) now: u64,
    /// Nine of ten places are taken, or memory is short.
    pub(super) crowded: bool,
    /// The listener accepts nothing new any more.
    pub(super) closing: bool,
}

impl Conditions {
    fn over(&self, since: u64, limit: Duration) -> bool {
        self.now.saturating_sub(since) >= millis(limit)
    }
}

/// How long a peer may still send after our last response, in milliseconds.
const LINGER: u64 = 2_000;
/// How long a connection that was instructed to finish may stay open without a request, in milliseconds.
const FINISH_GRACE: u64 = 5_000;
/// After being idle for this long a connection frees its buffers, in milliseconds.
const PARK: u64 = 1_000;
/// How long a connection may be idle while most places are taken, in milliseconds.
const IDLE_WHEN_CROWDED: u64 = 5_000;

/// The action for a connection in this state.
pub(super) fn decide(
    snapshot: &Snapshot,
    deadlines: &mut Deadlines,
    limits: &Limits,
    conditions: Conditions,
) -> Action {
    match snapshot.stage {
        Stage::Handshake if conditions.over(snapshot.stage_since, limits.tls_handshake.0) => {
            return Action::Close(Some(Rejection::HandshakeTimeout));
        }
        Stage::Handshake if conditions.now >= deadlines.retire_at => return Action::Close(None),
        Stage::Handshake => return Action::Keep,
        Stage::Lingering if conditions.now.saturating_sub(snapshot.stage_since) >= LINGER => {
            return Action::Close(None);
        }
        Stage::Lingering | Stage::Open => {}
    }
    if let Some(reason) = violation(snapshot, &mut deadlines.window, limits, conditions) {
        return Action::Close(Some(reason));
    }
    if snapshot.active == 0
        && snapshot.blocked_since == 0
        && let Some(decide) = idle(snapshot, deadlines, limits, conditions)
    {
        return decide;
    }
    match conditions.now >= deadlines.retire_at {
        true if conditions.closing => finish(deadlines),
        true => Action::LastRequest,
        false => Action::Keep,
    }
}

/// Which limit the peer violates by what it does, if any.
fn violation(
    snapshot: &Snapshot,
    window: &mut RateWindow,
    limits: &Limits,
    conditions: Conditions,
) -> Option<Rejection> {
    let blocked =
        snapshot.blocked_since != 0 && conditions.over(snapshot.blocked_since, limits.write_stall.0);
    // HTTP/2: the socket accepts bytes, but no stream has a window.
    let unpolled =
        snapshot.unpolled_since != 0 && conditions.over(snapshot.unpolled_since, limits.write_stall.0);
    if is_flooding(snapshot, limits.h2_early_resets) {
        Some(Rejection::RapidReset)
    } else if blocked || unpolled {
        Some(Rejection::WriteStall)
    } else {
        is_too_slow(snapshot, window, limits, conditions.now).then_some(Rejection::WriteMinimum)
    }
}

/// The action for a connection without a request, if there is any.
fn idle(
    snapshot: &Snapshot,
    deadlines: &Deadlines,
    limits: &Limits,
    conditions: Conditions,
) -> Option<Action> {
    // A head that began during a long response has its time from the end of that response.
    let head_late = snapshot.head_since != 0
        && conditions.over(snapshot.head_since.max(snapshot.idle_since), limits.header_read.0);
    let first_late = snapshot.requests == 0 && conditions.over(snapshot.idle_since, limits.header_read.0);
    if head_late || first_late {
        return Some(Action::Close(Some(Rejection::HeaderTimeout)));
    }
    let idle = conditions.now.saturating_sub(snapshot.idle_since);
    let bound = millis(limits.keep_alive_idle.0);
    if snapshot.head_since == 0
        && (idle >= bound || conditions.crowded && idle >= bound.min(IDLE_WHEN_CROWDED))
    {
        // It was instructed to finish before, and has not.
        return Some(if idle >= bound + FINISH_GRACE { Action::Close(None) } else { finish(deadlines) });
    }
    if deadlines.told_at != 0
        && idle >= FINISH_GRACE
        && conditions.now.saturating_sub(deadlines.told_at) >= FINISH_GRACE
    {
        return Some(Action::Close(None));
    }
    let parks = idle >= PARK && snapshot.head_since == 0 && snapshot.requests > 0 && !snapshot.parked;
    (parks && conditions.now < deadlines.retire_at).then_some(Action::Park)
}

fn finish(deadlines: &Deadlines) -> Action {
    if deadlines.told_at == 0 { Action::Finish } else { Action::Keep }
}

/// Whether the peer makes requests only to abandon them.
fn is_flooding(snapshot: &Snapshot, early: u32) -> bool {
    snapshot.abandoned >= early
        && (snapshot.ended < early.saturating_mul(2) || snapshot.abandoned >= snapshot.ended / 2)
}

/// Whether the peer reads less than the minimum. A sweep at which writing is not blocked begins a new window.
fn is_too_slow(snapshot: &Snapshot, window: &mut RateWindow, limits: &Limits, now: u64) -> bool {
    let fresh = RateWindow { since: now, written: snapshot.written };
    if snapshot.blocked_since == 0 || window.since == 0 {
        *window = fresh;
        return false;
    }
    let passed = now - window.since;
    if passed < millis(limits.write_window.0) {
        return false;
    }
    let wanted = limits.write_minimum.0.saturating_mul(passed) / 1_000;
    let is_too_slow = snapshot.written - window.written < wanted;
    *window = fresh;
    is_too_slow
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::connection_state::Instruction;
    use super::*;

    const OPEN: Snapshot = Snapshot {
        stage: Stage::Open,
        stage_since: 1,
        active: 0,
        idle_since: 1,
        head_since: 0,
        blocked_since: 0,
        written: 0,
        unpolled_since: 0,
        requests: 1,
        ended: 0,
        abandoned: 0,
        instruction: Instruction::Continue,
        parked: true,
    };
    const QUIET: Conditions = Conditions { now: 0, crowded: false, closing: false };

    fn decided(snapshot: Snapshot, conditions: Conditions, told_at: u64) -> Action {
        let mut deadlines = Deadlines { told_at, ..Deadlines::new(3_600_000) };
        decide(&snapshot, &mut deadlines, &Limits::default(), conditions)
    }

    #[test]
    fn each_limit_has_its_moment() {
        let close = |reason| Action::Close(Some(reason));
        let shaking = Snapshot { stage: Stage::Handshake, ..OPEN };
        let lingering = Snapshot { stage: Stage::Lingering, ..OPEN };
        let busy = Snapshot { active: 1, ..OPEN };
        let begun = Snapshot { head_since: 50_000, idle_since: 40_000, ..OPEN };
        let blocked = Snapshot { blocked_since: 5_000, ..busy };
        let unpolled = Snapshot { unpolled_since: 5_000, ..busy };
        let gave_up = |abandoned, ended| Snapshot { abandoned, ended, ..busy };
        for (snapshot, now, expected) in [
            (shaking, 9_999, Action::Keep),
            (shaking, 10_001, close(Rejection::HandshakeTimeout)),
            (Snapshot { requests: 0, ..OPEN }, 9_999, Action::Keep),
            (Snapshot { requests: 0, ..OPEN }, 10_001, close(Rejection::HeaderTimeout)),
            (begun, 59_999, Action::Keep),
            (begun, 60_000, close(Rejection::HeaderTimeout)),
            (Snapshot { head_since: 1, idle_since: 40_000, ..OPEN }, 45_000, Action::Keep),
            (Snapshot { parked: false, ..OPEN }, 1_000, Action::Keep),
            (Snapshot { parked: false, ..OPEN }, 1_001, Action::Park),
            (OPEN, 60_000, Action::Keep),
            (OPEN, 60_001, Action::Finish),
            (OPEN, 65_001, Action::Close(None)),
            (busy, 3_000_000, Action::Keep),
            (busy, 3_600_000, Action::LastRequest),
            (blocked, 34_999, Action::Keep),
            (blocked, 35_000, close(Rejection::WriteStall)),
            // The last bytes of a response.
            (Snapshot { active: 0, ..blocked }, 35_000, close(Rejection::WriteStall)),
            (unpolled, 34_999, Action::Keep),
            (unpolled, 35_000, close(Rejection::WriteStall)),
            (gave_up(249, 249), 10, Action::Keep),
            (gave_up(250, 250), 10, close(Rejection::RapidReset)),
            (gave_up(250, 900), 10, Action::Keep),
            (gave_up(450, 900), 10, close(Rejection::RapidReset)),
            (lingering, 1_999, Action::Keep),
            (lingering, 2_001, Action::Close(None)),
        ] {
            assert_eq!(decided(snapshot, Conditions { now, ..QUIET }, 0), expected, "{snapshot:?} at {now}");
        }
    }

    #[test]
    fn circumstances_shorten_a_stay() {
        assert_eq!(decided(OPEN, Conditions { now: 5_001, crowded: true, ..QUIET }, 0), Action::Finish);
        assert_eq!(
            decided(OPEN, Conditions { now: 3_600_000, closing: true, ..QUIET }, 3_599_999),
            Action::Close(None)
        );
        let busy = Snapshot { active: 1, ..OPEN };
        assert_eq!(decided(busy, Conditions { now: 3_600_000, closing: true, ..QUIET }, 0), Action::Finish);
        assert_eq!(
            decided(busy, Conditions { now: 3_600_000, closing: true, ..QUIET }, 3_599_000),
            Action::Keep
        );
        assert_eq!(decided(OPEN, Conditions { now: 9_000, ..QUIET }, 4_001), Action::Keep);
        assert_eq!(decided(OPEN, Conditions { now: 9_001, ..QUIET }, 4_001), Action::Close(None));
    }

    #[test]
    fn who_takes_less_than_the_minimum_is_cut_after_the_window() {
        let limits = Limits::default();
        let mut window = RateWindow::default();
        let at = |now: u64, written: u64| Snapshot { active: 1, blocked_since: now - 10, written, ..OPEN };
        assert!(!is_too_slow(&at(1_000, 0), &mut window, &limits, 1_000));
        assert!(!is_too_slow(&at(31_000, 100), &mut window, &limits, 31_000));
        assert!(is_too_slow(&at(61_000, 61_000), &mut window, &limits, 61_000)); // 61,440 were due
        assert!(!is_too_slow(&at(121_000, 61_000 + 61_440), &mut window, &limits, 121_000));
        assert!(!is_too_slow(&OPEN, &mut window, &limits, 181_000)); // the reader waits for the server
        assert_eq!(window.since, 181_000);
    }
}
