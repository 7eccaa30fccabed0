//! All fragments of a range: drained, sorted, without duplicates, as our own JSON.
//!
//! KVS gives no order (docs/KVS.md 4.2), so rows are sorted by their start on the clock of the selector, then
//! by number.

use super::{Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Head, Key};
use crate::kvs::bounds::FRAGMENTS_PAGE;
use crate::kvs::operations::{FragmentSelector, ListFragments};
use crate::kvs::{Call, FragmentNumber, SelectorType, Timestamp};
use crate::net::body::whole;
use crate::upstream::pages::Pages;
use crate::upstream::{self, Located};
use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The longest page of ListFragments: 1,000 rows of some 300 bytes.
const LONGEST_PAGE: usize = 4 << 20;
/// Pages of one list: two weeks of one-second fragments. A list that does not end before is no list of KVS's.
const MOST_PAGES: usize = 1_500;

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
        let rows = drain(&from, self.selector).await?;
        let document = Document {
            end: self.end.to_string(),
            fragments: rows.iter().map(Listed::row).collect(),
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

/// Follows NextToken to the end.
async fn drain(from: &Source, selector: FragmentSelector) -> Result<Vec<Listed>, upstream::Error> {
    let mut list = ListFragments {
        stream: from.located.stream.clone(),
        selector: Some(selector),
        max_results: Some(FRAGMENTS_PAGE),
        next_token: None,
    };
    let mut rows: Vec<Listed> = Vec::new();
    let mut pages = Pages::at_most(MOST_PAGES);
    loop {
        let body = from.read(&Call::ListFragments(list.clone()), LONGEST_PAGE).await?;
        let json: Value = serde_json::from_slice(&body)
            .map_err(|_| upstream::Error::BrokenAnswer("ListFragments did not answer with JSON".into()))?;
        let page = json.get("Fragments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        rows.extend(page.iter().filter_map(Listed::read));
        list.next_token = pages.after(&json)?;
        if list.next_token.is_none() {
            return Ok(sorted(rows, selector.kind));
        }
    }
}

fn sorted(mut rows: Vec<Listed>, clock: SelectorType) -> Vec<Listed> {
    rows.sort_by(|a, b| (a.start(clock), &a.number).cmp(&(b.start(clock), &b.number)));
    rows.dedup_by(|a, b| a.number == b.number);
    rows
}

/// One row as KVS gives it.
struct Listed {
    number: FragmentNumber,
    server: Timestamp,
    producer: Timestamp,
    length_ms: u64,
    bytes: u64,
}

impl Listed {
    fn read(row: &Value) -> Option<Self> {
        let time = |name: &str| Timestamp::from_seconds(row.get(name)?.as_f64()?).ok();
        let count = |name: &str| row.get(name).and_then(Value::as_f64).map_or(0, |number| number as u64);
        Some(Self {
            number: FragmentNumber::parse(row.get("FragmentNumber")?.as_str()?).ok()?,
            server: time("ServerTimestamp")?,
            producer: time("ProducerTimestamp")?,
            length_ms: count("FragmentLengthInMilliseconds"),
            bytes: count("FragmentSizeInBytes"),
        })
    }

    fn start(&self, clock: SelectorType) -> Timestamp {
        match clock {
            SelectorType::Server => self.server,
            SelectorType::Producer => self.producer,
        }
    }

    fn row(&self) -> Row {
        Row {
            bytes: self.bytes,
            length_ms: self.length_ms,
            number: self.number.as_str().to_owned(),
            producer_start: self.producer.to_string(),
            server_start: self.server.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_sorted_on_the_clock_of_the_selector_and_stand_once() {
        let row = |number: &str, server: u64, producer: u64| {
            Listed::read(
                &json!({"FragmentNumber": number, "ServerTimestamp": server, "ProducerTimestamp": producer,
                "FragmentLengthInMilliseconds": 2.0E3, "FragmentSizeInBytes": null}),
            )
            .unwrap()
        };
        let rows = || vec![row("3", 30, 1), row("1", 10, 3), row("2", 20, 2), row("1", 10, 3)];
        let numbers = |clock| {
            sorted(rows(), clock).iter().map(|row| row.number.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(SelectorType::Server), ["1", "2", "3"]);
        assert_eq!(numbers(SelectorType::Producer), ["3", "2", "1"]);
        assert_eq!((rows()[0].length_ms, rows()[0].bytes), (2000, 0));
        assert!(Listed::read(&json!({"FragmentNumber": "x"})).is_none());
    }
}
