//! Places for upstream sessions: so many in all (`sessions.most`), and so many of one caller
//! (`sessions.most_per_caller`).
//!
//! A place is taken before KVS is asked for a session and given back when the session is let go, or when it
//! could not be opened. Before a caller is refused, sessions without viewers are let go: their players can
//! open them again.

use super::error::Error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// The places for upstream sessions. Clones share them.
#[derive(Clone)]
pub(super) struct Places(Arc<State>);

struct State {
    most: usize,
    most_per_caller: usize,
    taken: Mutex<Taken>,
    holder: OnceLock<Weak<dyn Holder>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// By principal; none has zero.
    by_caller: HashMap<Arc<str>, usize>,
}

/// What holds sessions that may be let go.
pub(super) trait Holder: Send + Sync {
    /// Lets go of sessions without viewers: of the one longest without a request that this principal opened,
    /// or of some that anybody opened.
    fn let_go_unwatched(&self, opened_by: Option<&str>);
}

/// The place of one upstream session. Dropping it gives it back.
pub(super) struct Place {
    places: Places,
    principal: Option<Arc<str>>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_caller: usize) -> Self {
        Self(Arc::new(State { most, most_per_caller, taken: Mutex::default(), holder: OnceLock::new() }))
    }

    /// Names what holds the sessions. Only the first call counts.
    pub(super) fn held_by(&self, holder: Weak<dyn Holder>) {
        drop(self.0.holder.set(holder));
    }

    /// A place for a session that a principal needs, made free if need be.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::MostPerCaller`].
    pub(super) fn take(&self, principal: &Arc<str>) -> Result<Place, Error> {
        let Err(refused) = self.try_take(Some(principal)) else { return self.place(Some(principal)) };
        if let Some(holder) = self.0.holder.get().and_then(Weak::upgrade) {
            let is_own = matches!(refused, Error::MostPerCaller(_));
            holder.let_go_unwatched(is_own.then_some(&**principal));
        }
        self.try_take(Some(principal))?;
        self.place(Some(principal))
    }

    /// A place for a session that the viewers of a crowd share, if one is free. It counts for no caller.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn take_for_crowd(&self) -> Result<Place, Error> {
        self.try_take(None)?;
        self.place(None)
    }

    fn place(&self, principal: Option<&Arc<str>>) -> Result<Place, Error> {
        Ok(Place { places: self.clone(), principal: principal.cloned() })
    }

    fn try_take(&self, principal: Option<&Arc<str>>) -> Result<(), Error> {
        let mut taken = self.lock();
        let own = principal.map_or(0, |principal| taken.by_caller.get(principal).copied().unwrap_or(0));
        if own >= self.0.most_per_caller {
            return Err(Error::MostPerCaller(self.0.most_per_caller));
        }
        if taken.all >= self.0.most {
            return Err(Error::Full);
        }
        taken.all += 1;
        if let Some(principal) = principal {
            taken.by_caller.insert(principal.clone(), own + 1);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let Some(principal) = &self.principal else { return };
        if let Some(own) = taken.by_caller.get_mut(principal) {
            *own -= 1;
            if *own == 0 {
                taken.by_caller.remove(principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_per_caller_and_come_back() {
        let places = Places::new(4, 2);
        let (alice, bob, carol): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        let held = [places.take(&alice), places.take(&alice)].map(Result::ok);
        assert!(matches!(places.take(&alice), Err(Error::MostPerCaller(2))));
        let others = [places.take(&bob), places.take_for_crowd()].map(Result::ok);
        assert!(others.iter().chain(&held).all(Option::is_some));
        assert!(matches!(places.take(&carol), Err(Error::Full)));
        assert!(matches!(places.take_for_crowd(), Err(Error::Full)));
        drop(held);
        assert!(places.take(&alice).is_ok());
        drop(others);
        assert!(places.lock().by_caller.is_empty());
        assert_eq!(places.lock().all, 0);
    }

    /// Gives up its places when it is told to.
    struct Held(Mutex<Vec<(Arc<str>, Place)>>);

    impl Holder for Held {
        fn let_go_unwatched(&self, opened_by: Option<&str>) {
            let mut held = self.0.lock().unwrap();
            let place = held.iter().position(|(of, _)| opened_by.is_none_or(|by| by == &**of));
            place.map(|place| held.remove(place));
        }
    }

    #[test]
    fn a_caller_at_its_bound_loses_a_session_of_its_own_and_of_nobody_else() {
        let places = Places::new(3, 2);
        let (alice, bob): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let held = Arc::new(Held(Mutex::default()));
        let holder: Weak<dyn Holder> = Arc::downgrade(&(held.clone() as Arc<dyn Holder>));
        places.held_by(holder);
        for of in [&bob, &alice, &alice, &alice, &alice] {
            let place = places.take(of).unwrap();
            held.0.lock().unwrap().push((of.clone(), place));
        }
        assert_eq!(places.lock().by_caller, HashMap::from([(alice, 2), (bob.clone(), 1)]));
        // Of all, the first one goes.
        let _another = places.take(&bob).unwrap();
        assert_eq!(places.lock().by_caller.get(&bob), Some(&1));
    }
}
