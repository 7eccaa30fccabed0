//! What decisions cost. Not a test of promises: `cargo test --release policy::tests::costs -- --ignored
//! --nocapture`.

use super::harness::*;
use crate::kvs::Resource;
use crate::policy::permit::Judgement;
use crate::policy::{Policy, Question};
use std::time::Instant;

fn policies(count: usize) -> Policy {
    let one = |n: usize| {
        format!(
            "permit (principal in Group::\"group-{n}\", action in Action::\"View\", resource in StreamSet::\"lobby\")\n\
             when {{ context.mode == \"LIVE\" || context.start_age <= 86400 }};\n"
        )
    };
    policy(&(0..count).map(one).collect::<String>())
}

/// Microseconds of one call, the best of ten rounds.
fn microseconds(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 2_000;
    let round = |call: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..CALLS).for_each(|_| call());
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
    };
    (0..10).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "measures; run it on a release build"]
fn costs() {
    let (caller, context) = (caller("alice", &["group-1", "staff", "everybody"]), context("lobby-1"));
    for count in [10, 50, 200] {
        let policy = policies(count);
        let question = Question::of(&live()("lobby-1"), NOW);
        let operation = question.operation;
        let ask = |policy: &Policy| {
            let book = policy.arranged(&caller).of(operation);
            let judgement = policy.ask_cedar(book, &caller, operation, &question, &context);
            assert!(matches!(judgement, Ok(Judgement::Permitted(_))));
        };
        let whole = policies(count).with_whole_context();
        let all = microseconds(|| ask(&whole));
        let cold = microseconds(|| ask(&policy));
        assert!(policy.allows(&caller, &question, &context));
        let same = microseconds(|| assert!(policy.allows(&caller, &question, &context)));
        let request = playback(live_session(), segment(&fragment_number(10)))("lobby-1");
        let playlist = playback(live_session(), Resource::MediaPlaylist { track: 1 })("lobby-1");
        let remembered = |request: &crate::kvs::Request| {
            microseconds(|| assert!(policy.permit(caller.clone(), request.clone(), &context).is_ok()))
        };
        let (segment, playlist) = (remembered(&request), remembered(&playlist));
        println!(
            "{count} policies: decided {all:.1} us with the whole context, {cold:.1} us with those that are read, \
             {same:.2} us if the same was asked before; playback, remembered: segment {segment:.2} us, playlist {playlist:.2} us"
        );
    }
}
