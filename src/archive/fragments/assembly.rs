//! Puts the fragments of a list together, one after the other, from the cache, from calls of other requests
//! and from a call of its own.

use super::batch::{BatchReader, Batches, Taken};
use super::call::{self, FragmentSource};
use crate::archive::{Archive, Error, Stream};
use crate::cache::freshness::Rules;
use crate::cache::{Cache, Found, Key};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::kvs::{Fault, FragmentNumber};
use crate::net::body::Broken;
use crate::upstream::{self, InBand, OnBehalfOf, Upstream};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// The largest fragment; KVS takes 50 MB.
const LARGEST: u64 = 64 << 20;
/// How often a fragment is fetched again that KVS begins to answer and does not give.
const TRIES: u32 = 2;

/// An answer that is being put together, one fragment after the other.
pub(super) struct Assembly {
    keys: Vec<Key>,
    list: GetMediaForFragmentList,
    /// The next one to send.
    at: usize,
    /// How often KVS was called.
    pub(super) calls: u32,
    /// The call of this request's own, if there is one.
    pub(super) own: Option<BatchReader>,
    /// Calls of other requests that bring what this one lacks.
    others: Vec<BatchReader>,
    batches: Batches,
    cache: Cache,
    has_disk: bool,
    upstream: Upstream,
    stream: Stream,
    on_behalf_of: OnBehalfOf,
    rules: Rules,
}

/// Why there is no such fragment.
pub(super) enum Failure {
    InBand(InBand),
    Refused(Arc<upstream::Error>),
    Broken(Broken),
    Missing(FragmentNumber),
}

impl Failure {
    /// As an answer of its own.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::InBand(error) if error.is_not_found() => {
                let number = error.number.as_ref().map_or("", FragmentNumber::as_str);
                Error::from(upstream::Error::Kvs(Fault {
                    status: 404,
                    kind: "ResourceNotFoundException".to_owned(),
                    message: format!("Fragment {number} was not found."),
                    request_id: None,
                }))
            }
            Self::InBand(error) => upstream::Error::BrokenAnswer(error.to_string()).into(),
            Self::Refused(error) => Error::Upstream(error),
            Self::Broken(broken) => Error::Broken(broken),
            Self::Missing(number) => {
                upstream::Error::BrokenAnswer(format!("fragment {number} is not in it")).into()
            }
        }
    }

    /// As the end of a body that has begun.
    pub(super) fn into_broken(self) -> Broken {
        match self {
            Self::InBand(error) => Broken::Refused(error.to_string()),
            Self::Refused(error) => Broken::Cut(error.to_string()),
            Self::Broken(broken) => broken,
            Self::Missing(number) => Broken::Cut(format!("fragment {number} did not come")),
        }
    }
}

impl Assembly {
    pub(super) fn new(
        archive: &Archive,
        stream: &Stream,
        list: &GetMediaForFragmentList,
        on_behalf_of: OnBehalfOf,
    ) -> Self {
        let state = &archive.0;
        Self {
            keys: list.fragments.iter().map(|number| Key::mkv(stream.arn(), number)).collect(),
            list: list.clone(),
            at: 0,
            calls: 0,
            own: None,
            others: Vec::new(),
            batches: state.batches.clone(),
            cache: state.cache.clone(),
            has_disk: state.settings.disk.is_some(),
            upstream: state.upstream.clone(),
            stream: stream.clone(),
            on_behalf_of,
            rules: archive.rules(Some(stream.retention())),
        }
    }

    /// Calls KVS for what is neither held nor on its way, from the next fragment on. Returns whether anything
    /// was missing.
    pub(super) fn plan(&mut self) -> bool {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for at in self.at..self.keys.len() {
            let key = self.keys[at];
            if seen.insert(key) && !self.cache.holds(&key) {
                missing.push((key, at));
            }
        }
        if missing.is_empty() {
            return false;
        }
        let (own, others) = self.batches.plan(missing.iter().map(|(key, _)| key), self.stream.arn());
        self.others = others;
        self.own = own;
        if let Some(own) = &self.own {
            let numbers = missing
                .iter()
                .filter(|(key, _)| own.brings(key))
                .filter_map(|(_, at)| self.list.fragments.get(*at).cloned());
            let list =
                GetMediaForFragmentList { stream: self.list.stream.clone(), fragments: numbers.collect() };
            self.calls += 1;
            call::start(own, &self.batches, self.source(), list);
        }
        true
    }

    fn source(&self) -> FragmentSource {
        FragmentSource {
            upstream: self.upstream.clone(),
            stream: self.stream.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            cache: self.cache.clone(),
            rules: self.rules,
        }
    }

    /// Looks on the disk, without fetching.
    async fn on_disk(&self, key: &Key) -> Option<Found> {
        if !self.has_disk {
            return None;
        }
        let nothing = || std::future::ready(Err(upstream::Error::NoData("not held".to_owned())));
        self.cache.get_or_fill(*key, nothing).await.ok()
    }

    /// The next fragment; `None` after the last one.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let (key, number) = (*self.keys.get(self.at)?, self.list.fragments.get(self.at)?.clone());
        let fragment = self.obtain(&key, number).await;
        self.at += 1;
        Some(fragment)
    }

    async fn obtain(&mut self, key: &Key, number: FragmentNumber) -> Result<Bytes, Failure> {
        for tried in 0..=TRIES {
            if tried > 0 {
                self.plan();
            }
            if let Some(own) = self.own.as_ref().filter(|own| own.brings(key))
                && let Some(fragment) = settled(own.take(key).await)
            {
                return fragment;
            }
            if let Some(found) = self.cache.get(key) {
                return found.entry.collect(LARGEST).await.map_err(Failure::Broken);
            }
            let taken = match self.others.iter().find(|other| other.brings(key)) {
                Some(other) => Some(other.take(key).await),
                None => match self.batches.join(key) {
                    Some(other) => Some(other.take(key).await),
                    None => None,
                },
            };
            if let Some(fragment) = taken.and_then(settled) {
                return fragment;
            }
            let held = match self.cache.get(key) {
                Some(found) => Some(found),
                None => self.on_disk(key).await,
            };
            if let Some(found) = held {
                return found.entry.collect(LARGEST).await.map_err(Failure::Broken);
            }
        }
        Err(Failure::Missing(number))
    }
}

/// What a batch brought, if it brought anything.
fn settled(taken: Taken) -> Option<Result<Bytes, Failure>> {
    match taken {
        Taken::Bytes(bytes) => Some(Ok(bytes)),
        Taken::Failed(error) => Some(Err(Failure::InBand(error))),
        Taken::Refused(error) => Some(Err(Failure::Refused(error))),
        Taken::Missed => None,
    }
}
