//! KVS never has to throttle us, however many clients there are, and no client starves.

use super::*;
use kvs_edge::kvs::{Protocol, Resource};
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
            // One client requests as much as 57 others; three more request something now and then.
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
                match upstream.call(&located, &call, &OnBehalfOf::all_callers(principal.to_string())).await {
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

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keep_to_their_own_rates_and_expire_as_told() {
    let kvs = kvs(|_| {}).await;
    let config = Config { queue_wait: Span::seconds(2), ..Config::default() };
    let upstream = upstream(entry(&kvs.url()), config).await;
    let located = upstream.locate(&camera()).unwrap();
    let live = read(Operation::GetHlsStreamingSessionUrl, "");
    let parameters = live.session().unwrap();
    let session =
        upstream.open_session(&located, parameters, Duration::from_secs(300), &"alice".into()).await.unwrap();
    let resources = [
        Resource::MasterPlaylist,
        Resource::MediaPlaylist { track: 1 },
        Resource::MediaPlaylist { track: 2 },
        Resource::InitSegment { protocol: Protocol::Hls, track: 1, sequence: Some(0) },
    ];
    let end = Instant::now() + Duration::from_secs(4);
    let players: Vec<_> = (0..20_usize)
        .map(|player| {
            let (upstream, located, session) = (upstream.clone(), located.clone(), session.clone());
            let resource = resources[player % resources.len()].clone();
            tokio::spawn(async move {
                let mut got = 0;
                while Instant::now() < end {
                    match upstream.fetch(&located, &session, &resource, 5, &"alice".into()).await {
                        Ok(answer) => {
                            answer.bytes(10 << 20).await.unwrap();
                            got += 1;
                        }
                        Err(Error::Busy { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
                        Err(other) => panic!("{resource}: {other}"),
                    }
                }
                got
            })
        })
        .collect();
    let mut got = Vec::new();
    for player in players {
        got.push(player.await.unwrap());
    }
    let requests = operator(&kvs, "GET", "requests", "").await;
    for (operation, of) in requests["total"].as_object().unwrap() {
        println!("{operation:<28} {of}");
        assert_eq!(of["throttled"].as_u64().unwrap(), 0, "{operation}");
    }
    println!("answers per player: {got:?}");
    assert!(got.iter().all(|n| *n > 0), "{got:?}");
    operator(&kvs, "DELETE", "sessions", "").await;
    let gone = upstream.fetch(&located, &session, &resources[1], 5, &"alice".into()).await.unwrap_err();
    assert!(matches!(gone, Error::SessionExpired), "{gone}");
}
