//! Capabilities that were opened, so that a player's next request costs a hash and a look-up instead of a decryption.
//!
//! Kept by the SHA-256 of the whole capability, in one generation of settings: whatever a reload changes, keys above all,
//! begins with an empty memory. What a capability says is not a decision. Its end, its binding and policy are looked at
//! at each request.

use super::error::Error;
use crate::caller::Caller;
use crate::kvs::{SessionParameters, StreamRef, Timestamp};
use crate::playback::{self, Binding, Keys, Statement};
use crate::sessions::ViewerId;
use aws_lc_rs::digest;
use std::sync::Arc;
use std::time::Duration;

/// The holder of a capability.
pub struct Player {
    /// Who asked for it.
    pub caller: Arc<Caller>,
    /// Which stream.
    pub stream: StreamRef,
    /// Which session.
    pub session: Arc<SessionParameters>,
    /// When the capability was made: a replay runs from then.
    pub issued: Timestamp,
    /// Stands for this holder in counts and logs: a digest of the capability, of no use to open anything.
    pub viewing: Arc<str>,
    /// The same, for the session that he shares with others.
    pub viewer: ViewerId,
    expires: Timestamp,
    /// What a request must show besides the capability.
    pub bind: Option<Binding>,
    /// The policies that it was made under, if it is good under no others.
    pub policies: Option<Arc<str>>,
}

/// What is remembered of capabilities.
pub struct Players(moka::sync::Cache<Digest, Arc<Player>>);

type Digest = [u8; 32];

/// Some 1 KiB each.
const MOST: u64 = 10_000;
/// Only so that what nobody plays any more makes room.
const KEPT: Duration = Duration::from_secs(600);

impl Default for Players {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MOST).time_to_live(KEPT).build())
    }
}

impl Players {
    /// Opens a capability, unless its time is over.
    ///
    /// # Errors
    /// [`Error::Capability`].
    pub fn open(&self, keys: &Keys, capability: &str, now: Timestamp) -> Result<Arc<Player>, Error> {
        let digest = digest_of(capability);
        if let Some(player) = self.0.get(&digest) {
            if player.expires <= now {
                return Err(Error::Capability(playback::Error::Expired(player.expires)));
            }
            return Ok(player);
        }
        let statement = keys.open(capability, now).map_err(Error::Capability)?;
        let player = Arc::new(Player::of(statement, &digest));
        self.0.insert(digest, player.clone());
        Ok(player)
    }
}

impl Player {
    fn of(statement: Statement, digest: &Digest) -> Self {
        let Statement { caller, stream, session, issued, expires, bind, policies } = statement;
        // Sixteen hexadecimal digits that stand for a capability without being one.
        let viewing: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            caller: Arc::new(caller),
            stream,
            session: Arc::new(session),
            issued,
            viewer: ViewerId::of(&viewing),
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
        let players = Players::default();
        let capability = keys.seal(&statement());
        let at = Timestamp::from_millis;
        for now in [at(2_000), at(8_999)] {
            let player = players.open(&keys, &capability, now).ok().unwrap();
            assert_eq!((&*player.caller.subject, player.viewing.len()), ("alice", 16));
        }
        assert!(matches!(
            players.open(&keys, &capability, at(9_000)),
            Err(Error::Capability(playback::Error::Expired(_)))
        ));
        for place in 0..capability.len() {
            let mut other = capability.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(players.open(&keys, &other, at(2_000)).is_err(), "{place}");
        }
    }
}
