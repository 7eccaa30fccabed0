//! GetDataEndpoint (docs/KVS.md 2.1).

use super::shared_members::write_stream;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::operation::ApiName;
use crate::kvs::stream::StreamRef;
use serde_json::{Map, Value};

/// Requests the host that serves an API for a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetDataEndpoint {
    /// Which stream.
    pub stream: StreamRef,
    /// Which API.
    pub api: ApiName,
}

impl GetDataEndpoint {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        let words = ApiName::ALL.map(|api| (api.as_str(), api));
        let api = from.required("APIName", from.choice("APIName", &words)?)?;
        Ok(Self { stream: from.required_stream()?, api })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::from_iter([("APIName".to_owned(), Value::from(self.api.as_str()))]);
        write_stream(&mut to, &self.stream);
        to
    }
}
