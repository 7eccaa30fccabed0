//! Conditional and range requests (RFC 9110 sections 13 and 14) as plain functions: headers, entity tag and
//! length in, a decision out.
//!
//! One range per request. Several are answered with the whole, never with a multipart body, because many
//! small ranges in one request are an attack. Entities here have no modification date, so conditions on dates
//! never hold.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use http_range_header::SyntacticallyCorrectRange::{FromStart, Indexed};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};
use std::ops::Range;

/// What to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes, a part of the length that is not empty.
    Part(Range<u64>),
    /// 304 without a body: the client has it.
    NotModified,
    /// 412: the client requires another version.
    Failed,
    /// 416 with `Content-Range: bytes */length`.
    Unsatisfiable,
    /// The range depends on the length, which is not known yet: find it out and select again, or send
    /// everything.
    NeedsLength,
    /// The range is these bytes, and whether there are that many is not known yet. Once there are: 206 with
    /// `Content-Range: bytes …/*`. If the body ends earlier, select again with its length.
    NeedsBytes(Range<u64>),
}

/// Evaluates a request's conditions and its range, in the order of RFC 9110 13.2.2, against an entity that
/// exists. `etag` is its strong entity tag, quotes included, if it is known.
#[must_use]
pub fn select(method: &Method, headers: &HeaderMap, etag: Option<&str>, length: Option<u64>) -> Selection {
    // "When recipient is the origin server and If-Match is present, evaluate it": strong comparison. While
    // the tag is unknown there is nothing to compare with, and the condition is ignored.
    if headers.contains_key(IF_MATCH)
        && etag.is_some()
        && !names(headers.get_all(IF_MATCH), etag, Comparison::Strong)
    {
        return Selection::Failed;
    }
    // "When If-None-Match is present, evaluate it: … if false for GET/HEAD, respond 304": weak comparison.
    if headers.contains_key(IF_NONE_MATCH) && names(headers.get_all(IF_NONE_MATCH), etag, Comparison::Weak) {
        return Selection::NotModified;
    }
    // "When the method is GET and both Range and If-Range are present, evaluate If-Range"; "a server MUST
    // ignore a Range header field received with a request method that is unrecognized or for which range
    // handling is not defined. For this specification, GET is the only method".
    if method != Method::GET || !if_range_holds(headers, etag) {
        return Selection::Whole;
    }
    range(headers, length)
}

/// Whether `If-None-Match` names this entity, tag with its quotes: 304.
#[must_use]
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    names(headers.get_all(IF_NONE_MATCH), Some(etag), Comparison::Weak)
}

/// Whether the range of a request lies behind the end of every body of at most `longest` bytes, so that no
/// body need be fetched to say so. A condition on another version makes it no range at all.
#[must_use]
pub fn is_beyond(method: &Method, headers: &HeaderMap, longest: u64) -> bool {
    method == Method::GET
        && !headers.contains_key(IF_RANGE)
        && range(headers, Some(longest)) == Selection::Unsatisfiable
}

fn range(headers: &HeaderMap, length: Option<u64>) -> Selection {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Selection::Whole };
    let Some(parsed) = value.to_str().ok().and_then(|text| parse_range_header(text).ok()) else {
        // "An origin server MUST ignore a Range header field that contains a range unit it does not
        // understand"; it "MAY ignore" one that is malformed.
        return Selection::Whole;
    };
    if parsed.len() != 1 {
        return Selection::Whole;
    }
    let Some(length) = length else {
        return match parsed.into_ranges()[..] {
            // "A server MAY ignore the Range header field": everything from the first byte on is the whole,
            // now.
            [FromStart(0)] => Selection::Whole,
            [Indexed(first, last)] => Selection::NeedsBytes(first..last.saturating_add(1)),
            _ => Selection::NeedsLength,
        };
    };
    match parsed.validate(length) {
        Ok(ranges) => match ranges.first() {
            Some(range) => Selection::Part(*range.start()..range.end().saturating_add(1)),
            None => Selection::Whole,
        },
        Err(RangeUnsatisfiableError::Unsatisfiable) => Selection::Unsatisfiable,
        Err(_) => Selection::Whole,
    }
}

/// RFC 9110 13.1.5: the range is meant for one version; another is sent whole. A date never holds.
fn if_range_holds(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let mut values = headers.get_all(IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => etag.is_some_and(|etag| value.as_bytes() == etag.as_bytes()),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names this entity; `*` names every entity that exists.
fn names<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
    etag: Option<&str>,
    comparison: Comparison,
) -> bool {
    values.into_iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*" || etag.is_some_and(|etag| tags(value).any(|tag| is(tag, etag, comparison)))
    })
}

fn is((weak, tag): (bool, &[u8]), etag: &str, comparison: Comparison) -> bool {
    tag == etag.as_bytes() && (!weak || comparison == Comparison::Weak)
}

/// The entity tags of a list, as (weak, tag with quotes); what is not a tag ends the list.
fn tags(mut rest: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let weak = rest.starts_with(b"W/");
        let tag = if weak { &rest[2..] } else { rest };
        // Commas may stand inside the quotes, quotes may not.
        let close = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')?;
        let (tag, after) = tag.split_at(close + 2);
        rest = after;
        Some((weak, tag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: &str = "\"abc\"";

    fn selected(headers: &[(&str, &str)]) -> Selection {
        select(&Method::GET, &map(headers), Some(TAG), Some(100))
    }

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn one_range_is_served_and_everything_else_is_not() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-", Part(0..100)),
            ("bytes=90-1000", Part(90..100)),
            ("bytes=-10", Part(90..100)),
            ("bytes=-1000", Part(0..100)),
            ("BYTES=1-2", Part(1..3)),
            ("bytes=99-99", Part(99..100)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=0-1,5-6", Whole),
            ("bytes=0-1,0-1,0-1", Whole),
            ("bytes=5-2", Whole),
            ("bytes=", Whole),
            ("bytes=a-b", Whole),
            ("items=0-1", Whole),
            ("0-1", Whole),
        ] {
            assert_eq!(selected(&[("range", range)]), expected, "{range}");
        }
        assert_eq!(selected(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]), Whole);
        assert_eq!(selected(&[]), Whole);
        let head = select(&Method::HEAD, &map(&[("range", "bytes=0-1")]), Some(TAG), Some(100));
        assert_eq!(head, Whole);
    }

    #[test]
    fn an_unknown_length_must_be_found_out_first_and_an_empty_entity_has_no_parts() {
        let ask = |range, length| select(&Method::GET, &map(&[("range", range)]), Some(TAG), length);
        assert_eq!(ask("bytes=0-1", None), Selection::NeedsBytes(0..2));
        assert_eq!(ask("bytes=0-", None), Selection::Whole, "at once");
        assert_eq!(ask("bytes=1-", None), Selection::NeedsLength, "where it ends must be told");
        assert_eq!(ask("bytes=-5", None), Selection::NeedsLength);
        assert_eq!(ask("bytes=0-1,3-4", None), Selection::Whole);
        assert_eq!(ask("bytes=0-", Some(0)), Selection::Unsatisfiable);
        assert_eq!(ask("bytes=-5", Some(0)), Selection::Whole);
    }

    #[test]
    fn who_has_it_is_told_so() {
        for (tags, has) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("\"x,y\",\"abc\"", true),
            ("*", true),
            ("\"x\"", false),
            ("abc", false),
            ("\"abc", false),
            ("\"x\", *", false),
            ("", false),
        ] {
            let expected = if has { Selection::NotModified } else { Selection::Whole };
            assert_eq!(selected(&[("if-none-match", tags)]), expected, "{tags}");
        }
        assert_eq!(selected(&[("if-none-match", TAG), ("range", "bytes=0-1")]), Selection::NotModified);
        let unknown = select(&Method::GET, &map(&[("if-none-match", TAG)]), None, Some(100));
        assert_eq!(unknown, Selection::Whole);
    }

    #[test]
    fn a_range_of_another_version_becomes_the_whole() {
        let ranged = |value| selected(&[("if-range", value), ("range", "bytes=0-1")]);
        assert_eq!(ranged(TAG), Selection::Part(0..2));
        for other in ["\"x\"", "W/\"abc\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(ranged(other), Selection::Whole, "{other}");
        }
        assert_eq!(selected(&[("if-range", TAG)]), Selection::Whole);
    }

    #[test]
    fn who_wants_another_version_gets_none() {
        assert_eq!(selected(&[("if-match", "\"x\"")]), Selection::Failed);
        assert_eq!(selected(&[("if-match", "W/\"abc\"")]), Selection::Failed);
        assert_eq!(selected(&[("if-match", TAG), ("range", "bytes=0-1")]), Selection::Part(0..2));
        assert_eq!(selected(&[("if-match", "*")]), Selection::Whole);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_part_lies_inside_and_is_not_empty(
            range in "(bytes=)?[0-9]{0,4}-?[0-9]{0,4}(,[0-9]-)?", length in 0..2000_u64
        ) {
            match select(&Method::GET, &map(&[("range", &range)]), None, Some(length)) {
                Selection::Part(part) => prop_assert!(part.start < part.end && part.end <= length),
                Selection::Whole | Selection::Unsatisfiable => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn what_is_served_before_the_length_is_known_is_what_would_be_served_after(
            range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 1..2000_u64
        ) {
            let ask = |length| select(&Method::GET, &map(&[("range", &range)]), None, length);
            match (ask(None), ask(Some(length))) {
                (Selection::NeedsBytes(part), after) if part.end <= length => {
                    prop_assert_eq!(after, Selection::Part(part));
                }
                // The body ends earlier: the range is shortened, or there is none.
                (Selection::NeedsBytes(part), Selection::Part(shorter)) => {
                    prop_assert_eq!(shorter, part.start..length);
                }
                (Selection::NeedsBytes(part), after) => {
                    prop_assert!(part.start >= length && after == Selection::Unsatisfiable);
                }
                (Selection::Whole, after) => {
                    prop_assert!(after == Selection::Whole || after == Selection::Part(0..length));
                }
                (before, _) => prop_assert_eq!(before, Selection::NeedsLength),
            }
        }

        #[test]
        fn any_header_is_read_without_panic(name in 0..4_usize, value in "[ -~]{0,40}", known: bool) {
            let name = ["range", "if-range", "if-match", "if-none-match"][name];
            let headers = map(&[(name, &value), ("range", "bytes=1-")]);
            let _ = select(&Method::GET, &headers, known.then_some(TAG), known.then_some(5));
        }
    }
}
