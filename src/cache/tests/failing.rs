//! Fetches that break: no partial body is kept, no request waits for ever, and readers that have no bytes
//! yet get a second attempt.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_fails_for_all_and_is_not_kept() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Refused);
    let both = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    for one in [both.0, both.1] {
        assert!(matches!(one, Err(FillError::Fetch(error)) if *error == Refused));
    }
    assert_eq!(origin.calls(), 1);
    origin.whole("now");
    let now = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((now.outcome, read(now).await.unwrap()), (Outcome::Miss, b"now".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_fetched_again_for_those_who_had_nothing_and_is_the_end_for_others() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(Some(4));
    origin.whole("good");
    let mut early = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None);
    let waiting = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    feed.send(Ok(Bytes::from_static(b"go"))).await.unwrap();
    assert_eq!(early.next().await.unwrap().unwrap(), "go");
    drop(feed);
    until(|| origin.calls() == 2).await;
    assert_eq!(read(waiting).await.unwrap(), b"good");
    assert!(matches!(early.next().await, Some(Err(Broken::Cut(_)))));
    assert!(early.next().await.is_none());
    let held = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(held.outcome, Outcome::Hit(Tier::Memory));
}

#[tokio::test(start_paused = true)]
async fn short_long_and_broken_bodies_are_never_kept() {
    let bench = bench(|_| {});
    for (chunk, length) in [(&b"abc"[..], 4), (b"abcde", 4)] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        for _ in 0..2 {
            origin.chunks(vec![Bytes::copy_from_slice(chunk)], Some(length));
        }
        assert!(matches!(ask(&bench, &origin).await, Err(Broken::Cut(_))));
        assert!(bench.cache.get(&key(1)).is_none());
    }
    let origin = Origin::new(&bench, Keep::For(DAY));
    for _ in 0..2 {
        let feed = origin.fed(None);
        feed.send(Ok(Bytes::from_static(b"all of it"))).await.unwrap();
        feed.send(Err(Broken::Refused("an error chunk at its end".into()))).await.unwrap();
    }
    assert!(matches!(ask(&bench, &origin).await, Err(Broken::Refused(_))));
    assert!(bench.cache.get(&key(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_given_up() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feeds = [origin.fed(Some(4)), origin.fed(Some(4))];
    feeds[0].send(Ok(Bytes::from_static(b"go"))).await.unwrap();
    let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert!(matches!(read(found).await, Err(Broken::Stalled(_))));
}

#[tokio::test(start_paused = true)]
async fn who_loses_patience_starts_again_together_with_the_others() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Silent).whole("here");
    let both = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    assert_eq!(read(both.0.unwrap()).await.unwrap(), b"here");
    assert_eq!(read(both.1.unwrap()).await.unwrap(), b"here");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_fetch_is_an_error_to_who_waits_and_frees_the_key() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let asked = bench.cache.get_or_fill(key(1), origin.fetch()).await;
    assert!(matches!(asked, Err(FillError::Broken(Broken::Cut(_)))));
    origin.bodies.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    origin.bodies.clear_poison();
    origin.whole("fine");
    assert!(bench.cache.get_or_fill(key(1), origin.fetch()).await.is_ok());
}
