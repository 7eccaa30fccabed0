//! Whose turn a session takes under the quotas of KVS.
//!
//! A session that one caller alone uses takes turns as that caller, so that a caller with many sessions waits
//! behind its own. One that several callers use takes turns of its own, so that none of them holds up the
//! others.

use crate::caller::Caller;
use crate::kvs::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request by a caller, and when it came.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// Who makes it.
    pub caller: &'a Caller,
    /// When it came.
    pub now: Timestamp,
}

/// Whose turn a session takes. Clones are one: the parts of long footage share it.
#[derive(Clone)]
pub(super) struct Turn(Arc<Mutex<TurnState>>);

struct TurnState {
    /// The only caller so far, by issuer and subject.
    only: Option<(Arc<str>, Arc<str>)>,
    principal: Arc<str>,
    /// The principal once there are several callers.
    own: Arc<str>,
}

impl Turn {
    /// The turn of a session that this caller opens; `number` distinguishes it from other sessions.
    pub(super) fn new(caller: &Caller, number: u64) -> Self {
        let only = Some((caller.issuer.clone(), caller.subject.clone()));
        // A caller's principal begins with a digit.
        let own = format!("shared playback session {number}").into();
        Self(Arc::new(Mutex::new(TurnState { only, principal: caller.principal(), own })))
    }

    /// Notes a request by a caller.
    pub(super) fn note(&self, caller: &Caller) {
        let mut state = self.lock();
        let is_other = |(issuer, subject): &(_, _)| *issuer != caller.issuer || *subject != caller.subject;
        if state.only.as_ref().is_some_and(is_other) {
            state.only = None;
            state.principal = state.own.clone();
        }
    }

    /// The principal that waits.
    pub(super) fn principal(&self) -> Arc<str> {
        self.lock().principal.clone()
    }

    fn lock(&self) -> MutexGuard<'_, TurnState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sessions) fn caller(subject: &str) -> Caller {
        Caller {
            issuer: "https://idp".into(),
            subject: subject.into(),
            token_id: None,
            groups: crate::caller::TextSet::default(),
            groups_withheld: false,
            attributes: [].into(),
            expires: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_session_takes_its_callers_turns_until_it_has_several() {
        let (alice, bob) = (caller("alice"), caller("bob"));
        let turn = Turn::new(&alice, 7);
        turn.note(&alice);
        assert_eq!(turn.principal(), alice.principal());
        turn.note(&bob);
        assert_eq!(&*turn.principal(), "shared playback session 7");
        turn.note(&alice);
        assert_eq!(&*turn.principal(), "shared playback session 7");
    }
}
