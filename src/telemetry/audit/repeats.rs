//! Bounds the lines that one repeated decision takes in the audit log.
//!
//! Decisions are equal if they differ in nothing but time and request id. At most [`LINES`] equal decisions a
//! second have a line each. Those beyond are counted, and one line stands for all of them: `repeats` is their
//! number, and time and request id are those of the last one. That line is written before the next line of
//! the same decision, when another decision takes the slot, or by the writer thread, a second after the first
//! of them. A required log has a line for each decision, since each request waits for its own line.
//!
//! The table has a fixed size and one slot per hash. Two decisions that fall into one slot replace each
//! other, which costs lines but loses none.

use super::event::{Decision, Event, StreamLocation};
use crate::caller::Caller;
use crate::kvs::{PlaybackMode, StreamName, TimeRange, Timestamp};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Lines a second of equal decisions.
const LINES: u32 = 10;
/// A power of two, so that a slot is the end of a hash. A slot that is used takes some 300 bytes.
const SLOTS: usize = 1024;

/// The latest decisions, with the number of those that have no line yet.
pub(super) struct Repeats {
    slots: Box<[Mutex<Option<Box<Repeated>>>]>,
    hasher: foldhash::fast::RandomState,
    /// Some slot counts decisions without a line, and the writer thread has not taken note of it.
    pending: AtomicBool,
}

/// What becomes of a decision.
pub(super) enum DecisionCount {
    /// It has a line of its own, after the line for these equal ones, if there are any.
    Line(Option<Box<Repeated>>),
    /// It is counted. `wakes`: the writer thread must be woken to write the count in time.
    Joined { wakes: bool },
}

/// A decision, owned.
pub(super) struct Repeated {
    caller: Arc<Caller>,
    source_ip: IpAddr,
    action: &'static str,
    stream: Option<StreamName>,
    place: Option<(Arc<str>, Option<Arc<str>>)>,
    mode: Option<PlaybackMode>,
    range: Option<TimeRange>,
    outcome: Result<(), &'static str>,
    policies: Arc<[Arc<str>]>,
    severity: Option<&'static str>,
    policy_version: Arc<str>,
    /// Of the latest request.
    request_id: Arc<str>,
    at: Timestamp,
    /// Lines written in the second of `at`.
    lines: u32,
    /// Decisions that have no line yet.
    unwritten: u64,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
            pending: AtomicBool::new(false),
        }
    }

    /// Counts a decision, and says whether it has a line of its own.
    pub(super) fn count(&self, decision: &Decision<'_>, at: Timestamp) -> DecisionCount {
        let mut slot = locked(&self.slots[self.slot(decision)]);
        if let Some(last) = slot.as_mut()
            && second(last.at) == second(at)
            && last.equals(decision)
        {
            if last.lines < LINES {
                last.lines += 1;
                return DecisionCount::Line(None);
            }
            last.unwritten += 1;
            last.at = at;
            last.request_id = decision.request_id.clone();
            let wakes = last.unwritten == 1 && !self.pending.swap(true, Ordering::AcqRel);
            return DecisionCount::Joined { wakes };
        }
        let before = slot.replace(Box::new(Repeated::new(decision, at)));
        DecisionCount::Line(before.filter(|before| before.unwritten > 0))
    }

    /// Whether some slot has begun to count since the last call.
    pub(super) fn take_pending(&self) -> bool {
        self.pending.swap(false, Ordering::AcqRel)
    }

    /// Gives the event of each count and the time of its last decision, and sets the counts to zero.
    pub(super) fn drain(&self, mut write: impl FnMut(&Event<'_>, Timestamp)) {
        for slot in &self.slots {
            if let Some(last) = locked(slot).as_mut().filter(|last| last.unwritten > 0) {
                write(&last.event(), last.at);
                last.unwritten = 0;
            }
        }
    }

    /// The caller is compared by its address in memory: an equal one elsewhere has lines of its own.
    fn slot(&self, decision: &Decision<'_>) -> usize {
        let mut hash = self.hasher.build_hasher();
        Arc::as_ptr(decision.caller).hash(&mut hash);
        decision.action.hash(&mut hash);
        decision.stream.hash(&mut hash);
        decision.range.hash(&mut hash);
        // The remainder is less than `SLOTS`.
        (hash.finish() % SLOTS as u64) as usize
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

fn second(at: Timestamp) -> u64 {
    at.millis() / 1000
}

impl Repeated {
    fn new(decision: &Decision<'_>, at: Timestamp) -> Self {
        Self {
            caller: decision.caller.clone(),
            source_ip: decision.source_ip,
            action: decision.action,
            stream: decision.stream.cloned(),
            place: decision.place.map(|place| (place.region.clone(), place.account.cloned())),
            mode: decision.mode,
            range: decision.range,
            outcome: decision.outcome,
            policies: decision.policies.clone(),
            severity: decision.severity,
            policy_version: decision.policy_version.clone(),
            request_id: decision.request_id.clone(),
            at,
            lines: 1,
            unwritten: 0,
        }
    }

    /// Whether a decision differs in nothing but time and request id.
    fn equals(&self, decision: &Decision<'_>) -> bool {
        let same_caller = Arc::ptr_eq(&self.caller, decision.caller) || self.caller == *decision.caller;
        same_caller
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

    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    fn place(&self) -> Option<StreamLocation<'_>> {
        self.place.as_ref().map(|(region, account)| StreamLocation { region, account: account.as_ref() })
    }

    /// One line for the decisions that have none.
    pub(super) fn event(&self) -> Event<'_> {
        Event::Decision(Decision {
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
            severity: self.severity,
            policy_version: &self.policy_version,
            repeats: self.unwritten,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sink, Target};
    use super::*;
    use serde_json::Value;

    const START: u64 = 1_767_225_600_000;

    fn caller() -> Arc<Caller> {
        Arc::new(Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: Default::default(),
            groups_withheld: false,
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        })
    }

    fn decide(sink: &Sink, caller: &Arc<Caller>, number: u64, camera: &str, millis: u64) {
        let decision = Decision {
            request_id: &format!("r-{number}").into(),
            caller,
            source_ip: "10.0.0.1".parse().unwrap(),
            action: "GetImages",
            stream: Some(&StreamName::parse(camera).unwrap()),
            place: None,
            mode: None,
            range: None,
            outcome: Ok(()),
            policies: &[Arc::from("a (b.cedar:1)")].into(),
            severity: None,
            policy_version: &"0123456789ab".into(),
            repeats: 1,
        };
        drop(sink.decided(&decision, Timestamp::from_millis(START + millis)).unwrap());
    }

    /// The lines that decisions on cameras leave, each made at so many milliseconds.
    fn lines(required: bool, decisions: impl Iterator<Item = (&'static str, u64)>) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let sink = Sink::open(&Config { to: Target::File(path.clone()), required }, &[]).unwrap();
        let caller = caller();
        for (number, (camera, millis)) in (0..).zip(decisions) {
            decide(&sink, &caller, number, camera, millis);
        }
        assert!(sink.flush(std::time::Duration::from_secs(20)));
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(line: &Value) -> u64 {
        line["repeats"].as_u64().unwrap_or(1)
    }

    #[test]
    fn a_flood_of_one_decision_is_ten_lines_and_one_that_counts_the_rest() {
        let written = lines(false, (0..250).map(|number| ("cam-1", number)));
        assert_eq!(written.len(), 11);
        assert!(written[..10].iter().all(|line| line.get("repeats").is_none()));
        assert_eq!((count(&written[10]), &written[10]["request_id"]), (240, &"r-249".into()));
        assert_eq!(written[10]["time"], "2026-01-01T00:00:00.249Z");
    }

    #[test]
    fn the_next_second_and_another_camera_begin_anew_and_nothing_is_lost() {
        let flood = (0..3000).map(|number| (if number % 1500 < 1400 { "cam-1" } else { "cam-2" }, number));
        let written = lines(false, flood);
        assert_eq!(written.iter().map(count).sum::<u64>(), 3000);
        // Each stretch within one second has at most 11 lines: six stretches here.
        assert!((30..=66).contains(&written.len()), "{}", written.len());
        for camera in ["cam-1", "cam-2"] {
            let of = |line: &&Value| line["stream"] == camera;
            let times: Vec<_> =
                written.iter().filter(of).map(|line| line["time"].as_str().unwrap()).collect();
            assert!(times.is_sorted(), "in the order of their last decisions");
        }
        assert!(written.iter().any(|line| line["stream"] == "cam-2"));
    }

    #[test]
    fn a_required_log_has_a_line_for_each() {
        assert_eq!(lines(true, (0..250).map(|number| ("cam-1", number))).len(), 250);
    }

    /// Cameras one after the other, so that none repeats the last decision.
    #[test]
    fn decisions_that_alternate_are_counted_each_for_itself() {
        let cameras = ["cam-1", "cam-2", "cam-3"];
        let written = lines(false, (0..600).map(|number| (cameras[number as usize % 3], number)));
        assert_eq!(written.iter().map(count).sum::<u64>(), 600);
        // Each has ten lines and one for the rest, and they share a slot in one of some hundred runs.
        assert!((33..=600).contains(&written.len()), "{}", written.len());
    }

    #[test]
    fn what_is_counted_is_written_within_two_seconds_though_nothing_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let sink = Sink::open(&Config { to: Target::File(path.clone()), required: false }, &[]).unwrap();
        let caller = caller();
        (0..15).for_each(|number| decide(&sink, &caller, number, "cam-1", number));
        let begun = std::time::Instant::now();
        let repeats = || std::fs::read_to_string(&path).unwrap().contains("\"repeats\":5");
        while !repeats() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "never written");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(begun.elapsed() >= std::time::Duration::from_millis(500), "more may have followed");
        // Nothing is left to write, and what follows in the same second is counted anew.
        (15..18).for_each(|number| decide(&sink, &caller, number, "cam-1", number));
        drop(sink);
        let repeats = || std::fs::read_to_string(&path).unwrap().contains("\"repeats\":3");
        while !repeats() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "lost at the end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
