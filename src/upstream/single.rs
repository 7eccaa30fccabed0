//! Single flight: what many ask for at once is done once, in a task of its own, so that a caller who leaves takes
//! nothing away from the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Flights under way, by key. The value is what everybody gets a clone of.
pub(super) struct Single<K, V> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

/// The work of a flight.
pub(super) type Work<V> = Pin<Box<dyn Future<Output = V> + Send>>;

impl<K, V> Default for Single<K, V> {
    fn default() -> Self {
        Self { flights: Arc::default() }
    }
}

impl<K, V> Single<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the flight of `key`, or starts one. `None` only if the work panicked.
    pub(super) async fn join(&self, key: &K, work: impl FnOnce() -> Work<V>) -> Option<V> {
        let mut flight = self.start(key, work);
        let landed = flight.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }

    /// Starts a flight unless one is under way; nobody has to wait for it.
    pub(super) fn start(&self, key: &K, work: impl FnOnce() -> Work<V>) -> watch::Receiver<Option<V>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let (landing, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        let leaves = Leaves { flights: Arc::clone(&self.flights), key: key.clone() };
        let work = work();
        // Ends with the work, which has deadlines of its own.
        tokio::spawn(async move {
            let value = work.await;
            drop(leaves); // first, so that who comes now starts afresh
            let _ = landing.send(Some(value));
        });
        flight
    }
}

/// Frees the key when the flight ends, however it ends.
struct Leaves<K: Hash + Eq, V> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Leaves<K, V> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_callers_cost_one_flight_even_if_the_first_leaves() {
        let single: Arc<Single<u8, u32>> = Arc::default();
        let flown = Arc::new(AtomicU32::new(0));
        let join = || {
            let (single, flown) = (single.clone(), flown.clone());
            async move {
                let work = move || -> Work<u32> {
                    Box::pin(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        flown.fetch_add(1, Ordering::SeqCst) + 1
                    })
                };
                single.join(&1, work).await
            }
        };
        let first = tokio::spawn(join());
        let others: Vec<_> = (0..99).map(|_| tokio::spawn(join())).collect();
        tokio::task::yield_now().await;
        first.abort();
        for other in others {
            assert_eq!(other.await.unwrap(), Some(1));
        }
        assert_eq!(join().await, Some(2), "the next one flies again");
    }

    #[tokio::test]
    async fn a_panic_reaches_nobody_else_and_frees_the_key() {
        let single: Single<u8, u32> = Single::default();
        assert_eq!(single.join(&1, || Box::pin(async { panic!("as the test wants") })).await, None);
        assert_eq!(single.join(&1, || Box::pin(async { 7 })).await, Some(7));
    }
}
