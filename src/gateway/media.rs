//! Answers cacheable bytes: clips, fragment lists. Pictures are in `pictures`.
//!
//! Everything here has been permitted: it takes an [`Ask`]. Keys come from what was understood, never from what the
//! client wrote (`cache::Key`), and what KVS answered is kept only as long as `cache::freshness` says.

use super::error::Error;
use super::record::Record;
use super::{Ask, Gateway, Payer};
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, freshness};
use crate::kvs::operations::{GetClip, ListFragments};
use crate::kvs::{Call, SelectorType, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Answer, Located, Upstream};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The longest page of ListFragments: 1,000 rows of some 300 bytes.
const LONGEST_LIST: usize = 4 << 20;

impl Gateway {
    /// What decides how long answers are kept, for a stream of this retention.
    pub(super) fn rules(&self, retention_hours: Option<u32>) -> Rules {
        let retention = retention_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        Rules::new(&self.cache_settings, retention)
    }

    /// A clip: kept if its footage has settled, else shared by those who ask while it is on its way.
    pub(super) async fn clip(
        &self,
        ask: &Ask<'_>,
        clip: &GetClip,
        record: &mut Record,
    ) -> Result<Found, Error> {
        let filling = self.clip_for(ask.located()?, clip, || Ok((ask.caller().principal(), ask.payer()?)));
        let found = ask.steps.time("cache", filling).await?;
        record.attempts += u32::from(matches!(found.outcome, Outcome::Miss | Outcome::Bypass));
        Ok(found)
    }

    /// A clip for anybody who may have it, or for nobody yet. Only if KVS must be asked: whose turn it is, and who pays.
    pub(super) async fn clip_for(
        &self,
        located: &Located,
        clip: &GetClip,
        asker: impl FnOnce() -> Result<(Arc<str>, Payer), Error>,
    ) -> Result<Found, Error> {
        let about = self.upstream.describe(located).await?;
        let (kind, range) = (clip.selector.kind, clip.selector.range);
        let key = Key::clip(&about.arn, kind, range.start, range.end.unwrap_or(range.start));
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let (rules, (principal, payer)) = (self.rules(Some(about.retention_hours)), asker()?);
        let (upstream, located, call) = (self.upstream.clone(), located.clone(), Call::GetClip(clip.clone()));
        let fetch = move || {
            let (upstream, located, call, principal) =
                (upstream.clone(), located.clone(), call.clone(), principal.clone());
            let payer = payer.clone();
            async move {
                let calling = upstream.call(&located, &call, &principal);
                let answer = payer.ask(upstream::points(&call), calling).await?;
                let now = Timestamp::now();
                let keep = keep(Kind::Clip { range }, now, &rules);
                Ok::<_, upstream::Error>(fetched(answer, keep, "video/mp4", now))
            }
        };
        Ok(self.cache.get_or_fill(key, fetch).await?)
    }

    /// All fragments of a range, drained and sorted, as our JSON.
    pub(super) async fn fragment_list(&self, ask: &Ask<'_>, list: &ListFragments) -> Result<Found, Error> {
        let Some(selector) = list.selector else {
            return Err(Error::Query { name: "start", problem: "is required".into() });
        };
        let located = ask.located()?;
        let about = self.upstream.describe(located).await?;
        let end = selector.range.end.unwrap_or(ask.now);
        let key = Key::fragment_list(&about.arn, selector.kind, selector.range.start, end);
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let rules = self.rules(Some(about.retention_hours));
        let (upstream, located, list) = (self.upstream.clone(), located.clone(), list.clone());
        let (principal, payer) = (ask.caller().principal(), ask.payer()?);
        let fetch = move || {
            let (upstream, located, list, principal) =
                (upstream.clone(), located.clone(), list.clone(), principal.clone());
            let payer = payer.clone();
            async move {
                let rows = drain(&upstream, &located, list.clone(), &principal, &payer).await?;
                let now = Timestamp::now();
                let kind = Kind::FragmentList { selector: selector.kind, range: selector.range };
                let keep = keep(kind, now, &rules);
                let body: Bytes = json!({
                    "stream": list.stream.name().as_str(),
                    "start": selector.range.start.to_string(),
                    "end": end.to_string(),
                    "fragments": rows,
                })
                .to_string()
                .into();
                let head =
                    Head::new(HeaderValue::from_static("application/json"), Some(body.len() as u64), now);
                Ok::<_, upstream::Error>(Fetched { head, keep, body: whole(body) })
            }
        };
        Ok(ask.steps.time("cache", self.cache.get_or_fill(key, fetch)).await?)
    }
}

/// How long an answer of status 200 is kept.
pub(super) fn keep(kind: Kind, now: Timestamp, rules: &Rules) -> Keep {
    freshness::keep(kind, StatusCode::OK, now, rules)
}

fn fetched(answer: Answer, keep: Keep, content_type: &'static str, now: Timestamp) -> Fetched {
    let content_type = answer.content_type.unwrap_or(HeaderValue::from_static(content_type));
    Fetched { head: Head::new(content_type, answer.length, now), keep, body: answer.body }
}

/// Follows NextToken to the end. KVS gives no order (`KVS.md` 4.2): we sort by start, then by number.
async fn drain(
    upstream: &Upstream,
    located: &Located,
    mut list: ListFragments,
    principal: &str,
    payer: &Payer,
) -> Result<Vec<Value>, upstream::Error> {
    let kind = list.selector.map_or(SelectorType::Server, |selector| selector.kind);
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let call = Call::ListFragments(list.clone());
        let answer = payer.ask(upstream::points(&call), upstream.call(located, &call, principal)).await?;
        let body = answer
            .bytes(LONGEST_LIST)
            .await
            .map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
        let json: Value = serde_json::from_slice(&body)
            .map_err(|_| upstream::Error::BrokenAnswer("ListFragments did not answer with JSON".into()))?;
        let page = json.get("Fragments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        rows.extend(page.iter().filter_map(Row::read));
        match json.get("NextToken").and_then(Value::as_str) {
            // The same token again would never end.
            Some(token) if list.next_token.as_deref() != Some(token) => {
                list.next_token = Some(token.to_owned())
            }
            _ => break,
        }
    }
    rows.sort_by(|a, b| (a.start(kind), &a.number).cmp(&(b.start(kind), &b.number)));
    rows.dedup_by(|a, b| a.number == b.number);
    Ok(rows.iter().map(Row::show).collect())
}

/// One row of ListFragments.
struct Row {
    number: crate::kvs::FragmentNumber,
    server: Timestamp,
    producer: Timestamp,
    length: u64,
    bytes: u64,
}

impl Row {
    fn read(value: &Value) -> Option<Self> {
        let time = |name: &str| Timestamp::from_seconds(value.get(name)?.as_f64()?).ok();
        let count = |name: &str| value.get(name).and_then(Value::as_f64).map_or(0, |number| number as u64);
        Some(Self {
            number: crate::kvs::FragmentNumber::parse(value.get("FragmentNumber")?.as_str()?).ok()?,
            server: time("ServerTimestamp")?,
            producer: time("ProducerTimestamp")?,
            length: count("FragmentLengthInMilliseconds"),
            bytes: count("FragmentSizeInBytes"),
        })
    }

    fn start(&self, kind: SelectorType) -> Timestamp {
        match kind {
            SelectorType::Server => self.server,
            SelectorType::Producer => self.producer,
        }
    }

    fn show(&self) -> Value {
        json!({
            "number": self.number.as_str(),
            "server_start": self.server.to_string(),
            "producer_start": self.producer.to_string(),
            "length_ms": self.length,
            "bytes": self.bytes,
        })
    }
}
