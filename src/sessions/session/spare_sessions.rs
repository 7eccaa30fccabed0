//! Several upstream sessions in place of one, for footage that many watch at different places.
//!
//! KVS gives 20 fragments a second and session (`KVS.md` 5.7). Viewers at one place share what is fetched, but a crowd
//! spread over an hour wants more. Footage is the same in any session that was opened for the same range, so a busy
//! session gets others beside it: *lanes*, which together count as the one session, have its id and go with it.
//!
//! Pure but for the lock: who fetches asks which lane to take, opens another when told to, and brings it here.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The lanes of a session, beyond the session itself.
pub struct Lanes<H> {
    state: Mutex<State<H>>,
}

struct State<H> {
    more: Vec<Arc<H>>,
    /// Fetches begun and not yet paid off by time, per lane, the session itself first; and when that was counted.
    owed: Vec<f64>,
    at: Instant,
    /// Another lane is being opened, or could not be until then.
    opening: Option<Instant>,
}

/// Where to fetch.
pub struct Lane<H> {
    /// The way; `None`: the session's own.
    pub handle: Option<Arc<H>>,
    /// All are busy: another one should be opened and brought by [`Lanes::add`].
    pub open_another: bool,
}

/// Fragments per second and session.
const RATE: f64 = 20.0;
/// What a session may owe before another is opened: half a second of waiting.
const BUSY: f64 = 10.0;
/// With the session itself: 160 fragments a second, a third of what KVS gives a stream.
const MOST: usize = 8;
/// One that could not be opened, or was given up, is not tried again before.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

impl<H> Lanes<H> {
    pub(in crate::sessions) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { more: Vec::new(), owed: vec![0.0], at: now, opening: None }) }
    }

    /// The lane with the shortest queue, for one fetch that begins now.
    pub fn take(&self, now: Instant) -> Lane<H> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = now.saturating_duration_since(state.at).as_secs_f64() * RATE;
        state.at = now;
        for owed in &mut state.owed {
            *owed = (*owed - paid).max(0.0);
        }
        // Of equals the first, so that a single viewer stays in one session.
        let shortest = state.owed.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let (at, owed) = shortest.map_or((0, 0.0), |(at, owed)| (at, *owed));
        if let Some(owed) = state.owed.get_mut(at) {
            *owed += 1.0;
        }
        let waits = state.opening.is_some_and(|until| now < until);
        let open_another = owed >= BUSY && state.owed.len() < MOST && !waits;
        if open_another {
            state.opening = Some(now + PAUSE);
        }
        let handle = at.checked_sub(1).and_then(|at| state.more.get(at).cloned());
        Lane { handle, open_another }
    }

    /// Another lane is open.
    pub fn add(&self, handle: H) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.opening = None;
        if state.owed.len() < MOST {
            state.more.push(Arc::new(handle));
            state.owed.push(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_single_viewer_stays_in_one_session() {
        let start = Instant::now();
        let lanes = Lanes::<u8>::new(start);
        for n in 0..1000 {
            let lane = lanes.take(start + Duration::from_millis(n * 60));
            assert!(lane.handle.is_none() && !lane.open_another);
        }
    }

    #[test]
    fn a_crowd_gets_more_and_no_session_more_than_its_share() {
        let start = Instant::now();
        let lanes = Lanes::new(start);
        let (mut opened, mut taken) = (0_u8, vec![0; MOST]);
        for n in 0..2000 {
            // 130 a second, for some fifteen seconds.
            let lane = lanes.take(start + Duration::from_micros(n * 7_700));
            taken[lane.handle.map_or(0, |handle| usize::from(*handle))] += 1;
            if lane.open_another {
                opened += 1;
                lanes.add(opened);
            }
        }
        assert!((6..=7).contains(&opened), "{opened}");
        // Fifteen seconds at twenty, and what may be owed.
        assert!(taken.iter().all(|taken| *taken <= 15 * 20 + 40), "{taken:?}");
        assert_eq!(taken.iter().sum::<i32>(), 2000);
    }

    #[test]
    fn one_is_opened_at_a_time_and_not_at_once_again() {
        let start = Instant::now();
        let lanes = Lanes::<u8>::new(start);
        let asked = |at| (0..200).filter(|_| lanes.take(at).open_another).count();
        assert_eq!(asked(start), 1);
        assert_eq!(asked(start + Duration::from_secs(1)), 0, "it is under way");
        assert_eq!(asked(start + Duration::from_secs(3)), 1, "it failed");
        for n in 0..20 {
            lanes.add(n);
        }
        assert_eq!(asked(start + Duration::from_secs(9)), 0, "enough");
    }
}
