//! GetClip (docs/KVS.md 4.4).

use super::list_fragments::FragmentSelector;
use super::shared_members::write_stream;
use crate::kvs::bounds::{CLOCK_TOLERANCE, LONGEST_RANGE};
use crate::kvs::json::{Invalid, Members};
use crate::kvs::range::SelectorType;
use crate::kvs::stream::StreamRef;
use crate::kvs::timestamp::Timestamp;
use serde_json::{Map, Value};

/// Requests a time range as one ordinary MP4. KVS stops silently at 100 MB or 200 fragments.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetClip {
    /// Which stream.
    pub stream: StreamRef,
    /// Which footage: at most 24 h, end after start.
    pub selector: FragmentSelector,
}

impl GetClip {
    pub(in crate::kvs) fn read(from: &Members<'_>, now: Timestamp) -> Result<Self, Invalid> {
        let stream = from.required_stream()?;
        let selector = from.required("ClipFragmentSelector", from.object("ClipFragmentSelector")?)?;
        let selector = FragmentSelector::read(&selector)?;
        let call = Self { stream, selector };
        call.check(now)?;
        Ok(call)
    }

    /// The rules that hold however the request was put together.
    ///
    /// # Errors
    /// Names the end that breaks a bound of docs/KVS.md 4.1.
    pub fn check(&self, now: Timestamp) -> Result<(), Invalid> {
        let end_at = "ClipFragmentSelector.TimestampRange.EndTimestamp";
        let (start, end) =
            (self.selector.range.start, self.selector.range.end.unwrap_or(self.selector.range.start));
        if end <= start {
            return Err(Invalid::member(end_at, "must be after StartTimestamp"));
        }
        if end > start.plus(LONGEST_RANGE) {
            return Err(Invalid::member(end_at, "must be at most 24 hours after StartTimestamp"));
        }
        if self.selector.kind == SelectorType::Server && end > now.plus(CLOCK_TOLERANCE) {
            return Err(Invalid::member(end_at, "must be in the past when selecting by SERVER_TIMESTAMP"));
        }
        Ok(())
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::from_iter([("ClipFragmentSelector".to_owned(), self.selector.write())]);
        write_stream(&mut to, &self.stream);
        to
    }
}
