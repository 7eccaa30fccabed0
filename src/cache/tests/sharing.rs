//! One fetch for all requests: readers that come together, late, slowly, and that leave; and fetches that
//! fail.

use super::*;
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_second_request_is_a_hit_with_entity_tag_and_age() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.whole(pattern(300_000));
    let first = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(first.outcome, Outcome::Miss);
    assert_eq!(read(first).await.unwrap(), pattern(300_000));
    bench.clock.fetch_add(5000, Ordering::Relaxed);
    let second = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((second.outcome, origin.calls()), (Outcome::Hit(Tier::Memory), 1));
    assert_eq!(second.entry.length(), Some(300_000));
    assert_eq!(second.entry.age(Timestamp::from_millis(1_005_000)), Duration::from_secs(5));
    assert!(second.entry.etag().unwrap().starts_with('"'));
    assert!(second.entry.whole_bytes().is_some());
    assert_eq!(read(second).await.unwrap(), pattern(300_000));
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["memory", "hit"]), 1.0);
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["memory", "miss"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_readers_cost_one_fetch_and_each_gets_every_byte_as_it_comes() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let body = pattern(2 << 20);
    let feed = origin.fed(Some(body.len() as u64));
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None));
    }
    for chunk in body.chunks(64 << 10) {
        feed.send(Ok(Bytes::copy_from_slice(chunk))).await.unwrap();
        for reader in &mut readers {
            // No reader waits for the end, or for another reader.
            assert_eq!(reader.next().await.unwrap().unwrap(), chunk);
        }
    }
    drop(feed);
    for reader in &mut readers {
        assert!(reader.next().await.is_none());
    }
    assert_eq!(origin.calls(), 1);
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["collapsed"]), 199.0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_reads_from_the_first_byte_and_who_stalls_holds_nobody_back() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(Some(3000));
    let stalled = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    feed.send(Ok(pattern(3000)[..2000].to_vec().into())).await.unwrap();
    let late = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(late.outcome, Outcome::Collapsed);
    feed.send(Ok(pattern(3000)[2000..].to_vec().into())).await.unwrap();
    drop(feed);
    assert_eq!(read(late).await.unwrap(), pattern(3000));
    assert_eq!(read(stalled).await.unwrap(), pattern(3000));
}

#[tokio::test(start_paused = true)]
async fn when_the_last_reader_leaves_a_fetch_past_half_goes_on_and_another_is_dropped() {
    let bench = bench(|_| {});
    for (sent, goes_on) in [(2, true), (1, false)] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        let feed = origin.fed(Some(4));
        let mut reader = bench.cache.get_or_fill(key(sent), origin.fetch()).await.unwrap().entry.body(None);
        feed.send(Ok(pattern(sent as usize).into())).await.unwrap();
        reader.next().await.unwrap().unwrap();
        drop(reader);
        if goes_on {
            feed.send(Ok(pattern(4)[sent as usize..].to_vec().into())).await.unwrap();
            drop(feed);
            until(|| bench.cache.get(&key(sent)).is_some()).await;
        } else {
            feed.closed().await;
            until(|| bench.cache.0.in_flight.len() == 0).await;
            assert!(bench.cache.get(&key(sent)).is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_before_the_answer_frees_the_key() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Silent);
    let asked = tokio::time::timeout(Duration::from_secs(1), bench.cache.get_or_fill(key(1), origin.fetch()));
    assert!(asked.await.is_err());
    until(|| bench.cache.0.in_flight.len() == 0).await;
    origin.whole("x");
    assert_eq!(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().outcome, Outcome::Miss);
}

#[tokio::test(start_paused = true)]
async fn the_length_of_a_growing_body_can_be_waited_for() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.chunks(vec![pattern(700_000).into(); 1], None).chunks(vec![pattern(700_000).into(); 3], None);
    let mut held = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(held.entry.known_length().await.unwrap(), Some(700_000));
    assert!(held.entry.etag().is_some());
    assert_eq!(read_range(held, Some(600_000..600_004)).await.unwrap(), pattern(700_000)[600_000..600_004]);
    let mut large = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(large.entry.known_length().await.unwrap(), None);
    assert_eq!(read(large).await.unwrap().len(), 2_100_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_of_any_body_in_any_chunks_is_the_slice(
        cuts in proptest::collection::vec(0..70_000_usize, 0..12),
        start in 0..200_000_u64, size in 0..200_000_u64,
        announced: bool, grown: bool,
    ) {
        let chunks: Vec<Bytes> = cuts.iter().map(|size| pattern(*size).into()).collect();
        let body: Vec<u8> = chunks.concat();
        let length = body.len() as u64;
        let range = start.min(length)..(start + size).min(length);
        let right = body[range.start as usize..range.end as usize].to_vec();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let got = runtime.block_on(async {
            let bench = bench(|_| {});
            let origin = Origin::new(&bench, Keep::For(DAY));
            origin.chunks(chunks, announced.then_some(length));
            if !grown {
                read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap();
                until(|| bench.cache.get(&key(1)).is_some()).await;
            }
            let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
            assert_eq!(origin.calls(), 1);
            read_range(found, Some(range)).await.unwrap()
        });
        prop_assert!(got == right);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_body_of_unknown_length_are_there_when_they_have_come() {
    for announced in [None, Some(6)] {
        let bench = bench(|_| ());
        let origin = Origin::new(&bench, Keep::For(DAY));
        let feed = origin.fed(announced);
        let mut one = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry;
        let mut two = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry;
        feed.send(Ok(Bytes::from_static(b"abcd"))).await.unwrap();
        assert!(one.reaches(4).await.unwrap());
        let soon = tokio::time::timeout(Duration::from_millis(10), two.reaches(5)).await;
        assert!(soon.is_err(), "that byte may come or not");
        assert_eq!(one.body(Some(1..3)).collect().await.unwrap().to_bytes(), "bc", "while it grows");
        feed.send(Ok(Bytes::from_static(b"ef"))).await.unwrap();
        drop(feed);
        assert!(!two.reaches(7).await.unwrap(), "the body has ended");
        assert_eq!(two.known_length().await.unwrap(), Some(6));
        assert!(two.reaches(6).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_bytes_of_a_body_that_breaks_is_told() {
    let bench = bench(|_| ());
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(None);
    let mut read = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry;
    let mut other = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None);
    feed.send(Ok(Bytes::from_static(b"abcd"))).await.unwrap();
    // Somebody has had bytes of it, so it is not fetched again.
    assert!(other.next().await.is_some());
    feed.send(Err(Broken::Cut("gone".into()))).await.unwrap();
    assert!(read.reaches(9).await.is_err());
}
