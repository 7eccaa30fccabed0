//! What holds of every tier below memory: the order in which they are asked, what becomes of claims, and
//! that a purge covers what began before it wherever it is found.

use super::*;
use crate::cache::entry::Entry;
use crate::cache::store::{Claim, Lookup, Work};
use std::collections::HashMap;
use std::sync::Mutex;

/// A tier that gives a claim with each miss, and takes objects in by them.
#[derive(Default)]
struct Shared(Arc<SharedState>);

#[derive(Default)]
struct SharedState {
    objects: Mutex<HashMap<Key, Arc<Entry>>>,
    looked: AtomicUsize,
    committed: AtomicUsize,
    dropped: AtomicUsize,
    sharing: Mutex<Vec<Sharing>>,
}

struct Claimed(Arc<SharedState>);

impl Store for Shared {
    fn load(&self, key: Key, sharing: Sharing, _: Timestamp) -> Work<'_, Lookup> {
        self.0.looked.fetch_add(1, Ordering::Relaxed);
        self.0.sharing.lock().unwrap().push(sharing);
        let found = self.0.objects.lock().unwrap().get(&key).cloned();
        let claim = || Box::new(Claimed(Arc::clone(&self.0))) as Box<dyn Claim>;
        let lookup = match found {
            Some(entry) => Lookup::Found(Tier::Redis, Loaded::Whole(entry)),
            None => Lookup::Missing(Some(claim())),
        };
        Box::pin(std::future::ready(lookup))
    }

    fn store(&self, _: &Arc<Entry>, _: Timestamp) {}

    fn holds(&self, _: &Key, _: Timestamp) -> bool {
        false
    }

    fn purge(&self, _: PurgeTarget) -> usize {
        0
    }

    fn idle(&self) -> bool {
        true
    }
}

impl Claim for Claimed {
    fn takes(&self, length: u64) -> bool {
        length < 1000
    }

    fn commit(self: Box<Self>, entry: &Arc<Entry>) {
        self.0.committed.fetch_add(1, Ordering::Relaxed);
        self.0.objects.lock().unwrap().insert(entry.key, Arc::clone(entry));
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn over() -> (Bench, Arc<SharedState>) {
    let shared = Shared::default();
    let state = Arc::clone(&shared.0);
    (bench_over(vec![Arc::new(shared)], |_| {}), state)
}

fn counts(state: &SharedState) -> (usize, usize, usize) {
    let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    (of(&state.looked), of(&state.committed), of(&state.dropped))
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_is_committed_and_another_replica_finds_it() {
    let (first, state) = over();
    let origin = Origin::new(&first, Keep::For(DAY));
    origin.whole("bytes");
    assert_eq!(ask(&first, &origin).await.unwrap(), b"bytes");
    assert_eq!(ask(&first, &origin).await.unwrap(), b"bytes", "from memory");
    until(|| counts(&state) == (1, 1, 1)).await;
    let second = bench_over(vec![Arc::new(Shared(Arc::clone(&state)))], |_| {});
    let found = second.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(found.outcome, Outcome::Hit(Tier::Redis));
    assert_eq!(read(found).await.unwrap(), b"bytes");
    let again = second.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((again.outcome, origin.calls()), (Outcome::Hit(Tier::Memory), 1));
    let no = second.cache.get_or_fill_as(key(1), Sharing::No, origin.fetch()).await.unwrap();
    assert_eq!(no.outcome, Outcome::Hit(Tier::Memory));
    assert_eq!(*state.sharing.lock().unwrap(), [Sharing::Always; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_given_up_when_there_is_nothing_to_commit() {
    let (bench, state) = over();
    let refused = Origin::new(&bench, Keep::For(DAY));
    refused.next(Body::Refused);
    assert!(bench.cache.get_or_fill(key(1), refused.fetch()).await.is_err());
    until(|| counts(&state) == (1, 0, 1)).await;
    let unkept = Origin::new(&bench, Keep::No);
    unkept.whole("bytes");
    assert_eq!(ask(&bench, &unkept).await.unwrap(), b"bytes");
    until(|| counts(&state) == (2, 0, 2)).await;
    let large = Origin::new(&bench, Keep::For(DAY));
    let feed = large.fed(Some(1000));
    let reading = bench.cache.get_or_fill(key(2), large.fetch()).await.unwrap();
    until(|| counts(&state) == (3, 0, 3)).await;
    drop((reading, feed));
    let purged = Origin::new(&bench, Keep::For(DAY));
    let feed = purged.fed(Some(4));
    let reading = bench.cache.get_or_fill(key(1), purged.fetch()).await.unwrap();
    bench.cache.purge("cam").await;
    feed.send(Ok(Bytes::from_static(b"late"))).await.unwrap();
    drop(feed);
    assert_eq!(read(reading).await.unwrap(), b"late");
    until(|| counts(&state) == (4, 0, 4)).await;
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_purge_is_a_miss_wherever_it_is_found() {
    let (bench, state) = over();
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.whole("old").whole("new");
    assert_eq!(ask(&bench, &origin).await.unwrap(), b"old");
    until(|| counts(&state).1 == 1).await;
    let at = bench.clock.fetch_add(1000, Ordering::Relaxed) + 500;
    assert_eq!(bench.cache.purge_before("cam", Timestamp::from_millis(at)).await, 1);
    assert_eq!(ask(&bench, &origin).await.unwrap(), b"new", "what the tier still has is not shown");
    assert_eq!(ask(&bench, &origin).await.unwrap(), b"new");
    assert_eq!(origin.calls(), 2);
}
