//! Members that several operations write alike.

use crate::kvs::stream::StreamRef;
use crate::kvs::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// `StreamARN` if it is known, else `StreamName`.
pub(super) fn write_stream(to: &mut Map<String, Value>, stream: &StreamRef) {
    match stream {
        StreamRef::Name(name) => to.insert("StreamName".into(), name.as_str().into()),
        StreamRef::Arn(arn) => to.insert("StreamARN".into(), arn.as_str().into()),
    };
}

pub(super) fn write_range(start: Timestamp, end: Option<Timestamp>) -> Value {
    let mut range = Map::from_iter([("StartTimestamp".to_owned(), start.to_json())]);
    if let Some(end) = end {
        range.insert("EndTimestamp".into(), end.to_json());
    }
    json!(range)
}
