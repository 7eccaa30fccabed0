//! When a permission ends by itself, for policies that read the clock.
//!
//! The console shows viewers when their permission ends, so that the picture does not stop without notice.
//! The time cannot be read off a policy's text, so the decision is made for times to come: each quarter of an
//! hour of the next day, then by bisection between the last permit and the first denial. A denial shorter
//! than a quarter of an hour may be missed. The decisions that count are still made at each request.

use super::decide::Policy;
use super::question::{Question, RequestContext};
use super::syntax;
use crate::caller::Caller;
use crate::kvs::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How far ahead decisions are tried.
const AHEAD: Duration = Duration::from_secs(24 * 3600);
/// The distance of the first tries.
const STRIDE: Duration = Duration::from_secs(900);

impl Policy {
    /// When what `caller` may do now will be refused if the policies stay as they are, within the next day.
    /// `None` if it will not, if none of its policies reads the clock, or if it is refused now.
    #[must_use]
    pub fn ends(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Option<Timestamp> {
        let concerned = &self.arranged(caller).of(question.operation).set;
        if !self.statements.iter().any(|s| concerned.policy(s.id()).is_some() && syntax::reads_clock(&s.est))
        {
            return None;
        }
        let allowed = |now| self.allows(caller, question, &RequestContext { now, ..context.clone() });
        first_denial(context.now, allowed)
    }
}

/// The first moment of the next day at which `allowed` is false, as far as tries a stride apart find it.
fn first_denial(now: Timestamp, allowed: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    if !allowed(now) {
        return None;
    }
    let strides = u32::try_from(AHEAD.as_secs() / STRIDE.as_secs()).unwrap_or(u32::MAX);
    let no = (1..=strides).map(|n| now.plus(STRIDE * n)).find(|at| !allowed(*at))?;
    let (mut yes, mut no) = (no.minus(STRIDE).millis(), no.millis());
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if allowed(Timestamp::from_millis(middle)) { yes = middle } else { no = middle }
    }
    Some(Timestamp::from_millis(no))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_exactly() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let end = now.plus(Duration::from_secs(5 * 3600 + 61));
        assert_eq!(first_denial(now, |at| at < end), Some(end));
    }

    #[test]
    fn what_does_not_end_within_a_day_or_is_over_has_no_end() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        assert_eq!(first_denial(now, |_| true), None);
        assert_eq!(first_denial(now, |at| at < now.plus(AHEAD + STRIDE)), None);
        assert_eq!(first_denial(now, |at| at > now), None);
    }
}
