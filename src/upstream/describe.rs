//! What a stream is: DescribeStream and ListTagsForStream, asked once for everybody and remembered.
//!
//! A description serves for five minutes, and for as long as KVS is out of reach after that: it is what turns a
//! name into the ARN that caches key on, so an outage of the control plane must not stop what is cached or what data
//! endpoints still serve. "No such stream" is remembered for five seconds, against callers who ask again and again.

use super::call::{Ask, To, json};
use super::entry::Entry;
use super::error::Error;
use super::metrics::LIST_TAGS;
use super::quota::Cost;
use super::single::{Single, Work};
use super::{Inner, Located, Upstream};
use crate::kvs::operations::DescribeStream;
use crate::kvs::{Call, StreamArn, StreamRef, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
    flights: Single<Key, Result<V, Error>>,
}

type Key = (Arc<str>, StreamRef);

#[derive(Clone)]
struct Kept<V> {
    answer: Result<V, Error>,
    since: Instant,
    /// Not before this is a renewal tried that failed.
    not_before: Instant,
}

const MOST: u64 = 100_000;
const UNUSED: Duration = Duration::from_secs(24 * 3600);
/// How long "no" is remembered, and how long a failed renewal is not repeated.
const SHORTLY: Duration = Duration::from_secs(5);
/// Pages of tags; KVS allows 50 tags.
const TAG_PAGES: usize = 10;

impl<V: Clone + Send + Sync + 'static> Default for Memory<V> {
    fn default() -> Self {
        let kept = moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build();
        Self { kept, flights: Single::default() }
    }
}

impl<V: Clone + Send + Sync + 'static> Memory<V> {
    async fn get(
        &self,
        key: Key,
        ttl: Duration,
        work: impl FnOnce() -> Work<Result<V, Error>>,
    ) -> Result<V, Error> {
        let kept = self.kept.get(&key);
        let now = Instant::now();
        if let Some(kept) = &kept {
            let serves = if kept.answer.is_ok() { ttl } else { SHORTLY };
            if now < kept.since + serves || now < kept.not_before {
                return kept.answer.clone();
            }
        }
        let landed = self.flights.join(&key, work).await;
        let answer =
            landed.unwrap_or_else(|| Err(Error::BrokenAnswer("describing the stream failed".into())));
        let now = Instant::now();
        match (&answer, kept) {
            (Err(error), Some(old)) if error.is_outage() && old.answer.is_ok() => {
                let old = Kept { not_before: now + SHORTLY, ..old };
                self.kept.insert(key, old.clone());
                old.answer
            }
            (Err(error), _) if error.is_outage() => answer,
            _ => {
                self.kept.insert(key, Kept { answer: answer.clone(), since: now, not_before: now });
                answer
            }
        }
    }
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
        let ttl = inner.config.describe_ttl.0;
        inner.descriptions.streams.get(key, ttl, || inner.clone().describe(entry, &located.stream)).await
    }

    /// A stream's tags, asked once for all who want to know.
    ///
    /// # Errors
    /// KVS's, when nothing is remembered.
    pub async fn tags(&self, located: &Located) -> Result<Arc<Tags>, Error> {
        let inner = &self.0;
        let entry = self.entry(located)?;
        let key = (entry.name.clone(), located.stream.clone());
        let ttl = inner.config.describe_ttl.0;
        inner.descriptions.tags.get(key, ttl, || inner.clone().tags(entry, &located.stream)).await
    }
}

impl Inner {
    fn describe(
        self: Arc<Self>,
        entry: &Arc<Entry>,
        stream: &StreamRef,
    ) -> Work<Result<Arc<Description>, Error>> {
        let (entry, stream) = (Arc::clone(entry), stream.clone());
        Box::pin(async move {
            let call = Call::DescribeStream(DescribeStream { stream: stream.clone() });
            let json = json(self.ask(&entry, &Ask::of_call(&self, &call, "")).await?).await?;
            let description = json
                .get("StreamInfo")
                .and_then(read)
                .filter(|found| found.arn.name() == stream.name())
                .ok_or_else(|| Error::BrokenAnswer("DescribeStream gave no description".into()))?;
            entry.learn(&description.arn);
            Ok(Arc::new(description))
        })
    }

    fn tags(self: Arc<Self>, entry: &Arc<Entry>, stream: &StreamRef) -> Work<Result<Arc<Tags>, Error>> {
        let (entry, stream) = (Arc::clone(entry), stream.clone());
        Box::pin(async move {
            let mut tags = Tags::new();
            let mut next: Option<String> = None;
            for _ in 0..TAG_PAGES {
                let json = json(self.ask(&entry, &self.tags_page(&stream, next.as_deref())).await?).await?;
                let page = json.get("Tags").and_then(Value::as_object);
                tags.extend(
                    page.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))),
                );
                next = json.get("NextToken").and_then(Value::as_str).map(str::to_owned);
                if next.is_none() {
                    break;
                }
            }
            Ok(Arc::new(tags))
        })
    }

    fn tags_page(&self, stream: &StreamRef, next: Option<&str>) -> Ask {
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
            ..Ask::of_call(self, &model, "")
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
