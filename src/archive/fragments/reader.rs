//! Reads fragments one after the other, from the cache, from calls of other requests and from calls of its
//! own.
//!
//! Fragments are fetched in portions. The next portion is requested while the second half of the one before
//! is read, so a reader that keeps up does not wait, and one that stops has at most two calls under way. Each
//! call is small enough to run to its end into the cache without its reader, so that a slow client does not
//! hold one of KVS's five connections to a stream.

use super::batch::{BatchReader, Taken};
use super::failure::Failure;
use super::run;
use super::source::{FragmentSource, pieces};
use crate::archive::{Archive, Stream};
use crate::cache::{Found, Key, Outcome, Tier};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::kvs::{FragmentNumber, ListedFragment};
use crate::package::Document;
use crate::upstream::{self, OnBehalfOf};
use std::collections::{HashSet, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

/// How often a fragment is fetched again that KVS begins to answer and does not give.
const TRIES: u32 = 2;
/// How long a fragment is waited for in all if KVS's quotas leave no turn for its call, and at a time.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Fragments of a portion, those that are held included.
const PORTION: usize = 512;

/// Reads fragments in order.
pub struct FragmentReader {
    fetcher: Fetcher,
    /// What no portion has yet.
    rest: Peekable<Box<dyn Iterator<Item = Wanted> + Send>>,
    limits: CallLimits,
    /// The one that is read, and the next one.
    portions: VecDeque<Portion>,
    /// How often KVS was called.
    calls: u32,
    /// Something was not held.
    missed: bool,
    /// A call that finds no turn under KVS's quotas is made again.
    patient: bool,
}

/// How much one call may be asked for.
#[derive(Clone, Copy)]
pub(super) struct CallLimits {
    pub(super) fragments: usize,
    /// Counted by the sizes that KVS lists. One fragment may have more.
    pub(super) bytes: u64,
}

impl CallLimits {
    /// The first call of a reader, which may stop soon: each further one may be twice as large.
    pub(super) const FIRST: Self = Self { fragments: 8, bytes: 2 << 20 };
    /// A call that runs to its end without its reader.
    pub(super) const SMALL: Self = Self { fragments: 64, bytes: 16 << 20 };
    /// One call for everything.
    pub(super) const WHOLE: Self = Self { fragments: usize::MAX, bytes: u64::MAX };

    /// Twice as much, if that is still small.
    fn doubled(self) -> Self {
        let Self { fragments, bytes } = self;
        Self {
            fragments: fragments.saturating_mul(2).min(Self::SMALL.fragments).max(fragments),
            bytes: bytes.saturating_mul(2).min(Self::SMALL.bytes).max(bytes),
        }
    }
}

/// A fragment that is to be read.
#[derive(Clone)]
pub(super) struct Wanted {
    key: Key,
    number: FragmentNumber,
    /// As KVS lists it; 0 if that is not known.
    size: u64,
}

impl Wanted {
    pub(super) fn number(stream: &Stream, number: &FragmentNumber) -> Self {
        Self { key: Key::mkv(stream.arn(), number), number: number.clone(), size: 0 }
    }

    pub(super) fn row(stream: &Stream, row: &ListedFragment) -> Self {
        Self { size: row.size, ..Self::number(stream, &row.number) }
    }
}

/// Fragments that have been requested together.
struct Portion {
    /// Not read yet.
    wanted: VecDeque<Wanted>,
    planned: usize,
    calls: Calls,
}

/// The calls that bring what a portion lacks.
#[derive(Default)]
struct Calls {
    /// The reader's own.
    own: Option<BatchReader>,
    others: Vec<BatchReader>,
}

impl FragmentReader {
    pub(super) fn new(
        archive: &Archive,
        stream: &Stream,
        wanted: impl Iterator<Item = Wanted> + Send + 'static,
        limits: CallLimits,
        on_behalf_of: OnBehalfOf,
    ) -> Self {
        let wanted: Box<dyn Iterator<Item = Wanted> + Send> = Box::new(wanted);
        let fetcher = Fetcher { archive: archive.clone(), stream: stream.clone(), on_behalf_of };
        Self {
            fetcher,
            rest: wanted.peekable(),
            limits,
            portions: VecDeque::new(),
            calls: 0,
            missed: false,
            patient: false,
        }
    }

    /// Waits for a turn under KVS's quotas from the first fragment on, for work without a client. Otherwise a
    /// first fragment without a turn is a failure, which can still be answered with a status of its own, and
    /// only those behind it are waited for.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// The next fragment; `None` after the last one. What follows a failure can still be read.
    pub async fn next(&mut self) -> Option<Result<Document, Failure>> {
        self.read_ahead();
        let wanted = self.portions.front()?.wanted.front()?.clone();
        let fragment = self.obtain(&wanted).await;
        // Only now, so that a call that is dropped while it waits has read nothing.
        if let Some(portion) = self.portions.front_mut() {
            portion.wanted.pop_front();
        }
        self.patient |= fragment.is_ok();
        Some(fragment)
    }

    /// Leaves the next fragment out.
    pub fn skip(&mut self) {
        let portion = self.portions.iter_mut().find(|portion| !portion.wanted.is_empty());
        match portion {
            Some(portion) => drop(portion.wanted.pop_front()),
            None => drop(self.rest.next()),
        }
    }

    /// How what has been read came: [`Outcome::Miss`] if KVS was called, [`Outcome::Collapsed`] if other
    /// requests fetch what was not held.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.missed, self.calls) {
            (false, 0) => Outcome::Hit(Tier::Memory),
            (true, 0) => Outcome::Collapsed,
            _ => Outcome::Miss,
        }
    }

    /// Requests what is to be read next, if it has not been.
    pub(super) fn read_ahead(&mut self) {
        while self.portions.front().is_some_and(|portion| portion.wanted.is_empty()) {
            self.portions.pop_front();
        }
        let is_due = |portions: &VecDeque<Portion>| match portions.len() {
            0 => true,
            1 => portions[0].wanted.len() * 2 <= portions[0].planned,
            _ => false,
        };
        while is_due(&self.portions) && self.rest.peek().is_some() {
            let (wanted, missing) = self.portion();
            let calls = if missing > 0 { self.request(&wanted) } else { Calls::default() };
            self.portions.push_back(Portion { planned: wanted.len(), wanted, calls });
        }
    }

    /// The own call of the first portion, if there is one.
    pub(super) fn own(&self) -> Option<&BatchReader> {
        self.portions.front()?.calls.own.as_ref()
    }

    /// Takes the own call of the first portion out, so that it can be left to run.
    pub(super) fn into_own(mut self) -> Option<BatchReader> {
        self.portions.front_mut()?.calls.own.take()
    }

    /// As many fragments as one call may be made for, and how many of them are not held.
    fn portion(&mut self) -> (VecDeque<Wanted>, usize) {
        let (mut wanted, mut missing, mut bytes) = (VecDeque::new(), 0, 0_u64);
        let most = PORTION.max(self.limits.fragments);
        while wanted.len() < most && missing < self.limits.fragments {
            let cache = &self.fetcher.archive.0.cache;
            let mut held = false;
            let fits = |next: &Wanted| {
                held = cache.holds(&next.key);
                held || missing == 0 || bytes + next.size <= self.limits.bytes
            };
            let Some(next) = self.rest.next_if(fits) else { break };
            if !held {
                missing += 1;
                bytes = bytes.saturating_add(next.size);
            }
            wanted.push_back(next);
        }
        if missing > 0 {
            self.limits = self.limits.doubled();
        }
        (wanted, missing)
    }

    /// Calls KVS for what is neither held nor on its way.
    fn request(&mut self, wanted: &VecDeque<Wanted>) -> Calls {
        let (calls, missed) = self.fetcher.request(wanted);
        self.missed |= missed;
        self.calls += u32::from(calls.own.is_some());
        calls
    }

    async fn obtain(&mut self, wanted: &Wanted) -> Result<Document, Failure> {
        let (mut tried, mut waited) = (0, Duration::ZERO);
        loop {
            let calls = self.portions.front().map(|portion| &portion.calls);
            match self.fetcher.find(wanted, calls).await {
                None if tried == TRIES => return Err(Failure::Missing(wanted.number.clone())),
                None => tried += 1,
                Some(Err(Failure::Refused(error))) => {
                    // A body that has begun waits for the quotas instead of breaking.
                    let wait = no_turn(&error).filter(|_| self.patient && waited < PATIENCE);
                    let Some(wait) = wait else { return Err(Failure::Refused(error)) };
                    tokio::time::sleep(wait).await;
                    waited += wait;
                }
                Some(found) => return found,
            }
            // From this fragment on: what has been read is not requested again.
            let left = self.portions.front().map(|portion| portion.wanted.clone()).unwrap_or_default();
            let calls = self.request(&left);
            if let Some(portion) = self.portions.front_mut() {
                portion.calls = calls;
            }
        }
    }
}

/// How long to wait if a call was refused because KVS's quotas left no turn for it.
fn no_turn(error: &upstream::Error) -> Option<Duration> {
    Some(error.next_turn()?.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

/// What fragments are fetched with.
struct Fetcher {
    archive: Archive,
    stream: Stream,
    on_behalf_of: OnBehalfOf,
}

impl Fetcher {
    /// Calls KVS for what is neither held nor on its way. Returns also whether anything was missing.
    fn request(&self, wanted: &VecDeque<Wanted>) -> (Calls, bool) {
        let state = &self.archive.0;
        let holds = |key: &Key| state.cache.holds(key);
        let mut seen = HashSet::new();
        let missing: Vec<&Wanted> =
            wanted.iter().filter(|wanted| seen.insert(wanted.key) && !holds(&wanted.key)).collect();
        if missing.is_empty() {
            return (Calls::default(), false);
        }
        let keys = missing.iter().map(|wanted| &wanted.key);
        let (own, others) = state.batches.plan(keys, holds, self.stream.arn());
        if let Some(own) = &own {
            let brought = missing.iter().filter(|wanted| own.brings(&wanted.key));
            let list = GetMediaForFragmentList {
                stream: self.stream.located().stream.clone(),
                fragments: brought.map(|wanted| wanted.number.clone()).collect(),
            };
            run::start(own, &state.batches, self.source(), list);
        }
        (Calls { own, others }, true)
    }

    fn source(&self) -> FragmentSource {
        FragmentSource {
            upstream: self.archive.0.upstream.clone(),
            stream: self.stream.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            cache: self.archive.0.cache.clone(),
            rules: self.archive.rules(Some(self.stream.retention())),
        }
    }

    /// Waits for a fragment, wherever it comes from; `None` if nothing brings it.
    async fn find(&self, wanted: &Wanted, calls: Option<&Calls>) -> Option<Result<Document, Failure>> {
        let Wanted { key, number, .. } = wanted;
        let state = &self.archive.0;
        if let Some(own) = calls.and_then(|calls| calls.own.as_ref()).filter(|own| own.brings(key))
            && let Some(fragment) = settled(own.take(key).await, number)
        {
            return Some(fragment);
        }
        if let Some(found) = state.cache.get(key) {
            return Some(pieces(found.entry).await.map_err(Failure::Broken));
        }
        let taken = match calls.and_then(|calls| calls.others.iter().find(|other| other.brings(key))) {
            Some(other) => Some(other.take(key).await),
            None => match state.batches.join(key) {
                Some(other) => Some(other.take(key).await),
                None => None,
            },
        };
        if let Some(fragment) = taken.and_then(|taken| settled(taken, number)) {
            return Some(fragment);
        }
        let held = match state.cache.get(key) {
            Some(found) => Some(found),
            None => self.below_memory(key).await,
        };
        Some(pieces(held?.entry).await.map_err(Failure::Broken))
    }

    /// Looks in the tiers below memory, without fetching.
    async fn below_memory(&self, key: &Key) -> Option<Found> {
        if !self.archive.0.cache.has_tiers_below() {
            return None;
        }
        let nothing = || std::future::ready(Err(upstream::Error::NoData("not held".to_owned())));
        self.archive.0.cache.get_or_fill(*key, nothing).await.ok()
    }
}

/// What a batch brought, if it brought anything.
fn settled(taken: Taken, number: &FragmentNumber) -> Option<Result<Document, Failure>> {
    match taken {
        Taken::Document(document) => Some(Ok(document)),
        Taken::Failed(mut error) => {
            error.number.get_or_insert_with(|| number.clone());
            Some(Err(Failure::InBand(error)))
        }
        Taken::Refused(error) => Some(Err(Failure::Refused(Arc::clone(&error)))),
        Taken::Missed => None,
    }
}
