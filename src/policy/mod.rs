//! May they: Cedar decisions.
//!
//! [`Policy::permit`] turns a caller and a request into a [`Permit`], which owns both, or into [`Denied`], which says
//! why to the audit log and nothing to the caller. A permit is made nowhere else, so what was permitted is what is
//! served. Nothing is allowed unless a policy permits it, any `forbid` wins, and an error while deciding is a denial.
//!
//! The model, `User` in `Group`, `Stream` in `StreamSet`, nine actions in three groups and the circumstances of a
//! request, is told in `docs/POLICIES.md`. Fetching facts about streams is left to the gateway, which asks
//! [`Policy::reads`] whether it must.

mod book;
mod config;
mod decide;
mod decisions;
mod entities;
mod est;
mod explain;
mod fragment_time;
mod glob;
mod horizon;
mod load;
mod permit;
mod question;
mod schema;
mod text;
mod wording;

pub use config::{AttributeType, Attributes, Config};
pub use decide::Policy;
pub use explain::{Cited, Explanation, Nearest, Part, Verdict};
pub use fragment_time::server_time;
pub use permit::{Denied, Permit, Reason};
pub use question::{Footage, Question, Scene, StreamFacts, named_by_number};

/// Which facts about streams the policies read, and the gateway therefore fetches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reads {
    /// `resource.tags`, `resource.hasTag`, `resource.getTag`: DescribeStream and ListTagsForStream.
    pub tags: bool,
    /// `resource.arn`: DescribeStream.
    pub arn: bool,
    /// `resource.account`: DescribeStream, unless configured.
    pub account: bool,
}

impl Reads {
    fn or(self, other: Self) -> Self {
        Self {
            tags: self.tags || other.tags,
            arn: self.arn || other.arn,
            account: self.account || other.account,
        }
    }

    /// The first fact that is read and not known.
    fn missing(self, stream: &StreamFacts) -> Option<&'static str> {
        if self.tags && stream.tags.is_none() {
            Some("tags")
        } else if self.arn && stream.arn.is_none() {
            Some("arn")
        } else if self.account && stream.account.is_none() {
            Some("account")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
