//! What the archive of a camera has.

use super::*;
use proptest::prelude::*;

const NOW: Millis = 1_700_000_000_000;

fn archive() -> Archive {
    Archive {
        seed: 1,
        producer: Producer::default(),
        first_recorded: NOW - 25 * 3_600_000,
        retention_hours: 24,
        latency: 137,
        jitter: 0,
        gaps: Vec::new(),
        backfills: Vec::new(),
        codec_changes: Vec::new(),
        recording: 0,
        loop_offset: 3,
    }
}

#[test]
fn the_newest_fragments_are_those_that_have_arrived() {
    let newest = archive().newest(5, NOW);
    assert_eq!(newest.len(), 5);
    assert!(newest.windows(2).all(|w| w[1].producer - w[0].producer == WINDOW_MILLIS));
    let last = newest[4];
    assert!(last.ready <= NOW && last.ready + WINDOW_MILLIS > NOW);
}

#[test]
fn a_clock_that_is_a_day_ahead_is_found_by_its_own_times() {
    for ahead in [86_400, -86_400] {
        let mut it = archive();
        it.producer.clock_ahead_seconds = ahead;
        let newest = it.newest(5, NOW);
        let day = |f: &Fragment| f.producer as i64 - f.recorded as i64;
        assert!(newest.iter().all(|f| day(f) == ahead * 1000 && f.server.abs_diff(f.recorded) < 1000));
        let (from, to) = (newest[1].producer, newest[3].producer);
        assert_eq!(it.range(Selector::Producer, from, to, NOW), newest[1..4]);
    }
}

#[test]
fn one_fragment_in_five_has_no_sound() {
    let mut it = archive();
    it.producer.sound_missing = true;
    let newest = it.newest(500, NOW);
    let silent = newest.iter().filter(|f| it.footage(f).audio.is_empty()).count();
    assert!((60..140).contains(&silent), "{silent}");
    assert!(
        newest
            .iter()
            .all(|f| it.lacks_sound(f) == it.footage(f).audio.is_empty() && !it.footage(f).video.is_empty())
    );
}

#[test]
fn nothing_is_older_than_retention_or_birth() {
    let mut it = archive();
    let day = it.range(Selector::Server, 0, NOW, NOW);
    assert_eq!(day.len() as u64, 24 * 3_600_000 / WINDOW_MILLIS - 1);
    assert_eq!(it.find(day[0].number, NOW), Some(day[0]));
    assert_eq!(it.find(day[0].number, NOW + WINDOW_MILLIS), None);
    it.retention_hours = 0;
    assert!(it.range(Selector::Server, 0, NOW, NOW).is_empty());
    assert!(it.newest(5, NOW).is_empty());
}

#[test]
fn a_gap_is_filled_late_and_sorts_after_what_came_first() {
    let mut it = archive();
    let (from, to) = (NOW - 60_000, NOW - 30_000);
    it.gaps.push((from, to));
    assert!(it.range(Selector::Producer, from, to - WINDOW_MILLIS, NOW).is_empty());
    it.backfills.push(Backfill { from, to, at: NOW - 10_000 });
    let late = it.range(Selector::Producer, from, to - WINDOW_MILLIS, NOW);
    assert!(late.len() > 10 && late.iter().all(|f| f.server >= NOW - 10_000));
    let before = it.range(Selector::Server, NOW - 30_000, NOW - 10_001, NOW);
    assert!(before.last().unwrap().number < late[0].number);
    assert!(late.iter().all(|f| it.find(f.number, NOW) == Some(*f)));
}

proptest! {
    #[test]
    fn order_of_numbers_is_order_of_arrival_and_ranges_are_inclusive(
        jitter in 0..2_000_u64, from in 0..100_000_u64, length in 0..100_000_u64,
    ) {
        let it = Archive { jitter, ..archive() };
        let (from, to) = (NOW - 200_000 + from, NOW - 200_000 + from + length);
        let all = it.range(Selector::Server, NOW - 400_000, NOW, NOW);
        let some = it.range(Selector::Server, from, to, NOW);
        let expected: Vec<_> = all.iter().copied().filter(|f| (from..=to).contains(&f.server)).collect();
        prop_assert_eq!(&some, &expected);
        prop_assert!(all.windows(2).all(|w| w[0].server < w[1].server));
        prop_assert!(all.iter().all(|f| it.issued(f.number) && it.find(f.number, NOW) == Some(*f)));
    }
}

fn made(producer: Producer) -> Archive {
    Archive { producer, seed: 0x5eed, ..archive() }
}

fn sdk(change: impl FnOnce(&mut Producer)) -> Archive {
    let mut producer = Producer::sdk();
    change(&mut producer);
    made(producer)
}

/// The fragments of the hour before `NOW`.
fn hour(it: &Archive) -> Vec<Fragment> {
    it.range(Selector::Server, NOW - 3_600_000, NOW, NOW)
}

fn extremes(values: impl Iterator<Item = i64>) -> (i64, i64) {
    values.fold((i64::MAX, i64::MIN), |(least, most), value| (least.min(value), most.max(value)))
}

fn gaps(all: &[Fragment], start: impl Fn(&Fragment) -> Millis) -> (i64, i64) {
    extremes(all.windows(2).map(|pair| start(&pair[1]) as i64 - start(&pair[0]) as i64))
}

#[test]
fn jitter_is_that_of_a_real_camera() {
    let it = sdk(|_| {});
    let day = it.range(Selector::Server, NOW - 86_000_000, NOW, NOW);
    let (least, most) = gaps(&day, |f| f.producer);
    assert!((297..=310).contains(&least) && (1450..=1495).contains(&most), "{least} {most}");
    let (least, most) = gaps(&day, |f| f.server);
    assert!((9..=150).contains(&least) && most < 1820, "{least} {most}");
    let (least, most) = extremes(day.iter().map(|f| f.server as i64 - f.producer as i64));
    assert!((-346..=-200).contains(&least) && (1350..=1479).contains(&most), "{least} {most}");
    // One PutMedia session: the counter steps by one.
    assert!(day.windows(2).all(|pair| pair[1].number.counter == pair[0].number.counter + 1));
    assert!(day.windows(2).all(|pair| pair[1].ready > pair[0].ready), "listed in the order of arrival");
}

#[test]
fn lengths_vary_from_a_third_of_a_second_to_eighteen_seconds_in_one_stream() {
    let all = hour(&sdk(|producer| producer.timing = Timing::Varied));
    let (least, most) = extremes(all.iter().map(|f| f.millis as i64));
    assert!(least < 320 && (18_400..20_000).contains(&most), "{least} {most}");
}

#[test]
fn motion_leaves_gaps_of_minutes_and_each_stretch_is_a_session_of_its_own() {
    let it = sdk(|producer| producer.recording = Recorded::Motion);
    let all = hour(&it);
    let (_, longest) = gaps(&all, |f| f.producer);
    assert!(longest > 120_000, "{longest}");
    for pair in all.windows(2) {
        let apart = pair[1].producer - pair[0].producer > 2000;
        assert_eq!(pair[1].number.counter > pair[0].number.counter + 1, apart);
    }
    let recorded: Millis = all.iter().map(|f| f.millis).sum();
    assert!(recorded < 1_800_000, "{recorded}");
}

#[test]
fn settings_change_only_where_the_counter_jumps() {
    let it = sdk(|producer| (producer.run_seconds, producer.settings_change) = (Some(300), true));
    let all = hour(&it);
    let mut changes = 0;
    for pair in all.windows(2) {
        let jump = pair[1].number.counter - pair[0].number.counter > 1;
        assert_eq!(!pair[0].is_alike(&pair[1]), jump);
        assert_eq!(pair[1].codec - pair[0].codec, u32::from(jump));
        changes += u32::from(jump);
    }
    assert_eq!(changes, 12);
}

#[test]
fn sound_that_begins_later_is_another_session_with_another_track() {
    let at = NOW - 600_000;
    let all = hour(&sdk(|producer| producer.sound_begins = Some(at as f64 / 1000.0)));
    for pair in all.windows(2) {
        let jump = pair[1].number.counter - pair[0].number.counter > 1;
        assert_eq!(pair[0].sound != pair[1].sound, jump);
    }
    assert!(all.iter().all(|f| (f.sound == SoundCodec::Aac) == (f.recorded >= at)));
    assert!(all[0].sound == SoundCodec::None && all.last().unwrap().sound == SoundCodec::Aac);
}

#[test]
fn relative_times_count_from_the_session() {
    let it = sdk(|producer| {
        (producer.timecodes, producer.run_seconds) = (Timecodes::Relative, Some(300));
    });
    let all = hour(&it);
    for pair in all.windows(2) {
        let jump = pair[1].number.counter - pair[0].number.counter > 1;
        assert_eq!(pair[1].timecode == 0, jump);
        assert!(jump || pair[1].timecode - pair[0].timecode == pair[1].producer - pair[0].producer);
    }
    assert!(all.iter().all(|f| f.timecode < 302_000 && f.producer > NOW - 4_000_000));
}

#[test]
fn without_a_start_producer_times_lie_in_1970() {
    let it = Archive {
        retention_hours: 48,
        ..sdk(|producer| producer.timecodes = Timecodes::RelativeWithoutStart)
    };
    let all = it.range(Selector::Server, 0, NOW, NOW);
    assert_eq!((all[0].producer, all[0].timecode), (0, 0), "0.000");
    assert!(all.iter().all(|f| f.producer == f.timecode && f.producer < 26 * 3_600_000));
    let some = it.range(Selector::Producer, 5_000, 20_000, NOW);
    let expected: Vec<Fragment> =
        all.iter().copied().filter(|f| (5_000..=20_000).contains(&f.producer)).collect();
    assert!(!some.is_empty());
    assert_eq!(some, expected);
}

#[test]
fn an_upload_may_come_days_late() {
    let days = 3 * 86_400;
    let it = sdk(|producer| producer.upload_delay_seconds = days);
    let all = hour(&it);
    assert!(!all.is_empty());
    assert!(all.iter().all(|f| f.server.abs_diff(f.producer).abs_diff(days * 1000) < 2000));
    assert!(it.newest(3, NOW).last().unwrap().server > NOW - 5000);
}

#[test]
fn overlaps_begin_before_the_fragment_ahead_of_them_ends() {
    let all = hour(&sdk(|producer| producer.overlaps = true));
    let overlapping =
        all.windows(2).filter(|pair| pair[1].producer < pair[0].producer + pair[0].millis).count();
    let share = all.len() / overlapping.max(1);
    assert!((6..=12).contains(&share), "one of {share}");
    assert!(all.windows(2).all(|pair| pair[0].producer < pair[1].producer));
}

#[test]
fn sound_runs_on_through_fragments_and_does_not_end_with_them() {
    for sound in [SoundCodec::Aac, SoundCodec::Aac48k, SoundCodec::Alaw] {
        let it = sdk(|producer| producer.sound = sound);
        let ticks = u64::from(sound.rate() / 1000);
        let mut expected = None;
        let mut on_the_border = 0;
        for fragment in &hour(&it)[..200] {
            let footage = it.footage(fragment);
            for sample in &footage.audio {
                let at = fragment.recorded * ticks + sample.decoded;
                assert!(expected.is_none_or(|expected| expected == at), "{sound:?}");
                expected = Some(at + u64::from(sample.duration));
            }
            on_the_border += usize::from(footage.audio[0].decoded == 0);
            assert!(footage.length() < fragment.millis);
        }
        assert!(on_the_border < 30, "{sound:?}: {on_the_border}");
    }
}

proptest! {
    #[test]
    fn any_producer_gives_each_fragment_one_number_and_the_same_bytes(
        timing in 0..3_usize, motion: bool, run in proptest::option::of(20..1000_u64), overlaps: bool,
        delay in 0..100_000_u64, codec in 0..3_usize, from in 0..600_000_u64,
    ) {
        let it = sdk(|producer| {
            producer.timing = [Timing::Regular, Timing::Jitter, Timing::Varied][timing];
            producer.recording = if motion { Recorded::Motion } else { Recorded::Continuous };
            (producer.run_seconds, producer.settings_change) = (run, true);
            (producer.overlaps, producer.upload_delay_seconds) = (overlaps, delay);
            producer.video = [VideoCodec::H264, VideoCodec::H264BFrames, VideoCodec::H265][codec];
        });
        let all = it.range(Selector::Server, NOW - 1_200_000, NOW, NOW);
        let (first, last) = (NOW - 1_200_000 + from, NOW - 500_000 + from / 2);
        let some = it.range(Selector::Server, first, last, NOW);
        let expected: Vec<_> = all.iter().copied().filter(|f| (first..=last).contains(&f.server)).collect();
        prop_assert_eq!(&some, &expected);
        prop_assert!(all.windows(2).all(|w| w[0].server < w[1].server && w[0].number < w[1].number));
        for fragment in some.iter().take(3) {
            prop_assert_eq!(it.find(fragment.number, NOW), Some(*fragment));
            prop_assert_eq!(it.chunk(fragment), it.chunk(fragment));
            let footage = it.footage(fragment);
            prop_assert_eq!(it.size(fragment, &footage), it.chunk(fragment).len());
            prop_assert!(footage.video[0].key);
        }
    }
}
