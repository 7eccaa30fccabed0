//! All fragments of a range: drained, sorted, without duplicates (`listing`), as our own JSON.
//!
//! The document is written while it is listed, piece by piece (`footage::RowPieces`): one of thirty days
//! begins at once and takes no more memory than the cache has room for.

use super::footage::RowPieces;
use super::{Archive, Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Head, Key};
use crate::kvs::operations::FragmentSelector;
use crate::kvs::{ListedFragment, Timestamp};
use crate::net::body::{Broken, whole};
use crate::net::stepped_body::{Steps, stepped};
use crate::upstream::{self, Located};
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// The list of a range.
#[derive(Clone)]
pub struct FragmentList {
    /// Where the lists of hours are.
    pub archive: Archive,
    /// Of which stream.
    pub stream: Stream,
    /// Which footage, on which clock.
    pub selector: FragmentSelector,
    /// The end of the range, if the selector has none.
    pub end: Timestamp,
}

/// One fragment of the document. Members stand in the order of their names.
#[derive(Serialize)]
struct Row<'a> {
    /// `FragmentSizeInBytes`.
    bytes: u64,
    length_ms: u64,
    number: &'a str,
    /// RFC 3339.
    producer_start: String,
    /// RFC 3339.
    server_start: String,
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
        // Before the call: what has not settled when it is listed may be incomplete.
        let now = Timestamp::from(clock::now());
        let FragmentSelector { kind, range } = self.selector;
        let keep = from.keep(Kind::FragmentList { selector: kind, range }, now);
        let mut writer = DocumentWriter {
            stream: from.located.stream.name().to_string(),
            start: range.start,
            end: self.end,
            rows: RowPieces::new(self.archive, from, &self.stream, self.selector, self.end, now),
            place: Place::Head,
        };
        // A failure of the first piece is the answer; a later one breaks the body off.
        let first = writer.part().await?.unwrap_or_default();
        let json = HeaderValue::from_static("application/json");
        let (length, body) = match writer.place {
            Place::End => (Some(first.len() as u64), whole(first)),
            Place::Head | Place::Rows { .. } => {
                (None, stepped(VecDeque::from([first]), writer, None, |_| ()))
            }
        };
        Ok(Fetched { head: Head::new(json, length, now), keep, body })
    }
}

/// What writes a document.
struct DocumentWriter {
    rows: RowPieces,
    stream: String,
    start: Timestamp,
    end: Timestamp,
    place: Place,
}

/// What of the document comes next.
#[derive(Clone, Copy)]
enum Place {
    Head,
    Rows { is_first: bool },
    End,
}

/// A row takes some 190 bytes.
const USUAL_ROW: usize = 200;

impl Steps for DocumentWriter {
    async fn step(mut self) -> Option<(Result<VecDeque<Bytes>, Broken>, Self)> {
        let part = self.part().await;
        let part = part.map_err(|error| Broken::Cut(format!("the list of fragments broke off: {error}")));
        Some((part.transpose()?.map(|part| VecDeque::from([part])), self))
    }
}

impl DocumentWriter {
    /// The next part of the document; never empty.
    async fn part(&mut self) -> Result<Option<Bytes>, upstream::Error> {
        let mut out = Vec::new();
        let mut is_first = match self.place {
            Place::Head => {
                out.extend_from_slice(format!(r#"{{"end":"{}","fragments":["#, self.end).as_bytes());
                true
            }
            Place::Rows { is_first } => is_first,
            Place::End => return Ok(None),
        };
        if let Some(rows) = self.rows.next().await? {
            out.reserve(rows.len() * USUAL_ROW);
            for row in &rows {
                if !std::mem::replace(&mut is_first, false) {
                    out.push(b',');
                }
                write(&mut out, row);
            }
            // Readers and the cache see that a list without fragments is still being made.
            if rows.is_empty() && !self.rows.is_done() {
                out.push(b'\n');
            }
        }
        self.place = Place::Rows { is_first };
        if self.rows.is_done() {
            let end = format!(r#"],"start":"{}","stream":"{}"}}"#, self.start, self.stream);
            out.extend_from_slice(end.as_bytes());
            self.place = Place::End;
        }
        Ok(Some(out.into()))
    }
}

fn write(out: &mut Vec<u8>, listed: &ListedFragment) {
    let row = Row {
        bytes: listed.size,
        length_ms: u64::try_from(listed.length.as_millis()).unwrap_or(u64::MAX),
        number: listed.number.as_str(),
        producer_start: listed.producer.to_string(),
        server_start: listed.server.to_string(),
    };
    // Writing numbers and texts into memory cannot fail.
    let _ = serde_json::to_writer(out, &row);
}
