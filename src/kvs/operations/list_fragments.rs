//! ListFragments (docs/KVS.md 4.2).

use super::shared_members::{write_range, write_stream};
use crate::kvs::bounds::FRAGMENTS_PAGE;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::range::{SelectorType, TimeRange};
use crate::kvs::stream::StreamRef;
use serde_json::{Map, Value, json};

/// Requests the fragments of a time range. It has a selector, a token, or both.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ListFragments {
    /// Which stream.
    pub stream: StreamRef,
    /// Which fragments; absent only beside a token.
    pub selector: Option<FragmentSelector>,
    /// At most so many in a page, 1..1000. KVS charges this many points whatever it returns.
    pub max_results: Option<u16>,
    /// Where the last page ended.
    pub next_token: Option<String>,
}

/// A closed range on one of the two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentSelector {
    /// The clock that selects.
    pub kind: SelectorType,
    /// From when to when; both ends are there.
    pub range: TimeRange,
}

impl ListFragments {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        let stream = from.required_stream()?;
        let next_token = from.next_token(4096)?;
        let selector = match from.object("FragmentSelector")? {
            Some(selector) => Some(FragmentSelector::read(&selector)?),
            // Without both, KVS answers 500 (docs/KVS.md 4.2).
            None if next_token.is_none() => {
                return Err(Invalid::member("FragmentSelector", "is required unless NextToken is given"));
            }
            None => None,
        };
        let max_results = from.integer("MaxResults", 1, FRAGMENTS_PAGE.into())?.map(|n| n as u16);
        Ok(Self { stream, selector, max_results, next_token })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::new();
        write_stream(&mut to, &self.stream);
        if let Some(selector) = &self.selector {
            to.insert("FragmentSelector".into(), selector.write());
        }
        if let Some(max) = self.max_results {
            to.insert("MaxResults".into(), max.into());
        }
        if let Some(token) = &self.next_token {
            to.insert("NextToken".into(), token.as_str().into());
        }
        to
    }
}

impl FragmentSelector {
    pub(super) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        let kind = from.required("FragmentSelectorType", from.selector_type("FragmentSelectorType")?)?;
        Ok(Self { kind, range: from.closed_range("TimestampRange")? })
    }

    pub(super) fn write(&self) -> Value {
        json!({
            "FragmentSelectorType": self.kind.as_str(),
            "TimestampRange": write_range(self.range.start, self.range.end),
        })
    }
}
