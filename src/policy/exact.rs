//! Decisions by everything that was put to Cedar, so that the same question is asked of it once.
//!
//! Cedar's answer is a function of the policies, the three entities and the circumstances that the policies read. The key
//! is all of that except the policies, whose memory this is, compared in full: what is found here is what Cedar would
//! say now, not what it said a moment ago. Ages are whole seconds, so a policy that reads one is asked once a second;
//! one that reads `context.now` is asked each time. The decisions on playback, which may be some seconds old, are in
//! `memory`.

use super::decide::Judgement;
use super::est::Circumstances;
use super::question::{Question, Scene, StreamFacts};
use crate::caller::Caller;
use crate::kvs::{Operation, PlaybackMode};
use moka::Equivalent;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Some 1 KiB each.
const ENTRIES: u64 = 20_000;
/// Only so that what nobody asks for any more makes room.
const KEPT: Duration = Duration::from_secs(60);

pub(super) struct Exact(moka::sync::Cache<Key, Judgement>);

/// The circumstances that are read, as they are put to Cedar. The issuer is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Told {
    mode: Option<PlaybackMode>,
    start_age: Option<i64>,
    end_age: Option<i64>,
    duration: Option<i64>,
    source_ip: Option<IpAddr>,
}

impl Told {
    /// `None` if the question is never the same twice.
    pub fn of(reads: &Circumstances, question: &Question, scene: &Scene) -> Option<Self> {
        if reads.holds("now") {
            return None;
        }
        let ages = question.footage.ages(scene.now);
        Some(Self {
            mode: reads.holds("mode").then(|| question.mode()),
            start_age: reads.holds("start_age").then_some(ages.start),
            end_age: reads.holds("end_age").then_some(ages.end),
            duration: reads.holds("duration").then_some(ages.duration),
            source_ip: reads.holds("source_ip").then(|| scene.source_ip.to_canonical()),
        })
    }
}

/// What a decision depends on, borrowed.
pub(super) struct Asked<'a> {
    pub caller: &'a Caller,
    pub operation: Operation,
    /// Put to the policies without their circumstances.
    pub reach: bool,
    pub told: Told,
    pub stream: Option<&'a StreamFacts>,
}

/// The same, owned.
struct Key {
    caller: Arc<Caller>,
    operation: Operation,
    reach: bool,
    told: Told,
    stream: Option<StreamFacts>,
}

impl Exact {
    pub fn new() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(ENTRIES).time_to_live(KEPT).build())
    }

    pub fn get(&self, asked: &Asked<'_>) -> Option<Judgement> {
        self.0.get(asked)
    }

    pub fn insert(&self, asked: &Asked<'_>, judgement: Judgement) {
        let key = Key {
            caller: Arc::new(asked.caller.clone()),
            operation: asked.operation,
            reach: asked.reach,
            told: asked.told,
            stream: asked.stream.cloned(),
        };
        self.0.insert(key, judgement);
    }
}

impl Key {
    fn asked(&self) -> Asked<'_> {
        let Self { caller, operation, reach, told, stream } = self;
        Asked { caller, operation: *operation, reach: *reach, told: *told, stream: stream.as_ref() }
    }
}

impl Asked<'_> {
    fn same(&self, other: &Asked<'_>) -> bool {
        // Neither the token's id nor its end is put to Cedar.
        let (a, b) = (self.caller, other.caller);
        self.operation == other.operation
            && self.reach == other.reach
            && self.told == other.told
            && self.stream == other.stream
            && a.subject == b.subject
            && a.issuer == b.issuer
            && a.groups == b.groups
            && a.attributes == b.attributes
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to spread; the comparison is what tells.
        self.caller.subject.hash(state);
        self.caller.issuer.hash(state);
        self.operation.hash(state);
        self.reach.hash(state);
        self.told.hash(state);
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
