//! All streams of all accounts, asked for once for everybody, and what of them a caller may see.
//!
//! KVS allows 50 ListStreams calls a second per account and gives as few as ten streams per page, so every caller's
//! list is cut from one list that is at most a few seconds old. Pages are cut here too: after the caller's view has
//! been filtered, so that they are full, and tokens say nothing but the last name shown.

use super::Gateway;
use super::error::Error;
use crate::caller::Caller;
use crate::kvs::operations::ListStreams;
use crate::kvs::{Call, Operation, StreamArn, StreamName, StreamRef};
use crate::policy::{Question, Scene, StreamFacts};
use crate::upstream::{self, Asker};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moka::future::Cache;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How old the list may be.
const FRESH: Duration = Duration::from_secs(10);
/// Of how many streams the tags are asked for at a time, if policies read them.
const AT_ONCE: usize = 16;
/// A page of ListStreams if the request does not say.
const PAGE: usize = crate::kvs::bounds::STREAMS_PAGE as usize;
/// The longest page of KVS: 10,000 streams of some 600 bytes.
const LONGEST_PAGE: usize = 16 << 20;

/// One stream as KVS describes it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Its ARN.
    pub arn: StreamArn,
    /// KVS's own members, as they came.
    pub members: Value,
}

impl Listed {
    fn read(members: &Value) -> Option<Self> {
        let text = |name: &str| members.get(name)?.as_str();
        let name = StreamName::parse(text("StreamName")?).ok()?;
        let arn = StreamArn::parse(text("StreamARN")?).ok()?;
        Some(Self { name, arn, members: members.clone() })
    }
}

/// The list, kept for a moment.
#[derive(Clone)]
pub struct Listing {
    all: Cache<(), Arc<Vec<Listed>>>,
}

impl Default for Listing {
    fn default() -> Self {
        Self { all: Cache::builder().max_capacity(1).time_to_live(FRESH).build() }
    }
}

impl Gateway {
    /// The streams that a caller may describe, in order of their names.
    pub(super) async fn visible(&self, caller: &Arc<Caller>, scene: &Scene) -> Result<Vec<Listed>, Error> {
        let (upstream, tags) = (self.upstream.clone(), self.policy.reads().tags);
        let fetch = async move {
            let all = fetch(&upstream).await?;
            if tags {
                fetch_tags(&upstream, &all).await;
            }
            Ok(all)
        };
        let all = self.listing.all.try_get_with((), fetch).await;
        let all = all.map_err(Error::Upstream)?;
        let question = Question::about(Operation::ListStreams);
        let mut seen = Vec::new();
        for stream in all.iter() {
            let scene = Scene { stream: Some(self.facts(stream).await), ..scene.clone() };
            if self.policy.allows(caller, &question, &scene) {
                seen.push(stream.clone());
            }
        }
        Ok(seen)
    }

    /// Asks every `[[aws]]` entry for its streams; how many there are.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn listed(&self) -> Result<usize, Arc<upstream::Error>> {
        fetch(&self.upstream).await.map(|all| all.len()).map_err(Arc::new)
    }

    /// What policy may read of a listed stream.
    pub(super) async fn facts(&self, stream: &Listed) -> StreamFacts {
        let tags = if self.policy.reads().tags {
            // One that has gone meanwhile, or whose tags cannot be read, is not seen; it must not hide the others.
            let located = self.upstream.locate(&StreamRef::Arn(stream.arn.clone()));
            match located {
                Ok(located) => self.upstream.tags(&located, Asker::everybody()).await.ok(),
                Err(_) => None,
            }
            .map(|tags| tags.as_ref().clone())
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

/// Has the tags of all streams asked for that are not known, some at a time, so that nobody waits for one after the other.
async fn fetch_tags(upstream: &upstream::Upstream, all: &[Listed]) {
    let mut under_way = JoinSet::new();
    for stream in all {
        let Ok(located) = upstream.locate(&StreamRef::Arn(stream.arn.clone())) else { continue };
        if under_way.len() == AT_ONCE {
            under_way.join_next().await;
        }
        let upstream = upstream.clone();
        // What fails here is tried again when it is looked at, and is unknown if it fails then.
        under_way.spawn(async move { drop(upstream.tags(&located, Asker::everybody()).await) });
    }
    while under_way.join_next().await.is_some() {}
}

/// Drains the list of every `[[aws]]` entry; what an entry does not serve is left out.
async fn fetch(upstream: &upstream::Upstream) -> Result<Arc<Vec<Listed>>, upstream::Error> {
    let mut all: Vec<Listed> = Vec::new();
    for entry in upstream.entries() {
        let mut call =
            ListStreams { max_results: Some(crate::kvs::bounds::STREAMS_PAGE), ..ListStreams::default() };
        loop {
            let answer = upstream.call_entry(entry, &Call::ListStreams(call.clone()), "").await?;
            let body = answer.bytes(LONGEST_PAGE).await;
            let body = body.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
            let json: Value = serde_json::from_slice(&body)
                .map_err(|_| upstream::Error::BrokenAnswer("ListStreams did not answer with JSON".into()))?;
            let page =
                json.get("StreamInfoList").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            all.extend(page.iter().filter_map(Listed::read).filter(|stream| {
                let located = upstream.locate(&StreamRef::Name(stream.name.clone()));
                located.is_ok_and(|located| located.entry == *entry)
            }));
            match json.get("NextToken").and_then(Value::as_str) {
                Some(token) if call.next_token.as_deref() != Some(token) => {
                    call.next_token = Some(token.to_owned())
                }
                _ => break,
            }
        }
    }
    all.sort_by(|a, b| (&a.name, &a.arn).cmp(&(&b.name, &b.arn)));
    all.dedup_by(|a, b| a.arn == b.arn);
    Ok(Arc::new(all))
}

/// One page of what a caller sees, and the token of the next.
///
/// # Errors
/// The token is not one of ours.
pub fn page(seen: Vec<Listed>, call: &ListStreams) -> Result<(Vec<Listed>, Option<String>), Error> {
    let after = match &call.next_token {
        None => None,
        Some(token) => Some(last_shown(token).ok_or(Error::PageToken)?),
    };
    let matches = |stream: &Listed| {
        let key = position(stream);
        after.as_ref().is_none_or(|after| key > *after)
            && call.prefix.as_ref().is_none_or(|prefix| stream.name.as_str().starts_with(prefix))
    };
    let mut rest: Vec<Listed> = seen.into_iter().filter(matches).collect();
    let size = call.max_results.map_or(PAGE, usize::from);
    let more = rest.len() > size;
    rest.truncate(size);
    let token = rest.last().filter(|_| more).map(|last| STANDARD.encode(position(last)));
    Ok((rest, token))
}

/// Where a stream stands in the order of all; NUL cannot be in a name.
fn position(stream: &Listed) -> String {
    format!("{}\0{}", stream.name, stream.arn)
}

fn last_shown(token: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (name, arn) = text.split_once('\0')?;
    (StreamName::parse(name).is_ok() && StreamArn::parse(arn).is_ok()).then_some(text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(name: &str) -> Listed {
        let arn = format!("arn:aws:kinesisvideo:eu-west-1:1:stream/{name}/1");
        Listed {
            name: StreamName::parse(name).unwrap(),
            arn: StreamArn::parse(&arn).unwrap(),
            members: Value::Null,
        }
    }

    proptest! {
        #[test]
        fn pages_hold_everything_once_and_in_order(
            names in proptest::collection::btree_set("[a-c]{1,4}", 0..20), size in 1..7_u16
        ) {
            let seen: Vec<_> = names.iter().map(|name| listed(name)).collect();
            let (mut shown, mut call) = (Vec::new(), ListStreams { max_results: Some(size), ..Default::default() });
            loop {
                let (streams, token) = page(seen.clone(), &call).unwrap();
                prop_assert!(streams.len() <= usize::from(size));
                shown.extend(streams.into_iter().map(|stream| stream.name.to_string()));
                if token.is_none() { break }
                call.next_token = token;
            }
            prop_assert_eq!(shown, names.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_token_is_read_or_refused_without_panic(token in "[a-zA-Z0-9+/=]{0,40}") {
            let call = ListStreams { next_token: Some(token), ..Default::default() };
            let _ = page(vec![listed("a")], &call);
        }
    }
}
