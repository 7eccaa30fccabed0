//! What is held in common of one shared session, and the names of it in the store.

use super::alone::Alone;
use super::record;
use super::versions::HeldVersions;
use crate::fleet::{Digest, Error, Key, KeyPart, LeaseKind, LeaseResult, Store, Unit};
use crate::kvs::{Resource, Timestamp};
use crate::sessions::key::SessionKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is held in common of one shared session.
pub(in crate::sessions) struct Common {
    pub(super) store: Store,
    unit: Unit,
    pub(super) sessions: Key,
    pub(super) continuity: Key,
    pub(super) viewers: Key,
    held: Mutex<HeldVersions>,
    /// Held while this process looks and takes over what it found.
    turn: tokio::sync::Mutex<()>,
    pub(super) alone: Alone,
}

impl Common {
    pub(in crate::sessions) fn new(store: &Store, key: &SessionKey) -> Self {
        // Plain values: JSON can hold all of them.
        let parameters = serde_json::to_string(&key.parameters).unwrap_or_default();
        let begun = key.began.map_or(0, Timestamp::millis).to_string();
        let texts = [&*key.entry, key.stream_text(), &parameters, &begun].map(str::as_bytes);
        let unit = Unit::Session(Digest::of("session", &texts));
        let named = |part| store.keys().key(&unit, &part);
        let (sessions, continuity) = (named(KeyPart::Upstream), named(KeyPart::Timeline));
        let viewers = named(KeyPart::Viewers);
        Self {
            store: store.clone(),
            unit,
            sessions,
            continuity,
            viewers,
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            alone: Alone::new(store.metrics().clone()),
        }
    }

    /// The turn of this process to look and to take over what it finds.
    pub(in crate::sessions) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether all shards of the store answer, as far as is known.
    pub(in crate::sessions) fn is_well(&self) -> bool {
        self.store.is_well()
    }

    /// Notes that the store did not answer.
    pub(in crate::sessions) fn note_outage(&self) {
        self.alone.note_outage();
    }

    /// Since when the store has not answered, while this replica goes by itself.
    pub(in crate::sessions) fn alone_since(&self) -> Option<Instant> {
        self.alone.since()
    }

    /// Whether this replica goes by itself.
    pub(in crate::sessions) fn is_alone(&self) -> bool {
        self.alone.is_alone()
    }

    /// The store does not answer: this replica goes by itself.
    pub(in crate::sessions) fn goes_alone(&self) {
        self.alone.begin();
    }

    /// Notes that a session was opened here alone.
    pub(in crate::sessions) fn opened_alone(&self) {
        self.held().sessions.ahead = true;
    }

    pub(super) fn playlist(&self, resource: &Resource) -> Key {
        let name = match resource {
            Resource::MediaPlaylist { track } => format!("media{track}"),
            Resource::Manifest => "manifest".to_owned(),
            _ => "master".to_owned(),
        };
        self.store.keys().key(&self.unit, &KeyPart::Playlist(&name))
    }

    pub(super) fn lease(&self, of: &str) -> Key {
        self.store.keys().key(&self.unit, &KeyPart::Lease(of))
    }

    pub(super) fn timeout(&self) -> Duration {
        self.store.config().timeout.0
    }

    pub(super) fn opened<T: DeserializeOwned>(
        &self,
        key: &Key,
        version: u64,
        found: Option<Vec<u8>>,
    ) -> Option<T> {
        let plain = self.store.open_value(key, version, found?).ok()?;
        record::decode(&plain)
    }

    pub(super) fn sealed(&self, key: &Key, version: u64, record: &impl Serialize) -> Result<Vec<u8>, Error> {
        let plain = record::encode(record).ok_or(Error::NoKey)?;
        self.store.seal(key, version, &plain)
    }

    pub(super) fn count(&self, kind: LeaseKind, result: LeaseResult) {
        self.store.metrics().lease(kind, result);
    }

    pub(super) fn held(&self) -> MutexGuard<'_, HeldVersions> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
