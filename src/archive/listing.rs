//! ListFragments followed to its end (docs/KVS.md 4.2): the rows of a range, all of them or an error.
//!
//! KVS gives no order, so rows are sorted by their start on the clock of the selector, then by number.

use super::Source;
use crate::kvs::operations::{FragmentSelector, ListFragments};
use crate::kvs::{Call, FragmentNumber, ListedFragment, SelectorType, Timestamp};
use crate::upstream;
use crate::upstream::pages::Pages;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// The longest page of ListFragments: 1,000 rows of some 300 bytes.
const LONGEST_PAGE: usize = 4 << 20;
/// Rows that are held at a time, in some 13 MB: an hour has at most 18,000 (docs/KVS.md 5.7), a day of
/// one-second fragments 86,400.
const MOST_ROWS: usize = 100_000;
/// Pages of one list, of which KVS may fill few. A list that does not end before is no list of KVS's.
const MOST_PAGES: usize = 1_500;

/// Follows NextToken to the end, in pages of at most `page` rows. Each page costs `page` metadata points,
/// however few rows it has. `None`: there are more rows than are held at a time.
///
/// # Errors
/// A call fails, or a row cannot be read: part of a list is never taken for the whole.
pub(super) async fn drain(
    from: &Source,
    selector: FragmentSelector,
    page: u16,
) -> Result<Option<Vec<ListedFragment>>, upstream::Error> {
    let mut list = ListFragments {
        stream: from.located.stream.clone(),
        selector: Some(selector),
        max_results: Some(page),
        next_token: None,
    };
    let mut rows: Vec<ListedFragment> = Vec::new();
    let mut pages = Pages::at_most(MOST_PAGES);
    loop {
        let body = from.read(&Call::ListFragments(list.clone()), LONGEST_PAGE).await?;
        list.next_token = pages.after(&read(&body, &mut rows)?)?;
        if rows.len() > MOST_ROWS {
            return Ok(None);
        }
        if list.next_token.is_none() {
            return Ok(Some(sorted(rows, selector.kind)));
        }
    }
}

/// Sorted on a clock; a fragment that stands on two pages stands once.
fn sorted(mut rows: Vec<ListedFragment>, clock: SelectorType) -> Vec<ListedFragment> {
    rows.sort_by(|a, b| (a.start(clock), &a.number).cmp(&(b.start(clock), &b.number)));
    rows.dedup_by(|a, b| a.number == b.number);
    rows
}

/// Appends the rows of a page. Returns what of the page leads to the next one.
fn read(body: &[u8], rows: &mut Vec<ListedFragment>) -> Result<Value, upstream::Error> {
    let broken = |why: String| upstream::Error::BrokenAnswer(format!("ListFragments {why}"));
    let page: ListPage<'_> = serde_json::from_slice(body)
        .map_err(|error| broken(format!("gave no list of fragments: {error}")))?;
    // KVS gives null for a range in which it has nothing.
    for row in page.fragments.unwrap_or_default() {
        rows.push(row.listed().map_err(|why| broken(format!("listed fragment {}, {why}", row.number)))?);
    }
    Ok(json!({"NextToken": page.next_token}))
}

#[derive(Deserialize)]
struct ListPage<'a> {
    #[serde(borrow, rename = "Fragments", default)]
    fragments: Option<Vec<PageRow<'a>>>,
    #[serde(rename = "NextToken", default)]
    next_token: Option<String>,
}

/// One row as KVS gives it. Numbers come in E-notation (docs/KVS.md 3.2); unknown members are ignored.
#[derive(Deserialize)]
struct PageRow<'a> {
    #[serde(borrow, rename = "FragmentNumber")]
    number: Cow<'a, str>,
    #[serde(rename = "ServerTimestamp")]
    server: f64,
    #[serde(rename = "ProducerTimestamp")]
    producer: f64,
    #[serde(rename = "FragmentLengthInMilliseconds", default)]
    length: Option<f64>,
    #[serde(rename = "FragmentSizeInBytes", default)]
    size: Option<f64>,
}

impl PageRow<'_> {
    fn listed(&self) -> Result<ListedFragment, String> {
        let time = |name: &str, seconds| {
            Timestamp::from_seconds(seconds).map_err(|problem| format!("whose {name} {problem}"))
        };
        let count = |number: Option<f64>| number.map_or(0, |number| number as u64);
        Ok(ListedFragment {
            number: FragmentNumber::parse(&self.number)
                .map_err(|problem| format!("whose number {problem}"))?,
            server: time("ServerTimestamp", self.server)?,
            producer: time("ProducerTimestamp", self.producer)?,
            length: Duration::from_millis(count(self.length)),
            size: count(self.size),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &Value) -> Result<Vec<ListedFragment>, upstream::Error> {
        let mut listed = Vec::new();
        read(json!({"Fragments": rows, "NextToken": "x"}).to_string().as_bytes(), &mut listed)?;
        Ok(listed)
    }

    #[test]
    fn rows_are_sorted_on_the_clock_of_the_selector_and_stand_once() {
        let row = |number: &str, server: u64, producer: u64| {
            json!({"FragmentNumber": number, "ServerTimestamp": server, "ProducerTimestamp": producer,
                "FragmentLengthInMilliseconds": 2.0E3, "FragmentSizeInBytes": null, "New": [1]})
        };
        let rows =
            page(&json!([row("3", 30, 1), row("1", 10, 3), row("2", 20, 2), row("1", 10, 3)])).unwrap();
        let numbers = |clock| {
            let rows = sorted(rows.clone(), clock);
            rows.iter().map(|row| row.number.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(SelectorType::Server), ["1", "2", "3"]);
        assert_eq!(numbers(SelectorType::Producer), ["3", "2", "1"]);
        assert_eq!((rows[0].length, rows[0].size), (Duration::from_secs(2), 0));
    }

    #[test]
    fn a_page_without_fragments_is_empty_and_one_with_an_unreadable_row_is_an_error() {
        assert_eq!(page(&Value::Null).unwrap(), []);
        assert!(read(b"{}", &mut Vec::new()).unwrap()["NextToken"].is_null());
        let whole = json!({"FragmentNumber": "7", "ServerTimestamp": 1, "ProducerTimestamp": 1});
        assert_eq!(page(&json!([whole])).unwrap().len(), 1);
        for (member, value) in [
            ("FragmentNumber", json!("x")),
            ("FragmentNumber", Value::Null),
            ("ServerTimestamp", json!(-1)),
            ("ProducerTimestamp", json!("now")),
        ] {
            let mut row = whole.clone();
            row[member] = value;
            assert!(page(&json!([whole, row])).is_err(), "{row}");
        }
        assert!(read(b"<html>", &mut Vec::new()).is_err());
    }
}
