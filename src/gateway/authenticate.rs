//! Who is asking: a token's owner, or the holder of a playback capability.

use super::Gateway;
use super::error::Error;
use super::players::Player;
use super::record::Record;
use crate::caller::Caller;
use crate::identity::Credential;
use crate::kvs::Timestamp;
use crate::playback::{self, Binding};
use http::header;
use http::request::Parts;
use std::sync::Arc;

/// Somebody who was recognized.
pub enum Authenticated {
    /// By a verified token.
    Person(Arc<Caller>),
    /// By a capability, which also says what may be played.
    Player(Arc<Player>),
}

impl Authenticated {
    /// Who it is.
    pub fn caller(&self) -> &Arc<Caller> {
        match self {
            Self::Person(caller) => caller,
            Self::Player(player) => &player.caller,
        }
    }
}

/// The cookie that ties capabilities to a browser (`playback.bind = "cookie"`).
pub const BINDING_COOKIE: &str = "kvs_edge_player";

impl Gateway {
    /// Verifies the one token of a request.
    pub(super) async fn recognize(&self, parts: &Parts, now: Timestamp) -> Result<Authenticated, Error> {
        match self.sources.credential(&parts.method, &parts.headers, false)? {
            Credential::Token(token) => {
                Ok(Authenticated::Person(self.identity.verify(token.text()?, now).await?))
            }
            // Given only for a path with a capability.
            Credential::Capability => Err(Error::Unbound),
        }
    }

    /// Opens the capability of a playback path.
    pub(super) fn open(
        &self,
        capability: &str,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Authenticated, Error> {
        self.sources.credential(&parts.method, &parts.headers, true)?;
        let player = self.players.open(&self.keys, capability, record.at)?;
        let holds = |bind: &Binding| bind.holds(record.client, cookie(parts, BINDING_COOKIE));
        if !player.bind.as_ref().is_none_or(holds) {
            self.tell_misplaced(&player, record);
            return Err(Error::Unbound);
        }
        if player.policies.as_ref().is_some_and(|version| version != self.policy.version()) {
            self.tell_misplaced(&player, record);
            return Err(Error::Capability(playback::Error::Outdated));
        }
        Ok(Authenticated::Player(player))
    }
}

/// Until when a capability lives that is asked for now.
pub fn lifetime(now: Timestamp, seconds: u32, caller: &Caller, config: &playback::Config) -> Timestamp {
    playback::lifetime(now, std::time::Duration::from_secs(u64::from(seconds)), caller.expires, config)
}

/// The value of one cookie, if the request has exactly one of that name.
pub fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let mut found = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}
