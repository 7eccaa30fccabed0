//! What is remembered of streams: their descriptions and tags, requested once for all callers.
//!
//! A description is used for five minutes, and after that for as long as KVS is out of reach. It turns a
//! name into the ARN that caches key on, so an outage of the control plane must not stop what is cached or
//! what data endpoints still serve. Policy decisions are different: tags that were taken from a stream must
//! not keep access open because KVS does not answer, so facts are believed for a minute after their time
//! and no longer. "No such stream" is remembered for five seconds, against callers that repeat their
//! request.

use super::error::Error;
use super::shared_answers::{Aged, SharedAnswer};
use crate::base::single_flight::SingleFlight;
use crate::kvs::{StreamArn, StreamRef, Timestamp};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A call to KVS in progress.
pub(super) type Work<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// A stream, as KVS describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its full ARN, with the creation time that distinguishes it from a later stream of the same name.
    pub arn: StreamArn,
    /// CREATING, ACTIVE, UPDATING or DELETING.
    pub status: String,
    /// For how many hours KVS keeps fragments; 0: nothing is archived.
    pub retention_hours: u32,
    /// Such as `video/h264,audio/aac`.
    pub media_type: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// A stream's tags.
pub type Tags = BTreeMap<String, String>;

impl SharedAnswer for Arc<Description> {
    fn to_bytes(&self) -> Vec<u8> {
        let created = self.created.map(Timestamp::millis);
        let fields = (self.arn.as_str(), &self.status, self.retention_hours, &self.media_type, created);
        serde_json::to_vec(&fields).unwrap_or_default()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        type Fields = (String, String, u32, Option<String>, Option<u64>);
        let (arn, status, retention_hours, media_type, created): Fields =
            serde_json::from_slice(bytes).ok()?;
        let arn = StreamArn::parse(&arn).ok()?;
        let created = created.map(Timestamp::from_millis);
        Some(Self::new(Description { arn, status, retention_hours, media_type, created }))
    }
}

impl SharedAnswer for Arc<Tags> {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&**self).unwrap_or_default()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Tags>(bytes).ok().map(Self::new)
    }
}

/// What is remembered of all streams.
pub(super) struct Descriptions {
    pub(super) streams: AnswerCache<Arc<Description>>,
    pub(super) tags: AnswerCache<Arc<Tags>>,
}

impl Default for Descriptions {
    fn default() -> Self {
        let texts = |description: &Arc<Description>| {
            description.arn.as_str().len()
                + description.status.len()
                + description.media_type.as_deref().map_or(0, str::len)
        };
        let pairs = |tags: &Arc<Tags>| {
            let pair = |(key, value): (&String, &String)| key.len() + value.len() + PER_TAG;
            tags.iter().map(pair).sum()
        };
        Self { streams: AnswerCache::new(texts), tags: AnswerCache::new(pairs) }
    }
}

/// Answers by entry and stream, each with its time, and the in_flight that fetch them.
pub(super) struct AnswerCache<V> {
    kept: moka::sync::Cache<StreamKey, KeptAnswer<V>>,
    in_flight: SingleFlight<StreamKey, Result<Aged<V>, Error>>,
}

pub(super) type StreamKey = (Arc<str>, StreamRef);

#[derive(Clone)]
struct KeptAnswer<V> {
    answer: Result<V, Error>,
    since: Instant,
    /// Why the last renewal failed, and until when none is tried.
    trouble: Option<(Error, Instant)>,
}

/// How long an answer stands.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    pub(super) ttl: Duration,
    /// After that, while it cannot be renewed; `None`: for ever.
    pub(super) grace: Option<Duration>,
    /// Whether a failure is remembered for a few seconds too.
    pub(super) keeps_trouble: bool,
}

/// Bytes of each of the two: descriptions of 80,000 streams, or tags of 10,000 that have fifty each.
const MOST: u64 = 64 << 20;
/// What an answer takes beside its texts: its key, itself, and its place in the cache.
const PER_ANSWER: usize = 700;
/// What a tag takes beside its texts.
const PER_TAG: usize = 80;
const UNUSED: Duration = Duration::from_secs(24 * 3600);
/// How long "no" is remembered, and how long a failed renewal is not repeated.
pub(super) const BRIEFLY: Duration = Duration::from_secs(5);
/// How long after their time facts decide that cannot be renewed.
pub(super) const GRACE: Duration = Duration::from_secs(60);

impl<V: Clone + Send + Sync + 'static> AnswerCache<V> {
    /// A cache of answers of which each has so many bytes of text.
    pub(super) fn new(texts: fn(&V) -> usize) -> Self {
        let weigh = move |_: &StreamKey, kept: &KeptAnswer<V>| {
            let error = |error: &Error| error.to_string().len();
            let answer = kept.answer.as_ref().map_or_else(error, texts);
            let trouble = kept.trouble.as_ref().map_or(0, |(why, _)| error(why));
            u32::try_from(answer + trouble + PER_ANSWER).unwrap_or(u32::MAX)
        };
        let kept = moka::sync::Cache::builder().max_capacity(MOST).weigher(weigh).time_to_idle(UNUSED);
        Self { kept: kept.build(), in_flight: SingleFlight::default() }
    }

    pub(super) async fn get(
        &self,
        key: StreamKey,
        Validity { ttl, grace, keeps_trouble }: Validity,
        work: impl FnOnce() -> Work<Result<Aged<V>, Error>>,
    ) -> Result<V, Error> {
        let kept = self.kept.get(&key);
        let now = Instant::now();
        let stands = |kept: &KeptAnswer<V>| grace.is_none_or(|grace| now < kept.since + ttl + grace);
        if let Some(kept) = &kept {
            let serves = if kept.answer.is_ok() { ttl } else { BRIEFLY };
            if now < kept.since + serves {
                return kept.answer.clone();
            }
            if let Some((error, until)) = &kept.trouble
                && now < *until
            {
                return if stands(kept) { kept.answer.clone() } else { Err(error.clone()) };
            }
        }
        // Runs to its end even if this caller leaves: the answer serves later callers.
        let answer = self.in_flight.start(key.clone(), work).result().await;
        let answer =
            answer.unwrap_or_else(|_| Err(Error::BrokenAnswer("describing the stream failed".into())));
        let now = Instant::now();
        let age = answer.as_ref().map_or(Duration::ZERO, |answer| answer.age);
        let since = now.checked_sub(age).unwrap_or(now);
        let answer = answer.map(|answer| answer.value);
        match (&answer, kept) {
            (Err(error), Some(old)) if error.is_outage() && old.answer.is_ok() => {
                let stands = stands(&old);
                let old = KeptAnswer { trouble: Some((error.clone(), now + BRIEFLY)), ..old };
                self.kept.insert(key, old.clone());
                if stands { old.answer } else { answer }
            }
            // A quota that ran out concerns this caller, not the stream.
            (Err(error), _) if error.is_outage() && (!keeps_trouble || error.is_busy()) => answer,
            _ => {
                self.kept.insert(key, KeptAnswer { answer: answer.clone(), since, trouble: None });
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What decides may be a minute late, not for as long as KVS is out of reach; what only names a place
    /// may.
    #[tokio::test(start_paused = true)]
    async fn facts_that_cannot_be_renewed_decide_for_a_minute_more_and_name_places_for_ever() {
        let memory = AnswerCache::<u32>::new(|_| 0);
        let key: StreamKey =
            ("main".into(), StreamRef::Name(crate::kvs::StreamName::parse("cam-1").unwrap()));
        let (ttl, asked) = (Duration::from_secs(300), Arc::new(std::sync::atomic::AtomicU32::new(0)));
        let get = async |grace: Option<Duration>, answer: Result<u32, Error>| {
            let asked = asked.clone();
            let work = move || -> Work<Result<Aged<u32>, Error>> {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Box::pin(async move { answer.map(Aged::new) })
            };
            memory.get(key.clone(), Validity { ttl, grace, keeps_trouble: false }, work).await.ok()
        };
        let down = || Err(Error::BrokenAnswer("nobody there".into()));
        assert_eq!(get(Some(GRACE), Ok(1)).await, Some(1));
        tokio::time::sleep(Duration::from_secs(359)).await;
        assert_eq!(get(Some(GRACE), down()).await, Some(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(get(Some(GRACE), down()).await, None, "it may have changed long ago");
        assert_eq!(get(None, down()).await, Some(1));
        assert_eq!(
            asked.load(std::sync::atomic::Ordering::Relaxed),
            before,
            "KVS is spared for five seconds"
        );
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        assert_eq!(get(Some(GRACE), down()).await, None);
        assert_eq!(get(None, down()).await, Some(1));
        tokio::time::sleep(BRIEFLY).await;
        assert_eq!(get(Some(GRACE), Ok(2)).await, Some(2));
    }

    #[tokio::test]
    async fn what_is_remembered_of_streams_is_bounded_in_bytes() {
        let memory = Descriptions::default();
        // Fifty tags are the most that a stream has.
        let tags: Tags = (0..50).map(|tag| (format!("{tag:0128}"), "v".repeat(256))).collect();
        let tags = Arc::new(tags);
        let validity = Validity { ttl: UNUSED, grace: None, keeps_trouble: false };
        for number in 0..4000 {
            let name = crate::kvs::StreamName::parse(&format!("cam-{number}")).unwrap();
            let tags = Arc::clone(&tags);
            let work = move || -> Work<Result<Aged<Arc<Tags>>, Error>> {
                Box::pin(async move { Ok(Aged::new(tags)) })
            };
            memory.tags.get(("main".into(), StreamRef::Name(name)), validity, work).await.unwrap();
        }
        memory.tags.kept.run_pending_tasks();
        let weight = memory.tags.kept.weighted_size();
        assert!((MOST / 2..=MOST).contains(&weight), "{weight}");
    }
}
