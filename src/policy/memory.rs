//! Decisions for playback, remembered for a few seconds: a player asks for the same permission with every segment.
//!
//! The key is everything that a decision depends on except the passing of time, compared in full and never by a
//! digest alone, so that no two viewers can be confused. The policies themselves are not part of it, because each
//! set of policies has a memory of its own that goes with it.

use super::decide::Judgement;
use super::question::{Question, Scene, StreamFacts};
use crate::caller::Caller;
use crate::kvs::Timestamp;
use moka::Equivalent;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Half of the 10 s within which a viewer whose grant has run out must be cut off.
const TRUSTED: Duration = Duration::from_secs(5);
/// Some 1 KiB each: at most tens of MB, and 1,000 viewers at a time are at home in it ten times over.
const ENTRIES: u64 = 20_000;

pub(super) struct Memory {
    kept: moka::sync::Cache<Key, Kept>,
}

#[derive(Clone)]
struct Kept {
    judgement: Arc<Judgement>,
    made: Timestamp,
}

/// What a decision depends on, borrowed.
struct Asked<'a> {
    caller: &'a Caller,
    question: &'a Question,
    source_ip: IpAddr,
    stream: Option<&'a StreamFacts>,
}

/// The same, owned.
struct Key {
    caller: Arc<Caller>,
    question: Question,
    source_ip: IpAddr,
    stream: Option<StreamFacts>,
}

impl Memory {
    pub fn new() -> Self {
        let kept = moka::sync::Cache::builder().max_capacity(ENTRIES).time_to_live(TRUSTED).build();
        Self { kept }
    }

    /// The decision, if it was made a moment ago, or else a new one.
    pub fn recall(
        &self,
        caller: &Arc<Caller>,
        question: Question,
        scene: &Scene,
        decide: impl FnOnce(&Question) -> Judgement,
    ) -> Arc<Judgement> {
        let asked =
            Asked { caller, question: &question, source_ip: scene.source_ip, stream: scene.stream.as_ref() };
        if let Some(kept) = self.kept.get(&asked)
            // A clock that was set back must not lengthen it.
            && kept.made <= scene.now
            && kept.made.age(scene.now) < TRUSTED
        {
            return kept.judgement;
        }
        let judgement = Arc::new(decide(&question));
        let key = Key {
            caller: caller.clone(),
            question,
            source_ip: scene.source_ip,
            stream: scene.stream.clone(),
        };
        self.kept.insert(key, Kept { judgement: judgement.clone(), made: scene.now });
        judgement
    }
}

impl Asked<'_> {
    fn same(&self, other: &Asked<'_>) -> bool {
        // Neither the token's id nor its end matter to policies: a renewed token is the same caller.
        let (a, b) = (self.caller, other.caller);
        self.question == other.question
            && self.source_ip == other.source_ip
            && self.stream == other.stream
            && a.subject == b.subject
            && a.issuer == b.issuer
            && a.groups == b.groups
            && a.attributes == b.attributes
    }
}

impl Key {
    fn asked(&self) -> Asked<'_> {
        Asked {
            caller: &self.caller,
            question: &self.question,
            source_ip: self.source_ip,
            stream: self.stream.as_ref(),
        }
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to spread; the comparison is what tells.
        self.caller.subject.hash(state);
        self.caller.issuer.hash(state);
        self.caller.groups.hash(state);
        self.source_ip.hash(state);
        self.stream.map(|stream| &stream.name).hash(state);
        self.question.hash(state);
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
    use crate::kvs::{Operation, StreamName};
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
        let (memory, decided) = (Memory::new(), Cell::new(0));
        let asks_anew = |caller: Caller, question: Question, scene: Scene| {
            let before = decided.get();
            memory.recall(&Arc::new(caller), question, &scene, |_| {
                decided.set(before + 1);
                Judgement::Refused(Reason::NoPermit)
            });
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
}
