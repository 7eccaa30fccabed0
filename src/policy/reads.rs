//! Which facts about streams policies read.

use super::question::{RequestContext, StreamFacts};

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
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            tags: self.tags || other.tags,
            arn: self.arn || other.arn,
            account: self.account || other.account,
        }
    }

    /// The first fact that is read and not known.
    pub(super) fn missing(self, stream: &StreamFacts) -> Option<&'static str> {
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

impl RequestContext {
    /// Whether something is not known that policies read.
    #[must_use]
    pub fn lacks(&self, reads: Reads) -> bool {
        self.stream.as_ref().is_some_and(|stream| reads.missing(stream).is_some())
    }
}
