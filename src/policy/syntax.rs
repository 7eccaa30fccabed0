//! The syntax of policies: which facts they read, and the pieces of their conditions.
//!
//! Cedar gives a policy as JSON (its "EST", documented and stable), which is walked here. Every answer errs
//! on the safe side: an attribute named `tags` counts as the stream's tags whatever it is read from.

use super::reads::Reads;
use crate::kvs::PlaybackMode;
use serde_json::{Value, json};

/// Which facts about streams a policy reads.
pub(super) fn reads(policy: &Value) -> Reads {
    let mut reads = Reads::default();
    walk(policy, &mut |node| {
        for operator in [".", "has"] {
            match node.get(operator).and_then(|inner| inner.get("attr")).and_then(Value::as_str) {
                Some("tags") => reads.tags = true,
                Some("arn") => reads.arn = true,
                Some("account") => reads.account = true,
                _ => {}
            }
        }
        reads.tags |= node.get("hasTag").is_some() || node.get("getTag").is_some();
    });
    reads
}

/// Makes `context has start_age` (and the other members about footage) ask whether footage of the archive is
/// wanted: the design calls them absent for LIVE. They can still be read there, as 0 or as the present, since
/// Cedar's strict checking would otherwise refuse `context.mode == "LIVE" || context.start_age <= 86400`.
/// True if something was changed.
pub(super) fn ask_mode_instead(policy: &mut Value) -> bool {
    let absent_for_live = policy.get("has").is_some_and(|has| {
        has["left"] == json!({"Var": "context"}) && OF_FOOTAGE.iter().any(|name| has["attr"] == *name)
    });
    if absent_for_live {
        let mode = json!({".": {"left": {"Var": "context"}, "attr": "mode"}});
        *policy = json!({"!=": {"left": mode, "right": {"Value": PlaybackMode::Live.as_str()}}});
        return true;
    }
    let mut changed = false;
    match policy {
        Value::Array(list) => list.iter_mut().for_each(|inner| changed |= ask_mode_instead(inner)),
        Value::Object(map) => map.values_mut().for_each(|inner| changed |= ask_mode_instead(inner)),
        _ => {}
    }
    changed
}

/// The members of `context` that say which footage is wanted.
const OF_FOOTAGE: [&str; 7] =
    ["start_age", "end_age", "duration", "start", "end", "local_start", "local_end"];

/// Words that `context.mode` is compared with and that it never is.
pub(super) fn impossible_modes(policy: &Value) -> Vec<String> {
    const MODES: [PlaybackMode; 3] = [PlaybackMode::Live, PlaybackMode::LiveReplay, PlaybackMode::OnDemand];
    let mode = json!({".": {"left": {"Var": "context"}, "attr": "mode"}});
    let mut found = Vec::new();
    walk(policy, &mut |node| {
        let sides = ["==", "!="].iter().find_map(|operator| node.get(operator));
        let Some((left, right)) = sides.map(|sides| (&sides["left"], &sides["right"])) else { return };
        let other = if *left == mode { right } else { left };
        if (*left == mode || *right == mode)
            && let Some(word) = other.get("Value").and_then(Value::as_str)
            && !MODES.iter().any(|known| known.as_str() == word)
        {
            found.push(word.to_owned());
        }
    });
    found
}

/// True if any condition depends on the circumstances of a request.
pub(super) fn reads_context(policy: &Value) -> bool {
    let mut found = false;
    walk(policy, &mut |node| found |= node.get("Var").is_some_and(|name| name == "context"));
    found
}

/// True if any condition reads the clock, for which the start and the end of LIVE count too; an attribute of
/// such a name counts whatever it is read from.
pub(super) fn reads_clock(policy: &Value) -> bool {
    let mut found = false;
    walk(policy, &mut |node| {
        let read = node.get(".").and_then(|inner| inner.get("attr"));
        found |= read.is_some_and(|name| CLOCK.iter().any(|clock| name == clock));
    });
    found
}

/// The members of `context` that advance by themselves, apart from ages.
const CLOCK: [&str; 6] = ["now", "local", "start", "end", "local_start", "local_end"];

/// The variables that an expression reads, with the attribute where only that is read.
pub(super) fn attributes(node: &Value, found: &mut impl FnMut(&str, Option<&str>)) {
    let variable = |node: &Value| node.get("Var").and_then(Value::as_str).map(str::to_owned);
    if let Some(name) = variable(node) {
        return found(&name, None);
    }
    for operator in [".", "has"] {
        if let Some(inner) = node.get(operator)
            && let Some(name) = variable(&inner["left"])
        {
            return found(&name, inner["attr"].as_str());
        }
    }
    for operator in ["hasTag", "getTag"] {
        if let Some(inner) = node.get(operator)
            && let Some(name) = variable(&inner["left"])
        {
            found(&name, Some("tags"));
            return attributes(&inner["right"], found);
        }
    }
    match node {
        Value::Array(list) => list.iter().for_each(|inner| attributes(inner, found)),
        Value::Object(map) => map.values().for_each(|inner| attributes(inner, found)),
        _ => {}
    }
}

/// One part of a policy's conditions that must hold by itself.
#[derive(Clone, Debug)]
pub(super) struct ConditionPiece {
    /// True for a part of `unless`, which must not hold.
    pub unless: bool,
    pub body: Value,
}

impl ConditionPiece {
    /// As a condition of a policy.
    pub fn condition(&self) -> Value {
        json!({"kind": if self.unless { "unless" } else { "when" }, "body": self.body})
    }
}

/// A policy's conditions in pieces: `when { a && b } unless { c || d }` holds where a and b hold and c and d
/// do not.
///
/// Cedar stops at the first piece that fails, so a later one may make sense only after an earlier one.
pub(super) fn pieces(policy: &Value) -> Vec<ConditionPiece> {
    let mut pieces = Vec::new();
    for condition in policy["conditions"].as_array().into_iter().flatten() {
        let unless = condition["kind"] == "unless";
        split(&condition["body"], if unless { "||" } else { "&&" }, &mut |body| {
            pieces.push(ConditionPiece { unless, body: body.clone() });
        });
    }
    pieces
}

fn split(body: &Value, operator: &str, found: &mut impl FnMut(&Value)) {
    match body.get(operator) {
        Some(sides) => {
            split(&sides["left"], operator, found);
            split(&sides["right"], operator, found);
        }
        None => found(body),
    }
}

/// The policy with these conditions in place of its own.
pub(super) fn with_conditions(policy: &Value, pieces: &[ConditionPiece]) -> Value {
    let mut policy = policy.clone();
    policy["conditions"] = pieces.iter().map(ConditionPiece::condition).collect();
    policy
}

/// A permit for anything, with nothing of the policy but its form.
pub(super) fn without_scope(policy: &Value) -> Value {
    let mut bare = with_conditions(policy, &[]);
    for slot in ["principal", "action", "resource"] {
        bare[slot] = json!({"op": "All"});
    }
    bare["annotations"] = json!({});
    bare["effect"] = "permit".into();
    bare
}

fn walk(node: &Value, visit: &mut impl FnMut(&Value)) {
    visit(node);
    match node {
        Value::Array(list) => list.iter().for_each(|inner| walk(inner, visit)),
        Value::Object(map) => map.values().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn json(text: &str) -> Value {
        text.parse::<Policy>().unwrap().to_json().unwrap()
    }

    #[test]
    fn facts_are_found_however_they_are_read() {
        let fact = |text: &str| {
            let reads = reads(&json(&format!("permit (principal, action, resource) when {{ {text} }};")));
            (reads.tags, reads.arn, reads.account)
        };
        assert_eq!(fact(r#"resource.name == "a" && principal has tag"#), (false, false, false));
        assert_eq!(fact(r#"resource.tags.contains("site=a")"#), (true, false, false));
        assert_eq!(fact(r#"resource["tags"].isEmpty()"#), (true, false, false));
        assert_eq!(fact(r#"resource.hasTag("site")"#), (true, false, false));
        assert_eq!(fact(r#"[true].contains(resource.getTag("site") == "a")"#), (true, false, false));
        assert_eq!(fact(r#"(if true then resource else resource).arn like "*""#), (false, true, false));
        assert_eq!(fact(r#"resource has account"#), (false, false, true));
    }

    #[test]
    fn conditions_fall_into_pieces_that_stand_alone() {
        let policy = json(
            r#"permit (principal, action, resource)
               when { context.mode == "LIVE" && (resource.name == "a" || resource.name == "b") && true }
               unless { principal in Group::"x" || context.issuer == "y" };"#,
        );
        let found: Vec<_> =
            pieces(&policy).iter().map(|piece| (piece.unless, reads_context(&piece.body))).collect();
        assert_eq!(found, [(false, true), (false, false), (false, false), (true, false), (true, true)]);
    }

    #[test]
    fn what_advances_by_itself_and_what_footage_alone_has_are_known_by_name() {
        for name in ["now", "local.hour", "start", "end", "local_start.hour", "local_end.date"] {
            let text = format!("permit (principal, action, resource) when {{ [context.{name}].isEmpty() }};");
            assert!(reads_clock(&json(&text)), "{name}");
        }
        assert!(!reads_clock(&json("permit (principal, action, resource) when { context.end_age < 5 };")));
        for name in ["start", "local_start", "local_end"] {
            let text = format!("permit (principal, action, resource) when {{ context has {name} }};");
            assert!(ask_mode_instead(&mut json(&text)), "{name}");
        }
        let local = "permit (principal, action, resource) when { context has local };";
        assert!(!ask_mode_instead(&mut json(local)), "local time is there for LIVE too");
    }

    #[test]
    fn absent_for_live_becomes_a_comparison_of_the_mode() {
        let mut policy = json(
            "permit (principal, action, resource) when { !(context has start_age) && principal has x };",
        );
        assert!(ask_mode_instead(&mut policy));
        let text =
            r#"permit (principal, action, resource) when { !(context.mode != "LIVE") && principal has x };"#;
        assert_eq!(
            Policy::from_json(None, policy.clone()).unwrap(),
            Policy::from_json(None, json(text)).unwrap()
        );
        assert!(!ask_mode_instead(&mut policy));
    }

    #[test]
    fn modes_that_never_come_are_found() {
        for (text, expected) in [
            (r#"context.mode == "live""#, vec!["live"]),
            (r#""LIVE_REPLY" != context.mode || context.mode == "LIVE""#, vec!["LIVE_REPLY"]),
            (r#"context.mode == "ON_DEMAND" && resource.name == "live""#, vec![]),
        ] {
            let policy = json(&format!("permit (principal, action, resource) when {{ {text} }};"));
            assert_eq!(impossible_modes(&policy), expected, "{text}");
        }
    }
}
