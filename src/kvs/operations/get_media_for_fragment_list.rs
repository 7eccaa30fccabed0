//! GetMediaForFragmentList (docs/KVS.md 4.3).

use super::shared_members::write_stream;
use crate::kvs::bounds::MEDIA_FRAGMENTS;
use crate::kvs::fragment::FragmentNumber;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::stream::StreamRef;
use serde_json::{Map, Value};

/// Requests fragments as concatenated Matroska documents.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetMediaForFragmentList {
    /// Which stream.
    pub stream: StreamRef,
    /// Which fragments, 1..1000, in this order.
    pub fragments: Vec<FragmentNumber>,
}

impl GetMediaForFragmentList {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        Ok(Self {
            stream: from.required_stream()?,
            fragments: from.fragment_numbers("Fragments", MEDIA_FRAGMENTS)?,
        })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let numbers: Vec<Value> = self.fragments.iter().map(|number| number.as_str().into()).collect();
        let mut to = Map::from_iter([("Fragments".to_owned(), Value::from(numbers))]);
        write_stream(&mut to, &self.stream);
        to
    }
}
