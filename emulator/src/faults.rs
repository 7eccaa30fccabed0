//! The fault plan: which requests get which fault (`POST /_emulator/faults`).
//!
//! A rule has an operation (`*` for all) and optionally a stream, a number of matching requests to skip, a
//! number of requests to affect, and a probability with a seed. The same requests in the same order get the
//! same faults.

use super::clock::Millis;
use super::number::mix;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One rule of the plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRule {
    /// CloudWatch's name of the operation or resource, such as `GetClip` or `GetMP4MediaFragment`, or `*`.
    pub(super) operation: String,
    /// Only for this stream.
    #[serde(default)]
    pub(super) stream: Option<String>,
    /// The fault.
    pub(super) fault: Fault,
    /// How many requests get it; all if absent.
    #[serde(default)]
    pub(super) times: Option<u64>,
    /// How many matching requests are skipped first.
    #[serde(default)]
    pub(super) skip: u64,
    /// The share of matching requests that get it, from 0 to 1; all if absent.
    #[serde(default)]
    pub(super) probability: Option<f64>,
    /// Selects the requests of `probability`.
    #[serde(default)]
    pub(super) seed: u64,
}

/// What is done to a request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The answer is delayed.
    Delay { millis: u64 },
    /// An error in KVS's form.
    Status {
        status: u16,
        #[serde(default = "internal_failure", rename = "type")]
        kind: String,
        #[serde(default)]
        message: String,
    },
    /// This answer exactly, for forms that KVS had or could have.
    Raw {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        body: String,
    },
    /// The connection is reset after this many bytes of the body; 0 resets it before an answer.
    Reset {
        #[serde(default)]
        after_bytes: u64,
    },
    /// The body ends after this many bytes, before its announced length or without its last chunk.
    Truncate { after_bytes: u64 },
    /// The body is sent slowly.
    Trickle { bytes_per_second: u64 },
    /// The 90 bytes with status 200.
    UnknownOperation,
    /// GetMediaForFragmentList: an error chunk replaces the first fragment.
    InBandError {
        #[serde(default = "fragment_not_found")]
        code: String,
        #[serde(default = "three_thousand")]
        id: String,
    },
    /// All playback sessions of the stream expire, or all sessions if the request has no stream.
    ExpireSessions,
    /// The answer stays what it is and holds this text too, wherever KVS could put one: in header values that
    /// clients do not need, in the content type, in members that no model has, in unknown lines of playlists
    /// and comments of manifests.
    Plant { text: String },
    /// The stream has no fragments.
    NoData,
    /// The fragments whose server timestamps lie in `[from, to]`, in seconds since 1970, do not exist for
    /// this request. Of ListFragments, `times` times: a fragment that appears later in a range that was
    /// already listed. Of GetMediaForFragmentList: fragments that were listed and are gone by retention
    /// (`FRAGMENT_NOT_FOUND` in band).
    Missing { from: f64, to: f64 },
}

impl Fault {
    /// The server times of the fragments that do not exist, in milliseconds since 1970.
    pub(super) fn missing(&self) -> Option<(Millis, Millis)> {
        let millis = |seconds: f64| (seconds * 1000.0).round() as Millis;
        match self {
            Self::Missing { from, to } => Some((millis(*from), millis(*to))),
            _ => None,
        }
    }
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

/// The rules with their counters.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    rules: Vec<(FaultRule, RuleCounters)>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct RuleCounters {
    matched: u64,
    fired: u64,
}

impl FaultPlan {
    /// Adds a rule.
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push((rule, RuleCounters::default()));
    }

    /// Removes all rules.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The faults of a request, in the order of the rules. Counts the request.
    pub(super) fn due(&mut self, operation: &str, stream: Option<&str>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (rule, counters) in &mut self.rules {
            let named = rule.operation == "*" || rule.operation == operation;
            if !named || rule.stream.as_deref().is_some_and(|name| Some(name) != stream) {
                continue;
            }
            counters.matched += 1;
            let chosen = rule.probability.is_none_or(|share| {
                let dice = mix(rule.seed ^ mix(counters.matched)) >> 11;
                (dice as f64) < share * (1_u64 << 53) as f64
            });
            if counters.matched > rule.skip && rule.times.is_none_or(|times| counters.fired < times) && chosen
            {
                counters.fired += 1;
                faults.push(rule.fault.clone());
            }
        }
        faults
    }

    /// The rules with their counters, as JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.rules).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> FaultRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_rule_lets_some_pass_spoils_some_and_then_rests() {
        let mut plan = FaultPlan::default();
        plan.add(rule(
            r#"{"operation":"GetClip","stream":"cam-1","fault":{"kind":"status","status":503},
                "skip":1,"times":2}"#,
        ));
        let fired = |plan: &mut FaultPlan| plan.due("GetClip", Some("cam-1")).len();
        assert!(plan.due("GetClip", Some("cam-2")).is_empty());
        assert!(plan.due("GetImages", Some("cam-1")).is_empty());
        assert_eq!([0; 5].map(|_| fired(&mut plan)), [0, 1, 1, 0, 0]);
        plan.clear();
        assert_eq!(fired(&mut plan), 0);
    }

    #[test]
    fn chance_has_a_seed() {
        let run = |seed: u64| -> Vec<bool> {
            let mut plan = FaultPlan::default();
            plan.add(FaultRule {
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
            r#"{"kind":"plant","text":"x"}"#,
            r#"{"kind":"missing","from":1700000000.5,"to":1700000002}"#,
        ] {
            rule(&format!(r#"{{"operation":"*","fault":{fault},"times":null}}"#));
        }
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"explode"}"#).is_err());
    }
}
