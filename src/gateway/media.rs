//! Answers cacheable bytes: playback media, clips, fragment lists. Pictures are in `pictures`.
//!
//! Everything here has been permitted: it takes an [`Ask`]. Keys come from what was understood, never from what the
//! client wrote (`cache::Key`), and what KVS answered is kept only as long as `cache::freshness` says.

use super::error::Error;
use super::record::Record;
use super::reply::{self, Private, Reply};
use super::retime::retime;
use super::{Ask, Gateway, Payer};
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, freshness};
use crate::kvs::operations::{GetClip, ListFragments};
use crate::kvs::{Call, PlaybackMode, Resource, SelectorType, Timestamp};
use crate::net::body::whole;
use crate::sessions::{self, Refusal, SessionKey};
use crate::telemetry::spans::Steps;
use crate::upstream::{self, Answer, Located, SessionUrl, Upstream};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The session that listed a segment, the one in use, and one opened in the place of that.
const SESSIONS: u32 = 3;
/// The longest page of ListFragments: 1,000 rows of some 300 bytes.
const LONGEST_LIST: usize = 4 << 20;

impl Gateway {
    /// What decides how long answers are kept, for a stream of this retention.
    pub(super) fn rules(&self, retention_hours: Option<u32>) -> Rules {
        let retention = retention_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        Rules::new(&self.cache_settings, retention)
    }

    /// One init segment or fragment of a playback session.
    pub(super) async fn segment(
        &self,
        ask: &Ask<'_>,
        session: &SessionKey,
        resource: &Resource,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let located = ask.located()?;
        let mut at = self.sessions.locate(session, resource, ask.now).await?;
        let mut asked = 1;
        let found = loop {
            let filling = self.fill_segment(located, session, &at, &ask.steps);
            match ask.steps.time("cache", filling).await {
                Err(error) if asked < SESSIONS => {
                    let why = refusal(&error).ok_or(error)?;
                    // Another session may have it, by another name.
                    at =
                        Box::pin(self.sessions.relocate(session, resource, &at.opened, why, ask.now)).await?;
                    asked += 1;
                }
                found => break found?,
            }
        };
        record.cache = found.outcome.as_str();
        Ok(reply::media(found, &ask.parts.method, &ask.parts.headers, Private::Immutable, ask.now).await?)
    }

    async fn fill_segment(
        &self,
        located: &Located,
        session: &SessionKey,
        at: &sessions::Located<SessionUrl>,
        steps: &Steps,
    ) -> Result<Found, Error> {
        let key = segment_key(session, at);
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let payer = Payer { steps: steps.clone(), ..Payer::default() };
        let fetch =
            fetch_segment(self.upstream.clone(), located.clone(), at.clone(), self.rules(None), payer);
        Ok(self.cache.get_or_fill(key, fetch).await?)
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

/// What a segment is kept under.
pub(super) fn segment_key(session: &SessionKey, at: &sessions::Located<SessionUrl>) -> Key {
    Key::resource(&session.stream, &at.opened.id, &at.resource)
}

/// How a segment is fetched, for whoever asks first: a viewer, or nobody yet.
pub(super) fn fetch_segment(
    upstream: Upstream,
    located: Located,
    at: sessions::Located<SessionUrl>,
    rules: Rules,
    payer: Payer,
) -> impl Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>> + Send + Sync + 'static
{
    let by = (at.moved > 0).then_some(at.moved);
    fetch_moved(upstream, located, at, rules, payer, by.map(|by| move |_| by))
}

/// The same; `by` says by how many ticks its times are moved, told the one that it begins with.
pub(super) fn fetch_moved(
    upstream: Upstream,
    located: Located,
    at: sessions::Located<SessionUrl>,
    rules: Rules,
    payer: Payer,
    by: Option<impl Fn(u64) -> u64 + Clone + Send + Sync + 'static>,
) -> impl Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>> + Send + Sync + 'static
{
    move || {
        let (upstream, located, at) = (upstream.clone(), located.clone(), at.clone());
        let (payer, by) = (payer.clone(), by.clone());
        Box::pin(async move {
            // Sessions are shared: their points are nobody's.
            let mut answer = if spread(&at) {
                let lane = at.opened.lanes.take(tokio::time::Instant::now());
                if lane.open_another {
                    tokio::spawn(open_lane(upstream.clone(), located.clone(), at.opened.clone()));
                }
                let handle = lane.handle.as_deref().unwrap_or(&at.opened.handle);
                payer.ask(0, upstream.fetch(&located, handle, &at.resource, 1)).await?
            } else {
                payer.ask(0, upstream.fetch(&located, &at.opened.handle, &at.resource, 1)).await?
            };
            if let Some(by) = by {
                answer = retime(answer, by).await?;
            }
            let now = Timestamp::now();
            let kind = Kind::Media { session_ends: at.opened.expires };
            Ok(fetched(answer, keep(kind, now, &rules), media_type(&at.resource), now))
        })
    }
}

/// Fragments of footage, which a crowd may want faster than one session gives them.
fn spread(at: &sessions::Located<SessionUrl>) -> bool {
    at.opened.parameters.mode == PlaybackMode::OnDemand
        && matches!(at.resource, Resource::Mp4Fragment { .. } | Resource::TsFragment { .. })
}

/// Another session for the same footage. If there is none to be had, those that are there must do.
async fn open_lane(upstream: Upstream, located: Located, session: Arc<sessions::Session<SessionUrl>>) {
    let opened = super::origin::open(&upstream, &located, &session.parameters).await;
    if let Ok(lane) = opened {
        session.lanes.add(lane);
    }
}

/// How long an answer of status 200 is kept.
pub(super) fn keep(kind: Kind, now: Timestamp, rules: &Rules) -> Keep {
    freshness::keep(kind, StatusCode::OK, now, rules)
}

/// How KVS refused a segment, if it did.
fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::Upstream(error) => match **error {
            upstream::Error::SessionExpired => Some(Refusal::Expired),
            upstream::Error::NoData(_) => Some(Refusal::Unknown),
            _ => None,
        },
        _ => None,
    }
}

fn fetched(answer: Answer, keep: Keep, content_type: &'static str, now: Timestamp) -> Fetched {
    let content_type = answer.content_type.unwrap_or(HeaderValue::from_static(content_type));
    Fetched { head: Head::new(content_type, answer.length, now), keep, body: answer.body }
}

/// Players dispatch on the type; KVS's own were never captured (`KVS.md` 5).
fn media_type(resource: &Resource) -> &'static str {
    match resource {
        Resource::TsFragment { .. } => "video/mp2t",
        _ => "video/mp4",
    }
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
