//! Which versions this replica holds, and which the store held when it was last looked at.

use crate::fleet::Reply;
use crate::kvs::{Resource, Timestamp};
use std::collections::HashMap;

/// The versions of what this replica holds, and of what the store held when it was last looked at.
#[derive(Default)]
pub(super) struct HeldVersions {
    pub(super) sessions: Versions,
    pub(super) continuity: Versions,
    pub(super) playlists: HashMap<Resource, u64>,
}

/// The version of one thing.
#[derive(Default, Clone, Copy)]
pub(super) struct Versions {
    pub(super) here: u64,
    stored: u64,
    /// What is here is to be written over what is stored.
    pub(super) ahead: bool,
}

impl HeldVersions {
    /// The version of a playlist that is held; 0 if there is none.
    pub(super) fn playlist(&self, resource: &Resource) -> u64 {
        self.playlists.get(resource).copied().unwrap_or(0)
    }
}

impl Versions {
    /// Notes the version that the store has, and whether what it has is held here now.
    pub(super) fn note(&mut self, stored: u64, taken: bool) {
        self.stored = stored;
        if taken {
            *self = Self::both(stored);
        }
    }

    /// What is stored and here is this version.
    pub(super) fn both(version: u64) -> Self {
        Self { here: version, stored: version, ahead: false }
    }

    /// What is stored is older than what is here, whatever its version.
    pub(super) fn settle(&mut self, stored: u64) {
        *self = Self { ahead: true, ..Self::both(stored) };
    }

    /// What is here is to be written.
    pub(super) fn is_ahead(self) -> bool {
        self.ahead || self.here > self.stored
    }

    /// The version to write what is here as.
    pub(super) fn next(self, now: Timestamp) -> u64 {
        if self.here > self.stored { self.here } else { version_after(self.stored, now) }
    }

    /// The newer one of the two.
    pub(super) fn highest(self) -> u64 {
        self.here.max(self.stored)
    }

    /// Version and value of what the store has, if that is newer.
    pub(super) fn newer(&mut self, fields: Vec<Reply>) -> Option<(u64, Vec<u8>)> {
        let mut fields = fields.into_iter();
        let version = number(&fields.next()?);
        let found = fields.next()?.bytes()?;
        if version <= self.here {
            return None;
        }
        *self = Self::both(version);
        Some((version, found))
    }
}

/// The version that follows this one. As far as they can be, versions are milliseconds since 1970: what is
/// published in a store that has lost everything is then newer than what any replica holds.
pub(super) fn version_after(version: u64, now: Timestamp) -> u64 {
    version.saturating_add(1).max(now.millis())
}

/// The number of a reply; 0 if it is none.
pub(super) fn number(reply: &Reply) -> u64 {
    reply.number().and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_a_higher_version_than_what_is_stored() {
        let mut versions = Versions::both(5);
        assert!(!versions.is_ahead());
        versions.note(7, false);
        let next = |versions: Versions| versions.next(Timestamp::from_millis(0));
        assert_eq!((versions.here, next(versions), versions.highest()), (5, 8, 7));
        versions.note(7, true);
        assert_eq!((versions.here, versions.is_ahead()), (7, false));
        // The store has lost what it had, and this replica has been alone.
        versions.note(0, false);
        assert_eq!((versions.is_ahead(), next(versions)), (true, 7));
        versions.settle(3);
        assert_eq!((versions.is_ahead(), next(versions)), (true, 4));
        assert_eq!(versions.next(Timestamp::from_millis(1000)), 1000, "newer than any version of before");
    }

    #[test]
    fn only_what_is_newer_is_taken() {
        let fields = |version: i64| vec![Reply::Number(version), Reply::Bytes(b"value".to_vec())];
        let mut versions = Versions::both(5);
        assert_eq!(versions.newer(fields(5)), None);
        assert_eq!(versions.newer(fields(6)), Some((6, b"value".to_vec())));
        assert_eq!((versions.here, versions.newer(vec![Reply::Number(9), Reply::Nil])), (6, None));
    }
}
