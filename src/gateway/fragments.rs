//! GetMediaForFragmentList from single fragments: those that are held come from the cache, and KVS is asked once for
//! the rest (`batch`).
//!
//! The answer is KVS's: documents in the order of the request. A fragment that KVS cannot give is an error answer as
//! long as nothing has left, and a broken body after that; it is never kept.

use super::batch::{Batches, MATROSKA, Ride, Source, Taken};
use super::error::Error;
use super::record::Record;
use super::reply::{CACHE_STATUS, Reply};
use super::{Ask, Gateway, body};
use crate::cache::{Cache, Found, Key};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::kvs::{Fault, FragmentNumber, StreamArn};
use crate::net::body::Broken;
use crate::telemetry::spans;
use crate::upstream::InBand;
use crate::upstream::{self, Located, Upstream};
use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The largest fragment; KVS takes 50 MB.
const LARGEST: u64 = 64 << 20;
/// How often a fragment is asked for that KVS begins to answer and does not give.
const TRIES: u32 = 2;

impl Gateway {
    pub(super) async fn fragments(
        &self,
        ask: &Ask<'_>,
        list: &GetMediaForFragmentList,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let (located, payer) = (ask.located()?, ask.payer()?);
        let about = self.upstream.describe(located).await?;
        let mut assembly = Assembly {
            keys: list.fragments.iter().map(|number| Key::mkv(&about.arn, number)).collect(),
            list: list.clone(),
            at: 0,
            calls: 0,
            own: None,
            rides: Vec::new(),
            batches: self.batches.clone(),
            cache: self.cache.clone(),
            has_disk: self.cache_settings.disk.is_some(),
            upstream: self.upstream.clone(),
            located: located.clone(),
            arn: about.arn.clone(),
            principal: ask.caller().principal(),
            rules: self.rules(Some(about.retention_hours)),
        };
        let all_held = !assembly.plan();
        if let Some(own) = &assembly.own {
            payer.charge(own.fragments());
        }
        record.attempts += assembly.calls;
        // A call that KVS refuses is refused as a whole, whatever of it is held here.
        if let Some(own) = &assembly.own
            && let Some(error) = payer.steps.time(spans::UPSTREAM, own.refused()).await
        {
            return Err(Error::Upstream(error));
        }
        let planned = assembly.calls;
        let first = payer.steps.time(spans::UPSTREAM, assembly.next()).await.transpose();
        record.attempts += assembly.calls - planned;
        let first = first.map_err(Trouble::into_error)?;
        let (word, status) = match (all_held, assembly.calls) {
            (true, 0) => ("hit", "kvs-edge; hit"),
            (false, 0) => ("collapsed", "kvs-edge; fwd=partial; collapsed"),
            _ => ("miss", "kvs-edge; fwd=partial"),
        };
        record.cache = word;
        let feed = Feed { first, next: Some(Box::pin(assembly.step())), broken: None };
        let source = body::Source::Passing(feed.boxed_unsync());
        let reply = Reply::api(HeaderValue::from_static(MATROSKA), source);
        Ok(reply.with(CACHE_STATUS, HeaderValue::from_static(status)))
    }
}

/// An answer that is being put together.
struct Assembly {
    keys: Vec<Key>,
    list: GetMediaForFragmentList,
    /// The next one to send.
    at: usize,
    /// How often KVS was asked.
    calls: u32,
    own: Option<Ride>,
    rides: Vec<Ride>,
    batches: Batches,
    cache: Cache,
    has_disk: bool,
    upstream: Upstream,
    located: Located,
    arn: StreamArn,
    principal: Arc<str>,
    rules: crate::cache::freshness::Rules,
}

/// Why a fragment cannot be had.
enum Trouble {
    InBand(InBand),
    Refused(Arc<upstream::Error>),
    Broken(Broken),
    Missing(FragmentNumber),
}

impl Trouble {
    /// As an answer of its own.
    fn into_error(self) -> Error {
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
    fn into_broken(self) -> Broken {
        match self {
            Self::InBand(error) => Broken::Refused(error.to_string()),
            Self::Refused(error) => Broken::Cut(error.to_string()),
            Self::Broken(broken) => broken,
            Self::Missing(number) => Broken::Cut(format!("fragment {number} did not come")),
        }
    }
}

impl Assembly {
    /// Asks KVS for what is neither held nor on its way, from here on. Tells whether anything was missing.
    fn plan(&mut self) -> bool {
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
        let (own, rides) = self.batches.plan(missing.iter().map(|(key, _)| key), &self.arn);
        self.rides = rides;
        self.own = own;
        if let Some(own) = &self.own {
            let numbers = missing
                .iter()
                .filter(|(key, _)| own.brings(key))
                .filter_map(|(_, at)| self.list.fragments.get(*at).cloned());
            let list =
                GetMediaForFragmentList { stream: self.list.stream.clone(), fragments: numbers.collect() };
            self.calls += 1;
            own.start(&self.batches, self.source(), list);
        }
        true
    }

    fn source(&self) -> Source {
        Source {
            upstream: self.upstream.clone(),
            located: self.located.clone(),
            arn: self.arn.clone(),
            principal: self.principal.clone(),
            cache: self.cache.clone(),
            rules: self.rules,
        }
    }

    /// Looks on the disk, and fetches nothing.
    async fn on_disk(&self, key: &Key) -> Option<Found> {
        if !self.has_disk {
            return None;
        }
        let nothing = || std::future::ready(Err(upstream::Error::NoData("not held".to_owned())));
        self.cache.get_or_fill(*key, nothing).await.ok()
    }

    /// The next fragment; `None` after the last one.
    async fn next(&mut self) -> Option<Result<Bytes, Trouble>> {
        let (key, number) = (*self.keys.get(self.at)?, self.list.fragments.get(self.at)?.clone());
        let fragment = self.obtain(&key, number).await;
        self.at += 1;
        Some(fragment)
    }

    async fn obtain(&mut self, key: &Key, number: FragmentNumber) -> Result<Bytes, Trouble> {
        for tried in 0..=TRIES {
            if tried > 0 {
                self.plan();
            }
            if let Some(ride) = self.own.as_ref().filter(|own| own.brings(key))
                && let Some(fragment) = settled(ride.take(key).await)
            {
                return fragment;
            }
            if let Some(found) = self.cache.get(key) {
                return found.entry.collect(LARGEST).await.map_err(Trouble::Broken);
            }
            let ride = self.rides.iter().find(|ride| ride.brings(key));
            let taken = match ride {
                Some(ride) => Some(ride.take(key).await),
                None => match self.batches.ride(key) {
                    Some(ride) => Some(ride.take(key).await),
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
                return found.entry.collect(LARGEST).await.map_err(Trouble::Broken);
            }
        }
        Err(Trouble::Missing(number))
    }

    /// One step of the body.
    async fn step(mut self) -> Option<(Result<Bytes, Broken>, Self)> {
        let fragment = self.next().await?;
        Some((fragment.map_err(Trouble::into_broken), self))
    }
}

/// What a ride brought, if it brought anything.
fn settled(taken: Taken) -> Option<Result<Bytes, Trouble>> {
    match taken {
        Taken::Bytes(bytes) => Some(Ok(bytes)),
        Taken::Failed(error) => Some(Err(Trouble::InBand(error))),
        Taken::Refused(error) => Some(Err(Trouble::Refused(error))),
        Taken::Missed => None,
    }
}

type Step = Pin<Box<dyn Future<Output = Option<(Result<Bytes, Broken>, Assembly)>> + Send>>;

/// The answer's body: it takes the next fragment when the client has taken this one.
struct Feed {
    first: Option<Bytes>,
    next: Option<Step>,
    /// How it ends, once what came before has had its chance to leave.
    broken: Option<Broken>,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(step) = &mut self.next else { return Poll::Ready(None) };
        let step = ready!(step.as_mut().poll(cx));
        self.next = None;
        match step {
            None => Poll::Ready(None),
            Some((Ok(bytes), assembly)) => {
                self.next = Some(Box::pin(assembly.step()));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some((Err(broken), _)) => {
                // hyper drops what it has not flushed when a body breaks; it flushes when a body has nothing ready.
                self.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
