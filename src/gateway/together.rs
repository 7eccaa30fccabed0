//! JSON answers as KVS gave them, asked for once for all who ask for the same (law 2): descriptions, pages of fragments
//! and of pictures.
//!
//! Pages about footage that has settled are kept by the media cache, as long as `cache::freshness` says. The rest serves
//! for a second, which is what KVS itself takes to show what was just written (`KVS.md` 4.2): KVS allows five
//! DescribeStream a second and stream, whatever the crowd. A failure serves those who waited for it, and nobody later.

use super::error::Error;
use super::record::Record;
use super::{Ask, Gateway};
use crate::cache::freshness::{self, Kind};
use crate::cache::{self, Fetched, Head, Keep, Outcome};
use crate::kvs::{Call, Operation, Timestamp};
use crate::net::body::whole;
use crate::upstream;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use moka::future::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);
/// What is kept no longer than this may as well be asked for by those who want it at once.
const BRIEFLY: Duration = Duration::from_secs(2);
/// Bytes of all answers together.
const MOST: u64 = 64 << 20;
/// The longest JSON answer that is read whole: 25 images of 6 MiB never come near it in practice.
const LONGEST: usize = 160 << 20;

/// What was answered a moment ago, or is about to be: by entry, call, and the request as KVS is sent it. No user.
#[derive(Clone)]
pub struct Together {
    answers: Cache<Key, Bytes>,
}

type Key = (Arc<str>, Operation, Bytes);

impl Default for Together {
    fn default() -> Self {
        let answers = Cache::builder()
            .max_capacity(MOST)
            .weigher(|key: &Key, answer: &Bytes| {
                u32::try_from(key.2.len() + answer.len()).unwrap_or(u32::MAX)
            })
            .time_to_live(FRESH)
            .build();
        Self { answers }
    }
}

impl Gateway {
    /// Asks KVS, or joins somebody who does, and notes on the record what came of it.
    pub(super) async fn ask_together(
        &self,
        ask: &Ask<'_>,
        call: &Call,
        record: &mut Record,
    ) -> Result<Bytes, Error> {
        let located = ask.located()?;
        let key = (located.entry.clone(), call.operation(), call.body());
        let (payer, principal, started) = (ask.payer()?, ask.caller().principal(), Instant::now());
        let mut asked = None;
        let answer = self
            .together
            .answers
            .try_get_with(key, async {
                let calling = self.upstream.call(located, call, &principal);
                let answer = payer.ask(upstream::points(call), calling).await?;
                asked = Some((answer.attempts, answer.request_id.clone()));
                let body = answer.bytes(LONGEST).await;
                body.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))
            })
            .await;
        match asked {
            Some((attempts, request_id)) => {
                record.attempts += attempts;
                record.upstream_request_id = request_id;
                record.upstream_millis = u64::try_from(started.elapsed().as_millis()).ok();
            }
            None if answer.is_ok() => record.cache = "collapsed",
            None => {}
        }
        answer.map_err(Error::Upstream)
    }

    /// KVS's answer to a call about footage that has settled, from the media cache or on its way there; `None` if the
    /// footage may still change. It is kept as KVS gave it, page token included, and who may see it was decided before.
    pub(super) async fn settled_answer(
        &self,
        ask: &Ask<'_>,
        call: &Call,
        record: &mut Record,
    ) -> Result<Option<(Bytes, Outcome)>, Error> {
        let (located, principal) = (ask.located()?, ask.caller().principal());
        let Some(kind) = kind(call, true) else { return Ok(None) };
        let about = self.upstream.describe(located).await?;
        let rules = self.rules(Some(about.retention_hours));
        let lasting = |keep| matches!(keep, Keep::For(span) if span > BRIEFLY);
        if !lasting(freshness::keep(kind, StatusCode::OK, ask.now, &rules)) {
            return Ok(None);
        }
        let key = cache::Key::answer(&about.arn, call.operation(), &call.body());
        let found = match self.cache.get(&key) {
            Some(found) => found,
            None => {
                let (payer, upstream) = (ask.payer()?, self.upstream.clone());
                let (located, call) = (located.clone(), call.clone());
                let fetch = move || {
                    let (upstream, located, call) = (upstream.clone(), located.clone(), call.clone());
                    let (principal, payer) = (principal.clone(), payer.clone());
                    async move {
                        let calling = upstream.call(&located, &call, &principal);
                        let answer = payer.ask(upstream::points(&call), calling).await?;
                        let body = answer.bytes(LONGEST).await;
                        let body =
                            body.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
                        let now = Timestamp::now();
                        let keep = kind_of_answer(&call, &body)
                            .map_or(Keep::No, |kind| freshness::keep(kind, StatusCode::OK, now, &rules));
                        let json = HeaderValue::from_static("application/json");
                        let head = Head::new(json, Some(body.len() as u64), now);
                        Ok::<_, upstream::Error>(Fetched { head, keep, body: whole(body) })
                    }
                };
                ask.steps.time("cache", self.cache.get_or_fill(key, fetch)).await?
            }
        };
        let outcome = found.outcome;
        record.cache = outcome.as_str();
        record.attempts += u32::from(matches!(outcome, Outcome::Miss | Outcome::Bypass));
        Ok(Some((found.entry.collect(LONGEST as u64).await?, outcome)))
    }
}

/// What of the table of `freshness` the answer to a call is.
fn kind(call: &Call, complete: bool) -> Option<Kind> {
    match call {
        Call::ListFragments(list) => {
            list.selector.map(|by| Kind::FragmentList { selector: by.kind, range: by.range })
        }
        Call::GetImages(images) => Some(Kind::Images { range: images.range, complete }),
        _ => None,
    }
}

/// The same, once the answer is here; `None` if it is none that could be kept.
fn kind_of_answer(call: &Call, body: &Bytes) -> Option<Kind> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let rows = json.get("Images").and_then(serde_json::Value::as_array);
    let is_picture =
        |row: &serde_json::Value| row.get("ImageContent").is_some() && row.get("Error").is_none();
    let complete = rows.is_none_or(|rows| !rows.is_empty() && rows.iter().all(is_picture));
    kind(call, complete)
}
