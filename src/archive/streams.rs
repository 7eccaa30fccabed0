//! The streams of all accounts, listed once for all callers.
//!
//! KVS allows 50 ListStreams calls a second per account and gives as few as ten streams per page, so every
//! caller's list is cut from lists that are at most a few seconds old. Each `[[aws]]` entry has a list of its
//! own: one that does not answer keeps its last good list and a note, and the others are served.
//!
//! A list may have 100,000 streams. It is read, sorted and merged on threads that may block, once per
//! refresh, and requests share the result.

use super::remembered::{ListedStream, Listing, Streams};
use super::{Archive, Error};
use crate::kvs::bounds::STREAMS_PAGE;
use crate::kvs::operations::ListStreams;
use crate::kvs::{Call, StreamRef};
use crate::upstream::pages::Pages;
use crate::upstream::{self, OnBehalfOf, Upstream};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How old a list may be, and for how long a failure counts as recent.
const FRESH: Duration = Duration::from_secs(10);
/// How long a request waits for an entry. The call goes on, and the next request finds its result.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it waits for one that failed recently, if there are others.
const PATIENCE_AFTER_FAILURE: Duration = Duration::from_millis(250);
/// So many streams are looked at before other requests get a turn.
const YIELD_EVERY: usize = 32;
/// Of how many streams the tags are fetched at a time, if policies read them.
const TAGS_AT_ONCE: usize = 16;
/// The longest page of KVS: 10,000 streams of some 600 bytes.
const LONGEST_PAGE: usize = 16 << 20;
/// The longest list of an account: 100,000 streams of some 600 bytes.
const LONGEST_ACCOUNT: usize = 64 << 20;
/// Pages of one account: 100,000 streams at ten a page.
const MOST_PAGES: usize = 10_000;
/// The principal whose turn it takes under KVS's quotas.
const PRINCIPAL: &str = "stream lists";

/// The streams of all entries, by name and ARN, and what is wrong with the list.
#[derive(Clone, Default)]
pub struct StreamList {
    /// The streams, in the order of name and ARN.
    pub streams: Arc<Vec<Arc<ListedStream>>>,
    /// One sentence for each `[[aws]]` entry that could not be listed just now.
    pub notes: Vec<String>,
}

/// An entry's list, or the last good one and why there is no newer.
struct EntryStreams {
    streams: Streams,
    note: Option<String>,
}

impl Archive {
    /// The streams of all `[[aws]]` entries. With `tags`, those that are not known are fetched too, some at a
    /// time, so that policies which read them need not wait for one stream after the other.
    ///
    /// # Errors
    /// No entry can be listed, and no earlier list of any is known.
    pub async fn streams(&self, tags: bool) -> Result<StreamList, Error> {
        let mut all = StreamList::default();
        let (mut failure, mut lists) = (None, Vec::new());
        let mut entries = JoinSet::new();
        for entry in self.0.upstream.entries() {
            let (archive, entry) = (self.clone(), Arc::clone(entry));
            entries.spawn(async move { archive.entry_list(&entry, tags).await });
        }
        while let Some(entry) = entries.join_next().await {
            match entry.unwrap_or_else(|_| Err(interrupted())) {
                Ok(EntryStreams { streams, note }) => {
                    lists.push(streams);
                    all.notes.extend(note);
                }
                Err((error, note)) => {
                    failure = Some(error);
                    all.notes.push(note);
                }
            }
        }
        if let (Some(error), true) = (failure, lists.is_empty()) {
            return Err(Error::Upstream(error));
        }
        all.streams = self.merged(lists).await?;
        all.notes.sort();
        Ok(all)
    }

    /// The lists of all entries as one.
    async fn merged(&self, mut lists: Vec<Streams>) -> Result<Streams, Error> {
        if lists.len() < 2 {
            return Ok(lists.pop().unwrap_or_default());
        }
        // They come in the order in which entries answered.
        lists.sort_by_key(|list| Arc::as_ptr(list) as usize);
        if let Some(merged) = self.0.streams.merged(&lists) {
            return Ok(merged);
        }
        let parts = lists.clone();
        let merging = tokio::task::spawn_blocking(move || {
            Arc::new(sorted(parts.iter().flat_map(|list| list.iter().cloned())))
        });
        let merged = merging.await.map_err(|_| Error::Upstream(interrupted().0))?;
        self.0.streams.remember_merged(lists, &merged);
        Ok(merged)
    }

    async fn entry_list(
        &self,
        entry: &Arc<str>,
        tags: bool,
    ) -> Result<EntryStreams, (Arc<upstream::Error>, String)> {
        let known = self.0.streams.known(entry);
        if let Some((streams, _, since)) = &known.good
            && since.elapsed() < FRESH
        {
            return Ok(EntryStreams { streams: Arc::clone(streams), note: None });
        }
        let failed = known.failed.as_ref().filter(|(_, at)| at.elapsed() < FRESH);
        let outcome = match (failed, &known.good) {
            // There is a list to show: KVS is left alone for a while.
            (Some((error, _)), Some(_)) => Err(Arc::clone(error)),
            (Some(_), None) if self.0.upstream.entries().count() > 1 => {
                self.refreshed(entry, tags, PATIENCE_AFTER_FAILURE).await
            }
            _ => self.refreshed(entry, tags, PATIENCE).await,
        };
        let error = match outcome {
            Ok(streams) => return Ok(EntryStreams { streams, note: None }),
            Err(error) => error,
        };
        match known.good {
            Some((streams, at, _)) => {
                let note = format!("[[aws]] {entry} cannot be listed now: its streams are those of {at}");
                Ok(EntryStreams { streams, note: Some(note) })
            }
            None => Err((error, format!("[[aws]] {entry} cannot be listed now: its streams are missing"))),
        }
    }

    /// Lists an entry, once for all who wait, and waits for that for `patience` at most.
    async fn refreshed(&self, entry: &Arc<str>, tags: bool, patience: Duration) -> Listing {
        let flight = self.0.streams.flights.start(Arc::clone(entry), || {
            let (archive, entry) = (self.clone(), Arc::clone(entry));
            async move {
                let listed = list(&archive.0.upstream, &entry).await;
                if let Ok(streams) = &listed
                    && tags
                {
                    fetch_tags(&archive.0.upstream, Arc::clone(streams)).await;
                }
                archive.0.streams.store(&entry, listed)
            }
        });
        match tokio::time::timeout(patience, flight.result()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(interrupted().0),
            Err(_) => Err(Arc::new(upstream::Error::Timeout(patience))),
        }
    }

    /// Lists every `[[aws]]` entry now, for `check --online`; the number of streams.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn count_streams(&self) -> Result<usize, upstream::Error> {
        let mut count = 0;
        for entry in self.0.upstream.entries() {
            count += list(&self.0.upstream, entry).await?.len();
        }
        Ok(count)
    }
}

fn interrupted() -> (Arc<upstream::Error>, String) {
    let error = upstream::Error::BrokenAnswer("listing streams was interrupted".to_owned());
    (Arc::new(error), "an [[aws]] entry cannot be listed now: its streams are missing".to_owned())
}

/// In order, without duplicates.
fn sorted(streams: impl Iterator<Item = Arc<ListedStream>>) -> Vec<Arc<ListedStream>> {
    let mut streams: Vec<_> = streams.collect();
    streams.sort_by(|a, b| a.order().cmp(&b.order()));
    streams.dedup_by(|a, b| a.arn == b.arn);
    streams
}

/// Follows the pages of an entry's list; what the entry does not serve is left out.
async fn list(upstream: &Upstream, entry: &Arc<str>) -> Result<Streams, upstream::Error> {
    let broken = |why: &str| upstream::Error::BrokenAnswer(format!("ListStreams {why}"));
    let on_behalf_of = OnBehalfOf::all_callers(PRINCIPAL);
    let mut streams: Vec<Arc<ListedStream>> = Vec::new();
    let mut call = ListStreams { max_results: Some(STREAMS_PAGE), ..ListStreams::default() };
    let mut pages = Pages::at_most(MOST_PAGES);
    let mut bytes = 0;
    loop {
        let answer = upstream.call_entry(entry, &Call::ListStreams(call.clone()), &on_behalf_of).await?;
        let body = answer.bytes(LONGEST_PAGE).await.map_err(|error| broken(&error.to_string()))?;
        bytes += body.len();
        if bytes > LONGEST_ACCOUNT {
            return Err(broken("gives more than an account can have"));
        }
        let (upstream, of) = (upstream.clone(), Arc::clone(entry));
        let reading = tokio::task::spawn_blocking(move || read_page(&upstream, &of, &body));
        let (page, next) = reading
            .await
            .map_err(|_| broken("was interrupted"))?
            .ok_or_else(|| broken("did not answer with JSON"))?;
        streams.extend(page);
        call.next_token = pages.after(&json!({"NextToken": next}))?;
        if call.next_token.is_none() {
            let sorting = tokio::task::spawn_blocking(move || sorted(streams.into_iter()));
            return sorting.await.map(Arc::new).map_err(|_| broken("was interrupted"));
        }
    }
}

#[derive(Deserialize)]
struct StreamsPage<'a> {
    #[serde(borrow, rename = "StreamInfoList", default)]
    streams: Option<Vec<&'a RawValue>>,
    #[serde(rename = "NextToken", default)]
    next: Option<String>,
}

/// The streams of a page that the entry serves, and what leads to the next page. Blocks: a page may have
/// 16 MiB.
fn read_page(
    upstream: &Upstream,
    entry: &Arc<str>,
    body: &[u8],
) -> Option<(Vec<Arc<ListedStream>>, Option<String>)> {
    let page: StreamsPage<'_> = serde_json::from_slice(body).ok()?;
    let is_served = |stream: &ListedStream| {
        let located = upstream.locate(&StreamRef::Name(stream.name.clone()));
        located.is_ok_and(|located| located.entry == *entry)
    };
    let streams = page.streams.unwrap_or_default().into_iter();
    let served = streams.filter_map(ListedStream::read).filter(is_served).map(Arc::new);
    Some((served.collect(), page.next))
}

/// Fetches the tags of all streams that are not known, some at a time.
async fn fetch_tags(upstream: &Upstream, streams: Streams) {
    let mut under_way = JoinSet::new();
    for (n, stream) in streams.iter().enumerate() {
        if n % YIELD_EVERY == YIELD_EVERY - 1 {
            // Tags that are known take no time to wait for.
            tokio::task::yield_now().await;
        }
        let Ok(located) = upstream.locate(&StreamRef::Arn(stream.arn.clone())) else { continue };
        if under_way.len() == TAGS_AT_ONCE {
            under_way.join_next().await;
        }
        let upstream = upstream.clone();
        // A failure here is met again where the stream is looked at, and the tags are unknown there.
        under_way.spawn(async move {
            drop(upstream.tags(&located, || Some(OnBehalfOf::all_callers(PRINCIPAL))).await);
        });
    }
    while under_way.join_next().await.is_some() {}
}
