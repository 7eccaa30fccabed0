//! KVS never has to throttle us, whatever the crowd does, and nobody in the crowd is starved.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_served_in_turns_and_kvs_never_throttles() {
    let kvs = kvs(|_| {}).await;
    let upstream = upstream(entry(&kvs.url()), Config::default()).await;
    let numbers = Arc::new(numbers(&upstream).await);
    let served: Arc<[AtomicU64; 4]> = Arc::default();
    let end = Instant::now() + Duration::from_secs(6);
    let mut crowd = Vec::new();
    for viewer in 0..60_usize {
        let (upstream, numbers, served) = (upstream.clone(), numbers.clone(), served.clone());
        crowd.push(tokio::spawn(async move {
            let located = upstream.locate(&camera()).unwrap();
            // One who asks for as much as 57 others, and three who ask now and then.
            let principal = viewer.saturating_sub(56);
            let mut turn = viewer;
            while Instant::now() < end {
                let call = match turn % 4 {
                    0 => fragments(&numbers[turn % numbers.len()..][..1]),
                    1 => calls().swap_remove(1),
                    2 => calls().swap_remove(3),
                    _ => calls().swap_remove(2),
                };
                turn += 1;
                match upstream.call(&located, &call, &principal.to_string()).await {
                    Ok(answer) => {
                        answer.bytes(100 << 20).await.unwrap();
                        served[principal].fetch_add(1, Ordering::Relaxed);
                    }
                    Err(Error::Busy { retry_after, .. }) => {
                        tokio::time::sleep(retry_after.min(Duration::from_millis(200))).await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }));
    }
    for one in crowd {
        one.await.unwrap();
    }
    let mut throttled = 0;
    let requests = operator(&kvs, "GET", "requests", "").await;
    for (operation, of) in requests["total"].as_object().unwrap() {
        println!("{operation:<28} {of}");
        throttled += of["throttled"].as_u64().unwrap();
    }
    let served: Vec<_> = served.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    println!("served per principal: {served:?}");
    assert_eq!(throttled, 0);
    assert!(served.iter().all(|n| *n > 3), "{served:?}");
}
