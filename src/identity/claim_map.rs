//! Which claim becomes what: JSON pointers to the subject, the groups and any named attributes.
//!
//! `subject` and `groups` are always there; other names are attributes that policies can read. A claim that
//! is absent or null is no attribute. A claim of another type than configured refuses the token: a policy
//! that forbids by an attribute must not be evaded by sending it in another shape.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

/// The claim map of an issuer, by attribute name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimMap(BTreeMap<String, Claim>);

/// Where an attribute is in the token, and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// A JSON pointer (RFC 6901), such as `/groups` or `/realm_access/roles`. In a claim's name `/` is
    /// written `~1` and `~` is written `~0`.
    pub pointer: String,
    /// What the claim must be.
    pub kind: ClaimType,
}

/// The type of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimType {
    /// Text.
    String,
    /// A set of texts: an array of strings, or one string, which stands for itself.
    Set,
    /// A whole number.
    Long,
    /// `true` or `false`.
    Bool,
}

impl Default for ClaimMap {
    fn default() -> Self {
        Self::completed(BTreeMap::new())
    }
}

impl ClaimMap {
    fn completed(mut map: BTreeMap<String, Claim>) -> Self {
        let claim = |pointer: &str, kind| Claim { pointer: pointer.into(), kind };
        map.entry("subject".into()).or_insert_with(|| claim("/sub", ClaimType::String));
        map.entry("groups".into()).or_insert_with(|| claim("/groups", ClaimType::Set));
        Self(map)
    }

    /// Where the subject is.
    pub(super) fn subject(&self) -> &Claim {
        &self.0["subject"]
    }

    /// Where the groups are.
    pub(super) fn groups(&self) -> &Claim {
        &self.0["groups"]
    }

    /// The attributes beside subject and groups, with where and what they are.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Claim)> {
        self.0.iter().map(|(name, claim)| (name.as_str(), claim)).filter(|(name, _)| !is_fixed(name))
    }

    /// What is wrong, by name.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let problem = |name: &str, claim: &Claim| -> Option<String> {
            if !claim.pointer.starts_with('/') {
                return Some("write a JSON pointer, such as \"/email\" or \"/realm_access/roles\"".into());
            }
            match (name, claim.kind) {
                ("subject", ClaimType::String) | ("groups", ClaimType::Set) => None,
                ("subject", _) => Some("the subject is a string; leave `type` out".into()),
                ("groups", _) => Some("the groups are a set; leave `type` out".into()),
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
        Ok(Self::completed(map))
    }
}

/// The long form of a claim.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    pointer: String,
    #[serde(rename = "type")]
    kind: ClaimType,
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Long { pointer: self.pointer.clone(), kind: self.kind }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Claim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"/pointer\" or { pointer = \"/pointer\", type = \"string\" }")
            }

            fn visit_str<E: de::Error>(self, pointer: &str) -> Result<Claim, E> {
                Ok(Claim { pointer: pointer.to_owned(), kind: ClaimType::String })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Claim, A::Error> {
                let long = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Claim { pointer: long.pointer, kind: long.kind })
            }
        }
        from.deserialize_any(Either)
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
        let map = read("groups = '/g'\nsite = '/site'\nlevel = { pointer = '/a/b', type = 'long' }").unwrap();
        assert_eq!(map.subject().pointer, "/sub");
        assert_eq!(map.groups(), &Claim { pointer: "/g".into(), kind: ClaimType::Set });
        let attributes: Vec<_> = map.attributes().map(|(name, claim)| (name, claim.kind)).collect();
        assert_eq!(attributes, [("level", ClaimType::Long), ("site", ClaimType::String)]);
        assert_eq!(map.faults(), []);
        assert_eq!(read(&toml::to_string(&map).unwrap()).unwrap(), map);
    }

    #[test]
    fn what_is_written_wrong_says_what_to_write() {
        assert!(read("site = { pointer = '/a', kind = 'long' }").is_err());
        assert!(read("site = { pointer = '/a', type = 'int' }").is_err());
        assert!(read("site = 1").unwrap_err().message().contains("pointer"));
        for bad in
            ["site = 'email'", "subject = { pointer = '/a', type = 'set' }", "'a b' = '/a'", "'1' = '/a'"]
        {
            assert_eq!(read(bad).unwrap().faults().len(), 1, "{bad}");
        }
    }
}
