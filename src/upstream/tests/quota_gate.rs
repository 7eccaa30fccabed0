//! The queue ahead of the shared quotas, with a store that is made up.

use super::*;
use crate::fleet::Error;
use std::sync::atomic::AtomicU64;

/// One bucket without a burst, as the store keeps it, and what was reserved and given back.
#[derive(Default)]
struct Bucket {
    tat: Mutex<Option<Instant>>,
    asked: AtomicU64,
    dropped: AtomicU64,
    away: std::sync::atomic::AtomicBool,
}

struct Reserved(Arc<Bucket>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

const EACH: Duration = Duration::from_millis(100);

impl Bucket {
    /// As `TAKE` does: one request each 100 ms.
    fn reserve(
        self: &Arc<Self>,
    ) -> impl Fn(Duration) -> ReserveAnswer<Reserved> + Send + Sync + 'static + use<> {
        let bucket = self.clone();
        move |most| {
            let bucket = bucket.clone();
            Box::pin(async move {
                bucket.asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                if bucket.away.load(Ordering::SeqCst) {
                    return Err(Error::TimedOut);
                }
                let now = Instant::now();
                let mut tat = bucket.tat.lock().unwrap();
                let free = tat.map_or(now, |tat| tat.max(now));
                if free - now > most {
                    return Ok(ReserveOutcome::Late(free - now));
                }
                *tat = Some(free + EACH);
                Ok(ReserveOutcome::After(free - now, Reserved(bucket.clone())))
            })
        }
    }
}

async fn pass(
    gate: &Arc<Gate<Reserved>>,
    bucket: &Arc<Bucket>,
    who: &str,
    within: Duration,
) -> Grant<Reserved> {
    gate.pass(&who.into(), 100, Instant::now() + within, bucket.reserve()).await
}

fn gate() -> (Arc<Gate<Reserved>>, Arc<Bucket>) {
    (Arc::default(), Arc::default())
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_is_not_scarce_costs_one_reservation_each() {
    let (gate, bucket) = gate();
    for _ in 0..5 {
        assert!(matches!(pass(&gate, &bucket, "a", LONG).await, Grant::Go(_)));
        tokio::time::sleep(EACH).await;
    }
    assert_eq!(bucket.asked.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn one_callers_many_requests_do_not_hold_up_anothers_one() {
    let (gate, bucket) = gate();
    let greedy: Vec<_> = (0..50)
        .map(|_| {
            let (gate, bucket) = (gate.clone(), bucket.clone());
            tokio::spawn(async move { matches!(pass(&gate, &bucket, "greedy", LONG).await, Grant::Go(_)) })
        })
        .collect();
    tokio::time::sleep(EACH * 3).await;
    let start = Instant::now();
    assert!(matches!(pass(&gate, &bucket, "modest", LONG).await, Grant::Go(_)));
    assert!(start.elapsed() < EACH * 4, "two turns, not fifty: {:?}", start.elapsed());
    for one in greedy {
        assert!(one.await.unwrap());
    }
    assert!(start.elapsed() >= EACH * 45, "the rate holds: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_refused_and_reserves_nothing() {
    let (gate, bucket) = gate();
    *bucket.tat.lock().unwrap() = Some(Instant::now() + Duration::from_secs(9));
    let refused = pass(&gate, &bucket, "a", Duration::from_secs(5)).await;
    assert!(matches!(refused, Grant::Late(again) if again > Duration::from_secs(8)));
    assert_eq!(bucket.dropped.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_gives_its_reservation_back_and_holds_up_no_other() {
    let (gate, bucket) = gate();
    *bucket.tat.lock().unwrap() = Some(Instant::now() + Duration::from_secs(2));
    let leaver = {
        let (gate, bucket) = (gate.clone(), bucket.clone());
        tokio::spawn(async move { drop(pass(&gate, &bucket, "a", LONG).await) })
    };
    tokio::time::sleep(EACH).await;
    leaver.abort();
    let start = Instant::now();
    let granted = pass(&gate, &bucket, "b", LONG).await;
    assert_eq!(bucket.dropped.load(Ordering::SeqCst), 1, "given back");
    assert!(matches!(granted, Grant::Go(_)) && start.elapsed() < Duration::from_millis(2200));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_store_that_is_away() {
    let (gate, bucket) = gate();
    *bucket.tat.lock().unwrap() = Some(Instant::now() + Duration::from_secs(1));
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (gate, bucket) = (gate.clone(), bucket.clone());
            tokio::spawn(async move { pass(&gate, &bucket, "a", LONG).await })
        })
        .collect();
    tokio::time::sleep(EACH).await;
    bucket.away.store(true, Ordering::SeqCst);
    let mut away = 0;
    for one in waiting {
        away += usize::from(matches!(one.await.unwrap(), Grant::Away));
    }
    assert!(away >= 8, "all but those whose time was reserved: {away}");
    assert!(matches!(pass(&gate, &bucket, "a", LONG).await, Grant::Away));
}
