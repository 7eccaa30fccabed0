//! Answers the plain GETs under `/streams`, and what the console asks about itself.

use super::error::Error;
use super::record::Record;
use super::reply::{self, Private, Reply};
use super::route::Page;
use super::truncation::told_cut;
use super::{Ask, Gateway};
use crate::kvs::{Call, Operation, PlaybackMode, Request, StreamName, TimeRange, Timestamp};
use crate::policy::{Footage, Question, Scene, StreamFacts};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use serde_json::{Value, json};
use std::time::Duration;

/// The instant that a picture shows, in RFC 3339: rarely exactly the one that was asked for.
const PICTURE_TIME: HeaderName = HeaderName::from_static("kvs-edge-image-time");

impl Gateway {
    pub(super) async fn page(&self, page: Page, ask: Ask<'_>, record: &mut Record) -> Result<Reply, Error> {
        let Request::Call(call) = ask.request() else { return Err(super::route::Lost::Unknown.into()) };
        match (page, call) {
            (Page::Streams, _) => Box::pin(self.streams_page(&ask)).await,
            (Page::Stream(name), _) => Box::pin(self.stream_page(&ask, &name)).await,
            (Page::Fragments(_), Call::ListFragments(list)) => {
                let found = Box::pin(self.fragment_list(&ask, list)).await?;
                record.cache = found.outcome.as_str();
                Ok(reply::media(found, &ask.parts.method, &ask.parts.headers, Private::AsKept(2), ask.now)
                    .await?)
            }
            (Page::Clip(name), Call::GetClip(clip)) => {
                let found = self.clip(&ask, clip, record).await?;
                record.cache = found.outcome.as_str();
                let keep = Private::Immutable;
                let cut = Box::pin(self.cut_short(&ask, clip, record)).await;
                let reply = reply::media(found, &ask.parts.method, &ask.parts.headers, keep, ask.now).await?;
                Ok(told_cut(
                    reply.with(header::CONTENT_DISPOSITION, file_name(&name, clip.selector.range)),
                    cut,
                ))
            }
            (Page::Snapshot(name), Call::GetImages(images)) => {
                let query = super::read::Query::of(ask.parts);
                let latest = query.text("at")?.is_none();
                let max_age = query.max_age()?;
                let found = if latest {
                    Box::pin(self.latest_picture(&ask, images, max_age)).await?
                } else {
                    Box::pin(self.picture(&ask, images)).await?
                };
                record.cache = found.outcome.as_str();
                if found.entry.length() == Some(0) {
                    let at = images.range.end.unwrap_or(ask.now);
                    return Err(Error::NoPicture(format!(
                        "{name} in the {} s up to {at}; /streams/{name}/fragments lists what there is",
                        super::read::PICTURE_SPAN.as_secs()
                    )));
                }
                let instant = super::pictures::instant(&found);
                let keep = if latest { Private::For(1) } else { Private::Immutable };
                let mut reply =
                    reply::media(found, &ask.parts.method, &ask.parts.headers, keep, ask.now).await?;
                if let Some(instant) = instant
                    && let Ok(value) = HeaderValue::from_str(&instant.to_string())
                {
                    reply.headers.insert(PICTURE_TIME, value);
                }
                Ok(reply)
            }
            (Page::Play { .. }, call) => {
                let Some(session) = call.session() else { return Err(super::route::Lost::Unknown.into()) };
                let expires = 43_200;
                let (path, cookie) = self.session_url(&ask, session, expires, record).await?;
                let location = format!("{}{path}", base_path(&self.public_url));
                let mut reply = Reply::empty(StatusCode::FOUND);
                reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                if let Ok(location) = HeaderValue::from_str(&location) {
                    reply.headers.insert(header::LOCATION, location);
                }
                Ok(self.with_cookie(reply, cookie))
            }
            _ => Err(super::route::Lost::Unknown.into()),
        }
    }

    async fn streams_page(&self, ask: &Ask<'_>) -> Result<Reply, Error> {
        let mut shown = Vec::new();
        for stream in self.visible(ask.caller(), ask.scene).await? {
            let facts = self.facts(&stream).await;
            shown.push(self.describe(ask, facts, &stream.members));
        }
        Ok(Reply::json(&json!({ "streams": shown })))
    }

    async fn stream_page(&self, ask: &Ask<'_>, name: &StreamName) -> Result<Reply, Error> {
        let description = self.upstream.describe(ask.located()?).await?;
        let members = json!({
            "Status": description.status,
            "DataRetentionInHours": description.retention_hours,
            "MediaType": description.media_type,
            "CreationTime": description.created.map(crate::kvs::Timestamp::to_json),
        });
        let mut facts = ask.scene.stream.clone().unwrap_or_else(|| StreamFacts {
            name: name.clone(),
            region: description.arn.region().into(),
            account: None,
            arn: None,
            tags: None,
        });
        facts.arn = Some(description.arn.clone());
        let scene = Scene { stream: Some(facts.clone()), ..ask.scene.clone() };
        let watch = Question::about(Operation::GetHlsStreamingSessionUrl);
        let ends = self.policy.ends(ask.caller(), &watch, &scene);
        let mut shown = self.describe(ask, facts, &members);
        shown["ends"] = json!(ends.map(|time| time.to_string()));
        Ok(Reply::json(&shown))
    }

    /// A stream as pages see it: KVS's description in plain words, and what the caller may do with it now.
    fn describe(&self, ask: &Ask<'_>, facts: StreamFacts, members: &Value) -> Value {
        let created = members.get("CreationTime").and_then(Value::as_f64);
        let created = created.and_then(|seconds| crate::kvs::Timestamp::from_seconds(seconds).ok());
        let arn = facts.arn.as_ref().map(ToString::to_string);
        let name = facts.name.to_string();
        let scene = Scene { stream: Some(facts), ..ask.scene.clone() };
        let may = |operation: &Operation| {
            let questions = possible(*operation, ask.now);
            questions.iter().any(|question| self.policy.allows(ask.caller(), question, &scene))
        };
        let actions: Vec<&str> = Operation::ALL
            .iter()
            .filter(|operation| !matches!(operation, Operation::ListStreams | Operation::GetDataEndpoint))
            .filter(|operation| may(operation))
            .map(|operation| operation.name())
            .collect();
        json!({
            "name": name,
            "arn": arn,
            "status": members.get("Status"),
            "created": created.map(|time| time.to_string()),
            "retention_hours": members.get("DataRetentionInHours"),
            "media_type": members.get("MediaType"),
            "actions": actions,
        })
    }

    /// The console's files, which belong to nobody, and what it must know about itself and its user.
    pub(super) async fn console(
        &self,
        path: &str,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        record.api = super::metrics::CONSOLE;
        match path {
            "/console/config.json" => return Ok(Reply::json(&self.console.settings)),
            "/console/me" => {
                let who = self.recognize(parts, record.at).await?;
                let caller = who.caller();
                return Ok(Reply::json(&json!({
                    "subject": &*caller.subject,
                    "issuer": &*caller.issuer,
                    "groups": &caller.groups,
                    "expires": caller.expires.to_string(),
                })));
            }
            _ => {}
        }
        let asset = (self.console.file)(path).ok_or(super::route::Lost::Unknown)?;
        let mut reply = reply::text(bytes::Bytes::from_static(asset.bytes), asset.content_type);
        let keep = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        for (name, value) in &self.console.headers {
            reply.headers.insert(name.clone(), value.clone());
        }
        if let Ok(etag) = HeaderValue::from_str(asset.etag) {
            if parts.headers.get(header::IF_NONE_MATCH) == Some(&etag) {
                reply.status = StatusCode::NOT_MODIFIED;
                reply.source = super::body::Source::Empty;
            }
            reply.headers.insert(header::ETAG, etag);
        }
        Ok(reply)
    }
}

/// What stands for all that an operation may be asked: the present, and a second of the archive, of now, of some hours ago and of
/// some days ago. Who may do something with any of these should be offered it.
fn possible(operation: Operation, now: Timestamp) -> Vec<Question> {
    const HOUR: u64 = 3600;
    let session =
        matches!(operation, Operation::GetHlsStreamingSessionUrl | Operation::GetDashStreamingSessionUrl);
    let mut questions = Vec::new();
    if session || operation == Operation::DescribeStream {
        let mode = session.then_some(PlaybackMode::Live);
        questions.push(Question { mode, ..Question::about(operation) });
    }
    if operation != Operation::DescribeStream {
        let mode = session.then_some(PlaybackMode::OnDemand);
        questions.extend([1, 2 * HOUR, 49 * HOUR].map(|ago| {
            let start = now.minus(Duration::from_secs(ago));
            let range = TimeRange { start, end: Some(start.plus(Duration::from_secs(1))) };
            Question { mode, footage: Footage::Range(range), ..Question::about(operation) }
        }));
    }
    questions
}

/// `attachment; filename="cam-1_2026-01-01T00-00-00Z.mp4"`: a name's characters need no quoting.
fn file_name(stream: &StreamName, range: TimeRange) -> HeaderValue {
    let mut text = format!("attachment; filename=\"{stream}_{}.mp4\"", range.start).into_bytes();
    // A stream's name has no colon, so only the time's are replaced: some file systems take none.
    text.iter_mut().filter(|byte| **byte == b':').for_each(|byte| *byte = b'-');
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or(HeaderValue::from_static("attachment"))
}

/// What stands between host and our own paths, if kvs-edge is published under a folder.
pub(super) fn base_path(public_url: &str) -> &str {
    let after_scheme = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_public_url_is_kept() {
        assert_eq!(base_path("http://127.0.0.1:8080"), "");
        assert_eq!(base_path("https://video.example.com/kvs"), "/kvs");
    }
}
