//! What is kept and for how long: purges, freshness, budgets, and bodies that are too large to be kept.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_purge_reaches_memory_and_fills_under_way() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.whole("old");
    read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap();
    let feed = origin.fed(Some(3));
    let under_way = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(bench.cache.purge("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1").await, 1);
    assert!(bench.cache.get(&key(1)).is_none());
    origin.whole("new");
    let after = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!((after.outcome, read(after).await.unwrap()), (Outcome::Miss, b"new".to_vec()));
    feed.send(Ok(Bytes::from_static(b"old"))).await.unwrap();
    drop(feed);
    assert_eq!(read(under_way).await.unwrap(), b"old");
    let held = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(read(held).await.unwrap(), b"new");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_kept_is_shared_while_it_comes_and_then_gone() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::No);
    origin.whole("once").whole("twice");
    let (one, two) = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.outcome, two.outcome), (Outcome::Bypass, Outcome::Collapsed));
    assert_eq!(read(one).await.unwrap(), b"once");
    assert_eq!(read(two).await.unwrap(), b"once");
    until(|| bench.cache.0.in_flight.len() == 0).await;
    assert_eq!(read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap(), b"twice");
}

#[tokio::test(start_paused = true)]
async fn a_body_too_large_to_keep_streams_to_all_who_keep_up_in_a_small_window() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    for announced in [true, false] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        let body = pattern(8 << 20);
        let chunks: Vec<Bytes> = body.chunks(40_000).map(Bytes::copy_from_slice).collect();
        origin.chunks(chunks.clone(), announced.then_some(body.len() as u64));
        let (one, two) = tokio::join!(
            bench.cache.get_or_fill(key(1), origin.fetch()),
            bench.cache.get_or_fill(key(1), origin.fetch())
        );
        let (one, two) = tokio::join!(read(one.unwrap()), read(two.unwrap()));
        assert!(one.unwrap() == body && two.unwrap() == body);
        assert_eq!(origin.calls(), 1);
        assert!(bench.cache.get(&key(1)).is_none());
        until(|| bench.cache.0.in_flight.len() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_body_that_streams_who_stalls_is_cut_and_who_comes_late_fetches_for_himself() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    let body = pattern(8 << 20);
    for _ in 0..2 {
        origin.chunks(body.chunks(40_000).map(Bytes::copy_from_slice).collect(), Some(body.len() as u64));
    }
    let stalled = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    let reading = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(reading.outcome, Outcome::Collapsed);
    assert!(read(reading).await.unwrap() == body);
    assert!(matches!(read(stalled).await, Err(Broken::Stalled(_))));
    let late = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert!(read(late).await.unwrap() == body);
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_pauses_longer_than_a_fetch_may_stall_reads_on() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(Some(8 << 20));
    let mut reader = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None);
    for _ in 0..2 {
        feed.send(Ok(vec![0; 64 << 10].into())).await.unwrap();
    }
    until(|| feed.capacity() == 1000).await;
    tokio::time::sleep(Config::default().stall.0 * 2).await;
    for _ in 0..2 {
        assert!(reader.next().await.unwrap().is_ok());
    }
    // The fetch goes on now that there is room, and what comes next is not late.
    tokio::time::sleep(Duration::from_secs(1)).await;
    feed.send(Ok(vec![0; 64 << 10].into())).await.unwrap();
    assert!(reader.next().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn memory_counts_what_is_evicted_while_somebody_reads_it_and_takes_in_less_meanwhile() {
    let bench = bench(|config| config.memory = crate::setting::ByteSize(8 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    let mut readers = Vec::new();
    for number in 0..100 {
        origin.whole(pattern(300_000));
        let mut reader = bench.cache.get_or_fill(key(number), origin.fetch()).await.unwrap().entry.body(None);
        reader.next().await.unwrap().unwrap();
        readers.push(reader);
        until(|| bench.cache.0.in_flight.len() <= readers.len()).await;
        assert!(bench.cache.0.budget.used() <= (8 << 20) + 100 * (128 << 10));
    }
    assert!(bench.counted("kvs_edge_cache_requests_total", &["memory", "bypass"]) > 50.0);
    drop(readers);
    until(|| bench.cache.0.in_flight.len() == 0).await;
    bench.cache.0.memory.tidy();
    assert_eq!(bench.cache.0.budget.used(), bench.cache.0.memory.bytes());
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_its_budget_while_more_than_it_passes_through() {
    let bench = bench(|config| config.memory = crate::setting::ByteSize(8 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    for number in 0..200 {
        origin.whole(pattern(300_000));
        read(bench.cache.get_or_fill(key(number), origin.fetch()).await.unwrap()).await.unwrap();
        assert!(bench.cache.0.memory.bytes() <= 6 << 20);
    }
    assert!(bench.cache.0.memory.bytes() > 3 << 20);
    assert!(bench.counted("kvs_edge_cache_evictions_total", &["memory", "size"]) > 100.0);
    assert_eq!(bench.counted("kvs_edge_cache_bytes", &["filling"]), 0.0);
}
