//! Single flight: calls for the same key at the same time share one execution of the work.
//!
//! The work runs in a task of its own, so a caller that goes away takes nothing from the others. All callers
//! get a clone of the one result, errors included. Nothing is cached: a caller who comes after the end starts
//! the work again. A panic of the work frees the key and is reported to the callers who waited for it.
//!
//! [`SingleFlight::run`] stops the work when nobody waits for it any more. [`SingleFlight::start`] lets it
//! run to its end, for work whose result is kept somewhere and which has deadlines of its own.

use super::task::spawn_self_ending;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The executions in progress, by key. Clones share them.
pub struct SingleFlight<K, V> {
    flights: Arc<Flights<K, V>>,
}

/// A place among those who wait for one execution. Dropping it stops waiting.
pub struct Flight<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    number: u64,
    result: watch::Receiver<Option<V>>,
    joined: bool,
}

/// The work ended without a result: it panicked, or the runtime is shutting down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the shared work ended without a result")]
pub struct Interrupted;

struct Flights<K, V>(Mutex<Table<K, V>>);

struct Table<K, V> {
    running: HashMap<K, Running<V>>,
    /// How many executions have begun. Tells a later execution of a key from an earlier one.
    begun: u64,
}

struct Running<V> {
    number: u64,
    result: watch::Receiver<Option<V>>,
    waiting: usize,
    /// The work goes on even if nobody waits.
    to_its_end: bool,
    /// Absent for the moment between entering the table and being spawned.
    task: Option<AbortHandle>,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        let table = Table { running: HashMap::new(), begun: 0 };
        Self { flights: Arc::new(Flights(Mutex::new(table))) }
    }
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self { flights: Arc::clone(&self.flights) }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the execution for `key`, or starts one with `work`, which is called at most once and only to
    /// start. The work is stopped when the last [`Flight`] of it is dropped.
    pub fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Flight<K, V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, work, false)
    }

    /// As [`SingleFlight::run`], but the work runs to its end even if nobody waits; also if others began it
    /// with `run`.
    pub fn start<F>(&self, key: K, work: impl FnOnce() -> F) -> Flight<K, V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, work, true)
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F, to_its_end: bool) -> Flight<K, V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, result) = watch::channel(None);
        let flight = {
            let mut table = self.flights.lock();
            let begun = table.begun;
            if let Some(running) = table.running.get_mut(&key) {
                running.waiting += 1;
                running.to_its_end |= to_its_end;
                let (number, result) = (running.number, running.result.clone());
                return Flight { flights: Arc::clone(&self.flights), key, number, result, joined: true };
            }
            table.begun += 1;
            let running =
                Running { number: begun, result: result.clone(), waiting: 1, to_its_end, task: None };
            table.running.insert(key.clone(), running);
            Flight { flights: Arc::clone(&self.flights), key, number: begun, result, joined: false }
        };
        // Outside the lock: whoever makes the future may use this very table.
        let end = End { flights: Arc::clone(&self.flights), key: flight.key.clone(), number: flight.number };
        let work = work();
        let task = spawn_self_ending(async move {
            let value = work.await;
            drop(end); // first, so that a caller who comes after the result starts afresh
            let _ = sender.send(Some(value));
        });
        if let Some(running) = self.flights.lock().get(&flight.key, flight.number) {
            running.task = Some(task.abort_handle());
        }
        flight
    }
}

impl<K: Hash + Eq, V: Clone> Flight<K, V> {
    /// Whether somebody else's work is waited for.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// Waits for the result. Safe to drop at any point.
    ///
    /// # Errors
    /// [`Interrupted`], if there will be none.
    pub async fn result(mut self) -> Result<V, Interrupted> {
        let value = self.result.wait_for(Option::is_some).await.map_err(|_| Interrupted)?;
        value.clone().ok_or(Interrupted)
    }
}

impl<K: Hash + Eq, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        let Some(running) = table.get(&self.key, self.number) else { return };
        running.waiting -= 1;
        if running.waiting > 0 || running.to_its_end {
            return;
        }
        let stopped = table.running.remove(&self.key).and_then(|running| running.task);
        drop(table); // what the work holds may be another flight of this table
        if let Some(task) = stopped {
            task.abort();
        }
    }
}

/// Frees the key when an execution ends, however it ends.
struct End<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq, V> Drop for End<K, V> {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        if table.get(&self.key, self.number).is_some() {
            table.running.remove(&self.key);
        }
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// The execution of this number, unless it has ended.
    fn get(&mut self, key: &K, number: u64) -> Option<&mut Running<V>> {
        self.running.get_mut(key).filter(|running| running.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Work that takes a second and counts how often it began and how often it ended.
    #[derive(Clone, Default)]
    struct Counted {
        flights: SingleFlight<u8, u32>,
        began: Arc<AtomicU32>,
        ended: Arc<AtomicU32>,
    }

    impl Counted {
        fn work(&self) -> impl Future<Output = u32> + Send + 'static {
            let (began, ended) = (self.began.clone(), self.ended.clone());
            async move {
                let number = began.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(SECOND).await;
                ended.fetch_add(1, Ordering::SeqCst);
                number
            }
        }

        fn run(&self, key: u8) -> Flight<u8, u32> {
            self.flights.run(key, || self.work())
        }

        fn start(&self, key: u8) -> Flight<u8, u32> {
            self.flights.start(key, || self.work())
        }

        fn counts(&self) -> (u32, u32) {
            (self.began.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
        }

        fn is_empty(&self) -> bool {
            self.flights.flights.lock().running.is_empty()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_callers_cost_one_execution_even_if_the_first_leaves() {
        let counted = Counted::default();
        let join = || {
            let counted = counted.clone();
            async move { counted.run(1).result().await }
        };
        let first = tokio::spawn(join());
        let others: Vec<_> = (0..99).map(|_| tokio::spawn(join())).collect();
        tokio::task::yield_now().await;
        first.abort();
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(1));
        }
        assert_eq!(join().await, Ok(2), "nothing is kept: the next caller starts it again");
        assert!(counted.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_caller_starts_and_the_others_join() {
        let counted = Counted::default();
        let (first, second, other) = (counted.run(1), counted.run(1), counted.run(2));
        assert_eq!((first.joined(), second.joined(), other.joined()), (false, true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_nobody_waits_for_is_stopped_and_the_key_is_free_at_once() {
        let counted = Counted::default();
        let (first, second) = (counted.run(1), counted.run(1));
        tokio::task::yield_now().await;
        drop(first);
        assert!(!counted.is_empty());
        drop(second);
        assert!(counted.is_empty());
        let next = counted.run(1);
        assert!(!next.joined());
        assert_eq!(
            next.result().await,
            Ok(2),
            "the end of the stopped one does not free the key of this one"
        );
        assert_eq!(counted.counts(), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn started_work_runs_to_its_end_without_callers() {
        let counted = Counted::default();
        drop(counted.start(1));
        let impatient = counted.run(2);
        drop(counted.start(2));
        drop(impatient);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(counted.counts(), (2, 2));
        assert!(counted.is_empty());
    }

    #[tokio::test]
    async fn a_panic_frees_the_key_and_interrupts_only_those_who_waited() {
        let flights = SingleFlight::<u8, u32>::default();
        let first = flights.run(1, || async { panic!("as the test wants") });
        let second = flights.run(1, || async { 7 });
        assert_eq!((first.result().await, second.result().await), (Err(Interrupted), Err(Interrupted)));
        assert_eq!(flights.run(1, || async { 7 }).result().await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_while_the_work_is_made_frees_the_key_too() {
        let flights = SingleFlight::<u8, u32>::default();
        let caller = flights.clone();
        let work = || -> std::future::Ready<u32> { panic!("as the test wants") };
        assert!(tokio::spawn(async move { caller.run(1, work).result().await }).await.is_err());
        assert_eq!(flights.run(1, || async { 7 }).result().await, Ok(7));
    }

    #[tokio::test]
    async fn the_work_may_use_the_same_table() {
        let flights = SingleFlight::<u8, u32>::default();
        let inner = flights.clone();
        let nested = flights.run(1, || {
            let other = inner.run(2, || async { 5 });
            async move { other.result().await.unwrap_or(0) + 1 }
        });
        assert_eq!(nested.result().await, Ok(6));
    }

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Run(u8),
        Start(u8),
        Leave(usize),
        Wait(u16),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0..3_u8).prop_map(Action::Run),
            (0..3_u8).prop_map(Action::Start),
            (0..8_usize).prop_map(Action::Leave),
            (0..1500_u16).prop_map(Action::Wait),
        ]
    }

    proptest! {
        /// At no time two executions of one key, whoever comes and goes; and nothing is left when all have
        /// gone.
        #[test]
        fn never_two_at_once_and_nothing_left(actions in proptest::collection::vec(action(), 1..40)) {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let flights = SingleFlight::<u8, ()>::default();
                let active: Arc<[AtomicU32; 3]> = Arc::default();
                let work = |key: u8| {
                    let active = active.clone();
                    move || async move {
                        struct Active(Arc<[AtomicU32; 3]>, usize);
                        impl Drop for Active {
                            fn drop(&mut self) {
                                self.0[self.1].fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                        let at = usize::from(key);
                        assert_eq!(active[at].fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        let _active = Active(active.clone(), at);
                        tokio::time::sleep(SECOND).await;
                    }
                };
                let mut waiting = Vec::new();
                for action in actions {
                    match action {
                        Action::Run(key) => waiting.push(flights.run(key, work(key))),
                        Action::Start(key) => waiting.push(flights.start(key, work(key))),
                        Action::Leave(at) if at < waiting.len() => drop(waiting.swap_remove(at)),
                        Action::Leave(_) => {}
                        Action::Wait(millis) => {
                            tokio::time::sleep(Duration::from_millis(millis.into())).await;
                        }
                    }
                    // A stopped task goes at its next turn.
                    tokio::task::yield_now().await;
                }
                for flight in waiting {
                    assert_eq!(flight.result().await, Ok(()));
                }
                tokio::time::sleep(SECOND * 2).await;
                assert!(flights.flights.lock().running.is_empty());
                assert!(active.iter().all(|count| count.load(Ordering::SeqCst) == 0));
            });
        }
    }
}
