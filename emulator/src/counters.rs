//! Counters of requests, bytes and throttles per operation and stream, and of requests per playback resource.
//! Tests read them at `/_emulator/requests`.

use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Counters of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct OperationCounters {
    /// All requests that arrived.
    pub(super) requests: u64,
    /// Body bytes that were sent.
    pub(super) bytes: u64,
    /// Throttling errors.
    pub(super) throttled: u64,
    /// Answers with status 400 or above, throttles included.
    pub(super) failed: u64,
}

/// All counters since the start or the last reset.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counters {
    total: BTreeMap<String, OperationCounters>,
    streams: BTreeMap<String, BTreeMap<String, OperationCounters>>,
    resources: BTreeMap<String, u64>,
    clients_headers_seen: BTreeSet<String>,
    members_seen: BTreeMap<String, BTreeSet<String>>,
}

/// How many members of one operation are recorded; KVS defines a dozen.
const MEMBERS: usize = 1000;

impl Counters {
    /// Changes the counters of an operation, in the total and for its stream if that is known.
    pub(super) fn count(
        &mut self,
        operation: &str,
        stream: Option<&str>,
        change: impl Fn(&mut OperationCounters),
    ) {
        change(self.total.entry(operation.to_owned()).or_default());
        if let Some(stream) = stream {
            let operations = self.streams.entry(stream.to_owned()).or_default();
            change(operations.entry(operation.to_owned()).or_default());
        }
    }

    /// Counts a request for a playback resource.
    pub(super) fn resource(&mut self, name: String) {
        *self.resources.entry(name).or_default() += 1;
    }

    /// Records the header names of a signed request.
    pub(super) fn headers<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if !self.clients_headers_seen.contains(name) {
                self.clients_headers_seen.insert(name.to_owned());
            }
        }
    }

    /// Records the members of a signed request's body, nested ones as `A.B`.
    pub(super) fn members(&mut self, operation: &str, body: &Value) {
        let seen = self.members_seen.entry(operation.to_owned()).or_default();
        note(seen, "", body);
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn note(seen: &mut BTreeSet<String>, within: &str, value: &Value) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        note(seen, &path, inner);
        if seen.len() < MEMBERS {
            seen.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_by_their_path() {
        let mut counters = Counters::default();
        let body = serde_json::json!({"A": {"B": 1, "C": {"D": null}}, "E": [{"F": 1}]});
        counters.members("GetClip", &body);
        let seen: Vec<_> = counters.members_seen["GetClip"].iter().map(String::as_str).collect();
        assert_eq!(seen, ["A", "A.B", "A.C", "A.C.D", "E"]);
    }
}
