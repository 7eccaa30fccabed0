//! Live HLS is one timeline, whatever happens to the sessions behind it: a session that ends leaves no trace
//! in what players are told and given, and a restart takes up the count of discontinuities.

use crate::harness::{Edge, Setup};
use crate::playback::{beside, load, map, media, presented, tag};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ticks of the emulator's media per millisecond.
const TICKS: u64 = 16;

/// When each fragment of a playlist should begin, milliseconds, by its address.
fn dated(text: &str) -> BTreeMap<String, u64> {
    let dates = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    media(text).into_iter().zip(dates.map(|date| Timestamp::parse(date).unwrap().millis())).collect()
}

async fn change(edge: &Edge, stream: &str, what: Value) {
    let url = format!("{}/_emulator/streams/{stream}", edge.emulator.url());
    assert!(edge.http.post(&url, &[], what.to_string()).await.status < 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_leave_no_trace() {
    // What is asked for first, a viewer or a prefetch, must not matter.
    for prefetch in ["0", "2"] {
        let edge = Setup::default().setting("SESSIONS__PREFETCH", prefetch).start().await;
        let live = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
        let lists =
            [1, 2].map(|track| beside(&live, &format!("getHLSMediaPlaylist.m3u8?TrackNumber={track}")));
        let mut inits = [None, None];
        for round in 0..4 {
            let mut known = Vec::new();
            for (list, init) in lists.iter().zip(&mut inits) {
                let text = load(&edge, list).await.text();
                assert!(!text.contains("DISCONTINUITY"), "round {round}: {text}");
                assert_eq!(text.matches("#EXT-X-MAP").count(), 1);
                let address = map(&text).unwrap().to_owned();
                load(&edge, &beside(list, &address)).await;
                assert_eq!(*init.get_or_insert_with(|| address.clone()), address, "one init segment for all");
                known.extend(dated(&text).into_iter().rev().take(3));
            }
            // A session younger than this is not blamed for a fragment that is not there.
            tokio::time::sleep(Duration::from_millis(2_200)).await;
            // The session that listed them ends, and nobody has fetched all of the newest: another one gives
            // them, at the times that were told. Sound and pictures take turns in asking first.
            let url = format!("{}/_emulator/sessions", edge.emulator.url());
            assert!(edge.http.send("DELETE", &url, &[], String::new()).await.status < 300);
            known.rotate_left(if round % 2 == 0 { 0 } else { 3 });
            for (uri, begins) in known {
                let fragment = load(&edge, &beside(&live, &uri)).await;
                assert_eq!(presented(&fragment.body), begins * TICKS, "round {round}: {uri}");
            }
        }
        let opened = edge.reached_by("GetHLSStreamingSessionURL").await;
        assert!(opened >= 4, "{opened} sessions");
    }
}

/// When a fragment ends, ticks: its time and the durations of its samples, as the emulator writes them.
fn ended(body: &[u8]) -> u64 {
    let at = body.windows(4).position(|four| four == b"trun").unwrap();
    let word = |at: usize| u64::from(u32::from_be_bytes(body[at..at + 4].try_into().unwrap()));
    let (flags, count) = (word(at + 4), word(at + 8) as usize);
    let each = 12 + if flags & 0x800 == 0 { 0 } else { 4 };
    presented(body) + (0..count).map(|n| word(at + 16 + n * each)).sum::<u64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_meet_within_a_frame_of_sound_whatever_the_way_to_kvs_does() {
    let mut setup = Setup::default();
    let camera = json!({"container": "sdk", "timing": "jitter"});
    setup.emulator.producers.insert("cam-1".to_owned(), serde_json::from_value(camera).unwrap());
    let edge = setup.start().await;
    let live = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    // A frame of AAC of 16 kHz; and no picture is longer than twice the 64 ms of this camera.
    for (track, tolerance) in [(2, 1024), (1, 128 * TICKS)] {
        let list = beside(&live, &format!("getHLSMediaPlaylist.m3u8?TrackNumber={track}"));
        let mut spans: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut targets = std::collections::BTreeSet::new();
        for round in 0..4 {
            let text = load(&edge, &list).await.text();
            targets.insert(tag(&text, "#EXT-X-TARGETDURATION"));
            let mut uris = media(&text);
            // A player may begin anywhere.
            uris.rotate_left(if round == 0 { 3 } else { 0 });
            for uri in uris {
                let body = load(&edge, &beside(&live, &uri)).await.body;
                let span = (presented(&body), ended(&body));
                assert_eq!(*spans.entry(uri).or_insert(span), span);
            }
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        assert_eq!(targets.len(), 1, "{targets:?}");
        let spans: Vec<_> = spans.into_values().collect();
        let apart: Vec<_> = spans.windows(2).map(|pair| pair[1].0.abs_diff(pair[0].1)).collect();
        assert!(apart.len() > 8 && apart.iter().all(|apart| *apart <= tolerance), "track {track}: {apart:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_up_the_count_of_discontinuities() {
    let state = "[sessions]\nstate = \"sessions.json\"\n";
    let edge = Setup { more: state.to_owned(), ..Setup::default() }.start().await;
    let live = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let list = beside(&live, "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    load(&edge, &list).await;
    // Too short for what was before to be left out, long enough for KVS to say so.
    let now = Timestamp::from(kvs_edge::base::clock::now()).millis() as f64 / 1000.0;
    change(&edge, "cam-1", json!({"gap": {"from": now, "to": now + 3.0}})).await;
    let count = |text: &str| tag(text, "#EXT-X-DISCONTINUITY-SEQUENCE");
    edge.until("the discontinuity slides out", || async {
        let text = load(&edge, &list).await.text();
        count(&text) == Some(1) && !text.contains("#EXT-X-DISCONTINUITY\n")
    })
    .await;
    edge.until("it is kept", || async {
        std::fs::read_to_string(edge.path("sessions.json")).is_ok_and(|kept| kept.contains("\"index\":1"))
    })
    .await;
    let kept = std::fs::read_to_string(edge.path("sessions.json")).unwrap();
    assert!(!kept.contains("cam-1") && !kept.contains("Token"), "{kept}");
    let (_second, address) = edge.another().await;
    let moved = list.replace(&edge.url, &address);
    // Sound that a player knows from before is asked for when the new process has only seen the pictures'
    // list.
    let sound = beside(&live, "getHLSMediaPlaylist.m3u8?TrackNumber=2");
    let known = dated(&load(&edge, &sound).await.text());
    load(&edge, &moved).await;
    for (uri, begins) in known.into_iter().rev().take(2) {
        let fragment = load(&edge, &beside(&moved, &uri)).await;
        assert_eq!(presented(&fragment.body), begins * TICKS, "{uri}");
    }
    let (before, after) = (load(&edge, &list).await.text(), load(&edge, &moved).await.text());
    assert_eq!(count(&after), Some(1), "{before}\n{after}");
    assert_eq!(map(&before), map(&after));
    let both = dated(&before).into_iter().filter(|item| dated(&after).contains_key(&item.0)).count();
    assert!(both >= 3, "{before}\n{after}");
}
