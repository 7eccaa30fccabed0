//! What players must not notice: sequences over renewals, gaps and restarts.

use crate::kvs::{Protocol, Resource, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::playback::mp4;
use crate::sessions::hls::Recent;
use crate::sessions::hls::timeline::*;
use crate::sessions::numbering::{Generation, tests::fragment};

use super::camera::*;

const PLAIN: Shown = Shown { dates: true, always: false, global: true };

#[test]
fn a_renewed_session_goes_on_where_the_old_one_was() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut timeline = Timeline::new(5, false, false);
    let now = Timestamp::from_millis(camera.clock);
    let old = FakeSession::open(1, &camera, 5);
    let first = timeline.merge(1, 1, &old.playlist(&camera, 1, &PLAIN), now).unwrap();
    assert_eq!((first.sequence, first.segments.len()), (4_001, 5));
    camera.record(2);
    let new = FakeSession::open(2, &camera, 5);
    let second = timeline.merge(1, 2, &new.playlist(&camera, 1, &PLAIN), now).unwrap();
    assert_eq!(second.sequence, 4_003);
    assert_eq!(numbers(&second)[..3], numbers(&first)[2..]);
    let tags: Vec<bool> = second.segments.iter().map(|segment| segment.discontinuities > 0).collect();
    assert_eq!(tags, [false, false, false, true, false], "one where the new session begins");
    // The same init address upstream, another one here: the new session's may differ.
    let map = |at: usize| second.segments[at].map.as_ref().unwrap().resource.clone();
    assert_eq!(map(0), map(2));
    assert_ne!(map(2), map(3));
    assert_eq!(timeline.init(&map(0)).unwrap().0, 1);
    assert_eq!(timeline.init(&map(3)).unwrap().0, 2);
    assert_eq!(timeline.generation(&camera.made[5].0), Some(1));
    assert_eq!(timeline.generation(&camera.made[7].0), Some(2));
    assert!(second.render(true).contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"));
}

const INIT: Resource = Resource::InitSegment { protocol: Protocol::Hls, track: 1, sequence: Some(0) };

/// A session whose media is moved onto the one timeline, with an init segment of this mark.
fn moved(timeline: &mut Timeline, generation: Generation, mark: u64) {
    timeline.shift_times_of(generation);
    timeline.learn(generation, &INIT, mp4::Init { timescale: 16_000, digest: mark });
}

#[test]
fn nothing_stands_between_two_sessions_on_one_timeline() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut timeline = Timeline::new(5, false, false);
    let load = |timeline: &mut Timeline, camera: &Camera, generation| {
        let upstream = FakeSession::open(generation, camera, 5);
        let playlist = upstream.playlist(camera, 1, &PLAIN);
        timeline.merge(1, generation, &playlist, Timestamp::from_millis(camera.clock)).unwrap()
    };
    moved(&mut timeline, 1, 7);
    load(&mut timeline, &camera, 1);
    camera.record(2);
    assert_eq!(
        timeline.unknown_inits(2, &FakeSession::open(2, &camera, 5).playlist(&camera, 1, &PLAIN)),
        [INIT]
    );
    moved(&mut timeline, 2, 7);
    let renewed = load(&mut timeline, &camera, 2).render(true);
    assert!(!renewed.contains("DISCONTINUITY"), "{renewed}");
    assert_eq!(renewed.matches("#EXT-X-MAP").count(), 1, "{renewed}");
    // Another init segment, and after that a session of which nothing could be found out.
    for (generation, mark) in [(3, Some(8)), (4, None), (5, Some(7))] {
        camera.record(2);
        if let Some(mark) = mark {
            moved(&mut timeline, generation, mark);
        }
        let tags: Vec<bool> =
            load(&mut timeline, &camera, generation).segments.iter().map(|s| s.discontinuities > 0).collect();
        assert!(tags[3] && !tags[4], "{generation} {tags:?}");
    }
}

#[test]
fn discontinuities_that_slid_out_are_counted() {
    let mut camera = Camera::new();
    camera.record(3);
    let mut timeline = Timeline::new(3, true, false);
    let upstream = FakeSession::open(1, &camera, 3);
    let shown = Shown { always: true, ..PLAIN };
    let mut last = None;
    for _ in 0..5 {
        let playlist = timeline.merge(
            1,
            1,
            &upstream.playlist(&camera, 1, &shown),
            Timestamp::from_millis(camera.clock),
        );
        let playlist = playlist.unwrap();
        // Each fragment has one, so both counts go together.
        assert_eq!(playlist.discontinuities, playlist.sequence);
        assert!(last.is_none_or(|last| playlist.discontinuities == last + 1));
        last = Some(playlist.discontinuities);
        camera.record(1);
    }
}

#[test]
fn a_gap_in_time_becomes_a_discontinuity() {
    let mut camera = Camera::new();
    camera.record(5);
    let mut timeline = Timeline::new(5, false, false);
    let upstream = FakeSession::open(1, &camera, 5);
    let now = Timestamp::from_millis(camera.clock);
    timeline.merge(1, 1, &upstream.playlist(&camera, 1, &PLAIN), now).unwrap();
    camera.pause(30);
    camera.record(2);
    let playlist = timeline.merge(1, 1, &upstream.playlist(&camera, 1, &PLAIN), now).unwrap();
    let tags: Vec<bool> = playlist.segments.iter().map(|segment| segment.discontinuities > 0).collect();
    assert_eq!(tags, [false, false, false, true, false]);
}

/// The case that was seen: one track was loaded before a gap, the other one first behind it.
#[test]
fn a_track_that_begins_behind_a_gap_counts_it_as_the_others_do() {
    let shown = Shown { dates: false, always: false, global: true };
    let mut camera = Camera::new();
    camera.record(1);
    let mut timeline = Timeline::new(3, false, false);
    let upstream = FakeSession::open(1, &camera, 3);
    let mut load = |camera: &Camera, track: u8| {
        let now = Timestamp::from_millis(camera.clock);
        timeline.shift_times_of(1);
        timeline.merge(track, 1, &upstream.playlist(camera, track, &shown), now).unwrap()
    };
    camera.pause(5);
    load(&camera, 1);
    camera.record(3);
    let counts = [2, 1].map(|track| {
        let playlist = load(&camera, track);
        (numbers(&playlist)[0].clone(), playlist.discontinuities + playlist.segments[0].discontinuities)
    });
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0].1, 1);
}

#[test]
fn what_was_before_a_camera_s_absence_is_listed_no_more() {
    for always in [false, true] {
        let shown = Shown { dates: false, always, global: true };
        let mut camera = Camera::new();
        camera.record(5);
        let mut timeline = Timeline::new(5, always, false);
        let upstream = FakeSession::open(1, &camera, 5);
        let mut load = |camera: &Camera| {
            let now = Timestamp::from_millis(camera.clock);
            timeline.merge(1, 1, &upstream.playlist(camera, 1, &shown), now).unwrap()
        };
        let before = load(&camera);
        camera.pause(3);
        camera.record(1);
        assert_eq!(load(&camera).segments.len(), 5, "a short one");
        camera.pause(30);
        assert_eq!(load(&camera).segments.len(), 5, "as long as nothing is new");
        camera.record(2);
        let after = load(&camera);
        // Where each has a discontinuity, leaving some out would make tracks disagree.
        let expected = if always { (before.sequence + 3, 5) } else { (before.sequence + 6, 2) };
        assert_eq!((after.sequence, after.segments.len()), expected);
        assert!(after.segments[0].discontinuities > 0);
        camera.record(4);
        assert_eq!(load(&camera).segments.len(), 5);
    }
}

#[test]
fn nothing_new_changes_nothing() {
    let mut camera = Camera::new();
    camera.record(9);
    let mut timeline = Timeline::new(5, false, false);
    let (one, two) = (FakeSession::open(1, &camera, 5), FakeSession::open(2, &camera, 3));
    let now = Timestamp::from_millis(camera.clock);
    let first = timeline.merge(1, 1, &one.playlist(&camera, 1, &PLAIN), now).unwrap();
    let again = timeline.merge(1, 2, &two.playlist(&camera, 1, &PLAIN), now).unwrap();
    assert_eq!(first.render(true), again.render(true));
    let mut empty = two.playlist(&camera, 1, &PLAIN);
    empty.segments.clear();
    assert_eq!(first.render(true), timeline.merge(1, 2, &empty, now).unwrap().render(true));
}

#[test]
fn a_restarted_process_gives_the_same_fragment_the_same_number() {
    let mut camera = Camera::new();
    camera.record(8);
    let now = Timestamp::from_millis(camera.clock);
    let show = |timeline: &mut Timeline, camera: &Camera, generation| {
        let upstream = FakeSession::open(generation, camera, 5);
        timeline.merge(1, generation, &upstream.playlist(camera, 1, &PLAIN), now).unwrap()
    };
    let mut old = Timeline::new(5, false, false);
    show(&mut old, &camera, 1);
    let before = show(&mut old, &camera, 2);
    camera.record(1);
    let after = show(&mut Timeline::new(5, false, false), &camera, 1);
    assert_eq!(after.sequence, before.sequence + 1);
    assert!(
        after.discontinuities <= before.discontinuities,
        "hls.js refuses a higher count, and corrects a lower one"
    );
    assert_eq!(numbers(&after)[..4], numbers(&before)[1..]);
}

/// A property test found it: a track that counted too little over a renewal caught up later in one leap,
/// which a restarted process could only take back.
#[test]
fn what_slid_by_unseen_over_a_renewal_is_counted_by_the_fragments_own_numbers() {
    let mut camera = Camera::new();
    camera.record(1);
    let mut timeline = Timeline::new(3, false, false);
    let undated = Shown { dates: false, always: false, global: true };
    let load = |timeline: &mut Timeline, camera: &Camera, track, upstream: &FakeSession| {
        let playlist = upstream.playlist(camera, track, &undated);
        timeline.merge(track, upstream.generation, &playlist, Timestamp::from_millis(camera.clock)).unwrap()
    };
    load(&mut timeline, &camera, 2, &FakeSession::open(1, &camera, 3));
    let renewed = FakeSession::open(2, &camera, 3);
    load(&mut timeline, &camera, 1, &renewed);
    camera.record(6);
    assert_eq!(load(&mut timeline, &camera, 2, &renewed).sequence, 4_004);
    camera.record(1);
    load(&mut timeline, &camera, 1, &renewed);
    let before = load(&mut timeline, &camera, 2, &renewed);
    assert_eq!((before.sequence, before.segments.len()), (4_005, 3));
    let after = load(&mut Timeline::new(3, false, false), &camera, 2, &FakeSession::open(1, &camera, 3));
    assert_eq!(after.sequence, before.sequence);
}

#[test]
fn what_was_kept_goes_on_with_the_same_counts() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut timeline = Timeline::new(5, false, false);
    let load = |timeline: &mut Timeline, camera: &Camera, generation| {
        let upstream = FakeSession::open(generation, camera, 5);
        let playlist = upstream.playlist(camera, 1, &PLAIN);
        timeline.merge(1, generation, &playlist, Timestamp::from_millis(camera.clock)).unwrap()
    };
    moved(&mut timeline, 1, 7);
    load(&mut timeline, &camera, 1);
    camera.pause(30);
    camera.record(2);
    let before = load(&mut timeline, &camera, 1);
    assert_eq!(before.render(true).matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    let kept = serde_json::to_string(&timeline.saved().unwrap()).unwrap();
    camera.record(1);
    let mut next = Timeline::new(5, false, false);
    next.resume(&serde_json::from_str(&kept).unwrap(), Timestamp::from_millis(camera.clock));
    moved(&mut next, 1, 7);
    let after = load(&mut next, &camera, 1);
    let shown = before.render(true);
    assert!(after.render(true).starts_with(&shown), "{}", after.render(true));
    assert_eq!(after.segments.len(), before.segments.len() + 1);
    // The fragment with the discontinuity slides out: it stays counted.
    camera.record(9);
    assert_eq!(load(&mut next, &camera, 1).discontinuities, 1);
}

#[test]
fn numbers_that_are_positions_are_matched_by_time_or_by_length() {
    for dates in [true, false] {
        let shown = Shown { dates, always: false, global: false };
        let mut camera = Camera::new();
        camera.record(5);
        let mut timeline = Timeline::new(5, false, false);
        let at = |camera: &Camera| Timestamp::from_millis(camera.clock);
        let one = FakeSession::open(1, &camera, 5);
        let first = timeline.merge(1, 1, &one.playlist(&camera, 1, &shown), at(&camera)).unwrap();
        camera.record(2);
        let two = FakeSession::open(2, &camera, 5);
        let second = timeline.merge(1, 2, &two.playlist(&camera, 1, &shown), at(&camera)).unwrap();
        assert_eq!(second.sequence, first.sequence + 2, "dates: {dates}");
        let tags: Vec<bool> = second.segments.iter().map(|segment| segment.discontinuities > 0).collect();
        assert_eq!(tags, [false, false, false, true, false]);
    }
}

/// A live playlist of fragments of these lengths in milliseconds, one after the other; the first has this
/// number.
fn of_lengths(first: usize, lengths: &[u64]) -> MediaPlaylist {
    let longest = lengths.iter().max().unwrap().div_ceil(1000);
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{longest}\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    for (at, length) in lengths.iter().enumerate() {
        let number = fragment((first + at) as u64, START + (first + at) as u64 * 500, 1);
        text += &format!("#EXTINF:{},\ngetTSFragment.ts?FragmentNumber={number}\n", *length as f64 / 1000.0);
    }
    MediaPlaylist::parse(&text).unwrap()
}

#[test]
fn the_target_duration_is_learned_once_and_a_list_holds_three_of_it() {
    let mut lengths = vec![1_200; 5];
    let now = Timestamp::from_millis(START);
    let mut timeline = Timeline::new(5, false, false);
    timeline.learn_target(vec![Recent { start: 0, length: 3_900 }, Recent { start: 3_900, length: 900 }]);
    let first = timeline.merge(1, 1, &of_lengths(0, &lengths), now).unwrap();
    assert_eq!((first.target, first.segments.len()), (4, 5), "by a fragment that is not listed");
    let total =
        |playlist: &MediaPlaylist| playlist.segments.iter().map(|segment| segment.millis).sum::<u64>();
    // Neither what slides out of KVS's list nor another session or process changes it, and no EXTINF rounds
    // to more.
    let mut last = first.sequence;
    for (generation, next) in [(1, 300), (1, 4_900), (2, 350), (2, 4_600)].into_iter().chain([(2, 1_200); 12])
    {
        lengths.push(next);
        let from = lengths.len() - 5;
        let playlist = timeline.merge(1, generation, &of_lengths(from, &lengths[from..]), now).unwrap();
        assert_eq!(playlist.target, 4);
        assert!(playlist.segments.iter().all(|segment| segment.millis <= 4_499));
        assert!(!playlist.render(false).contains("4.9,") && !playlist.render(false).contains("4.6,"));
        let listed = playlist.segments.len();
        assert!((5..=10).contains(&listed));
        let is_removed = playlist.sequence > last;
        assert!(!is_removed || listed == 10 || total(&playlist) >= 12_000, "{}", playlist.render(false));
        last = playlist.sequence;
    }
    let mut next = Timeline::new(5, false, false);
    next.resume(&timeline.saved().unwrap(), now);
    let from = lengths.len() - 5;
    assert_eq!(next.merge(1, 1, &of_lengths(from, &lengths[from..]), now).unwrap().target, 4);
    // Only a fragment that is much longer changes it.
    lengths.push(19_000);
    assert_eq!(next.merge(1, 1, &of_lengths(from + 1, &lengths[from + 1..]), now).unwrap().target, 19);
    // Whoever asks for fewer than KVS's default gets so many.
    let few = Timeline::new(3, false, false).merge(1, 1, &of_lengths(0, &lengths[..10]), now).unwrap();
    assert_eq!(few.segments.len(), 3);
}

#[test]
fn pages_are_told_what_is_listed_and_where_the_gap_is() {
    let mut camera = Camera::new();
    camera.record(5);
    let before = Timestamp::from_millis(camera.clock);
    camera.pause(120);
    let after = Timestamp::from_millis(camera.clock);
    camera.record(2);
    let mut timeline = Timeline::new(5, false, false);
    let now = Timestamp::from_millis(camera.clock);
    assert_eq!(timeline.window_shown(now), None);
    let playlist = FakeSession::open(1, &camera, 7).playlist(&camera, 1, &PLAIN);
    assert_eq!(timeline.merge(1, 1, &playlist, now).unwrap().segments.len(), 2);
    let window = timeline.window_shown(now).unwrap();
    assert_eq!(
        (window.from, window.to, window.gap, window.silent),
        (after, now, Some((before, after)), false)
    );
    assert!(timeline.window_shown(now.plus(std::time::Duration::from_millis(4001))).unwrap().silent);
}

#[test]
fn a_timeline_that_another_replica_takes_over_goes_on_as_it_was() {
    let mut camera = Camera::new();
    camera.record(6);
    // One that merges all, and two that do so in turns, each from what the other one has left.
    let (mut one, mut turns) =
        (Timeline::new(5, false, false), [Timeline::new(5, false, false), Timeline::new(5, false, false)]);
    for round in 0..40_usize {
        let generation = 1 + u32::try_from(round).unwrap() / 10;
        // Some gaps, and sessions that cannot be placed on the one timeline.
        if round % 7 == 3 {
            camera.pause(9);
        }
        camera.record(1 + u64::try_from(round % 3).unwrap());
        let playlist = FakeSession::open(generation, &camera, 5).playlist(&camera, 1, &PLAIN);
        let now = Timestamp::from_millis(camera.clock);
        let merge = |timeline: &mut Timeline| {
            if generation != 3 && round % 10 == 0 {
                moved(timeline, generation, 7);
            }
            timeline.merge(1, generation, &playlist, now).unwrap().render(true)
        };
        let expected = merge(&mut one);
        assert_eq!(merge(&mut turns[round % 2]), expected, "round {round}");
        let left = serde_json::to_string(&turns[round % 2].recent()).unwrap();
        assert!(left.len() < 64 << 10, "{} bytes", left.len());
        turns[(round + 1) % 2].take_over(serde_json::from_str(&left).unwrap());
    }
}
