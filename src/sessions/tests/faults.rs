//! Faults that were found by reading, each shown mended.

use super::*;
use crate::kvs::FragmentNumber;
use crate::telemetry::spans::Steps;
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_sessions_for_a_restart_does_not_grow_when_sessions_state_is_unset() {
    let kvs = FakeKvs::new(HALF_A_DAY);
    let config = Config { most: 3, ..Config::default() };
    assert_eq!(config.state, None);
    let sessions = sessions(&kvs, config, &prometheus::Registry::new());
    // Each replay that begins at another time is a stream of its own.
    for n in 0..30 {
        let mut key = key(PlaybackMode::LiveReplay, Protocol::Hls);
        key.began = Some(Timestamp::from_millis(kvs::EPOCH + n * 1000));
        sessions.playlist(&key, &LIVE, ViewerId::of("one"), kvs.visit()).await.unwrap();
        tokio::time::sleep(80 * SECOND).await;
        assert_eq!(sessions.list(), []);
    }
    assert!((1..=3).contains(&sessions.0.saved_streams()), "{}", sessions.0.saved_streams());
}

#[tokio::test(start_paused = true)]
async fn a_slow_playlist_is_waited_for_as_long_as_upstream_playlist_deadline_says() {
    for (seconds, loads) in [(None, false), (Some(2), false), (Some(9), true)] {
        let kvs = FakeKvs::new(HALF_A_DAY);
        let sessions = sessions(&kvs, Config::default(), &prometheus::Registry::new());
        let key = key(PlaybackMode::Live, Protocol::Hls);
        sessions.open(&key, kvs.visit()).await.unwrap();
        kvs.fault(|faults| {
            faults.delay = 7 * SECOND;
            faults.playlist_deadline = seconds.map(Duration::from_secs);
        });
        let loaded = sessions.playlist(&key, &LIVE, ViewerId::of("one"), kvs.visit()).await;
        assert_eq!(loaded.is_ok(), loads, "{seconds:?}");
        if let Err(error) = loaded {
            assert!(
                matches!(error, Error::Slow(waited) if waited.as_secs() == seconds.unwrap_or(5)),
                "{error}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_most_counts_the_upstream_sessions_of_a_long_range() {
    for (most, fits) in [(2, false), (3, true)] {
        let kvs = FakeKvs::new(HALF_A_DAY);
        let sessions = sessions(&kvs, Config { most, ..Config::default() }, &prometheus::Registry::new());
        let load = async || sessions.playlist(&three_days(), &LIVE, ViewerId::of("one"), kvs.visit()).await;
        let loaded = load().await;
        assert_eq!(loaded.is_ok(), fits);
        assert!(kvs.opens() <= 3);
        if !fits {
            assert!(matches!(loaded, Err(Error::Full)));
            // What was opened for it is free for others again.
            tokio::time::sleep(SECOND).await;
            assert!(sessions.open(&key(PlaybackMode::Live, Protocol::Hls), kvs.visit()).await.is_ok());
        } else {
            let other = sessions.open(&key(PlaybackMode::Live, Protocol::Hls), kvs.visit()).await;
            assert!(matches!(other, Err(Error::Full)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_most_counts_spare_sessions() {
    for (most, opens) in [(1, 1..=1), (3, 3..=3), (100, 4..=8)] {
        let kvs = FakeKvs::new(HALF_A_DAY);
        let sessions = sessions(&kvs, Config { most, ..Config::default() }, &prometheus::Registry::new());
        let key = key(PlaybackMode::OnDemand, Protocol::Hls);
        // A crowd spread over the footage: forty fragments at a time, where one session gives twenty a
        // second.
        for first in (0..400).step_by(40) {
            let mut crowd = JoinSet::new();
            for n in first..first + 40 {
                let number = FragmentNumber::parse(&n.to_string()).unwrap();
                let (sessions, key, visit) = (sessions.clone(), key.clone(), kvs.visit());
                crowd.spawn(async move {
                    let fragment = Resource::TsFragment { number };
                    sessions.segment(&key, &fragment, visit, &Steps::default()).await.map(drop)
                });
            }
            assert!(crowd.join_all().await.iter().all(Result::is_ok));
        }
        assert!(opens.contains(&kvs.opens()), "{most}: {}", kvs.opens());
    }
}

#[tokio::test(start_paused = true)]
async fn prewarming_is_not_quadratic() {
    // 32 hours of fragments of two seconds.
    let fragments = (0..57_600).map(|n| format!("#EXTINF:2,\ngetTSFragment.ts?FragmentNumber={n}\n"));
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}", fragments.collect::<String>());
    let start = std::time::Instant::now();
    let playlist = crate::playback::rewrite(&LIVE, &text, &[]).unwrap();
    let crate::playback::Rewritten::Playlist(playlist) = playlist else { panic!("HLS is a playlist") };
    assert_eq!(playlist.resources.len(), 57_600);
    // Comparing each with all before it takes minutes.
    assert!(start.elapsed() < 20 * SECOND, "{:?}", start.elapsed());
}
