//! Capabilities that were opened, so that the next request of a player costs a digest and a look-up instead
//! of a decryption.
//!
//! The key is a keyed digest of the whole capability. Each generation of settings has a cache of its own, so
//! that a reload, which may change the sealing keys, begins with an empty one. What a capability says is not
//! a decision: its end is checked here at each request, its binding and the policies by the gateway.

use super::capability::{Binding, Opens, Statement};
use super::error::Error;
use super::keys::Keys;
use super::stream_tag;
use crate::base::digest::{Digest, DigestState, Digester};
use crate::base::hex;
use crate::caller::{Caller, SigningKey};
use crate::kvs::{StreamRef, Timestamp};
use aws_lc_rs::digest;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::sync::Arc;

/// What a capability says, and names for its holder.
pub struct OpenedCapability {
    /// The caller it was made for.
    pub caller: Arc<Caller>,
    /// The stream.
    pub stream: StreamRef,
    /// What of the stream it opens.
    pub opens: Opens,
    /// When the capability was made: a replay runs from then.
    pub issued: Timestamp,
    /// Names the holder in counts and logs: the beginning of the capability's SHA-256, which opens nothing.
    pub viewing: Arc<str>,
    /// The same as a number, by which a session counts its viewers.
    pub viewer: u64,
    expires: Timestamp,
    /// What a request must show besides the capability.
    pub bind: Option<Binding>,
    /// The policies that it was made under, if it is good under no others.
    pub policies: Option<Arc<str>>,
    /// The issuer's key that verified the caller's token, where it is known.
    pub key: Option<SigningKey>,
}

/// The capabilities that were opened lately.
pub struct OpenedCapabilities {
    digester: Digester,
    opened: Cache<Digest, Arc<OpenedCapability>, CapabilityWeigher, DigestState>,
}

/// Bytes of all entries, some 1 KiB each. A capability is short, but the groups in it are packed.
const CAPACITY: u64 = 16 << 20;
/// How many entries are usual, for the first allocation of the table.
const USUAL: usize = 10_000;
/// What an entry takes beside its caller: itself, its stream and session, and its place in the table.
const PER_CAPABILITY: usize = 700;

/// Weighs a capability by what its caller takes.
#[derive(Clone)]
struct CapabilityWeigher;

impl Weighter<Digest, Arc<OpenedCapability>> for CapabilityWeigher {
    fn weight(&self, _: &Digest, opened: &Arc<OpenedCapability>) -> u64 {
        (opened.caller.weight() + PER_CAPABILITY) as u64
    }
}

impl Default for OpenedCapabilities {
    fn default() -> Self {
        let (digests, evictions) = (DigestState::default(), DefaultLifecycle::default());
        let opened = Cache::with(USUAL, CAPACITY, CapabilityWeigher, digests, evictions);
        Self { digester: Digester::default(), opened }
    }
}

impl OpenedCapabilities {
    /// Opens a capability, unless its time is over.
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub fn open(
        &self,
        keys: &Keys,
        capability: &str,
        now: Timestamp,
    ) -> Result<Arc<OpenedCapability>, Error> {
        let digest = self.digester.of(capability.as_bytes());
        if let Some(opened) = self.opened.get(&digest) {
            if opened.expires <= now {
                return Err(Error::Expired(opened.expires));
            }
            return Ok(opened);
        }
        let opened = Arc::new(OpenedCapability::new(keys.open(capability, now)?, capability));
        self.opened.insert(digest, opened.clone());
        Ok(opened)
    }
}

impl OpenedCapability {
    /// For how many seconds it still opens something.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> u64 {
        now.age(self.expires).as_secs()
    }

    fn new(statement: Statement, capability: &str) -> Self {
        let Statement { caller, stream, opens, issued, expires, bind, policies, key } = statement;
        // The same holder with the stream's tag in the URL and without it.
        let (_, sealed) = stream_tag::split(capability);
        let mut name = [0; 8];
        name.copy_from_slice(&digest::digest(&digest::SHA256, sealed.as_bytes()).as_ref()[..8]);
        Self {
            caller: Arc::new(caller),
            stream,
            opens,
            issued,
            viewing: hex::encode(&name).into(),
            viewer: u64::from_be_bytes(name),
            expires,
            bind,
            policies,
            key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{
        Container, DiscontinuityMode, PlaybackMode, Protocol, SelectorType, SessionParameters, StreamName,
    };
    use crate::playback::Config;

    fn statement() -> Statement {
        let caller = Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: Default::default(),
            groups_withheld: false,
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        };
        Statement {
            caller,
            stream: StreamRef::Name(StreamName::parse("cam-1").unwrap()),
            opens: Opens::Session(Arc::new(SessionParameters {
                protocol: Protocol::Hls,
                mode: PlaybackMode::Live,
                selector: SelectorType::Server,
                start: None,
                end: None,
                container: Container::FragmentedMp4,
                discontinuity: DiscontinuityMode::Never,
                show_timestamps: false,
                show_numbers: false,
                ends_when_silent: false,
                max_fragments: 5,
            })),
            issued: Timestamp::from_millis(1_000),
            expires: Timestamp::from_millis(9_000),
            bind: None,
            policies: None,
            key: None,
        }
    }

    #[test]
    fn what_is_remembered_still_ends_and_no_other_capability_is_taken_for_it() {
        let keys = Keys::load(&Config::default()).unwrap();
        let opened = OpenedCapabilities::default();
        let capability = keys.seal(&statement());
        let at = Timestamp::from_millis;
        for now in [at(2_000), at(8_999)] {
            let found = opened.open(&keys, &capability, now).ok().unwrap();
            assert_eq!((&*found.caller.subject, found.viewing.len()), ("alice", 16));
        }
        assert!(matches!(opened.open(&keys, &capability, at(9_000)), Err(Error::Expired(_))));
        let (_, sealed) = stream_tag::split(&capability);
        let tagged = opened.open(&keys, &capability, at(2_000)).ok().unwrap();
        assert_eq!(tagged.viewing, opened.open(&keys, sealed, at(2_000)).ok().unwrap().viewing);
        for place in 0..capability.len() {
            let mut other = capability.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(opened.open(&keys, &other, at(2_000)).is_err(), "{place}");
        }
    }

    #[test]
    fn opened_capabilities_are_bounded_in_bytes() {
        let keys = Keys::load(&Config::default()).unwrap();
        let opened = OpenedCapabilities::default();
        let mut statement = statement();
        // Groups that have a long beginning in common are short in a capability and long in memory.
        let common = "g".repeat(300);
        statement.caller.groups = (0..100).map(|number| format!("{common}{number}")).collect();
        for number in 0..700 {
            statement.caller.subject = number.to_string().into();
            assert!(opened.open(&keys, &keys.seal(&statement), Timestamp::from_millis(2_000)).is_ok());
            assert!(opened.opened.weight() <= CAPACITY);
        }
        assert!(opened.opened.weight() > CAPACITY / 4 * 3, "{}", opened.opened.weight());
    }
}
