//! Errors that KVS writes into a body of status 200, in place of a fragment (docs/KVS.md 9.2).

use crate::kvs::{FragmentNumber, FragmentTags};
use std::fmt;

/// An error that KVS writes in place of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InBand {
    /// Which fragment.
    pub number: Option<FragmentNumber>,
    /// Such as `FRAGMENT_NOT_FOUND`.
    pub code: String,
    /// Such as 3000.
    pub id: Option<u32>,
}

impl InBand {
    /// The error that a document's tags describe, if they do.
    pub(super) fn of(tags: &FragmentTags) -> Option<Self> {
        tags.is_error().then(|| Self {
            number: tags.number.clone(),
            code: tags.error_code.clone().filter(|code| is_code(code)).unwrap_or_default(),
            id: tags.error_id.as_deref().and_then(|id| id.trim().parse().ok()),
        })
    }

    /// The fragment is not there; right after ingest it may be soon.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == "FRAGMENT_NOT_FOUND" || matches!(self.id, Some(3000 | 4000))
    }

    /// KVS's own trouble.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.id == Some(5000) || self.code.starts_with("INTERNAL")
    }
}

/// Codes are words in capitals; other text of KVS is not repeated.
fn is_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

impl fmt::Display for InBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number.as_ref().map_or("?", FragmentNumber::as_str);
        write!(f, "fragment {number}: {} {}", self.code, self.id.map_or(String::new(), |id| id.to_string()))
    }
}
