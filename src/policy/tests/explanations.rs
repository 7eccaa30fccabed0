//! Explanations never disagree with decisions; their wording is tested where they are printed.

use super::harness::*;
use crate::policy::{ExplainedOutcome, Nearest, Question};

const POLICIES: &str = r#"@id("guards see the lobby")
permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby")
when { context.mode == "LIVE" || context.start_age <= 3600 }
unless { principal == User::"eve" };

permit (principal in Group::"clerks", action, resource)
when { principal has clearance && principal.clearance >= 3 };

@id("not the vault")
forbid (principal, action, resource in StreamSet::"vault");
"#;

#[test]
fn explanations_agree_with_decisions() {
    let policy = policy(POLICIES);
    for (who, group) in [("alice", "guards"), ("eve", "guards"), ("bob", "clerks"), ("carol", "none")] {
        for ask in [live(), on_demand(60, 0), on_demand(7200, 0), clip(60, 0), describe()] {
            for stream in ["lobby-1", "vault-1", "yard"] {
                let caller = caller(who, &[group]);
                let question = Question::of(&ask(stream), NOW);
                let explanation = policy.explain(&caller, &question, &context(stream));
                let permitted = permits(&policy, &caller, ask(stream), stream);
                assert_eq!(explanation.verdict == ExplainedOutcome::Permitted, permitted);
                if permitted {
                    assert!(!explanation.decided_by.is_empty());
                } else {
                    let fails = |near: &Nearest| near.parts.iter().any(|part| part.holds != Ok(true));
                    assert!(explanation.nearest.iter().all(fails), "{explanation:?}");
                }
            }
        }
    }
}

#[test]
fn the_nearest_permit_comes_first_and_its_failing_parts_name_what_they_read() {
    let policy = policy(POLICIES);
    let question = Question::of(&on_demand(7200, 60)("lobby-1"), NOW);
    let explanation = policy.explain(&caller("alice", &["guards"]), &question, &context("lobby-1"));
    let nearest = &explanation.nearest[0];
    assert_eq!((nearest.policy.id.as_str(), nearest.policy.line), ("guards see the lobby", 1));
    let failing: Vec<_> = nearest.parts.iter().filter(|part| part.holds == Ok(false)).collect();
    assert_eq!(failing.len(), 1, "{nearest:?}");
    assert_eq!(failing[0].reads, ["context.mode", "context.start_age"]);
    assert_eq!(explanation.facts["context.start_age"], "7200");
    assert_eq!(
        explanation.facts["context.local_start"],
        r#"{hour: 23, minute: 0, weekday: 3, date: datetime("2025-12-31")} in Europe/Berlin"#
    );
    let texts: Vec<_> = nearest.parts.iter().map(|part| part.text.as_str()).collect();
    assert_eq!(
        texts[..3],
        [
            r#"principal in Group::"guards""#,
            r#"action in Action::"View""#,
            r#"resource in StreamSet::"lobby""#
        ]
    );
}
