//! Decisions by everything that was put to Cedar, so that the same question is asked of it once.
//!
//! Cedar's answer is a function of the policies, the three entities and the circumstances that the policies read. The key
//! is all of that except the policies, whose memory this is. It is compared in full and never by a digest alone, so that
//! no two callers can be confused. An age that policies only compare with numbers is in the key as far as that: which of
//! them it has passed. Read in any other way it is there in whole seconds, so that Cedar is asked once a second, and where
//! `context.now` is read it is asked each time.
//!
//! A player asks for the same permission with every segment. There the passing of time is left out of the key, and what
//! was decided holds for [`TRUSTED`].
//!
//! [`LastDecision`] is the shortest memory: the last decision on one connection, whose next request mostly asks for the same.

use super::decide::Judgement;
use super::est::{Circumstances, Reading};
use super::question::{Question, Scene, StreamFacts};
use crate::caller::Caller;
use crate::kvs::{Operation, PlaybackMode, Timestamp};
use moka::Equivalent;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Half of the 10 s within which a viewer whose grant has run out must be cut off.
const TRUSTED: Duration = Duration::from_secs(5);
/// Some 1 KiB each: at most tens of MB, and 1,000 viewers at a time are at home in it ten times over.
const ENTRIES: u64 = 20_000;
/// Only so that what nobody asks for any more makes room.
const KEPT: Duration = Duration::from_secs(60);

/// The decisions of one set of policies.
pub(super) struct Decisions {
    kept: moka::sync::Cache<Key, Kept>,
    /// Tells these from another set's.
    whose: Arc<()>,
}

/// A decision and when it was made.
#[derive(Clone)]
pub(super) struct Kept {
    pub judgement: Judgement,
    made: Timestamp,
}

impl Kept {
    pub fn new(judgement: Judgement, made: Timestamp) -> Self {
        Self { judgement, made }
    }

    fn holds(&self, about: &About, now: Timestamp) -> bool {
        match about {
            About::Told(..) | About::Reach(..) => true,
            // A clock that was set back must not lengthen it.
            About::Playback(..) => self.made <= now && self.made.age(now) < TRUSTED,
        }
    }
}

/// The last decision that was made for a connection.
#[derive(Default)]
pub struct LastDecision(Option<Last>);

struct Last {
    whose: Arc<()>,
    key: Key,
    kept: Kept,
}

/// The circumstances that are read, as far as the outcome can depend on them. The issuer is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Told {
    mode: Option<PlaybackMode>,
    start_age: Option<i64>,
    end_age: Option<i64>,
    duration: Option<i64>,
    source_ip: Option<IpAddr>,
}

/// Which circumstances some policies read, looked up by name once.
pub(super) struct Readings {
    now: bool,
    mode: bool,
    source_ip: bool,
    start_age: Option<Reading>,
    end_age: Option<Reading>,
    duration: Option<Reading>,
}

impl Readings {
    pub fn of(reads: &Circumstances) -> Self {
        Self {
            now: reads.holds("now"),
            mode: reads.holds("mode"),
            source_ip: reads.holds("source_ip"),
            start_age: reads.reading("start_age").cloned(),
            end_age: reads.reading("end_age").cloned(),
            duration: reads.reading("duration").cloned(),
        }
    }

    /// `None` if the question is never the same twice.
    pub fn told(&self, question: &Question, scene: &Scene) -> Option<Told> {
        if self.now {
            return None;
        }
        // Worked out only where one is read.
        let ages = || question.footage.ages(scene.now);
        Some(Told {
            mode: self.mode.then(|| question.mode()),
            start_age: self.start_age.as_ref().map(|reading| reading.of(ages().start)),
            end_age: self.end_age.as_ref().map(|reading| reading.of(ages().end)),
            duration: self.duration.as_ref().map(|reading| reading.of(ages().duration)),
            source_ip: self.source_ip.then(|| scene.source_ip.to_canonical()),
        })
    }
}

/// What is asked, as far as the answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum About {
    /// May he, under these circumstances?
    Told(Operation, Told),
    /// As above, put to the policies without their circumstances.
    Reach(Operation, Told),
    /// May he go on playing, from there?
    Playback(Question, IpAddr),
}

/// What a decision depends on, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub caller: &'a Caller,
    pub about: About,
    pub stream: Option<&'a StreamFacts>,
}

/// The same, owned.
struct Key {
    caller: Arc<Caller>,
    about: About,
    stream: Option<StreamFacts>,
}

impl Decisions {
    pub fn new() -> Self {
        let kept = moka::sync::Cache::builder().max_capacity(ENTRIES).time_to_live(KEPT).build();
        Self { kept, whose: Arc::default() }
    }

    /// What was decided, or else what `decide` says. What it cannot say is not remembered.
    pub fn recall<E>(
        &self,
        asked: &Asked<'_>,
        now: Timestamp,
        decide: impl FnOnce() -> Result<Judgement, E>,
    ) -> Result<Kept, E> {
        if let Some(kept) = self.kept.get(asked).filter(|kept| kept.holds(&asked.about, now)) {
            return Ok(kept);
        }
        let kept = Kept::new(decide()?, now);
        self.kept.insert(asked.owned(Arc::new(asked.caller.clone())), kept.clone());
        Ok(kept)
    }
}

impl LastDecision {
    /// What was decided on this connection just now, or else what `decide` says. `caller` is the one that is `asked` about.
    pub(super) fn recall(
        &mut self,
        decisions: &Decisions,
        caller: &Arc<Caller>,
        asked: &Asked<'_>,
        now: Timestamp,
        decide: impl FnOnce() -> Kept,
    ) -> Judgement {
        if let Some(judgement) = self.last(decisions, asked, now) {
            return judgement;
        }
        let kept = decide();
        let judgement = kept.judgement.clone();
        let last = Last { whose: decisions.whose.clone(), key: asked.owned(caller.clone()), kept };
        self.0 = Some(last);
        judgement
    }

    fn last(&self, decisions: &Decisions, asked: &Asked<'_>, now: Timestamp) -> Option<Judgement> {
        let same = |last: &&Last| {
            Arc::ptr_eq(&last.whose, &decisions.whose)
                && last.kept.holds(&asked.about, now)
                && asked.same(&last.key.asked())
        };
        self.0.as_ref().filter(same).map(|last| last.kept.judgement.clone())
    }
}

impl Asked<'_> {
    fn same(&self, other: &Asked<'_>) -> bool {
        self.about == other.about && self.stream == other.stream && is_same(self.caller, other.caller)
    }

    fn owned(&self, caller: Arc<Caller>) -> Key {
        Key { caller, about: self.about, stream: self.stream.cloned() }
    }
}

/// To policies. Neither the token's id nor its end is put to Cedar: a renewed token is the same caller.
fn is_same(a: &Caller, b: &Caller) -> bool {
    std::ptr::eq(a, b)
        || (a.subject == b.subject
            && a.issuer == b.issuer
            && a.groups == b.groups
            && a.attributes == b.attributes)
}

impl Key {
    fn asked(&self) -> Asked<'_> {
        Asked { caller: &self.caller, about: self.about, stream: self.stream.as_ref() }
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to spread; the comparison is what tells.
        self.caller.subject.hash(state);
        self.caller.issuer.hash(state);
        self.about.hash(state);
        self.stream.map(|stream| &stream.name).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.asked().same(&other.asked())
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.same(&key.asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Attribute;
    use crate::kvs::StreamName;
    use crate::policy::Reason;
    use std::cell::Cell;

    fn caller() -> Caller {
        Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: [Arc::from("guards")].into(),
            attributes: [("clearance".to_owned(), Attribute::Long(1))].into(),
            expires: Timestamp::from_millis(1),
        }
    }

    fn facts() -> StreamFacts {
        let name = StreamName::parse("cam-1").unwrap();
        StreamFacts { name, region: "eu-west-1".into(), account: None, arn: None, tags: Some([].into()) }
    }

    fn scene(stream: StreamFacts) -> Scene {
        let now = Timestamp::from_millis(1_767_225_600_000);
        Scene { now, source_ip: "10.0.0.1".parse().unwrap(), stream: Some(stream) }
    }

    #[test]
    fn only_the_same_question_of_the_same_caller_is_remembered() {
        let (decisions, decided) = (Decisions::new(), Cell::new(0));
        let asks_anew = |caller: Caller, question: Question, scene: Scene| {
            let before = decided.get();
            let about = About::Playback(question, scene.source_ip);
            let asked = Asked { caller: &caller, about, stream: scene.stream.as_ref() };
            let decide = || {
                decided.set(before + 1);
                Ok::<_, ()>(Judgement::Refused(Reason::NoPermit))
            };
            decisions.recall(&asked, scene.now, decide).unwrap();
            decided.get() > before
        };
        let question = || Question::about(Operation::GetHlsStreamingSessionUrl);
        assert!(asks_anew(caller(), question(), scene(facts())));
        assert!(!asks_anew(caller(), question(), scene(facts())));
        let renewed = Caller { token_id: Some("t".into()), expires: Timestamp::from_millis(2), ..caller() };
        assert!(!asks_anew(renewed, question(), scene(facts())), "a renewed token is the same caller");
        for other in [
            Caller { subject: "bob".into(), ..caller() },
            Caller { issuer: "https://other.example.net/".into(), ..caller() },
            Caller { groups: [].into(), ..caller() },
            Caller { groups: [Arc::from("guards"), Arc::from("more")].into(), ..caller() },
            Caller { attributes: [].into(), ..caller() },
            Caller { attributes: [("clearance".to_owned(), Attribute::Long(2))].into(), ..caller() },
        ] {
            assert!(asks_anew(other.clone(), question(), scene(facts())), "{other:?}");
        }
        for operation in [Operation::GetDashStreamingSessionUrl, Operation::GetClip] {
            assert!(asks_anew(caller(), Question::about(operation), scene(facts())));
        }
        for other in [
            StreamFacts { name: StreamName::parse("cam-2").unwrap(), ..facts() },
            StreamFacts { region: "eu-west-2".into(), ..facts() },
            StreamFacts { account: Some("1".into()), ..facts() },
            StreamFacts { tags: None, ..facts() },
            StreamFacts { tags: Some([("a".to_owned(), "b".to_owned())].into()), ..facts() },
        ] {
            assert!(asks_anew(caller(), question(), scene(other.clone())), "{other:?}");
        }
        let elsewhere = Scene { source_ip: "10.0.0.2".parse().unwrap(), ..scene(facts()) };
        assert!(asks_anew(caller(), question(), elsewhere));
    }

    #[test]
    fn a_connection_remembers_its_last_decision_as_long_as_it_holds_and_for_its_policies_only() {
        let (decisions, others, mut last) = (Decisions::new(), Decisions::new(), LastDecision::default());
        let (caller, facts) = (Arc::new(caller()), facts());
        let start = Timestamp::from_millis(1_767_225_600_000);
        let mut decides = |decisions: &Decisions, about: About, now: Timestamp| {
            let decided = Cell::new(false);
            let asked = Asked { caller: &caller, about, stream: Some(&facts) };
            let decide = || {
                decided.set(true);
                Kept::new(Judgement::Permitted(Arc::from([])), now)
            };
            last.recall(decisions, &caller, &asked, now, decide);
            decided.get()
        };
        let question = Question::about(Operation::GetHlsStreamingSessionUrl);
        let playback = About::Playback(question, "10.0.0.1".parse().unwrap());
        assert!(decides(&decisions, playback, start));
        assert!(!decides(&decisions, playback, start.plus(TRUSTED - Duration::from_millis(1))));
        assert!(decides(&decisions, playback, start.plus(TRUSTED)), "too old");
        assert!(decides(&decisions, playback, start), "a clock that was set back");
        assert!(decides(&others, playback, start), "after a reload");
        let none = Told { mode: None, start_age: None, end_age: None, duration: None, source_ip: None };
        let young = Told { start_age: Some(1), ..none };
        for about in [
            About::Told(Operation::GetClip, none),
            About::Told(Operation::GetImages, none),
            About::Reach(Operation::GetImages, none),
            About::Told(Operation::GetClip, young),
        ] {
            assert!(decides(&decisions, about, start), "{about:?}");
            assert!(!decides(&decisions, about, start.plus(Duration::from_secs(3600))), "{about:?}");
        }
    }
}
