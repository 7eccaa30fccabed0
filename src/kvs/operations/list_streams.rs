//! ListStreams (docs/KVS.md 2.2).

use crate::kvs::bounds::STREAMS_PAGE;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::stream::StreamName;
use serde_json::{Map, Value, json};

/// Requests a page of the account's streams.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ListStreams {
    /// At most so many, 1..10000.
    pub max_results: Option<u16>,
    /// Where the last page ended.
    pub next_token: Option<String>,
    /// Only names that begin so.
    pub prefix: Option<String>,
}

impl ListStreams {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        let max_results = from.integer("MaxResults", 1, STREAMS_PAGE.into())?.map(|n| n as u16);
        let mut prefix = None;
        if let Some(condition) = from.object("StreamNameCondition")? {
            condition.choice("ComparisonOperator", &[("BEGINS_WITH", ())])?;
            prefix = condition.text("ComparisonValue")?.map(str::to_owned);
            if prefix.as_deref().is_some_and(|text| StreamName::parse(text).is_err()) {
                let member = condition.path("ComparisonValue");
                return Err(Invalid::member(member, "must be 1 to 256 letters, digits, '_', '.' or '-'"));
            }
        }
        Ok(Self { max_results, next_token: from.next_token(1024)?, prefix })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::new();
        if let Some(max) = self.max_results {
            to.insert("MaxResults".into(), max.into());
        }
        if let Some(token) = &self.next_token {
            to.insert("NextToken".into(), token.as_str().into());
        }
        if let Some(prefix) = &self.prefix {
            let condition = json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": prefix});
            to.insert("StreamNameCondition".into(), condition);
        }
        to
    }
}
