//! Several upstream sessions in place of one, for footage that many viewers watch at different places.
//!
//! KVS gives 20 fragments a second and session (docs/KVS.md 5.7). Viewers at one place share what is fetched,
//! but a crowd spread over an hour needs more. Footage is the same in any session that was opened for the
//! same range, so a busy session gets spare sessions beside it. They have the same cache keys as the session
//! and end with it.
//!
//! There is no I/O here: a fetch gets the session to use, and the advice to open another one if all are busy.

use crate::kvs::bounds::SESSION_FRAGMENTS_PER_SECOND;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The spare sessions of a session, and how busy each is.
pub(in crate::sessions) struct SpareSessions<S> {
    load: Mutex<Load<S>>,
}

struct Load<S> {
    spares: Vec<Arc<S>>,
    /// Fetches begun and not yet covered by the rate, per session, the session itself first.
    pending: Vec<f64>,
    /// When `pending` was counted.
    counted: Instant,
    /// No other session is opened before this time: one is being opened, or could not be.
    next_opening: Option<Instant>,
}

/// Which session to fetch from.
pub(super) struct Choice<S> {
    /// `None`: the session itself.
    pub(super) spare: Option<Arc<S>>,
    /// All are busy: another one should be opened and given to [`SpareSessions::add`].
    pub(super) open_another: bool,
}

/// Fetches that may be pending before another session is opened: half a second at the rate of KVS.
const BUSY: f64 = SESSION_FRAGMENTS_PER_SECOND as f64 / 2.0;
/// Sessions at most, the session itself included: 160 fragments a second, a third of what KVS gives a stream.
const MOST: usize = 8;
/// After an opening began, no other is tried for this long unless it succeeds.
const PAUSE: Duration = Duration::from_secs(2);

impl<S> SpareSessions<S> {
    pub(super) fn new(now: Instant) -> Self {
        let (spares, pending) = (Vec::new(), vec![0.0]);
        Self { load: Mutex::new(Load { spares, pending, counted: now, next_opening: None }) }
    }

    /// The least busy session, for one fetch that begins now.
    pub(super) fn choose(&self, now: Instant) -> Choice<S> {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(load.counted).as_secs_f64();
        let covered = elapsed * f64::from(SESSION_FRAGMENTS_PER_SECOND);
        load.counted = now;
        for pending in &mut load.pending {
            *pending = (*pending - covered).max(0.0);
        }
        // Of equally busy ones the first, so that a single viewer stays in one session.
        let least = load.pending.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let (at, pending) = least.map_or((0, 0.0), |(at, pending)| (at, *pending));
        if let Some(pending) = load.pending.get_mut(at) {
            *pending += 1.0;
        }
        let must_wait = load.next_opening.is_some_and(|until| now < until);
        let open_another = pending >= BUSY && load.pending.len() < MOST && !must_wait;
        if open_another {
            load.next_opening = Some(now + PAUSE);
        }
        let spare = at.checked_sub(1).and_then(|at| load.spares.get(at).cloned());
        Choice { spare, open_another }
    }

    /// Another session has been opened.
    pub(super) fn add(&self, spare: S) {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.next_opening = None;
        if load.pending.len() < MOST {
            load.spares.push(Arc::new(spare));
            load.pending.push(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_viewer_stays_in_one_session() {
        let start = Instant::now();
        let spares = SpareSessions::<u8>::new(start);
        for n in 0..1000 {
            let choice = spares.choose(start + Duration::from_millis(n * 60));
            assert!(choice.spare.is_none() && !choice.open_another);
        }
    }

    #[test]
    fn a_crowd_gets_more_and_no_session_more_than_its_share() {
        let start = Instant::now();
        let spares = SpareSessions::new(start);
        let (mut opened, mut taken) = (0_u8, vec![0; MOST]);
        for n in 0..2000 {
            // 130 a second, for some fifteen seconds.
            let choice = spares.choose(start + Duration::from_micros(n * 7_700));
            taken[choice.spare.map_or(0, |spare| usize::from(*spare))] += 1;
            if choice.open_another {
                opened += 1;
                spares.add(opened);
            }
        }
        assert!((6..=7).contains(&opened), "{opened}");
        // Fifteen seconds at twenty, and what may be pending.
        assert!(taken.iter().all(|taken| *taken <= 15 * 20 + 40), "{taken:?}");
        assert_eq!(taken.iter().sum::<i32>(), 2000);
    }

    #[test]
    fn one_is_opened_at_a_time_and_not_at_once_again() {
        let start = Instant::now();
        let spares = SpareSessions::<u8>::new(start);
        let asked = |at| (0..200).filter(|_| spares.choose(at).open_another).count();
        assert_eq!(asked(start), 1);
        assert_eq!(asked(start + Duration::from_secs(1)), 0, "it is under way");
        assert_eq!(asked(start + Duration::from_secs(3)), 1, "it failed");
        for n in 0..20 {
            spares.add(n);
        }
        assert_eq!(asked(start + Duration::from_secs(9)), 0, "enough");
    }
}
