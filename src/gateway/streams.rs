//! What of all streams a caller may see, page by page.
//!
//! Pages are cut after the caller's view has been filtered, so that they are full, and a token says nothing
//! but the last name shown. Deciding yields to other requests now and then, so that 10,000 streams hold up no
//! worker.

use super::error::Error;
use super::permitted::Permitted;
use super::reply::Reply;
use crate::accounting::BodySource;
use crate::archive::page_token::ForeignPageToken;
use crate::archive::{Archive, ListedStream, StreamList};
use crate::base::similar::nearest;
use crate::caller::Caller;
use crate::kvs::operations::ListStreams;
use crate::kvs::{Operation, PlaybackMode, StreamArn, StreamName, StreamRef, TimeRange, Timestamp};
use crate::policy::{Footage, Policy, Question, RequestContext, StreamFacts};
use crate::sessions::LiveWindow;
use crate::upstream::{OnBehalfOf, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A page of ListStreams if the request does not say.
pub(super) const API_PAGE: usize = 10_000;
/// A page of `/streams` if the request does not say.
pub(super) const PAGE: usize = super::read::MOST_STREAMS as usize;
/// So many streams are decided on before other requests get a turn.
const YIELD_EVERY: usize = 32;

/// So many names are compared before other requests get a turn.
const COMPARED_AT_ONCE: usize = 512;

/// The lists of streams, as callers see them.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) archive: Archive,
    pub(super) policy: Arc<Policy>,
    pub(super) upstream: Upstream,
}

/// One page of what a caller may see.
pub(super) struct VisiblePage {
    pub(super) streams: Vec<(Arc<ListedStream>, StreamFacts)>,
    /// The token of the next page, if there is one.
    pub(super) next: Option<String>,
    /// What is wrong with the list, one sentence for each `[[aws]]` entry that could not be listed.
    pub(super) notes: Vec<String>,
}

impl Streams {
    /// The next `size` streams, in the order of their names, that the caller may describe and whose names
    /// begin with the prefix of `list`.
    pub(super) async fn page(
        &self,
        permitted: &Permitted,
        list: &ListStreams,
        size: usize,
    ) -> Result<VisiblePage, Error> {
        let StreamList { streams, notes } = self.archive.streams(self.policy.reads().tags).await?;
        let mut page = VisiblePage { streams: Vec::new(), next: None, notes };
        for (decided, stream) in after(&streams, list)?.iter().enumerate() {
            if decided % YIELD_EVERY == YIELD_EVERY - 1 {
                tokio::task::yield_now().await;
            }
            let is_wanted = |prefix: &String| stream.name.as_str().starts_with(prefix);
            if !list.prefix.as_ref().is_none_or(is_wanted) {
                continue;
            }
            let Some(facts) = self.visible(stream, permitted.caller(), &permitted.context).await else {
                continue;
            };
            if page.streams.len() == size {
                page.next = page.streams.last().map(|(last, _)| STANDARD.encode(position(last)));
                break;
            }
            page.streams.push((Arc::clone(stream), facts));
        }
        Ok(page)
    }

    /// What is known of a listed stream, if the caller may see it in lists.
    async fn visible(
        &self,
        stream: &ListedStream,
        caller: &Arc<Caller>,
        context: &RequestContext,
    ) -> Option<StreamFacts> {
        let facts = self.facts(stream).await;
        let context = RequestContext { stream: Some(facts.clone()), ..context.clone() };
        let question = Question::about(Operation::ListStreams);
        self.policy.allows(caller, &question, &context).then_some(facts)
    }

    /// A 404 of KVS with the stream that was probably meant, if the caller may see that one in lists.
    pub(super) async fn with_similar(
        &self,
        error: Error,
        wrong: &StreamName,
        caller: &Arc<Caller>,
        context: &RequestContext,
    ) -> Error {
        match self.similar(wrong, caller, context).await {
            Some(near) => Error::NoStream(format!("{wrong}; did you mean {near}?")),
            None => error,
        }
    }

    /// The stream whose name is nearest to one that no stream has.
    async fn similar(
        &self,
        wrong: &StreamName,
        caller: &Arc<Caller>,
        context: &RequestContext,
    ) -> Option<StreamName> {
        // Names alone: tags are learnt of the few that are near.
        let StreamList { streams, .. } = self.archive.streams(false).await.ok()?;
        let mut near = Vec::new();
        for some in streams.chunks(COMPARED_AT_ONCE) {
            if some.iter().any(|stream| stream.name == *wrong) {
                return None; // It exists; something else of it was not found.
            }
            let best = nearest(wrong.as_str(), some.iter().map(|stream| stream.name.as_str()));
            near.extend(some.iter().find(|stream| Some(stream.name.as_str()) == best));
            tokio::task::yield_now().await;
        }
        let mut visible = Vec::new();
        for stream in near {
            if self.visible(stream, caller, context).await.is_some() {
                visible.push(&stream.name);
            }
        }
        let best = nearest(wrong.as_str(), visible.iter().map(|name| name.as_str()))?;
        visible.iter().find(|name| name.as_str() == best).map(|name| (*name).clone())
    }

    /// One stream: its description, what the caller may do with it now, when that ends, and what `live`
    /// lists, if the caller may watch that.
    ///
    /// # Errors
    /// KVS's.
    pub(super) async fn describe_one(
        &self,
        permitted: &Permitted,
        name: &StreamName,
        live: Option<LiveWindow>,
    ) -> Result<Value, Error> {
        let description =
            self.upstream.describe(permitted.located()?, || permitted.caller().principal()).await?;
        let members = json!({
            "Status": description.status,
            "DataRetentionInHours": description.retention_hours,
            "MediaType": description.media_type,
            "CreationTime": description.created.map(Timestamp::to_json),
        });
        let mut facts = permitted.context.stream.clone().unwrap_or_else(|| StreamFacts {
            name: name.clone(),
            region: description.arn.region().into(),
            account: None,
            arn: None,
            tags: None,
        });
        facts.arn = Some(description.arn.clone());
        let context = RequestContext { stream: Some(facts.clone()), ..permitted.context.clone() };
        let watch = Question::about(Operation::GetHlsStreamingSessionUrl);
        let ends = self.policy.ends(permitted.caller(), &watch, &context);
        let watch_live = Question { mode: Some(PlaybackMode::Live), ..watch };
        let live = live.filter(|_| self.policy.allows(permitted.caller(), &watch_live, &context));
        let mut shown = self.describe(permitted, facts, &members);
        shown["live"] = live.map_or(Value::Null, shown_window);
        shown["ends"] = json!(ends.map(|time| time.to_string()));
        Ok(shown)
    }

    /// A stream as pages see it: KVS's description in plain words, and what the caller may do with it now.
    pub(super) fn describe(&self, permitted: &Permitted, facts: StreamFacts, members: &Value) -> Value {
        let created = members.get("CreationTime").and_then(Value::as_f64);
        let created = created.and_then(|seconds| Timestamp::from_seconds(seconds).ok());
        let arn = facts.arn.as_ref().map(ToString::to_string);
        let name = facts.name.to_string();
        let context = RequestContext { stream: Some(facts), ..permitted.context.clone() };
        let may = |operation: &Operation| {
            let questions = possible(*operation, permitted.now);
            questions.iter().any(|question| self.policy.allows(permitted.caller(), question, &context))
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

    /// What policy may read of a listed stream.
    async fn facts(&self, stream: &ListedStream) -> StreamFacts {
        let tags = if self.policy.reads().tags {
            // A stream that has gone meanwhile, or whose tags cannot be read, is not seen; the others are.
            match self.upstream.locate(&StreamRef::Arn(stream.arn.clone())) {
                Ok(located) => {
                    let all_callers = || Some(OnBehalfOf::all_callers("stream lists"));
                    self.upstream.tags(&located, all_callers).await.ok().map(|tags| tags.as_ref().clone())
                }
                Err(_) => None,
            }
        } else {
            None
        };
        StreamFacts {
            name: stream.name.clone(),
            region: stream.arn.region().into(),
            account: Some(stream.arn.account().into()),
            arn: Some(stream.arn.clone()),
            tags,
        }
    }
}

/// An object with these streams as the member `name`, and other members after it. The text of a long list is
/// written with turns for other requests in between.
pub(super) async fn page_of<'a, T: Serialize + ?Sized + 'a>(
    name: &str,
    streams: impl Iterator<Item = &'a T>,
    others: &Value,
) -> Result<Reply, Error> {
    let mut text = format!("{{\"{name}\":[").into_bytes();
    for (written, stream) in streams.enumerate() {
        if written > 0 {
            text.push(b',');
        }
        if written % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        serde_json::to_writer(&mut text, stream).map_err(|_| Error::Bug("a value is not written as JSON"))?;
    }
    text.push(b']');
    for (name, value) in others.as_object().into_iter().flatten() {
        text.extend_from_slice(format!(",{}:{value}", Value::from(name.as_str())).as_bytes());
    }
    text.push(b'}');
    Ok(Reply::api(HeaderValue::from_static("application/json"), BodySource::Whole(text.into())))
}

/// What the live list shows, as pages see it.
fn shown_window(window: LiveWindow) -> Value {
    let gap = window.gap.map(|(from, to)| json!({ "from": from.to_string(), "to": to.to_string() }));
    json!({
        "from": window.from.to_string(),
        "to": window.to.to_string(),
        "gap": gap,
        "silent": window.silent,
    })
}

/// What stands for all that an operation may be asked: the present, and a second of the archive, of now, of
/// some hours ago and of some days ago. Who may do something with any of these should be offered it.
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

/// The streams behind the page that a token ended.
///
/// # Errors
/// The token is not one of ours.
fn after<'a>(streams: &'a [Arc<ListedStream>], list: &ListStreams) -> Result<&'a [Arc<ListedStream>], Error> {
    let Some(token) = &list.next_token else { return Ok(streams) };
    let (name, arn) = last_shown(token).ok_or(ForeignPageToken)?;
    let begin = streams.partition_point(|stream| (&stream.name, &stream.arn) <= (&name, &arn));
    Ok(&streams[begin..])
}

/// Where a stream stands in the order of all; NUL cannot be in a name.
fn position(stream: &ListedStream) -> String {
    format!("{}\0{}", stream.name, stream.arn)
}

fn last_shown(token: &str) -> Option<(StreamName, StreamArn)> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (name, arn) = text.split_once('\0')?;
    Some((StreamName::parse(name).ok()?, StreamArn::parse(arn).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn listed(name: &str) -> Arc<ListedStream> {
        let arn = format!("arn:aws:kinesisvideo:eu-west-1:1:stream/{name}/1");
        Arc::new(ListedStream {
            name: StreamName::parse(name).unwrap(),
            arn: StreamArn::parse(&arn).unwrap(),
            members: RawValue::NULL.to_owned(),
        })
    }

    proptest! {
        #[test]
        fn pages_hold_everything_once_and_in_order(
            names in proptest::collection::btree_set("[a-c]{1,4}", 0..20), size in 1..7_usize
        ) {
            let all: Vec<_> = names.iter().map(|name| listed(name)).collect();
            let (mut shown, mut list) = (Vec::new(), ListStreams::default());
            loop {
                let page: Vec<_> = after(&all, &list).unwrap().iter().take(size).collect();
                shown.extend(page.iter().map(|stream| stream.name.to_string()));
                let Some(last) = page.last() else { break };
                list.next_token = Some(STANDARD.encode(position(last)));
            }
            prop_assert_eq!(shown, names.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_token_is_read_or_refused_without_panic(token in "[a-zA-Z0-9+/=]{0,40}") {
            let list = ListStreams { next_token: Some(token), ..Default::default() };
            let _ = after(&[listed("a")], &list);
        }
    }
}
