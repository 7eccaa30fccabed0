//! Capabilities that were opened, so that a player's next request costs a hash and a look-up instead of a
//! decryption.
//!
//! They are kept by the SHA-256 of the whole capability, within one generation of settings: a reload begins
//! with none, since it may change the keys. What a capability says is not a decision. Its end, its binding
//! and policy are checked at each request.

use super::{Binding, Error, Keys, Statement};
use crate::caller::Caller;
use crate::kvs::{SessionParameters, StreamRef, Timestamp};
use aws_lc_rs::digest;
use std::sync::Arc;
use std::time::Duration;

/// What a capability says, opened.
pub struct OpenedCapability {
    /// The caller that it was made for.
    pub caller: Arc<Caller>,
    /// Which stream.
    pub stream: StreamRef,
    /// Which session.
    pub session: Arc<SessionParameters>,
    /// When the capability was made: a replay runs from then.
    pub issued: Timestamp,
    /// Stands for this capability in counts and logs: a part of its digest, of no use to open anything.
    pub viewing: Arc<str>,
    expires: Timestamp,
    /// What a request must show besides the capability.
    pub bind: Option<Binding>,
    /// The policies that it was made under, if it is good under no others.
    pub policies: Option<Arc<str>>,
}

/// The capabilities that were opened lately.
pub struct OpenedCapabilities(moka::sync::Cache<Digest, Arc<OpenedCapability>>);

type Digest = [u8; 32];

/// Some 1 KiB each.
const MOST: u64 = 10_000;
/// One that is no longer used makes room after this.
const LIFETIME: Duration = Duration::from_secs(600);

impl Default for OpenedCapabilities {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MOST).time_to_live(LIFETIME).build())
    }
}

impl OpenedCapabilities {
    /// Opens a capability, unless its time is over.
    ///
    /// # Errors
    /// It is not one of ours, or its time is over.
    pub fn open(
        &self,
        keys: &Keys,
        capability: &str,
        now: Timestamp,
    ) -> Result<Arc<OpenedCapability>, Error> {
        let digest = digest_of(capability);
        if let Some(opened) = self.0.get(&digest) {
            if opened.expires <= now {
                return Err(Error::Expired(opened.expires));
            }
            return Ok(opened);
        }
        let statement = keys.open(capability, now)?;
        let opened = Arc::new(OpenedCapability::of(statement, &digest));
        self.0.insert(digest, opened.clone());
        Ok(opened)
    }
}

impl OpenedCapability {
    fn of(statement: Statement, digest: &Digest) -> Self {
        let Statement { caller, stream, session, issued, expires, bind, policies } = statement;
        // Sixteen hexadecimal digits that stand for a capability without being one.
        let viewing: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            caller: Arc::new(caller),
            stream,
            session: Arc::new(session),
            issued,
            viewing: viewing.into(),
            expires,
            bind,
            policies,
        }
    }
}

fn digest_of(capability: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, capability.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{Container, DiscontinuityMode, PlaybackMode, Protocol, SelectorType, StreamName};
    use crate::playback::Config;

    fn statement() -> Statement {
        let caller = Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice".into(),
            token_id: None,
            groups: Default::default(),
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        };
        Statement {
            caller,
            stream: StreamRef::Name(StreamName::parse("cam-1").unwrap()),
            session: SessionParameters {
                protocol: Protocol::Hls,
                mode: PlaybackMode::Live,
                selector: SelectorType::Server,
                start: None,
                end: None,
                container: Container::FragmentedMp4,
                discontinuity: DiscontinuityMode::Never,
                show_timestamps: false,
                show_numbers: false,
                max_fragments: 5,
            },
            issued: Timestamp::from_millis(1_000),
            expires: Timestamp::from_millis(9_000),
            bind: None,
            policies: None,
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
        for place in 0..capability.len() {
            let mut other = capability.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(opened.open(&keys, &other, at(2_000)).is_err(), "{place}");
        }
    }
}
