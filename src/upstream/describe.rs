//! What a stream is: DescribeStream and ListTagsForStream, asked once for everybody and remembered.
//!
//! A description serves for five minutes, and for as long as KVS is out of reach after that: it is what turns a
//! name into the ARN that caches key on, so an outage of the control plane must not stop what is cached or what data
//! endpoints still serve. What policies decide by is another matter: tags that were taken from a stream must not let
//! anybody in for ever because KVS does not answer, so facts are believed for a minute after their time and no longer.
//! "No such stream" is remembered for five seconds, against callers who ask again and again.

use super::call::{Ask, To, json};
use super::entry::Entry;
use super::error::Error;
use super::metrics::LIST_TAGS;
use super::pages::Pages;
use super::quota::Cost;
use super::{Inner, Located, Upstream};
use crate::base::single_flight::SingleFlight;
use crate::kvs::operations::DescribeStream;
use crate::kvs::{Call, StreamArn, StreamRef, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A stream, as KVS describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its full ARN, with the creation time that tells it from a later stream of the same name.
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

/// What is remembered.
#[derive(Default)]
pub(super) struct Descriptions {
    streams: Memory<Arc<Description>>,
    tags: Memory<Arc<Tags>>,
}

/// Answers by entry and stream, each with its time, and the flights that fetch them.
struct Memory<V> {
    kept: moka::sync::Cache<Key, Kept<V>>,
    flights: SingleFlight<Key, Result<V, Error>>,
}

type Key = (Arc<str>, StreamRef);

#[derive(Clone)]
struct Kept<V> {
    answer: Result<V, Error>,
    since: Instant,
    /// Why the last renewal failed, and until when none is tried.
    trouble: Option<(Error, Instant)>,
}

/// On whose behalf KVS is asked.
pub struct Asker<'a, F: FnOnce() -> bool> {
    /// Whose turn it takes.
    pub principal: &'a str,
    /// Whether he may make KVS be asked; called if it must be, not if the answer is there or on its way to somebody else.
    pub may_ask: F,
}

impl Asker<'static, fn() -> bool> {
    /// kvs-edge itself, for everybody.
    #[must_use]
    pub fn everybody() -> Self {
        Self { principal: "", may_ask: || true }
    }
}

/// How long an answer stands.
#[derive(Clone, Copy)]
struct Standing {
    ttl: Duration,
    /// After that, while it cannot be renewed; `None`: for ever.
    grace: Option<Duration>,
    /// That nothing could be learnt is remembered for a moment too.
    keeps_trouble: bool,
}

const MOST: u64 = 100_000;
const UNUSED: Duration = Duration::from_secs(24 * 3600);
/// How long "no" is remembered, and how long a failed renewal is not repeated.
const SHORTLY: Duration = Duration::from_secs(5);
/// How long after their time facts decide that cannot be renewed.
const GRACE: Duration = Duration::from_secs(60);
/// Pages of tags; KVS allows 50 tags.
const TAG_PAGES: usize = 10;

impl<V: Clone + Send + Sync + 'static> Default for Memory<V> {
    fn default() -> Self {
        let kept = moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build();
        Self { kept, flights: SingleFlight::default() }
    }
}

impl<V: Clone + Send + Sync + 'static> Memory<V> {
    async fn get(
        &self,
        key: Key,
        Standing { ttl, grace, keeps_trouble }: Standing,
        work: impl FnOnce() -> Work<Result<V, Error>>,
    ) -> Result<V, Error> {
        let kept = self.kept.get(&key);
        let now = Instant::now();
        let stands = |kept: &Kept<V>| grace.is_none_or(|grace| now < kept.since + ttl + grace);
        if let Some(kept) = &kept {
            let serves = if kept.answer.is_ok() { ttl } else { SHORTLY };
            if now < kept.since + serves {
                return kept.answer.clone();
            }
            if let Some((error, until)) = &kept.trouble
                && now < *until
            {
                return if stands(kept) { kept.answer.clone() } else { Err(error.clone()) };
            }
        }
        // To its end even if this caller leaves: the answer serves the next ones.
        let answer = self.flights.start(key.clone(), work).result().await;
        let answer =
            answer.unwrap_or_else(|_| Err(Error::BrokenAnswer("describing the stream failed".into())));
        let now = Instant::now();
        match (&answer, kept) {
            (Err(error), Some(old)) if error.is_outage() && old.answer.is_ok() => {
                let stands = stands(&old);
                let old = Kept { trouble: Some((error.clone(), now + SHORTLY)), ..old };
                self.kept.insert(key, old.clone());
                if stands { old.answer } else { answer }
            }
            // Waiting in vain was the asker's affair, not the stream's.
            (Err(error), _) if error.is_outage() && (!keeps_trouble || error.is_busy()) => answer,
            _ => {
                self.kept.insert(key, Kept { answer: answer.clone(), since: now, trouble: None });
                answer
            }
        }
    }
}

type Work<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// He who asks has asked for too much lately.
fn in_debt<V: Send + 'static>() -> Work<Result<V, Error>> {
    Box::pin(async { Err(Error::Busy { retry_after: SHORTLY, what: "caller's" }) })
}

impl Upstream {
    /// What a stream is, asked once for all who want to know.
    ///
    /// # Errors
    /// KVS's, when nothing is remembered.
    pub async fn describe(&self, located: &Located) -> Result<Arc<Description>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let standing = Standing { ttl: inner.config.describe_ttl.0, grace: None, keeps_trouble: false };
        let work = || inner.clone().describe(entry, &located.stream, "");
        inner.descriptions.streams.get(key, standing, work).await
    }

    /// The same to decide by: not much older than `describe_ttl`, whether KVS answers or not.
    ///
    /// # Errors
    /// KVS's.
    pub async fn identify(
        &self,
        located: &Located,
        asker: Asker<'_, impl FnOnce() -> bool>,
    ) -> Result<Arc<Description>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let ttl = inner.config.describe_ttl.0;
        let standing = Standing { ttl, grace: Some(GRACE), keeps_trouble: false };
        let work = || match (asker.may_ask)() {
            true => inner.clone().describe(entry, &located.stream, asker.principal),
            false => in_debt(),
        };
        inner.descriptions.streams.get(key, standing, work).await
    }

    /// A stream's tags, to decide by.
    ///
    /// # Errors
    /// KVS's, when nothing is remembered, or nothing that may still decide.
    pub async fn tags(
        &self,
        located: &Located,
        asker: Asker<'_, impl FnOnce() -> bool>,
    ) -> Result<Arc<Tags>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let ttl = inner.config.describe_ttl.0;
        let standing = Standing { ttl, grace: Some(GRACE), keeps_trouble: true };
        let work = || match (asker.may_ask)() {
            true => inner.clone().tags(entry, &located.stream, asker.principal),
            false => in_debt(),
        };
        inner.descriptions.tags.get(key, standing, work).await
    }
}

impl Inner {
    fn describe(
        self: Arc<Self>,
        entry: &Arc<Entry>,
        stream: &StreamRef,
        principal: &str,
    ) -> Work<Result<Arc<Description>, Error>> {
        let (entry, stream, principal) = (Arc::clone(entry), stream.clone(), Arc::<str>::from(principal));
        Box::pin(async move {
            let call = Call::DescribeStream(DescribeStream { stream: stream.clone() });
            let json = json(self.ask(&entry, &Ask::of_call(&self, &call, &principal)).await?).await?;
            let description = json
                .get("StreamInfo")
                .and_then(read)
                .filter(|found| found.arn.name() == stream.name())
                .ok_or_else(|| Error::BrokenAnswer("DescribeStream gave no description".into()))?;
            entry.learn(&description.arn);
            Ok(Arc::new(description))
        })
    }

    fn tags(
        self: Arc<Self>,
        entry: &Arc<Entry>,
        stream: &StreamRef,
        principal: &str,
    ) -> Work<Result<Arc<Tags>, Error>> {
        let (entry, stream, principal) = (Arc::clone(entry), stream.clone(), Arc::<str>::from(principal));
        Box::pin(async move {
            let mut tags = Tags::new();
            let (mut pages, mut next) = (Pages::at_most(TAG_PAGES), None);
            loop {
                let ask = self.tags_page(&stream, &principal, next.as_deref());
                let json = json(self.ask(&entry, &ask).await?).await?;
                let page = json.get("Tags").and_then(Value::as_object);
                tags.extend(
                    page.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))),
                );
                next = pages.after(&json)?;
                if next.is_none() {
                    return Ok(Arc::new(tags));
                }
            }
        })
    }

    fn tags_page(&self, stream: &StreamRef, principal: &str, next: Option<&str>) -> Ask {
        let mut body = match stream {
            StreamRef::Name(name) => json!({"StreamName": name.as_str()}),
            StreamRef::Arn(arn) => json!({"StreamARN": arn.as_str()}),
        };
        if let Some(token) = next {
            body["NextToken"] = token.into();
        }
        let model = Call::DescribeStream(DescribeStream { stream: stream.clone() });
        Ask {
            api: LIST_TAGS,
            to: To::Control { path: "/listTagsForStream" },
            body: body.to_string().into(),
            cost: Cost::of_tags(),
            ..Ask::of_call(self, &model, principal)
        }
    }
}

/// Reads `StreamInfo`, tolerant of nulls, E-notation and members that no model knows (`KVS.md` 2.2).
fn read(info: &Value) -> Option<Description> {
    let text = |member: &str| info.get(member).and_then(Value::as_str);
    let hours = info.get("DataRetentionInHours").and_then(Value::as_f64).unwrap_or(0.0);
    Some(Description {
        arn: StreamArn::parse(text("StreamARN")?).ok()?,
        status: text("Status").unwrap_or("ACTIVE").to_owned(),
        retention_hours: hours.clamp(0.0, f64::from(u32::MAX)) as u32,
        media_type: text("MediaType").map(str::to_owned),
        created: info
            .get("CreationTime")
            .and_then(Value::as_f64)
            .and_then(|seconds| Timestamp::from_seconds(seconds).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What decides may be a minute late, not for as long as KVS is out of reach; what only names a place may.
    #[tokio::test(start_paused = true)]
    async fn facts_that_cannot_be_renewed_decide_for_a_minute_more_and_name_places_for_ever() {
        let memory = Memory::<u32>::default();
        let key: Key = ("main".into(), StreamRef::Name(crate::kvs::StreamName::parse("cam-1").unwrap()));
        let (ttl, asked) = (Duration::from_secs(300), Arc::new(std::sync::atomic::AtomicU32::new(0)));
        let get = async |grace: Option<Duration>, answer: Result<u32, Error>| {
            let asked = asked.clone();
            let work = move || -> Work<Result<u32, Error>> {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Box::pin(async move { answer })
            };
            memory.get(key.clone(), Standing { ttl, grace, keeps_trouble: false }, work).await.ok()
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
        tokio::time::sleep(SHORTLY).await;
        assert_eq!(get(Some(GRACE), Ok(2)).await, Some(2));
    }

    #[test]
    fn the_real_answer_is_understood() {
        let body = r#"{"CreationTime":1.720751492346E9,"DataRetentionInHours":24,"DeviceName":null,"IngestionConfiguration":null,"KmsKeyId":"arn:aws:kms:us-east-1:111122223333:alias/aws/kinesisvideo","MediaType":"video/h264","Status":"ACTIVE","StreamARN":"arn:aws:kinesisvideo:us-east-1:111122223333:stream/cam-1/1720751492346","StreamName":"cam-1","Version":"davN9FKg4vjyKdCSs0f4"}"#;
        let found = read(&serde_json::from_str(body).unwrap()).unwrap();
        assert_eq!((found.retention_hours, found.status.as_str()), (24, "ACTIVE"));
        assert_eq!(found.arn.name().as_str(), "cam-1");
        assert_eq!(found.created.unwrap().millis(), 1_720_751_492_346);
        assert!(read(&json!({"StreamARN": null})).is_none());
    }
}
