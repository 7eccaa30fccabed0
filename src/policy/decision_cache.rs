//! Decisions by everything that Cedar was given, so that it decides the same question once.
//!
//! Cedar's answer is a function of the policies, the three entities and the parts of the context that the
//! policies read. The key is all of that except the policies, since each set of policies has a cache of its
//! own. Keys are compared in full and never by a digest alone, so that no two callers can be confused. An age
//! or an instant that policies only compare with constants is in the key as far as that: which of them it has
//! passed. Read in any other way an age is there in whole seconds, so that Cedar is asked once a second, and
//! for an instant (`now`, `start`, `end`) it is asked each time. The hour, minute, weekday and date of
//! `local`, `local_start` and `local_end` are values like others: that which is read is in the key, so that
//! a decision ends with it, however clocks are changed, and counts for no footage of other hours.

use super::context_reads::{ContextReads, ReadAs};
use super::local_time::Zone;
use super::permit::Judgement;
use super::question::{Question, RequestContext, StreamFacts};
use crate::caller::Caller;
use crate::kvs::{Operation, PlaybackMode, Timestamp};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of all decisions. With few claims and tags one takes some 1 KiB: room for the decisions of 1,000
/// viewers thirty times over. A caller that several decisions share counts in each of them.
const CAPACITY: u64 = 32 << 20;
/// How many decisions are usual, for the first allocation of the table.
const USUAL: usize = 20_000;
/// What a decision takes beside its caller, its stream and its reasons.
const PER_DECISION: usize = 650;

/// The decisions of one set of policies. A decision stays right for as long as the policies are in force;
/// those that were not asked for lately make room.
pub(super) struct DecisionCache(Cache<DecisionKey, Judgement, DecisionWeigher, foldhash::fast::RandomState>);

/// Weighs a decision by what its key and its reasons take.
#[derive(Clone)]
struct DecisionWeigher;

impl Weighter<DecisionKey, Judgement> for DecisionWeigher {
    fn weight(&self, key: &DecisionKey, judgement: &Judgement) -> u64 {
        let stream = key.stream.as_ref().map_or(0, StreamFacts::weight);
        (key.caller.weight() + stream + judgement.weight() + PER_DECISION) as u64
    }
}

/// The members of the context that are read, as far as the outcome depends on them. The issuer is part of the
/// caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct ContextValues {
    mode: Option<PlaybackMode>,
    start_age: Option<i64>,
    end_age: Option<i64>,
    duration: Option<i64>,
    source_ip: Option<IpAddr>,
    now: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    local: CalendarValues,
    local_start: CalendarValues,
    local_end: CalendarValues,
}

/// The members of `local`, `local_start` or `local_end` that are read, as far as the outcome depends on them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct CalendarValues {
    hour: Option<i64>,
    minute: Option<i64>,
    weekday: Option<i64>,
    date: Option<i64>,
}

/// Which members of the context some policies read, and how, looked up by name once.
pub(super) struct ReadMembers {
    mode: bool,
    source_ip: bool,
    start_age: Option<ReadAs>,
    end_age: Option<ReadAs>,
    duration: Option<ReadAs>,
    now: Option<ReadAs>,
    start: Option<ReadAs>,
    end: Option<ReadAs>,
    local: CalendarReads,
    local_start: CalendarReads,
    local_end: CalendarReads,
}

/// Which members of a record of local time are read, and how.
struct CalendarReads {
    hour: Option<ReadAs>,
    minute: Option<ReadAs>,
    weekday: Option<ReadAs>,
    date: Option<ReadAs>,
}

impl CalendarReads {
    fn of(reads: &ContextReads, record: &str) -> Self {
        let reading = |name| reads.reading(&format!("{record}.{name}")).cloned();
        Self {
            hour: reading("hour"),
            minute: reading("minute"),
            weekday: reading("weekday"),
            date: reading("date"),
        }
    }

    /// The values that are read, of the time `at`, which is worked out only where one is.
    fn values(&self, zone: &Zone, at: impl FnOnce() -> Timestamp) -> CalendarValues {
        let members = [&self.hour, &self.minute, &self.weekday, &self.date];
        if members.iter().all(|read| read.is_none()) {
            return CalendarValues::default();
        }
        let local = zone.local(at());
        let value = |reading: &Option<ReadAs>, number| reading.as_ref().map(|reading| reading.of(number));
        CalendarValues {
            hour: value(&self.hour, local.hour),
            minute: value(&self.minute, local.minute),
            weekday: value(&self.weekday, local.weekday),
            date: value(&self.date, local.date_millis()),
        }
    }
}

impl ReadMembers {
    pub fn of(reads: &ContextReads) -> Self {
        let reading = |name| reads.reading(name).cloned();
        Self {
            mode: reads.holds("mode"),
            source_ip: reads.holds("source_ip"),
            start_age: reading("start_age"),
            end_age: reading("end_age"),
            duration: reading("duration"),
            now: reading("now"),
            start: reading("start"),
            end: reading("end"),
            local: CalendarReads::of(reads, "local"),
            local_start: CalendarReads::of(reads, "local_start"),
            local_end: CalendarReads::of(reads, "local_end"),
        }
    }

    /// The values that are read. `None` if they are never the same twice.
    pub fn of_question(
        &self,
        question: &Question,
        context: &RequestContext,
        zone: &Zone,
    ) -> Option<ContextValues> {
        if [&self.now, &self.start, &self.end].into_iter().flatten().any(|read| *read == ReadAs::Wholly) {
            return None;
        }
        // Each of these is worked out only where it is read.
        let ages = || question.footage.ages(context.now);
        let bounds = || question.footage.bounds(context.now);
        let instant = |at: Timestamp| i64::try_from(at.millis()).unwrap_or(i64::MAX);
        Some(ContextValues {
            mode: self.mode.then(|| question.mode()),
            start_age: self.start_age.as_ref().map(|reading| reading.of(ages().start)),
            end_age: self.end_age.as_ref().map(|reading| reading.of(ages().end)),
            duration: self.duration.as_ref().map(|reading| reading.of(ages().duration)),
            source_ip: self.source_ip.then(|| context.source_ip.to_canonical()),
            now: self.now.as_ref().map(|reading| reading.of(instant(context.now))),
            start: self.start.as_ref().map(|reading| reading.of(instant(bounds().0))),
            end: self.end.as_ref().map(|reading| reading.of(instant(bounds().1))),
            local: self.local.values(zone, || context.now),
            local_start: self.local_start.values(zone, || bounds().0),
            local_end: self.local_end.values(zone, || bounds().1),
        })
    }
}

/// What is decided, as far as the answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum About {
    /// Is it permitted in this context?
    Request(Operation, ContextValues),
    /// As above, by the policies without their conditions on the context.
    Reach(Operation, ContextValues),
}

/// What a decision depends on, borrowed.
#[derive(Clone, Copy)]
pub(super) struct KeyRef<'a> {
    pub caller: &'a Arc<Caller>,
    pub about: About,
    pub stream: Option<&'a StreamFacts>,
}

/// The same, owned.
struct DecisionKey {
    caller: Arc<Caller>,
    about: About,
    stream: Option<StreamFacts>,
}

impl DecisionCache {
    pub fn new() -> Self {
        let (hasher, evictions) = (foldhash::fast::RandomState::default(), DefaultLifecycle::default());
        Self(Cache::with(USUAL, CAPACITY, DecisionWeigher, hasher, evictions))
    }

    /// The decision on this question, made by `decide` if it is not in the cache. An error is not kept.
    pub fn get_or_decide<E>(
        &self,
        key: &KeyRef<'_>,
        decide: impl FnOnce() -> Result<Judgement, E>,
    ) -> Result<Judgement, E> {
        if let Some(judgement) = self.0.get(key) {
            return Ok(judgement);
        }
        let judgement = decide()?;
        self.0.insert(key.owned(), judgement.clone());
        Ok(judgement)
    }
}

impl KeyRef<'_> {
    fn same(&self, other: &KeyRef<'_>) -> bool {
        self.about == other.about && self.stream == other.stream && is_same(self.caller, other.caller)
    }

    fn owned(&self) -> DecisionKey {
        DecisionKey { caller: self.caller.clone(), about: self.about, stream: self.stream.cloned() }
    }
}

/// Whether policies see the same caller. Neither the token's id nor its end is put to Cedar: a renewed token
/// is the same caller.
fn is_same(a: &Arc<Caller>, b: &Arc<Caller>) -> bool {
    Arc::ptr_eq(a, b)
        || (a.policy_subject() == b.policy_subject()
            && a.issuer == b.issuer
            && a.groups == b.groups
            && a.attributes == b.attributes)
}

impl DecisionKey {
    fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { caller: &self.caller, about: self.about, stream: self.stream.as_ref() }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to spread keys evenly; the comparison tells them apart.
        self.caller.policy_subject().hash(state);
        self.caller.issuer.hash(state);
        self.about.hash(state);
        self.stream.map(|stream| &stream.name).hash(state);
    }
}

impl Hash for DecisionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl PartialEq for DecisionKey {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed().same(&other.borrowed())
    }
}

impl Eq for DecisionKey {}

impl Equivalent<DecisionKey> for KeyRef<'_> {
    fn equivalent(&self, key: &DecisionKey) -> bool {
        self.same(&key.borrowed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Attribute, TextSet};
    use crate::kvs::{StreamName, Timestamp};
    use crate::policy::Reason;
    use std::cell::Cell;

    fn caller() -> Caller {
        Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: ["guards"].into(),
            groups_withheld: false,
            attributes: [("clearance".to_owned(), Attribute::Long(1))].into(),
            expires: Timestamp::from_millis(1),
        }
    }

    fn facts() -> StreamFacts {
        let name = StreamName::parse("cam-1").unwrap();
        StreamFacts { name, region: "eu-west-1".into(), account: None, arn: None, tags: Some([].into()) }
    }

    #[test]
    fn only_the_same_question_of_the_same_caller_is_remembered() {
        let (decisions, decided) = (DecisionCache::new(), Cell::new(0));
        let asks_anew = |caller: Caller, operation: Operation, stream: StreamFacts| {
            let before = decided.get();
            let about = About::Request(operation, ContextValues::default());
            let key = KeyRef { caller: &Arc::new(caller), about, stream: Some(&stream) };
            let decide = || {
                decided.set(before + 1);
                Ok::<_, ()>(Judgement::Refused(Reason::NoPermit))
            };
            decisions.get_or_decide(&key, decide).unwrap();
            decided.get() > before
        };
        let operation = Operation::GetHlsStreamingSessionUrl;
        assert!(asks_anew(caller(), operation, facts()));
        assert!(!asks_anew(caller(), operation, facts()));
        let renewed = Caller { token_id: Some("t".into()), expires: Timestamp::from_millis(2), ..caller() };
        assert!(!asks_anew(renewed, operation, facts()), "a renewed token is the same caller");
        for other in [
            Caller { subject: "bob".into(), ..caller() },
            Caller { issuer: "https://other.example.net/".into(), ..caller() },
            Caller { groups: TextSet::default(), ..caller() },
            Caller { groups: ["guards", "more"].into(), ..caller() },
            Caller { attributes: [].into(), ..caller() },
            Caller { attributes: [("clearance".to_owned(), Attribute::Long(2))].into(), ..caller() },
        ] {
            assert!(asks_anew(other.clone(), operation, facts()), "{other:?}");
        }
        for operation in [Operation::GetDashStreamingSessionUrl, Operation::GetClip] {
            assert!(asks_anew(caller(), operation, facts()));
        }
        for other in [
            StreamFacts { name: StreamName::parse("cam-2").unwrap(), ..facts() },
            StreamFacts { region: "eu-west-2".into(), ..facts() },
            StreamFacts { account: Some("1".into()), ..facts() },
            StreamFacts { tags: None, ..facts() },
            StreamFacts { tags: Some([("a".to_owned(), "b".to_owned())].into()), ..facts() },
        ] {
            assert!(asks_anew(caller(), operation, other.clone()), "{other:?}");
        }
    }

    #[test]
    fn other_circumstances_and_other_policies_are_other_questions() {
        let (decisions, others) = (DecisionCache::new(), DecisionCache::new());
        let (caller, facts) = (Arc::new(caller()), facts());
        let decides = |decisions: &DecisionCache, about: About| {
            let decided = Cell::new(false);
            let key = KeyRef { caller: &caller, about, stream: Some(&facts) };
            let decide = || {
                decided.set(true);
                Ok::<_, ()>(Judgement::Permitted(Arc::from([])))
            };
            decisions.get_or_decide(&key, decide).unwrap();
            decided.get()
        };
        let none = ContextValues::default();
        let hour_is = |hour| CalendarValues { hour: Some(hour), ..CalendarValues::default() };
        let young = ContextValues { start_age: Some(1), ..none };
        for about in [
            About::Request(Operation::GetClip, none),
            About::Request(Operation::GetImages, none),
            About::Reach(Operation::GetImages, none),
            About::Request(Operation::GetClip, young),
            About::Request(Operation::GetClip, ContextValues { local: hour_is(8), ..none }),
            About::Request(Operation::GetClip, ContextValues { local_start: hour_is(8), ..none }),
            About::Request(Operation::GetClip, ContextValues { local_end: hour_is(8), ..none }),
            About::Request(Operation::GetClip, ContextValues { local_end: hour_is(9), ..none }),
            About::Request(
                Operation::GetHlsStreamingSessionUrl,
                ContextValues { source_ip: Some([10, 0, 0, 1].into()), ..ContextValues::default() },
            ),
            About::Request(
                Operation::GetHlsStreamingSessionUrl,
                ContextValues { source_ip: Some([10, 0, 0, 2].into()), ..ContextValues::default() },
            ),
        ] {
            assert!(decides(&decisions, about), "{about:?}");
            assert!(!decides(&decisions, about), "{about:?}");
            assert!(decides(&others, about), "after a reload: {about:?}");
        }
        let failed = KeyRef { caller: &caller, about: About::Reach(Operation::GetClip, young), stream: None };
        assert!(decisions.get_or_decide(&failed, || Err(())).is_err());
        assert!(
            decisions.get_or_decide(&failed, || Ok::<_, ()>(Judgement::Permitted(Arc::from([])))).is_ok()
        );
    }

    #[test]
    fn decisions_are_bounded_in_bytes_whatever_callers_claim() {
        let decisions = DecisionCache::new();
        let stream = facts();
        for number in 0..5000 {
            let groups = (0..900).map(|group| format!("g{group}")).collect();
            let caller = Arc::new(Caller { subject: number.to_string().into(), groups, ..caller() });
            let about = About::Request(Operation::GetClip, ContextValues::default());
            let key = KeyRef { caller: &caller, about, stream: Some(&stream) };
            let decide = || Ok::<_, ()>(Judgement::Refused(Reason::NoPermit));
            decisions.get_or_decide(&key, decide).unwrap();
            assert!(decisions.0.weight() <= CAPACITY);
        }
        assert!(decisions.0.weight() > CAPACITY / 4 * 3, "{}", decisions.0.weight());
    }
}
