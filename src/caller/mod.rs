//! The authenticated caller: made by `identity`, judged by `policy`, sealed into capabilities by `playback`.
//!
//! A `Caller` holds what a verified token says, but not the token. It has been authenticated, not authorized.
//! It is remembered by several parts, which count what it weighs.

mod text_set;

pub use text_set::TextSet;

use crate::kvs::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// An authenticated caller.
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
    #[serde(rename = "g", skip_serializing_if = "TextSet::is_empty", default)]
    pub groups: TextSet,
    /// The issuer says that the caller is in groups which the token does not list (Entra's overage).
    #[serde(rename = "w", skip_serializing_if = "std::ops::Not::not", default)]
    pub groups_withheld: bool,
    /// Further attributes by the issuer's claim map.
    #[serde(rename = "a", skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attributes: BTreeMap<String, Attribute>,
    /// The token's `exp`.
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
    Texts(TextSet),
    /// An IP address or network, with the length of its prefix: `10.0.0.0/8`.
    Ip(String),
    /// An instant.
    Datetime(Timestamp),
}

/// Names the key that verified a caller's token: the beginning of a digest of it, the same in every replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SigningKey(pub [u8; 8]);

/// What stands for the issuer of callers without a credential. No issuer can be configured under it.
pub const ANONYMOUS_ISSUER: &str = "kvs-edge:anonymous";
/// How policies call such a caller, and the group that it is in: `User::"anonymous"`, `Group::"anonymous"`.
pub const ANONYMOUS: &str = "anonymous";

impl Caller {
    /// Whoever asks from this address without a credential. Its subject is the address, or for IPv6 the /64,
    /// since one customer has all of it: what is counted by caller is counted by address.
    #[must_use]
    pub fn anonymous(address: IpAddr, expires: Timestamp) -> Self {
        let subject = match address.to_canonical() {
            IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            IpAddr::V4(v4) => v4.to_string(),
        };
        Self {
            issuer: ANONYMOUS_ISSUER.into(),
            subject: subject.into(),
            token_id: None,
            groups: [ANONYMOUS].into(),
            groups_withheld: false,
            attributes: BTreeMap::new(),
            expires,
        }
    }

    /// True for a caller without a credential.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        *self.issuer == *ANONYMOUS_ISSUER
    }

    /// The subject as policies see it: the same for all that are anonymous.
    #[must_use]
    pub fn policy_subject(&self) -> &str {
        if self.is_anonymous() { ANONYMOUS } else { &self.subject }
    }

    /// How much memory it takes, in bytes, with what the allocator and the maps add.
    #[must_use]
    pub fn weight(&self) -> usize {
        let id = self.token_id.as_deref().map_or(0, str::len);
        let names = self.issuer.len() + self.subject.len() + id + self.groups.heap_bytes();
        let attribute = |(name, value): (&String, &Attribute)| {
            let texts = match value {
                Attribute::Bool(_) | Attribute::Long(_) | Attribute::Datetime(_) => 0,
                Attribute::Text(text) | Attribute::Ip(text) => text.len(),
                Attribute::Texts(texts) => texts.heap_bytes(),
            };
            name.len() + texts + PER_ATTRIBUTE
        };
        names + self.attributes.iter().map(attribute).sum::<usize>() + PER_CALLER
    }

    /// A unique name: subjects are unique within their issuer only, so the `alice` of two issuers are two
    /// principals. What counts, queues or shares by user uses this; logs show [`Caller::subject`]. Allocates
    /// at each call.
    #[must_use]
    pub fn principal(&self) -> Arc<str> {
        // The length marks the end of the issuer, so that no choice of subject gives another issuer's
        // principal.
        format!("{}:{}{}", self.issuer.len(), self.issuer, self.subject).into()
    }
}

/// A `Caller`, the counters of its texts, and what the allocator rounds up.
const PER_CALLER: usize = 320;
/// A place in the map, and what the allocator rounds up.
const PER_ATTRIBUTE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caller(issuer: &str, subject: &str) -> Caller {
        Caller {
            issuer: issuer.into(),
            subject: subject.into(),
            token_id: None,
            groups: TextSet::default(),
            groups_withheld: false,
            attributes: BTreeMap::new(),
            expires: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn a_renewed_token_is_the_same_principal_and_another_issuers_alice_is_not() {
        let alice = caller("https://login.example.com/", "alice");
        let renewed = Caller {
            token_id: Some("t2".into()),
            groups: ["guards"].into(),
            expires: Timestamp::from_millis(2),
            ..alice.clone()
        };
        assert_eq!(alice.principal(), renewed.principal());
        assert_ne!(alice.principal(), caller("https://other.example.net/", "alice").principal());
        // The choice of a subject must not move the border.
        assert_ne!(caller("https://a/", "b/alice").principal(), caller("https://a/b/", "alice").principal());
    }

    #[test]
    fn anonymous_callers_are_told_apart_by_address_and_are_one_to_policies() {
        let of = |address: &str| Caller::anonymous(address.parse().unwrap(), Timestamp::from_millis(1));
        assert_ne!(of("192.0.2.1").principal(), of("192.0.2.2").principal());
        assert_eq!(of("192.0.2.1").principal(), of("::ffff:192.0.2.1").principal());
        assert_eq!(of("2001:db8::1").principal(), of("2001:db8::2:0:0:2").principal());
        assert_ne!(of("2001:db8::1").principal(), of("2001:db8:0:1::1").principal());
        assert_eq!(of("192.0.2.1").policy_subject(), of("2001:db8::1").policy_subject());
        assert!(
            of("192.0.2.1").is_anonymous()
                && !caller("https://login.example.com/", "anonymous").is_anonymous()
        );
    }

    proptest! {
        #[test]
        fn principals_are_equal_only_where_issuer_and_subject_are(
            a in "[0-9:a/]{0,4}", b in "[0-9:a/]{0,4}", c in "[0-9:a/]{0,4}", d in "[0-9:a/]{0,4}",
        ) {
            let same = caller(&a, &b).principal() == caller(&c, &d).principal();
            prop_assert_eq!(same, a == c && b == d);
        }
    }
}
