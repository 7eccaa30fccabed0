//! The authenticated caller: made by `identity`, judged by `policy`, sealed into capabilities by `playback`.
//!
//! A `Caller` says what a verified token said, nothing more; it holds no token. Whoever has one has been
//! authenticated, not authorized.

use crate::kvs::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The issuer's `iss`, exactly.
    #[serde(rename = "i")]
    pub issuer: Arc<str>,
    /// The subject by the issuer's claim map; unique within the issuer only.
    #[serde(rename = "s")]
    pub subject: Arc<str>,
    /// `jti`, for the audit log.
    #[serde(rename = "j", skip_serializing_if = "Option::is_none", default)]
    pub token_id: Option<Arc<str>>,
    /// Groups by the issuer's claim map.
    #[serde(rename = "g", skip_serializing_if = "BTreeSet::is_empty", default)]
    pub groups: BTreeSet<Arc<str>>,
    /// Further attributes by the issuer's claim map.
    #[serde(rename = "a", skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attributes: BTreeMap<String, Attribute>,
    /// The token's `exp`: what it vouches for ends here.
    #[serde(rename = "x")]
    pub expires: Timestamp,
}

/// A claim's value, in the types that policies know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// Text.
    Text(String),
    /// A set of texts.
    Texts(BTreeSet<String>),
}
