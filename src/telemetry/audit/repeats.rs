//! Keeps one client from flooding the audit log with one and the same decision.
//!
//! Every decision has its line, but not more than [`LINES`] a second on one connection that differ in nothing but time and
//! request id. What is beyond is counted, and told in one line that says for how many it stands (`repeats`) and names the
//! last of them: when something else is decided on the connection, when the second is over and something is decided again,
//! or when the connection rests or ends. A required log has a line for each, since each waits for its own.

use super::sink::{Receipt, Sink, Unavailable};
use super::{Decision, Event, Place};
use crate::caller::Caller;
use crate::kvs::{PlaybackMode, StreamName, TimeRange, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;

/// Lines a second of the same decision on the same connection.
const LINES: u32 = 10;

/// What was last decided on a connection.
#[derive(Default)]
pub struct Repeats(Option<Last>);

/// A decision, owned.
struct Last {
    sink: Arc<Sink>,
    caller: Arc<Caller>,
    source_ip: IpAddr,
    action: &'static str,
    stream: Option<StreamName>,
    place: Option<(Arc<str>, Option<Arc<str>>)>,
    mode: Option<PlaybackMode>,
    range: Option<TimeRange>,
    outcome: Result<(), &'static str>,
    policies: Arc<[Arc<str>]>,
    policy_version: Arc<str>,
    /// The latest request.
    request_id: Arc<str>,
    at: Timestamp,
    /// In the second of `at`: lines that were written.
    lines: u32,
    /// Decisions that have no line yet.
    untold: u64,
}

impl Sink {
    /// Writes the entry of a decision, unless it is one too many of the same. Never waits.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn decided(
        self: &Arc<Self>,
        decision: &Decision<'_>,
        at: Timestamp,
        repeats: &mut Repeats,
    ) -> Result<Receipt, Unavailable> {
        if self.required() {
            return self.write(&Event::Decision(decision.clone()), at);
        }
        if let Some(last) = &mut repeats.0
            && last.is(self, decision)
            && second(last.at) == second(at)
        {
            if last.lines == LINES {
                last.untold += 1;
                last.at = at;
                last.request_id = decision.request_id.clone();
                return Ok(Receipt::nothing());
            }
            last.lines += 1;
        } else {
            repeats.0 = Some(Last::new(self.clone(), decision, at));
        }
        self.write(&Event::Decision(decision.clone()), at)
    }
}

fn second(at: Timestamp) -> u64 {
    at.millis() / 1000
}

impl Last {
    fn new(sink: Arc<Sink>, decision: &Decision<'_>, at: Timestamp) -> Self {
        Self {
            sink,
            caller: decision.caller.clone(),
            source_ip: decision.source_ip,
            action: decision.action,
            stream: decision.stream.cloned(),
            place: decision.place.map(|place| (place.region.clone(), place.account.cloned())),
            mode: decision.mode,
            range: decision.range,
            outcome: decision.outcome,
            policies: decision.policies.clone(),
            policy_version: decision.policy_version.clone(),
            request_id: decision.request_id.clone(),
            at,
            lines: 1,
            untold: 0,
        }
    }

    /// Whether this is the same decision again, whenever and under whatever id.
    fn is(&self, sink: &Arc<Sink>, decision: &Decision<'_>) -> bool {
        let same_caller = Arc::ptr_eq(&self.caller, decision.caller) || self.caller == *decision.caller;
        Arc::ptr_eq(&self.sink, sink)
            && same_caller
            && self.source_ip == decision.source_ip
            && self.action == decision.action
            && self.stream.as_ref() == decision.stream
            && self.place() == decision.place
            && self.mode == decision.mode
            && self.range == decision.range
            && self.outcome == decision.outcome
            && self.policies == *decision.policies
            && self.policy_version == *decision.policy_version
    }

    fn place(&self) -> Option<Place<'_>> {
        self.place.as_ref().map(|(region, account)| Place { region, account: account.as_ref() })
    }

    fn decision(&self) -> Decision<'_> {
        Decision {
            request_id: &self.request_id,
            caller: &self.caller,
            source_ip: self.source_ip,
            action: self.action,
            stream: self.stream.as_ref(),
            place: self.place(),
            mode: self.mode,
            range: self.range,
            outcome: self.outcome,
            policies: &self.policies,
            policy_version: &self.policy_version,
            repeats: self.untold,
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        if self.untold > 0 {
            // Not required, so that it cannot be refused; what is lost is counted.
            let _ = self.sink.write(&Event::Decision(self.decision()), self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Target};
    use super::*;
    use serde_json::Value;

    const START: u64 = 1_767_225_600_000;

    /// Tells decisions on cameras at so many milliseconds over one connection, and what lines they left.
    fn lines(required: bool, decisions: impl Iterator<Item = (&'static str, u64)>) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let sink = Arc::new(Sink::open(&Config { to: Target::File(path.clone()), required }).unwrap());
        let caller = Arc::new(Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: Default::default(),
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        });
        let mut repeats = Repeats::default();
        for (number, (camera, millis)) in decisions.enumerate() {
            let decision = Decision {
                request_id: &format!("r-{number}").into(),
                caller: &caller,
                source_ip: "10.0.0.1".parse().unwrap(),
                action: "GetImages",
                stream: Some(&StreamName::parse(camera).unwrap()),
                place: None,
                mode: None,
                range: None,
                outcome: Ok(()),
                policies: &[Arc::from("a (b.cedar:1)")].into(),
                policy_version: &"0123456789ab".into(),
                repeats: 1,
            };
            drop(sink.decided(&decision, Timestamp::from_millis(START + millis), &mut repeats).unwrap());
        }
        drop(repeats);
        assert!(sink.flush(std::time::Duration::from_secs(20)));
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(line: &Value) -> u64 {
        line["repeats"].as_u64().unwrap_or(1)
    }

    #[test]
    fn a_flood_of_one_decision_is_ten_lines_and_one_that_counts_the_rest() {
        let told = lines(false, (0..250).map(|number| ("cam-1", number)));
        assert_eq!(told.len(), 11);
        assert!(told[..10].iter().all(|line| line.get("repeats").is_none()));
        assert_eq!((count(&told[10]), &told[10]["request_id"]), (240, &"r-249".into()));
        assert_eq!(told[10]["time"], "2026-01-01T00:00:00.249Z");
    }

    #[test]
    fn the_next_second_and_another_camera_begin_anew_and_nothing_is_lost() {
        let flood = (0..3000).map(|number| (if number % 1500 < 1400 { "cam-1" } else { "cam-2" }, number));
        let told = lines(false, flood);
        assert_eq!(told.iter().map(count).sum::<u64>(), 3000);
        // Each stretch within one second has at most 11 lines: six stretches here.
        assert!((30..=66).contains(&told.len()), "{}", told.len());
        let times: Vec<_> = told.iter().map(|line| line["time"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "in the order of their last decisions");
        assert!(told.iter().any(|line| line["stream"] == "cam-2"));
    }

    #[test]
    fn a_required_log_has_a_line_for_each() {
        assert_eq!(lines(true, (0..250).map(|number| ("cam-1", number))).len(), 250);
    }
}
