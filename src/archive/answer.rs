//! JSON answers as KVS gave them: descriptions, pages of fragment lists, pages of pictures.
//!
//! A page about footage that has settled is kept as long as `cache::freshness` says. Everything else is kept
//! for a second, which is what KVS itself takes to show what was just written (docs/KVS.md 4.2): KVS allows
//! five DescribeStream a second and stream, whatever the number of callers. A failure is shared by those who
//! waited for it, and not kept.

use super::object::room;
use super::{Archive, Error, Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::{self, Kind};
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, Reading};
use crate::kvs::{Call, Operation, StreamRef, Timestamp, answer};
use crate::net::body::{Broken, ByteStream, in_pieces, whole};
use crate::upstream::{self, Located, OnBehalfOf};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer is kept that may change.
const BRIEFLY: Duration = Duration::from_secs(1);
/// What the table keeps no longer than this counts as changing.
const CHANGING: Duration = Duration::from_secs(2);
/// The longest page of pictures: 25 of 6 MiB never come near it in practice.
const LONGEST_IMAGES: usize = 160 << 20;
/// The longest page of fragments: 1,000 of some 300 bytes.
const LONGEST_LIST: usize = 4 << 20;
/// The longest of other answers, which describe one stream.
const LONGEST_DESCRIPTION: usize = 1 << 20;
/// Longer answers are parsed off the runtime's threads.
const PARSED_AT_ONCE: usize = 64 << 10;

/// KVS's answer to one call.
#[derive(Clone)]
pub struct JsonAnswer {
    located: Located,
    stream: Option<Stream>,
    call: Call,
}

/// An answer, and how it was come by.
pub struct FoundAnswer {
    /// KVS's JSON, page token included. It counts against the cache's budget until it is dropped.
    pub body: Bytes,
    /// How the look-up went.
    pub outcome: Outcome,
    /// Whether the footage has settled, so that the answer is kept for long.
    pub settled: bool,
}

impl JsonAnswer {
    /// A call about a stream as such: DescribeStream.
    #[must_use]
    pub fn about(located: &Located, call: Call) -> Self {
        Self { located: located.clone(), stream: None, call }
    }

    /// A call about a stream's footage: ListFragments, GetImages.
    #[must_use]
    pub fn page(stream: &Stream, call: Call) -> Self {
        Self { located: stream.located().clone(), stream: Some(stream.clone()), call }
    }

    /// How long its answer may be.
    fn longest(&self) -> usize {
        match &self.call {
            Call::GetImages(_) => LONGEST_IMAGES,
            Call::ListFragments(_) => LONGEST_LIST,
            _ => LONGEST_DESCRIPTION,
        }
    }

    /// Which row of the table of `cache::freshness` the answer belongs to, if any.
    fn kind(&self, complete: bool) -> Option<Kind> {
        match &self.call {
            Call::ListFragments(list) => {
                list.selector.map(|by| Kind::FragmentList { selector: by.kind, range: by.range })
            }
            Call::GetImages(images) => Some(Kind::Images { range: images.range, complete }),
            _ => None,
        }
    }
}

impl Object for JsonAnswer {
    fn located(&self) -> &Located {
        &self.located
    }

    fn retention(&self) -> Option<Duration> {
        self.stream.as_ref().map(Stream::retention)
    }

    fn key(&self) -> Key {
        let named = match &self.stream {
            Some(stream) => &StreamRef::Arn(stream.arn().clone()),
            None => &self.located.stream,
        };
        Key::answer(named, &self.located.entry, self.call.operation(), &self.call.body())
    }

    async fn fetch(self, from: Source) -> Result<Fetched, upstream::Error> {
        let body = from.read(&self.call, self.longest()).await?;
        let body = known(self.call.operation(), body, from.upstream.own_host(&self.located)).await?;
        let now = Timestamp::from(clock::now());
        let read = parse(&body, pictures).await;
        from.upstream.received_images(read.map_or(0, |(pictures, _)| pictures));
        let kind = read.and_then(|(_, complete)| self.kind(complete));
        let keep = match kind.map(|kind| from.keep(kind, now)) {
            None | Some(Keep::No) => Keep::For(BRIEFLY),
            Some(keep) => keep,
        };
        let head = Head::new(HeaderValue::from_static("application/json"), Some(body.len() as u64), now);
        Ok(Fetched { head, keep, body: whole(body) })
    }
}

/// An answer without what no model has, off the runtime's threads if it is long.
async fn known(
    operation: Operation,
    body: Bytes,
    own_host: Option<String>,
) -> Result<Bytes, upstream::Error> {
    let is_long = body.len() > PARSED_AT_ONCE;
    let cut = move || {
        let text = std::str::from_utf8(&body).map_err(|_| "it is not UTF-8".to_owned())?;
        let hosts: Vec<&str> = own_host.as_deref().into_iter().collect();
        answer::known(operation, text, &hosts).map(Bytes::from).map_err(|error| error.to_string())
    };
    let cut = if is_long {
        let cutting = tokio::task::spawn_blocking(cut).await;
        cutting.unwrap_or_else(|_| Err("reading it was interrupted".to_owned()))
    } else {
        cut()
    };
    cut.map_err(upstream::Error::BrokenAnswer)
}

impl Archive {
    /// KVS's answer to a call, from the cache, from the call under way, or by a call made now.
    ///
    /// # Errors
    /// As [`Archive::get`].
    pub async fn answer<E: From<Error>>(
        &self,
        asked: &JsonAnswer,
        now: Timestamp,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Result<FoundAnswer, E> {
        let rules = self.rules(asked.retention());
        let keep = asked.kind(true).map(|kind| freshness::keep(kind, StatusCode::OK, now, &rules));
        let Found { outcome, entry } = self.get(asked, on_behalf_of).await?;
        let body = self.in_one_piece(entry, asked.longest() as u64).await?;
        Ok(FoundAnswer { body, outcome, settled: keep.is_some_and(is_lasting) })
    }

    /// The whole of an answer, counted against the cache's budget. One that has just arrived in one piece is
    /// counted already and is not copied, so that nothing that holds an answer waits for more room.
    async fn in_one_piece(&self, entry: Reading, limit: u64) -> Result<Bytes, Error> {
        let length = entry.length().unwrap_or(0);
        let mut reader = entry.body(None);
        let first = reader.next().await.transpose()?.unwrap_or_default();
        if first.len() as u64 == length {
            return Ok(first);
        }
        let mut share = self.0.cache.share();
        room(&mut share, length.max(first.len() as u64)).await?;
        let mut whole = BytesMut::with_capacity(usize::try_from(length.min(limit)).unwrap_or(0));
        whole.extend_from_slice(&first);
        while let Some(chunk) = reader.next().await {
            let chunk = chunk?;
            let size = (whole.len() + chunk.len()) as u64;
            if size > limit {
                return Err(Broken::Refused(format!("the body is longer than {limit} bytes")).into());
            }
            room(&mut share, size).await?;
            whole.extend_from_slice(&chunk);
        }
        Ok(Arc::new(share).hold(whole.freeze()))
    }
}

fn is_lasting(keep: Keep) -> bool {
    matches!(keep, Keep::For(span) if span > CHANGING)
}

/// The members of a page that matter here; everything else is skipped without being built.
#[derive(Deserialize)]
struct AnswerPage<'a> {
    #[serde(borrow, rename = "NextToken", default)]
    next_token: Option<&'a RawValue>,
    #[serde(rename = "Images", default)]
    images: Option<Vec<ImageRow>>,
}

#[derive(Deserialize)]
struct ImageRow {
    #[serde(rename = "ImageContent", default)]
    content: Option<IgnoredAny>,
    #[serde(rename = "Error", default)]
    error: Option<IgnoredAny>,
}

/// How many pictures a page has, and whether every row that should be a picture is one.
fn pictures(page: &AnswerPage<'_>, _: &str) -> (usize, bool) {
    let Some(rows) = &page.images else { return (0, true) };
    let pictures = rows.iter().filter(|row| row.content.is_some() && row.error.is_none()).count();
    (pictures, !rows.is_empty() && pictures == rows.len())
}

/// KVS's token of the next page, and where it stands in the answer.
pub struct NextToken {
    /// The token.
    pub text: String,
    /// The bytes of the JSON string, quotation marks included.
    place: Range<usize>,
}

fn next_token(page: &AnswerPage<'_>, whole: &str) -> Option<NextToken> {
    let raw = page.next_token?.get();
    let text = serde_json::from_str::<Option<String>>(raw).ok().flatten()?;
    // `raw` is a part of `whole`: serde_json borrows it.
    let start = raw.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    Some(NextToken { text, place: start..start + raw.len() })
}

impl FoundAnswer {
    /// The token of the next page, if there is one.
    ///
    /// # Errors
    /// [`upstream::Error::BrokenAnswer`] if the answer is not JSON.
    pub async fn next_token(&self) -> Result<Option<NextToken>, Error> {
        let not_json = || upstream::Error::BrokenAnswer("a page of KVS is not JSON".to_owned()).into();
        parse(&self.body, next_token).await.ok_or_else(not_json)
    }

    /// The same answer with another token in the place of KVS's. `token` is written as it is: base64 needs no
    /// escapes.
    pub fn with_token(&self, replaced: &NextToken, token: &str) -> ByteStream {
        let (before, after) =
            (self.body.slice(..replaced.place.start), self.body.slice(replaced.place.end..));
        let token = Bytes::from(format!("\"{token}\""));
        let length = before.len() + token.len() + after.len();
        in_pieces([before, token, after].into_iter(), length as u64)
    }
}

/// Reads a page, off the runtime's threads if it is long; `None` if it is not JSON.
async fn parse<T: Send + 'static>(
    body: &Bytes,
    read: impl FnOnce(&AnswerPage<'_>, &str) -> T + Send + 'static,
) -> Option<T> {
    let is_long = body.len() > PARSED_AT_ONCE;
    let body = body.clone();
    let parse = move || {
        let text = std::str::from_utf8(&body).ok()?;
        let page: AnswerPage<'_> = serde_json::from_str(text).ok()?;
        Some(read(&page, text))
    };
    if is_long { tokio::task::spawn_blocking(parse).await.ok().flatten() } else { parse() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    fn answer(body: &str) -> FoundAnswer {
        FoundAnswer { body: body.to_owned().into(), outcome: Outcome::Miss, settled: true }
    }

    #[tokio::test]
    async fn the_token_is_replaced_and_nothing_else() {
        let page = answer(r#"{"Fragments":[{"NextToken":"inner"}],"NextToken": "a\/b" ,"x":1}"#);
        let token = page.next_token().await.unwrap().unwrap();
        assert_eq!(token.text, "a/b");
        let expected = r#"{"Fragments":[{"NextToken":"inner"}],"NextToken": "new" ,"x":1}"#;
        let written = page.with_token(&token, "new").collect().await.unwrap().to_bytes();
        assert_eq!(written, expected.as_bytes());
        for none in [r#"{"NextToken":null}"#, r#"{"NextToken":7}"#, "{}"] {
            assert!(answer(none).next_token().await.unwrap().is_none(), "{none}");
        }
        assert!(answer("no").next_token().await.is_err());
    }

    #[tokio::test]
    async fn a_page_of_pictures_is_complete_if_every_row_is_a_picture() {
        for (page, complete) in [
            (r#"{"Images":[{"ImageContent":"x"}]}"#, true),
            (r#"{"Images":[{"ImageContent":"x"},{"Error":"NO_MEDIA"}]}"#, false),
            (r#"{"Images":[{"ImageContent":"x","Error":null}]}"#, true),
            (r#"{"Images":[]}"#, false),
            (r#"{"Fragments":[]}"#, true),
        ] {
            let body = Bytes::from_static(page.as_bytes());
            assert_eq!(parse(&body, pictures).await.map(|read| read.1), Some(complete), "{page}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_token_it_reads_as_the_new_one_afterwards(old in "\\PC{0,12}", rest in "\\PC{0,12}") {
            let body = serde_json::json!({"A": rest, "NextToken": old, "Z": rest}).to_string();
            let text = body.clone();
            let page: AnswerPage<'_> = serde_json::from_str(&text).unwrap();
            let token = next_token(&page, &text).unwrap();
            prop_assert_eq!(&token.text, &old);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let writing = answer(&body).with_token(&token, "bmV3").collect();
            let written = runtime.block_on(writing).unwrap().to_bytes();
            let new: serde_json::Value = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(new, serde_json::json!({"A": rest, "NextToken": "bmV3", "Z": rest}));
        }
    }
}
