//! Misbehaviour by plan and by seed: which request meets which fault (`POST /_emulator/faults`).
//!
//! A rule names an operation (`*` for every one), perhaps a stream, how many matching requests to let pass
//! first, how many to spoil, and perhaps a probability with a seed; the same requests in the same order then
//! meet the same faults.

use super::number::mix;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// CloudWatch's name of the operation or resource, such as `GetClip` or `GetMP4MediaFragment`, or `*`.
    pub(super) operation: String,
    /// Only for this stream.
    #[serde(default)]
    pub(super) stream: Option<String>,
    /// What happens.
    pub(super) fault: Fault,
    /// To how many requests; to all if absent.
    #[serde(default)]
    pub(super) times: Option<u64>,
    /// How many matching requests pass before.
    #[serde(default)]
    pub(super) skip: u64,
    /// From 0 to 1: the share of matching requests that is spoilt. All if absent.
    #[serde(default)]
    pub(super) probability: Option<f64>,
    /// Which share.
    #[serde(default)]
    pub(super) seed: u64,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The answer comes later.
    Delay { millis: u64 },
    /// An error answer in KVS's shape.
    Status {
        status: u16,
        #[serde(default = "internal_failure", rename = "type")]
        kind: String,
        #[serde(default)]
        message: String,
    },
    /// This answer, word for word: for shapes that KVS has had or may have.
    Raw {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        body: String,
    },
    /// The connection is reset after so many bytes of the body; 0 resets it instead of an answer.
    Reset {
        #[serde(default)]
        after_bytes: u64,
    },
    /// The body ends after so many bytes: short of its announced length, or without its last chunk.
    Truncate { after_bytes: u64 },
    /// The body arrives this slowly.
    Trickle { bytes_per_second: u64 },
    /// The 90 bytes with status 200.
    UnknownOperation,
    /// GetMediaForFragmentList: an error chunk stands in the place of the first fragment.
    InBandError {
        #[serde(default = "fragment_not_found")]
        code: String,
        #[serde(default = "three_thousand")]
        id: String,
    },
    /// All playback sessions of the stream, or all if it is not known, have expired.
    ExpireSessions,
    /// As if the stream had recorded nothing.
    NoData,
}

fn internal_failure() -> String {
    "InternalFailure".to_owned()
}

fn fragment_not_found() -> String {
    "FRAGMENT_NOT_FOUND".to_owned()
}

fn three_thousand() -> String {
    "3000".to_owned()
}

/// The rules in force, with what they have seen.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<(Rule, Seen)>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Seen {
    matched: u64,
    fired: u64,
}

impl Plan {
    /// Adds a rule.
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push((rule, Seen::default()));
    }

    /// Forgets all rules.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What happens to this request: every rule that is due has its say, in the order in which they were
    /// planned.
    pub(super) fn due(&mut self, operation: &str, stream: Option<&str>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (rule, seen) in &mut self.rules {
            let named = rule.operation == "*" || rule.operation == operation;
            if !named || rule.stream.as_deref().is_some_and(|name| Some(name) != stream) {
                continue;
            }
            seen.matched += 1;
            let chosen = rule.probability.is_none_or(|share| {
                let dice = mix(rule.seed ^ mix(seen.matched)) >> 11;
                (dice as f64) < share * (1_u64 << 53) as f64
            });
            if seen.matched > rule.skip && rule.times.is_none_or(|times| seen.fired < times) && chosen {
                seen.fired += 1;
                faults.push(rule.fault.clone());
            }
        }
        faults
    }

    /// The plan and what it has done, as JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.rules).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_rule_lets_some_pass_spoils_some_and_then_rests() {
        let mut plan = Plan::default();
        plan.add(rule(
            r#"{"operation":"GetClip","stream":"cam-1","fault":{"kind":"status","status":503},
                "skip":1,"times":2}"#,
        ));
        let fired = |plan: &mut Plan| plan.due("GetClip", Some("cam-1")).len();
        assert!(plan.due("GetClip", Some("cam-2")).is_empty());
        assert!(plan.due("GetImages", Some("cam-1")).is_empty());
        assert_eq!([0; 5].map(|_| fired(&mut plan)), [0, 1, 1, 0, 0]);
        plan.clear();
        assert_eq!(fired(&mut plan), 0);
    }

    #[test]
    fn chance_has_a_seed() {
        let run = |seed: u64| -> Vec<bool> {
            let mut plan = Plan::default();
            plan.add(Rule {
                probability: Some(0.3),
                seed,
                ..rule(r#"{"operation":"*","fault":{"kind":"reset"}}"#)
            });
            (0..1000).map(|_| !plan.due("GetClip", None).is_empty()).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let share = run(1).into_iter().filter(|fired| *fired).count();
        assert!((250..350).contains(&share), "{share}");
    }

    #[test]
    fn every_kind_is_read_and_an_unknown_one_refused() {
        for fault in [
            r#"{"kind":"delay","millis":5}"#,
            r#"{"kind":"status","status":503,"type":"InternalFailure","message":"x"}"#,
            r#"{"kind":"raw","status":403,"headers":{"x-amz-errortype":"E"},"body":"<xml/>"}"#,
            r#"{"kind":"reset","after_bytes":7}"#,
            r#"{"kind":"truncate","after_bytes":7}"#,
            r#"{"kind":"trickle","bytes_per_second":9}"#,
            r#"{"kind":"unknown_operation"}"#,
            r#"{"kind":"in_band_error"}"#,
            r#"{"kind":"expire_sessions"}"#,
            r#"{"kind":"no_data"}"#,
        ] {
            rule(&format!(r#"{{"operation":"*","fault":{fault},"times":null}}"#));
        }
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"explode"}"#).is_err());
    }
}
