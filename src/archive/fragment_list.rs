//! All fragments of a range: drained, sorted, without duplicates (`listing`), as our own JSON.

use super::listing::drain;
use super::{Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Head, Key};
use crate::kvs::bounds::FRAGMENTS_PAGE;
use crate::kvs::operations::FragmentSelector;
use crate::kvs::{ListedFragment, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Located};
use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The list of a range.
#[derive(Clone)]
pub struct FragmentList {
    /// Of which stream.
    pub stream: Stream,
    /// Which footage, on which clock.
    pub selector: FragmentSelector,
    /// The end of the range, if the selector has none.
    pub end: Timestamp,
}

/// The document. Members stand in the order of their names.
#[derive(Serialize, Deserialize)]
struct Document {
    end: String,
    fragments: Vec<Row>,
    start: String,
    stream: String,
}

/// One fragment of the document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// `FragmentSizeInBytes`.
    pub(super) bytes: u64,
    length_ms: u64,
    number: String,
    producer_start: String,
    /// RFC 3339.
    pub(super) server_start: String,
}

impl Object for FragmentList {
    fn located(&self) -> &Located {
        self.stream.located()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.stream.retention())
    }

    fn key(&self) -> Key {
        Key::fragment_list(self.stream.arn(), self.selector.kind, self.selector.range.start, self.end)
    }

    async fn fetch(self, from: Source) -> Result<Fetched, upstream::Error> {
        let FragmentSelector { kind, range } = self.selector;
        let rows = drain(&from, self.selector, FRAGMENTS_PAGE).await?;
        let document = Document {
            end: self.end.to_string(),
            fragments: rows.iter().map(row).collect(),
            start: range.start.to_string(),
            stream: from.located.stream.name().to_string(),
        };
        let body: Bytes = serde_json::to_vec(&document).unwrap_or_default().into();
        let now = Timestamp::from(clock::now());
        let head = Head::new(HeaderValue::from_static("application/json"), Some(body.len() as u64), now);
        let keep = from.keep(Kind::FragmentList { selector: kind, range }, now);
        Ok(Fetched { head, keep, body: whole(body) })
    }
}

/// The rows of a document; none if it is not one of ours.
pub(super) fn rows(document: &[u8]) -> Option<Vec<Row>> {
    serde_json::from_slice::<Document>(document).ok().map(|document| document.fragments)
}

fn row(listed: &ListedFragment) -> Row {
    Row {
        bytes: listed.size,
        length_ms: u64::try_from(listed.length.as_millis()).unwrap_or(u64::MAX),
        number: listed.number.as_str().to_owned(),
        producer_start: listed.producer.to_string(),
        server_start: listed.server.to_string(),
    }
}
