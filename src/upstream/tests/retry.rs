//! Which failures are tried again, how often, and what has to change before.

use super::*;

const NOON: SystemTime = SystemTime::UNIX_EPOCH;
const SENT: Sent = Sent { data: true, signed_at: Some(NOON) };

fn fault(status: u16, kind: &str, message: &str) -> AttemptFailure {
    let fault =
        Fault { status, kind: kind.into(), message: message.into(), said: message.into(), request_id: None };
    AttemptFailure::Fault { fault, kvs_time: Some(NOON) }
}

fn decide(failure: &AttemptFailure, tries: Attempts) -> NextStep {
    next(failure, tries, SENT, &Config::default())
}

#[test]
fn throttles_climb_a_ladder_of_their_own_and_cost_nothing() {
    let failure = fault(400, "ClientLimitExceededException", "");
    let mut tries = Attempts { failed: 2, ..Attempts::default() };
    let mut waits = Vec::new();
    while let NextStep::Retry { at_most, reason: RetryReason::Throttled, paid: false } =
        decide(&failure, tries)
    {
        waits.push(at_most.as_millis());
        tries.throttled += 1;
    }
    assert_eq!(waits, [200, 400, 800, 1600, 3200]);
}

#[test]
fn trouble_and_broken_connections_get_two_paid_tries() {
    for failure in
        [fault(500, "InternalFailure", ""), fault(503, "UnknownError", ""), AttemptFailure::Reset("x".into())]
    {
        let mut tries = Attempts::default();
        for wait in [100, 200] {
            let NextStep::Retry { at_most, paid: true, .. } = decide(&failure, tries) else {
                panic!("{failure:?}")
            };
            assert_eq!(at_most.as_millis(), wait);
            tries.failed += 1;
        }
        assert_eq!(decide(&failure, tries), NextStep::Fail);
    }
}

#[test]
fn signs_of_a_moved_endpoint_ask_for_it_again_once() {
    for (failure, sure) in [
        (AttemptFailure::WrongHost, true),
        (AttemptFailure::Connect("refused".into()), true),
        (fault(403, "AccessDeniedException", "Unable to determine service/operation name"), true),
        (fault(400, "InvalidEndpointException", ""), true),
        (fault(404, "ResourceNotFoundException", "The requested stream is not found or not active."), false),
        (fault(403, "AccessDeniedException", "User is not authorized"), false),
    ] {
        assert_eq!(decide(&failure, Attempts::default()), NextStep::Resolve { sure }, "{failure:?}");
        let again = decide(&failure, Attempts { moved: true, ..Attempts::default() });
        assert!(!matches!(again, NextStep::Resolve { .. }), "{failure:?}");
        let control = next(&failure, Attempts::default(), Sent { data: false, ..SENT }, &Config::default());
        assert!(!matches!(control, NextStep::Resolve { .. }), "{failure:?}");
    }
}

#[test]
fn what_kvs_means_is_passed_on() {
    for failure in [
        fault(404, "ResourceNotFoundException", "No fragments found in the stream for the clip request."),
        fault(400, "InvalidArgumentException", "x"),
        fault(400, "NoDataRetentionException", ""),
        fault(401, "NotAuthorizedException", ""),
        AttemptFailure::Late(Duration::from_secs(1)),
        AttemptFailure::Garbled("x".into()),
    ] {
        assert_eq!(decide(&failure, Attempts::default()), NextStep::Fail, "{failure:?}");
    }
}

#[test]
fn expired_credentials_are_renewed_once_and_a_wrong_clock_is_set_once() {
    let expired = fault(403, "ExpiredTokenException", "");
    assert_eq!(decide(&expired, Attempts::default()), NextStep::Renew);
    assert_eq!(decide(&expired, Attempts { renewed: true, ..Attempts::default() }), NextStep::Fail);
    let AttemptFailure::Fault { fault, .. } = fault(403, "InvalidSignatureException", "Signature expired")
    else {
        panic!()
    };
    let kvs_time = NOON - Duration::from_secs(900);
    let skewed = AttemptFailure::Fault { fault, kvs_time: Some(kvs_time) };
    assert_eq!(decide(&skewed, Attempts::default()), NextStep::SetClock { kvs_time });
    let set = Attempts { set_clock: true, moved: true, ..Attempts::default() };
    assert_eq!(decide(&skewed, set), NextStep::Fail);
}

#[test]
fn skew_is_measured_from_the_time_that_was_signed() {
    let (second, tries) = (Duration::from_secs(1), Attempts::default());
    let refused = |kvs_time| {
        let AttemptFailure::Fault { fault, .. } = fault(403, "InvalidSignatureException", "") else {
            panic!()
        };
        AttemptFailure::Fault { fault, kvs_time }
    };
    let decide = |kvs_time, signed_at| {
        next(&refused(kvs_time), tries, Sent { data: false, signed_at }, &Config::default())
    };
    for (apart, skewed) in [(0, false), (239, false), (240, true), (86_400, true)] {
        let expected = |kvs_time| if skewed { NextStep::SetClock { kvs_time } } else { NextStep::Fail };
        let (early, late) = (NOON, NOON + second * apart);
        assert_eq!(decide(Some(late), Some(early)), expected(late), "{apart}");
        assert_eq!(decide(Some(early), Some(late)), expected(early), "{apart}");
    }
    assert_eq!(decide(None, Some(NOON)), NextStep::Fail, "KVS gave no time");
    assert_eq!(decide(Some(NOON + second * 999), None), NextStep::Fail, "nothing was signed");
}

#[test]
fn a_missing_fragment_is_asked_for_for_a_few_seconds() {
    let missing = AttemptFailure::FragmentNotFound("1".into());
    let mut tries = Attempts::default();
    let mut longest = Duration::ZERO;
    while let NextStep::Retry { at_most, reason: RetryReason::FragmentNotFound, .. } = decide(&missing, tries)
    {
        longest += at_most;
        tries.missing += 1;
    }
    assert!((Duration::from_secs(3)..Duration::from_secs(10)).contains(&longest), "{longest:?}");
}

#[test]
fn the_budget_allows_a_fifth_and_a_little_at_first() {
    let now = Instant::now();
    let budget = Budget::new(20);
    let paid = std::iter::repeat_with(|| budget.pay(now)).take(50).filter(|paid| *paid).count();
    assert_eq!(paid, 10);
    let mut paid = 0;
    for _ in 0..1000 {
        budget.earn(now);
        paid += u32::from(budget.pay(now));
    }
    assert_eq!(paid, 200);
    assert!(!budget.pay(now) && budget.pay(now + Duration::from_secs(2)));
}
