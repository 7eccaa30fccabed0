//! The names of the store's keys. One hash tag per unit of work, so that a script stays in one slot of a
//! cluster; no name of a stream, host or user in clear.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::sync::Arc;

/// What a name says instead of something that must not be read: 16 bytes of SHA-256, the same on every
/// replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of these texts in this order. `kind` keeps digests of different things apart.
    #[must_use]
    pub fn of(kind: &str, texts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for text in std::iter::once(kind.as_bytes()).chain(texts.iter().copied()) {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text);
        }
        Self(URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..16]).into())
    }

    /// Its text: 22 characters of the URL-safe Base64 alphabet.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A unit of work: its keys are together in one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unit {
    /// An upstream session, by its entry, stream and parameters.
    Session(Digest),
    /// The quotas of a stream or an account.
    Quota(Digest),
    /// What is known of a stream: endpoints, description, tags.
    Stream(Digest),
    /// An object, by its stream and its cache key.
    Object(Digest, Digest),
    /// The log of purges and revocations.
    Log,
    /// The replicas.
    Replicas,
    /// A unit of no meaning, by which a shard is tried.
    Trial(usize),
}

/// What a key of a unit holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyPart<'a> {
    /// Upstream sessions.
    Upstream,
    /// A playlist or manifest, by the name of its resource.
    Playlist(&'a str),
    /// Continuity of live playlists.
    Timeline,
    /// The lease to load one of these.
    Lease(&'a str),
    /// Which replicas have viewers.
    Viewers,
    /// A bucket of a quota.
    Bucket(&'a str),
    /// An answer of KVS, by the name of its API.
    Answer(&'a str),
    /// The bytes of an object.
    Data,
    /// Entries of the log.
    Entries,
    /// A replica.
    Replica(&'a str),
}

/// A key of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    name: String,
    slot: u16,
}

impl Key {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Its slot in a cluster.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }
}

/// Makes keys with the prefix of the settings.
#[derive(Clone, Debug)]
pub struct Keys(Arc<str>);

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self(prefix.into())
    }

    /// The key of this part of this unit.
    #[must_use]
    pub fn key(&self, unit: &Unit, part: &KeyPart<'_>) -> Key {
        let name = format!("{}:{{{unit}}}:{part}", self.0);
        Key { slot: slot(&unit.to_string()), name }
    }
}

/// The slot of a hash tag: Redis Cluster's specification, "Key distribution model".
fn slot(tag: &str) -> u16 {
    const SLOTS: u16 = 16_384;
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(digest) => write!(f, "s:{}", digest.as_str()),
            Self::Quota(digest) => write!(f, "q:{}", digest.as_str()),
            Self::Stream(digest) => write!(f, "e:{}", digest.as_str()),
            Self::Object(stream, object) => write!(f, "o:{}:{}", stream.as_str(), object.as_str()),
            Self::Log => f.write_str("c"),
            Self::Replicas => f.write_str("r"),
            Self::Trial(number) => write!(f, "trial:{number}"),
        }
    }
}

impl fmt::Display for KeyPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream => f.write_str("up"),
            Self::Playlist(resource) => write!(f, "pl:{resource}"),
            Self::Timeline => f.write_str("tl"),
            Self::Lease(of) => write!(f, "l:{of}"),
            Self::Viewers => f.write_str("w"),
            Self::Bucket(kind) => write!(f, "b:{kind}"),
            Self::Answer(api) => f.write_str(api),
            Self::Data => f.write_str("d"),
            Self::Entries => f.write_str("log"),
            Self::Replica(id) => f.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_design_and_a_unit_has_one_slot() {
        let keys = Keys::new("kvse");
        let digest = Digest::of("session", &[b"main", b"cam-1"]);
        let unit = Unit::Session(digest.clone());
        let name = |part: KeyPart<'_>| keys.key(&unit, &part).name;
        assert_eq!(name(KeyPart::Upstream), format!("kvse:{{s:{}}}:up", digest.as_str()));
        assert_eq!(name(KeyPart::Playlist("hls1")), format!("kvse:{{s:{}}}:pl:hls1", digest.as_str()));
        let slots = [KeyPart::Upstream, KeyPart::Timeline, KeyPart::Lease("x"), KeyPart::Viewers];
        let slots: Vec<_> = slots.iter().map(|part| keys.key(&unit, part).slot).collect();
        assert!(slots.iter().all(|slot| *slot == slots[0]));
        assert_eq!(keys.key(&Unit::Log, &KeyPart::Entries).name, "kvse:{c}:log");
        let object = Unit::Object(digest.clone(), digest.clone());
        let name = keys.key(&object, &KeyPart::Data).name;
        assert_eq!(name, format!("kvse:{{o:{}:{}}}:d", digest.as_str(), digest.as_str()));
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16::State::<crc16::XMODEM>::calculate(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
    }

    #[test]
    fn digests_keep_their_texts_apart() {
        let of = |texts: &[&[u8]]| Digest::of("x", texts);
        assert_eq!(of(&[b"ab", b"c"]).as_str().len(), 22);
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), Digest::of("y", &[b"a"]));
        assert!(!of(&[b"cam-1"]).as_str().contains("cam-1"));
    }
}
