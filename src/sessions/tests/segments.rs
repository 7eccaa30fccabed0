//! Where published addresses lead: to the session that has the segment, over losses, and ahead of requests.

use super::*;

#[tokio::test(start_paused = true)]
async fn published_addresses_lead_to_the_session_that_published_them() {
    let edge = Edge::start(HALF_A_DAY);
    let key = key(PlaybackMode::Live, Protocol::Hls);
    let resources = |playlist: &Playlist| -> Vec<Resource> {
        let text = shown(playlist);
        let uris = text.lines().filter_map(|line| {
            line.strip_prefix("#EXT-X-MAP:URI=\"")
                .map(|uri| uri.trim_end_matches('"'))
                .or((!line.starts_with('#')).then_some(line))
        });
        uris.map(|uri| {
            let (file, query) = uri.split_once('?').unwrap();
            Resource::parse(Protocol::Hls, file, query).unwrap()
        })
        .collect()
    };
    let old = resources(&edge.live().await.unwrap());
    let behind = async |resource: &Resource| {
        let located = edge.sessions.locate(&key, resource, edge.kvs.visit()).await.unwrap();
        (located.session.url.id.to_string(), located.resource.to_string())
    };
    assert_eq!(behind(&old[0]).await, ("s1".to_owned(), "getMP4InitFragment.mp4?TrackNumber=1".to_owned()));
    assert_eq!(behind(&old[1]).await, ("s1".to_owned(), old[1].to_string()));
    // KVS refuses media: two viewers say so, one session is opened.
    tokio::time::sleep(4 * SECOND).await;
    let lost = edge.upstream(&key).await;
    for _ in 0..2 {
        let located = edge
            .sessions
            .relocate(&key, &old[1], &lost, SegmentRefusal::TokenRefused, edge.kvs.visit())
            .await
            .unwrap();
        assert_eq!(&*located.session.url.id, "s2");
    }
    let new = resources(&edge.live().await.unwrap());
    assert_eq!(behind(new.last().unwrap()).await.0, "s2");
    // What the old addresses gave may be in the cache; if not, they lead on.
    // An init segment's address is that of its equal in the newest session.
    let init = "getMP4InitFragment.mp4?TrackNumber=1";
    assert_eq!(new[0], old[0]);
    for (old, name, known) in [(&old[0], init, "s2"), (&old[1], &*old[1].to_string(), "s1")] {
        assert_eq!(behind(old).await, (known.to_owned(), name.to_owned()));
        let elsewhere = edge
            .sessions
            .relocate(&key, old, &lost, SegmentRefusal::TokenRefused, edge.kvs.visit())
            .await
            .unwrap();
        assert_eq!((&*elsewhere.session.url.id, elsewhere.resource.to_string()), ("s2", name.to_owned()));
    }
    // A process that knows nothing of them finds its own counterpart.
    let other = Edge::start(HALF_A_DAY);
    let located = other.sessions.locate(&key, &old[0], other.kvs.visit()).await.unwrap();
    assert_eq!(located.resource.to_string(), "getMP4InitFragment.mp4?TrackNumber=1");
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_session_gave_is_still_found_and_what_it_did_not_is_elsewhere() {
    for protocol in [Protocol::Hls, Protocol::Dash] {
        let edge = Edge::start(HALF_A_DAY);
        let key = key(PlaybackMode::Live, protocol);
        let listing = if protocol == Protocol::Hls { LIVE } else { Resource::Manifest };
        let load = async || {
            edge.sessions.playlist(&key, &listing, ViewerId::of("one"), edge.kvs.visit()).await.unwrap()
        };
        let text = shown(&load().await);
        let digits = match protocol {
            Protocol::Hls => text.split("FragmentNumber=").nth(1).unwrap().split('&').next().unwrap(),
            Protocol::Dash => text.split(" t=\"").nth(3).unwrap().split('"').next().unwrap(),
        };
        let number = crate::kvs::FragmentNumber::parse(digits).unwrap();
        let fragment = Resource::Mp4Fragment { protocol, number, track: 1 };
        tokio::time::sleep(4 * SECOND).await;
        edge.kvs.dropped.store(1, Ordering::SeqCst);
        load().await;
        assert_eq!(edge.kvs.opens(), 2);
        let located = edge.sessions.locate(&key, &fragment, edge.kvs.visit()).await.unwrap();
        assert_eq!(&*located.session.url.id, "s1", "it may be in the cache");
        for _ in 0..20 {
            let elsewhere = refused(&edge, &key, &fragment, &located).await;
            let elsewhere = elsewhere.unwrap();
            assert_eq!(&*elsewhere.session.url.id, "s2");
            // In DASH it has another number there, and is as far from 1970 as it was.
            match protocol {
                Protocol::Hls => assert_eq!((&elsewhere.resource, elsewhere.shift), (&fragment, 0)),
                Protocol::Dash => {
                    assert_ne!(elsewhere.resource, located.resource);
                    assert!(elsewhere.shift > located.shift);
                }
            }
            // Refused there too: it is not the session's fault.
            let again = refused(&edge, &key, &fragment, &elsewhere).await;
            assert!(matches!(again.err(), Some(Error::Gone)));
        }
        assert_eq!(edge.kvs.opens(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_fragments_are_fetched_before_anybody_asks() {
    let edge = Edge::start(HALF_A_DAY);
    edge.live().await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(lock(&edge.kvs.fetched).len(), 2);
    for _ in 0..10 {
        tokio::time::sleep(SECOND).await;
        edge.live().await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    let fetched = lock(&edge.kvs.fetched).clone();
    let mut once = fetched.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), fetched.len(), "each once: {fetched:?}");
    assert!((6..=8).contains(&fetched.len()), "{fetched:?}");
    // Footage: what follows the fragment asked for.
    edge.load(PlaybackMode::OnDemand, &LIVE, "one").await.unwrap();
    lock(&edge.kvs.fetched).clear();
    let key = key(PlaybackMode::OnDemand, Protocol::Hls);
    let number = crate::kvs::FragmentNumber::parse("7").unwrap();
    edge.sessions.locate(&key, &Resource::TsFragment { number }, edge.kvs.visit()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let footage = lock(&edge.kvs.fetched).clone();
    assert_eq!(footage, ["s2 getTSFragment.ts?FragmentNumber=8", "s2 getTSFragment.ts?FragmentNumber=9"]);
}

#[tokio::test(start_paused = true)]
async fn days_of_footage_become_one_playlist_and_its_addresses_lead_back() {
    let edge = Edge::start(HALF_A_DAY);
    let key = three_days();
    let load = async |edge: &Edge, resource: &Resource| {
        let viewer = ViewerId::of("one");
        let playlist = edge.sessions.playlist(&key, resource, viewer, edge.kvs.visit()).await.unwrap();
        shown(&playlist)
    };
    let text = load(&edge, &LIVE).await;
    assert_eq!(text.matches("#EXTINF").count(), 2 * 144 - 1, "the second day is empty");
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    assert!(!text.contains("DATE-TIME") && text.ends_with("#EXT-X-ENDLIST\n"));
    assert_eq!(edge.kvs.opens(), 3);
    assert_eq!(
        load(&edge, &Resource::MasterPlaylist).await,
        "#EXTM3U\n# from 0\ngetHLSMediaPlaylist.m3u8?TrackNumber=1\n"
    );
    assert_eq!(edge.kvs.opens(), 3, "the sessions that are open serve");
    let uris: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let maps: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")).collect();
    let located = async |edge: &Edge, uri: &str| {
        let (file, query) = uri.trim_end_matches('"').split_once('?').unwrap();
        let resource = Resource::parse(Protocol::Hls, file, query).unwrap();
        edge.sessions.locate(&key, &resource, edge.kvs.visit()).await.unwrap()
    };
    // Another process, which has not seen the playlist.
    for edge in [&edge, &Edge::start(HALF_A_DAY)] {
        let (first, last) = (located(edge, uris[0]).await, located(edge, uris[286]).await);
        assert_ne!(first.session.url.id, last.session.url.id);
        assert_eq!(last.resource.to_string(), uris[286]);
        let init = located(edge, maps[1]).await;
        assert_eq!(init.resource.to_string(), "getMP4InitFragment.mp4?TrackNumber=1");
        assert_eq!(init.session.url.id, last.session.url.id);
        // A part's session is lost: another for that part.
        tokio::time::sleep(4 * SECOND).await;
        let opens = edge.kvs.opens();
        let now = edge.kvs.visit();
        let elsewhere =
            edge.sessions.relocate(&key, &last.resource, &last.session, SegmentRefusal::TokenRefused, now);
        let elsewhere = elsewhere.await.unwrap();
        assert_eq!(elsewhere.resource, last.resource);
        assert_eq!(located(edge, uris[286]).await.session.url.id, elsewhere.session.url.id);
        assert_eq!(located(edge, uris[0]).await.session.url.id, first.session.url.id);
        assert_eq!(edge.kvs.opens(), opens + 1);
    }
    assert_eq!(edge.metric("kvs_edge_sessions_active{protocol=\"hls\"}"), 3);
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(edge.metric("kvs_edge_sessions_active{protocol=\"hls\"}"), 0);
}
