//! DescribeStream (docs/KVS.md 2.2).

use super::shared_members::write_stream;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::stream::StreamRef;
use serde_json::{Map, Value};

/// Requests one stream's description.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DescribeStream {
    /// Which stream.
    pub stream: StreamRef,
}

impl DescribeStream {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        Ok(Self { stream: from.required_stream()? })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::new();
        write_stream(&mut to, &self.stream);
        to
    }
}
