//! What players must not notice, for any order of recordings, pauses, polls, renewals and restarts.

use super::camera::*;
use crate::kvs::{Protocol, Resource, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::playback::mp4;
use crate::sessions::hls::timeline::*;
use crate::sessions::numbering::tests::fragment;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum CameraStep {
    Record(u64),
    Pause(u64),
    Poll(u8),
    Renew,
    Restart,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<CameraStep>> {
    let step = prop_oneof![
        3 => (1..4_u64).prop_map(CameraStep::Record),
        1 => (5..12_u64).prop_map(CameraStep::Record),
        1 => (3..90_u64).prop_map(CameraStep::Pause),
        6 => (1..=2_u8).prop_map(CameraStep::Poll),
        2 => Just(CameraStep::Renew),
        1 => Just(CameraStep::Restart),
        1 => Just(CameraStep::Resume),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a strict player remembers of a track.
#[derive(Default)]
struct Player {
    sequence: u64,
    discontinuities: u64,
    /// Sequence number and absolute discontinuity count by fragment, in this process.
    seen: BTreeMap<String, (u64, u64)>,
}

impl Player {
    fn load(&mut self, playlist: &MediaPlaylist) -> Result<(), TestCaseError> {
        prop_assert!(playlist.sequence >= self.sequence, "{} after {}", playlist.sequence, self.sequence);
        prop_assert!(playlist.discontinuities >= self.discontinuities);
        (self.sequence, self.discontinuities) = (playlist.sequence, playlist.discontinuities);
        let mut index = playlist.discontinuities;
        for (segment, sequence) in playlist.segments.iter().zip(playlist.sequence..) {
            index += segment.discontinuities;
            let uri = segment.resource.to_string();
            if let Some(before) = self.seen.insert(uri, (sequence, index)) {
                prop_assert_eq!(before, (sequence, index));
            }
        }
        let mut sorted = numbers(playlist);
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(sorted, numbers(playlist), "each fragment once, in order");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("KVS_EDGE_TEST_TIMELINES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
    ))]
    #[test]
    fn sequence_numbers_never_decrease_over_renewals_gaps_and_restarts(
        steps in steps(), always: bool, dates: bool, is_shifted: bool, n in 3..8_usize
    ) {
        let shown = Shown { dates, always, global: true };
        let mut camera = Camera::new();
        camera.record(1);
        let mut timeline = Timeline::new(n, always, false);
        let mut upstream = FakeSession::open(1, &camera, n);
        let shift = |timeline: &mut Timeline, generation| {
            for track in (1..=2).filter(|_| is_shifted) {
                timeline.shift_times_of(generation);
                let init = Resource::InitSegment { protocol: Protocol::Hls, track, sequence: Some(0) };
                timeline.learn(generation, &init, mp4::Init { timescale: 16_000, digest: 7 });
            }
        };
        let mut players = [Player::default(), Player::default()];
        let mut kept = None;
        for step in steps {
            match step {
                CameraStep::Record(fragments) => camera.record(fragments),
                CameraStep::Pause(seconds) => camera.pause(seconds),
                CameraStep::Renew => upstream = FakeSession::open(upstream.generation + 1, &camera, n),
                CameraStep::Restart => {
                    kept = None;
                    timeline = Timeline::new(n, always, false);
                    upstream = FakeSession::open(1, &camera, n);
                    for player in &mut players {
                        player.seen.clear();
                        // Where they are rare, a new process cannot know the count; see
                        // `first_discontinuity`.
                        player.discontinuities = if always { player.discontinuities } else { 0 };
                    }
                }
                // With what was kept, players that know every number and count notice nothing.
                CameraStep::Resume => {
                    kept = timeline.saved().or(kept);
                    timeline = Timeline::new(n, always, false);
                    kept.iter().for_each(|kept| timeline.resume(kept, Timestamp::from_millis(camera.clock)));
                    upstream = FakeSession::open(1, &camera, n);
                }
                CameraStep::Poll(track) => {
                    let now = Timestamp::from_millis(camera.clock);
                    shift(&mut timeline, upstream.generation);
                    let offered = upstream.playlist(&camera, track, &shown);
                    let playlist = timeline.merge(track, upstream.generation, &offered, now).unwrap();
                    prop_assert!(playlist.segments.len() <= n);
                    prop_assert_eq!(numbers(&playlist).pop(), numbers(&offered).pop());
                    players[usize::from(track - 1)].load(&playlist)?;
                    for segment in &playlist.segments {
                        let map = &segment.map.as_ref().unwrap().resource;
                        prop_assert!(timeline.init(map).is_some());
                    }
                }
            }
        }
        // Both tracks agree on the discontinuities ahead of each fragment. Only where the times of sessions
        // cannot be shifted, one track may have one that the other, loaded earlier, did not list: it is ahead
        // until the other's next fragment; see `discontinuity`.
        let most = u64::from(!always && !is_shifted);
        for (uri, (_, index)) in &players[0].seen {
            if let Some((_, other)) = players[1].seen.get(&uri.replace("TrackNumber=1", "TrackNumber=2")) {
                prop_assert!(index.abs_diff(*other) <= most, "{} {} {}", uri, index, other);
            }
        }
    }

    #[test]
    fn numbers_that_are_positions_never_break_the_order_either(steps in steps(), dates: bool) {
        let shown = Shown { dates, always: false, global: false };
        let mut camera = Camera::new();
        camera.record(1);
        let mut timeline = Timeline::new(5, false, false);
        let mut upstream = FakeSession::open(1, &camera, 5);
        let mut sequence = 0;
        for step in steps {
            match step {
                CameraStep::Record(fragments) => camera.record(fragments),
                CameraStep::Pause(seconds) => camera.pause(seconds),
                CameraStep::Renew => upstream = FakeSession::open(upstream.generation + 1, &camera, 5),
                CameraStep::Restart | CameraStep::Resume => {}
                CameraStep::Poll(_) => {
                    let now = Timestamp::from_millis(camera.clock);
                    let offered = upstream.playlist(&camera, 1, &shown);
                    let playlist = timeline.merge(1, upstream.generation, &offered, now).unwrap();
                    prop_assert!(playlist.sequence >= sequence);
                    sequence = playlist.sequence;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_playlists_are_merged_without_panic(
        always: bool,
        playlists in proptest::collection::vec(
            (
                1..3_u8, 1..4_u32, 0..1_u64 << 48,
                proptest::collection::vec((0..40_u64, any::<bool>(), any::<bool>()), 0..6),
            ),
            1..9
        )
    ) {
        let mut timeline = Timeline::new(4, always, true);
        for (track, generation, sequence, segments) in playlists {
            let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n");
            for (counter, tag, global) in segments {
                let number =
                    if global { fragment(counter, START, 1).to_string() } else { counter.to_string() };
                let tag = if tag { "#EXT-X-DISCONTINUITY\n" } else { "" };
                text += &format!("{tag}#EXTINF:2,\ngetTSFragment.ts?FragmentNumber={number}\n");
            }
            let playlist = MediaPlaylist::parse(&text).unwrap();
            let at = Timestamp::from_millis(START);
            let published = timeline.merge(track, generation, &playlist, at).unwrap();
            prop_assert!(published.segments.len() <= 4);
        }
    }
}
