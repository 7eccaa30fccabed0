//! Which claim becomes what: JSON pointers to the subject, the groups and any named attributes.
//!
//! `subject` and `groups` are always there; other names are attributes that policies can read. A claim that
//! is absent or null is no attribute. A claim of another type than configured is left out with a warning,
//! so that one odd claim of an issuer locks nobody out; a policy that forbids by an attribute needs
//! `required = true` there, which refuses such a token.

use super::one_or_many::OneOrMany;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

/// The claim map of an issuer, by attribute name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClaimMap(BTreeMap<String, Claim>);

/// Where an attribute is in the token, and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// JSON pointers (RFC 6901), such as `/groups` or `/realm_access/roles`; the first whose claim is there
    /// and not empty counts. In a claim's name `/` is written `~1` and `~` is written `~0`.
    pub pointers: OneOrMany<String>,
    /// What the claim must be.
    pub kind: ClaimType,
    /// Refuse a token that has no such claim, or one of another type.
    pub required: bool,
}

/// The type of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimType {
    /// Text.
    String,
    /// A set of texts: an array of strings, or one string, which stands for itself.
    Set,
    /// A set of texts: one string with spaces between them, such as OAuth's `scope`.
    Words,
    /// A set of texts: the names of an object's members.
    Keys,
    /// A whole number.
    Long,
    /// `true` or `false`.
    Bool,
    /// An IP address or network, such as `10.0.0.0/8`.
    Ip,
    /// An instant: RFC 3339, or a number of seconds since 1970.
    Datetime,
}

impl ClaimType {
    /// Its name in the settings.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Set => "set",
            Self::Words => "words",
            Self::Keys => "keys",
            Self::Long => "long",
            Self::Bool => "bool",
            Self::Ip => "ip",
            Self::Datetime => "datetime",
        }
    }

    /// Whether policies see the same type.
    pub(super) fn reads_as(self, other: Self) -> bool {
        let plain = |kind| if matches!(kind, Self::Words | Self::Keys) { Self::Set } else { kind };
        plain(self) == plain(other)
    }

    const fn is_set(self) -> bool {
        matches!(self, Self::Set | Self::Words | Self::Keys)
    }
}

impl ClaimMap {
    /// Adds subject and groups where the settings leave them out.
    pub(super) fn complete(&mut self, groups: &str) {
        let claim = |pointer: &str, kind| Claim { pointers: pointer.into(), kind, required: false };
        self.0.entry("subject".into()).or_insert_with(|| claim("/sub", ClaimType::String));
        self.0.entry("groups".into()).or_insert_with(|| claim(groups, ClaimType::Set));
    }

    /// Where the subject is.
    pub(super) fn subject(&self) -> Option<&Claim> {
        self.0.get("subject")
    }

    /// Where the groups are.
    pub(super) fn groups(&self) -> Option<&Claim> {
        self.0.get("groups")
    }

    /// All, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Claim)> {
        self.0.iter().map(|(name, claim)| (name.as_str(), claim))
    }

    /// The attributes beside subject and groups, with where and what they are.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Claim)> {
        self.all().filter(|(name, _)| !is_fixed(name))
    }

    /// What is wrong, by name.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let problem = |name: &str, claim: &Claim| -> Option<String> {
            let pointers = claim.pointers.as_slice();
            if pointers.is_empty() || !pointers.iter().all(|pointer| pointer.starts_with('/')) {
                return Some("write a JSON pointer, such as \"/email\" or \"/realm_access/roles\"".into());
            }
            match (name, claim.kind) {
                ("subject", ClaimType::String) => None,
                ("subject", _) => Some("the subject is a string; leave `type` out".into()),
                ("groups", kind) if kind.is_set() => None,
                ("groups", _) => Some("groups are a set: write \"set\", \"words\" or \"keys\"".into()),
                _ if is_identifier(name) => None,
                _ => Some("policies cannot read this name; use letters, digits and _".into()),
            }
        };
        self.0.iter().filter_map(|(name, claim)| Some((name.clone(), problem(name, claim)?))).collect()
    }
}

fn is_fixed(name: &str) -> bool {
    matches!(name, "subject" | "groups")
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl<'de> Deserialize<'de> for ClaimMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut map = BTreeMap::<String, Claim>::deserialize(from)?;
        // Written short, groups are the set that they always are.
        if let Some(groups) = map.get_mut("groups")
            && groups.kind == ClaimType::String
        {
            groups.kind = ClaimType::Set;
        }
        Ok(Self(map))
    }
}

/// The long form of a claim.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    pointer: OneOrMany<String>,
    #[serde(rename = "type", default = "text")]
    kind: ClaimType,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    required: bool,
}

const fn text() -> ClaimType {
    ClaimType::String
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { pointers, kind, required } = self.clone();
        Long { pointer: pointers, kind, required }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ClaimVisitor)
    }
}

/// The forms in which a claim is written.
struct ClaimVisitor;

impl<'de> Visitor<'de> for ClaimVisitor {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"/pointer\", [\"/first\", \"/second\"] or { pointer = \"/pointer\", type = \"string\" }",
        )
    }

    fn visit_str<E: de::Error>(self, pointer: &str) -> Result<Claim, E> {
        Ok(Claim { pointers: pointer.into(), kind: ClaimType::String, required: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Claim, A::Error> {
        let pointers: Vec<String> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Claim { pointers: pointers.into(), kind: ClaimType::String, required: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Claim, A::Error> {
        let Long { pointer, kind, required } = Long::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Claim { pointers: pointer, kind, required })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClaimMap, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn short_and_long_forms_are_read() {
        let mut map =
            read("groups = '/g'\nsite = '/site'\nlevel = { pointer = '/a/b', type = 'long' }").unwrap();
        map.complete("/groups");
        assert_eq!(map.subject().unwrap().pointers.as_slice(), ["/sub"]);
        let groups = Claim { pointers: "/g".into(), kind: ClaimType::Set, required: false };
        assert_eq!(map.groups(), Some(&groups));
        let attributes: Vec<_> = map.attributes().map(|(name, claim)| (name, claim.kind)).collect();
        assert_eq!(attributes, [("level", ClaimType::Long), ("site", ClaimType::String)]);
        assert_eq!(map.faults(), []);
        assert_eq!(read(&toml::to_string(&map).unwrap()).unwrap(), map);
        let map =
            read("subject = ['/email', '/sub']\nrole = { pointer = '/r', type = 'keys', required = true }");
        let map = map.unwrap();
        assert_eq!(map.subject().unwrap().pointers.as_slice(), ["/email", "/sub"]);
        assert!(map.attributes().all(|(_, claim)| claim.required));
        assert_eq!(read(&toml::to_string(&map).unwrap()).unwrap(), map);
    }

    #[test]
    fn what_is_written_wrong_says_what_to_write() {
        assert!(read("site = { pointer = '/a', kind = 'long' }").is_err());
        assert!(read("site = { pointer = '/a', type = 'int' }").is_err());
        assert!(read("site = 1").unwrap_err().message().contains("pointer"));
        for bad in [
            "site = 'email'",
            "site = []",
            "subject = ['/email', 'sub']",
            "subject = { pointer = '/a', type = 'set' }",
            "groups = { pointer = '/a', type = 'long' }",
            "'a b' = '/a'",
            "'1' = '/a'",
        ] {
            assert_eq!(read(bad).unwrap().faults().len(), 1, "{bad}");
        }
    }
}
