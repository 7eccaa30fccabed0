//! What a shared session remembers of KVS's refusals, so that they cost KVS and the other viewers little.

use crate::kvs::Resource;
use crate::sessions::numbering::Generation;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Whether KVS said lately that a session is over.
pub(super) struct Probed {
    pub(super) generation: Generation,
    pub(super) at: Instant,
    pub(super) over: bool,
}

/// Addresses that led nowhere, so that further requests for them cost KVS nothing.
#[derive(Default)]
pub(super) struct AbsentAddresses(VecDeque<(Resource, Instant)>);

/// A live session may list later what it does not list now, and another replica may know it already.
pub(super) const ABSENT_LIVE: Duration = Duration::from_secs(2);
/// What a session shows of footage does not change.
pub(super) const ABSENT_FOOTAGE: Duration = Duration::from_secs(10);
/// Addresses remembered per session.
const MOST: usize = 256;

impl AbsentAddresses {
    pub(super) fn holds(&self, resource: &Resource, now: Instant) -> bool {
        self.0.iter().any(|(absent, until)| absent == resource && now < *until)
    }

    pub(super) fn remember(&mut self, resource: &Resource, until: Instant) {
        self.0.retain(|(absent, _)| absent != resource);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((resource.clone(), until));
    }

    /// Another session may have them.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Bounds how fast lost sessions are replaced, should KVS refuse each at once.
#[derive(Default)]
pub(super) struct ReopeningPace(VecDeque<Instant>);

/// So many lost sessions are replaced within `WINDOW`.
const REPLACEMENTS: usize = 4;
const WINDOW: Duration = Duration::from_secs(10);

impl ReopeningPace {
    /// Whether another lost session may be replaced now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.0.iter().filter(|at| now.duration_since(**at) < WINDOW).count() < REPLACEMENTS
    }

    /// One was replaced.
    pub(super) fn note(&mut self, now: Instant) {
        self.0.retain(|at| now.duration_since(*at) < WINDOW);
        self.0.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;

    fn fragment(number: usize) -> Resource {
        Resource::TsFragment { number: FragmentNumber::parse(&number.to_string()).unwrap() }
    }

    #[test]
    fn what_is_absent_is_remembered_for_a_while_and_within_a_bound() {
        let (mut absent, start) = (AbsentAddresses::default(), Instant::now());
        for number in 0..1000 {
            absent.remember(&fragment(number), start + ABSENT_LIVE);
        }
        assert!(absent.holds(&fragment(999), start) && !absent.holds(&fragment(0), start));
        assert!(!absent.holds(&fragment(999), start + ABSENT_LIVE));
        assert_eq!(absent.0.len(), MOST);
        absent.forget();
        assert!(!absent.holds(&fragment(999), start));
    }

    #[test]
    fn lost_sessions_are_replaced_a_few_at_once_and_then_as_time_passes() {
        let (mut pace, start) = (ReopeningPace::default(), Instant::now());
        let mut replaced = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let mut count = 0;
            while pace.allows(now) {
                pace.note(now);
                count += 1;
            }
            count
        };
        assert_eq!([0, 9, 10].map(&mut replaced), [REPLACEMENTS, 0, REPLACEMENTS]);
    }
}
