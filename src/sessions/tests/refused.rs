//! KVS refuses a resource: who pays for it.

use super::*;

fn fragment(digits: &str) -> Resource {
    let number = crate::kvs::FragmentNumber::parse(digits).unwrap();
    Resource::Mp4Fragment { protocol: Protocol::Hls, number, track: 1 }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_one_viewer_made_up_costs_nobody_the_session() {
    for mode in [PlaybackMode::Live, PlaybackMode::LiveReplay, PlaybackMode::OnDemand] {
        let edge = Edge::start(HALF_A_DAY);
        let key = key(mode, Protocol::Hls);
        edge.load(mode, &LIVE, "one").await.unwrap();
        let absent = fragment("77");
        for _ in 0..10 {
            tokio::time::sleep(11 * SECOND).await;
            let located = edge.sessions.locate(&key, &absent, edge.kvs.visit()).await.unwrap();
            assert!(matches!(refused(&edge, &key, &absent, &located).await.err(), Some(Error::Gone)));
            let loads = edge.kvs.loads();
            for _ in 0..50 {
                let again = edge.sessions.locate(&key, &absent, edge.kvs.visit()).await;
                assert!(matches!(again.err(), Some(Error::Gone)), "{mode:?}: KVS would be asked again");
            }
            assert_eq!(edge.kvs.loads(), loads);
            let text = shown(&edge.load(mode, &LIVE, "two").await.unwrap());
            assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{mode:?}");
        }
        assert_eq!(edge.kvs.opens(), 1, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_meet_a_404_have_the_session_looked_at_once() {
    let edge = Edge::start(HALF_A_DAY);
    let key = key(PlaybackMode::OnDemand, Protocol::Hls);
    edge.load(PlaybackMode::OnDemand, &LIVE, "one").await.unwrap();
    let before = edge.kvs.loads();
    for number in 1000..1100 {
        let absent = fragment(&number.to_string());
        let located = edge.sessions.locate(&key, &absent, edge.kvs.visit()).await.unwrap();
        assert!(matches!(refused(&edge, &key, &absent, &located).await.err(), Some(Error::Gone)));
    }
    assert_eq!((edge.kvs.opens(), edge.kvs.loads()), (1, before + 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_playlist_is_gone_too_is_reopened_once_for_all() {
    for mode in [PlaybackMode::Live, PlaybackMode::OnDemand] {
        let edge = Edge::start(HALF_A_DAY);
        let key = key(mode, Protocol::Hls);
        edge.load(mode, &LIVE, "one").await.unwrap();
        let listed = fragment("7");
        let located = edge.sessions.locate(&key, &listed, edge.kvs.visit()).await.unwrap();
        edge.kvs.dropped.store(1, Ordering::SeqCst);
        for _ in 0..20 {
            let elsewhere = refused(&edge, &key, &listed, &located).await.unwrap();
            assert_eq!(&*elsewhere.session.url.id, "s2");
        }
        assert_eq!(edge.kvs.opens(), 2, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_in_its_first_moments_is_reopened_at_once_but_not_without_end() {
    for mode in [PlaybackMode::Live, PlaybackMode::OnDemand] {
        let edge = Edge::start(HALF_A_DAY);
        let key = key(mode, Protocol::Hls);
        let listed = fragment("7");
        let expired = async || {
            let located = edge.sessions.locate(&key, &listed, edge.kvs.visit()).await?;
            let lost = &located.session;
            edge.sessions.relocate(&key, &listed, lost, SegmentRefusal::TokenRefused, edge.kvs.visit()).await
        };
        edge.load(mode, &LIVE, "one").await.unwrap();
        assert_eq!(&*expired().await.unwrap().session.url.id, "s2", "{mode:?}");
        // KVS takes back whatever it gives.
        let mut refused = 0;
        for _ in 0..100 {
            refused += u32::from(matches!(expired().await, Err(Error::EndsAtOnce)));
        }
        assert_eq!((refused, edge.kvs.opens()), (97, 5), "{mode:?}");
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(&*expired().await.unwrap().session.url.id, "s6", "{mode:?}");
    }
}
