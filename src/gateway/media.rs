//! Answers cacheable bytes: playback media, clips, pictures, fragment lists.
//!
//! Everything here has been permitted: it takes an [`Ask`]. Keys come from what was understood, never from what the
//! client wrote (`cache::Key`), and what KVS answered is kept only as long as `cache::freshness` says.

use super::error::Error;
use super::record::Record;
use super::reply::{self, Private, Reply};
use super::retime::retime;
use super::{Ask, Gateway, Payer};
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, Picture, freshness};
use crate::kvs::operations::{GetClip, GetImages, ListFragments};
use crate::kvs::{Call, PlaybackMode, Resource, SelectorType, StreamRef, Timestamp};
use crate::net::body::whole;
use crate::sessions::{self, SessionKey};
use crate::telemetry::spans::Steps;
use crate::upstream::{self, Answer, Located, SessionUrl, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How old the newest picture may be before it is refreshed.
const PICTURE_INTERVAL: Duration = Duration::from_secs(2);
/// How many intervals back a picture may lie that is shown while a newer one is fetched; `freshness` keeps as many.
const PICTURES_BACK: u32 = 3;
/// The longest page of ListFragments: 1,000 rows of some 300 bytes.
const LONGEST_LIST: usize = 4 << 20;
/// The longest answer of GetImages for a snapshot.
const LONGEST_IMAGES: usize = 100 << 20;

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
        let filling = self.fill_segment(located, session, &at, &ask.steps);
        let mut found = ask.steps.time("cache", filling).await;
        if let Err(Error::Upstream(error)) = &found
            && is_over(error)
        {
            // Another session, once for everybody, and what this is called there.
            at = Box::pin(self.sessions.relocate(session, resource, &at.opened, ask.now)).await?;
            found = self.fill_segment(located, session, &at, &ask.steps).await;
        }
        let found = found?;
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
        let principal = ask.caller().principal();
        let filling = self.clip_for(ask.located()?, clip, &principal, || ask.payer());
        let found = ask.steps.time("cache", filling).await?;
        record.attempts += u32::from(matches!(found.outcome, Outcome::Miss | Outcome::Bypass));
        Ok(found)
    }

    /// A clip for anybody who may have it, or for nobody yet.
    pub(super) async fn clip_for(
        &self,
        located: &Located,
        clip: &GetClip,
        principal: &Arc<str>,
        payer: impl FnOnce() -> Result<Payer, Error>,
    ) -> Result<Found, Error> {
        let about = self.upstream.describe(located).await?;
        let (kind, range) = (clip.selector.kind, clip.selector.range);
        let key = Key::clip(&about.arn, kind, range.start, range.end.unwrap_or(range.start));
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let (rules, payer) = (self.rules(Some(about.retention_hours)), payer()?);
        let (upstream, located, call) = (self.upstream.clone(), located.clone(), Call::GetClip(clip.clone()));
        let principal = principal.clone();
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

    /// The picture nearest to the end of the asked range, at or before it.
    pub(super) async fn picture(&self, ask: &Ask<'_>, images: &GetImages) -> Result<Found, Error> {
        let located = ask.located()?;
        let about = self.upstream.describe(located).await?;
        let at = images.range.end.unwrap_or(ask.now);
        let key = Key::image(&about.arn, &picture(images, at));
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let rules = self.rules(Some(about.retention_hours));
        let keep = move |found, now| keep(Kind::Image { at, found }, now, &rules);
        let fetch = self.fetch_picture(ask, located, images, at, keep)?;
        Ok(ask.steps.time("cache", self.cache.get_or_fill(key, fetch)).await?)
    }

    /// The newest picture of a camera, asked of KVS no longer ago than `max_age`.
    ///
    /// Time is cut into intervals, and each has one picture, which whoever asks first in it has fetched for all. Who
    /// puts up with the picture of an interval before gets it at once, while that of this one is fetched.
    pub(super) async fn latest_picture(
        &self,
        ask: &Ask<'_>,
        images: &GetImages,
        max_age: Duration,
    ) -> Result<Found, Error> {
        let located = ask.located()?;
        let about = self.upstream.describe(located).await?;
        let interval = max_age.clamp(Duration::from_secs(1), PICTURE_INTERVAL);
        let tick = tick(ask.now, interval);
        let key = |tick| Key::image(&about.arn, &picture(images, tick));
        if let Some(found) = self.cache.get(&key(tick)) {
            return Ok(found);
        }
        let rules = self.rules(Some(about.retention_hours));
        let keep = move |found, now| match keep(Kind::LatestImage { found, interval }, now, &rules) {
            // How stale it may be is looked at here, by its age.
            Keep::Refresh { fresh, stale } => Keep::For(fresh + stale),
            keep => keep,
        };
        let fetch = self.fetch_picture(ask, located, images, tick, keep)?;
        for back in 1..=PICTURES_BACK {
            let found = self.cache.get(&key(tick.minus(interval * back)));
            let Some(mut found) =
                found.filter(|found| found.entry.age(ask.now) <= max_age && found.entry.length() != Some(0))
            else {
                continue;
            };
            let (cache, key) = (self.cache.clone(), key(tick));
            tokio::spawn(async move { drop(cache.warm(key, fetch).await) });
            found.outcome = Outcome::Stale;
            return Ok(found);
        }
        Ok(ask.steps.time("cache", self.cache.get_or_fill(key(tick), fetch)).await?)
    }

    /// How the picture at or before `at` is fetched.
    fn fetch_picture(
        &self,
        ask: &Ask<'_>,
        located: &Located,
        images: &GetImages,
        at: Timestamp,
        keep: impl Fn(bool, Timestamp) -> Keep + Copy + Send + Sync + 'static,
    ) -> Result<
        impl Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>>
        + Send
        + Sync
        + 'static,
        Error,
    > {
        let (upstream, located, images) = (self.upstream.clone(), located.clone(), images.clone());
        let (principal, payer) = (ask.caller().principal(), ask.payer()?);
        Ok(move || {
            let (upstream, located, principal) = (upstream.clone(), located.clone(), principal.clone());
            let (images, payer) = (images.clone(), payer.clone());
            let future: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
                let points = upstream::points(&Call::GetImages(images.clone()));
                let asking = newest_picture(&upstream, &located, &images, &principal);
                let found = payer.ask(points, asking).await?;
                let now = Timestamp::now();
                let keep = keep(found.is_some(), now);
                let (instant, bytes) = found.unwrap_or((at, Bytes::new()));
                let mut head =
                    Head::new(HeaderValue::from_static("image/jpeg"), Some(bytes.len() as u64), now);
                head.note = Some(instant.millis().to_string().into());
                Ok(Fetched { head, keep, body: whole(bytes) })
            });
            future
        })
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

/// One picture as it is asked for.
fn picture(images: &GetImages, at: Timestamp) -> Picture {
    Picture {
        selector: images.selector,
        at,
        format: images.format,
        quality: images.quality,
        width: images.width,
        height: images.height,
    }
}

/// The beginning of the interval that an instant lies in.
fn tick(now: Timestamp, interval: Duration) -> Timestamp {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Timestamp::from_millis(now.millis() / interval * interval)
}

/// What a segment is kept under.
pub(super) fn segment_key(session: &SessionKey, at: &sessions::Located<SessionUrl>) -> Key {
    let stream = match &session.stream {
        StreamRef::Arn(arn) => arn.as_str(),
        StreamRef::Name(name) => name.as_str(),
    };
    Key::resource(stream, &at.opened.id, &at.resource)
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
fn keep(kind: Kind, now: Timestamp, rules: &Rules) -> Keep {
    freshness::keep(kind, StatusCode::OK, now, rules)
}

/// Whether another session may have what this one has not.
fn is_over(error: &upstream::Error) -> bool {
    matches!(error, upstream::Error::SessionExpired | upstream::Error::NoData(_))
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

/// Asks for the pictures of a range and takes the last one that is one.
async fn newest_picture(
    upstream: &Upstream,
    located: &Located,
    images: &GetImages,
    principal: &str,
) -> Result<Option<(Timestamp, Bytes)>, upstream::Error> {
    let answer = upstream.call(located, &Call::GetImages(images.clone()), principal).await?;
    let body = answer
        .bytes(LONGEST_IMAGES)
        .await
        .map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
    let json: Value = serde_json::from_slice(&body)
        .map_err(|_| upstream::Error::BrokenAnswer("GetImages did not answer with JSON".into()))?;
    let rows = json.get("Images").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown = rows.iter().rev().find_map(|row| {
        let content = row.get("ImageContent")?.as_str()?;
        let at = Timestamp::from_seconds(row.get("TimeStamp")?.as_f64()?).ok()?;
        if images.range.end.is_some_and(|end| at > end) {
            return None;
        }
        Some((at, Bytes::from(STANDARD.decode(content).ok()?)))
    });
    Ok(shown)
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
