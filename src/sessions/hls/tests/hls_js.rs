//! A player with the rules by which hls.js merges one load of a playlist with the one before, over cameras
//! whose tracks lack fragments.

use crate::kvs::{FragmentNumber, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::sessions::hls::timeline::Timeline;
use crate::sessions::numbering::{Generation, tests::fragment};

const START: u64 = 1_767_225_600_000;
const TRACKS: usize = 3;
/// Fragments that KVS lists.
const WINDOW: usize = 4;

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// A fragment: which tracks have it, and on which of them KVS has a discontinuity ahead of it.
struct Made {
    number: FragmentNumber,
    present: [bool; TRACKS],
    tagged: [bool; TRACKS],
}

/// What KVS lists of a track: its newest fragments since the session began.
fn playlist(made: &[Made], from: usize, track: usize) -> MediaPlaylist {
    let all: Vec<_> = made[from..].iter().filter(|made| made.present[track]).collect();
    let skipped = all.len().saturating_sub(WINDOW);
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{skipped}\n");
    for made in &all[skipped..] {
        let tag = if made.tagged[track] { "#EXT-X-DISCONTINUITY\n" } else { "" };
        text += &format!("{tag}#EXTINF:2.0,\ngetTSFragment.ts?FragmentNumber={}\n", made.number);
    }
    MediaPlaylist::parse(&text).unwrap()
}

/// One listed fragment, as a player knows it: MEDIA-SEQUENCE, count of discontinuities, tags ahead, address.
type Known = (u64, u64, u64, String);

/// hls.js 1.7.4, `mergeDetails` and `mapFragmentIntersection` in src/utils/level-helper.ts, by its rules:
/// known fragments are compared by MEDIA-SEQUENCE; a lower count than before is corrected from there on, then
/// a different address or count is an error. Behind the last known fragment a lower count is corrected, too.
/// Stricter here: no correction is needed, and where MEDIA-SEQUENCE continues, so do the counts.
fn merge(old: &[Known], new: &MediaPlaylist) -> Result<Vec<Known>, String> {
    let mut count = new.discontinuities;
    let mut known: Vec<Known> = Vec::new();
    for (segment, sequence) in new.segments.iter().zip(new.sequence..) {
        count += segment.discontinuities;
        known.push((sequence, count, segment.discontinuities, segment.resource.to_string()));
    }
    for (sequence, count, tags, address) in &known {
        let Some(before) = old.iter().find(|(before, ..)| before == sequence) else { continue };
        if before.3 != *address {
            return Err(format!("media sequence mismatch {sequence}"));
        }
        if (before.1, before.2) != (*count, *tags) {
            return Err(format!("discontinuity sequence mismatch ({}!={count}) at {sequence}", before.1));
        }
    }
    if let (Some(last), Some(first)) = (old.last(), known.first()) {
        if new.sequence < old[0].0 || known.last().is_some_and(|newest| newest.0 < last.0) {
            return Err("media sequence went back".into());
        }
        if first.0 > last.0 && first.1 < last.1 || first.0 == last.0 + 1 && first.1 != last.1 + first.2 {
            return Err(format!("{first:?} does not follow {last:?}"));
        }
    }
    Ok(known)
}

/// A random order of recording, polling, renewals and restarts.
fn play(seed: u64) -> Result<(), String> {
    let mut dice = Dice(seed);
    let (always, is_saved) = (dice.below(4) == 0, dice.below(2) == 0);
    let mut timeline = Timeline::new(WINDOW, always, false);
    let mut made: Vec<Made> = Vec::new();
    let (mut generation, mut from): (Generation, usize) = (1, 0);
    let mut players: [Vec<Known>; TRACKS] = Default::default();
    let mut now = START;
    let mut record = |dice: &mut Dice, made: &mut Vec<Made>, whole: bool| {
        let mut random = |one_in: u64| -> [bool; TRACKS] { std::array::from_fn(|_| dice.below(one_in) == 0) };
        let missing = if whole { [false; TRACKS] } else { random(4) };
        let tagged = if whole || always { [always; TRACKS] } else { random(4) };
        now += 2000;
        made.push(Made {
            number: fragment(made.len() as u64 + 7, now, 1),
            present: missing.map(|missing| !missing),
            tagged,
        });
        now
    };
    let mut poll = |timeline: &mut Timeline, made: &[Made], generation, from, track: usize, now| {
        let offered = playlist(made, from, track);
        let published = timeline
            .merge(track as u8 + 1, generation, &offered, Timestamp::from_millis(now))
            .map_err(str::to_owned)?;
        let before = &players[track];
        let known = merge(before, &published)?;
        // A tag that KVS has on this track is never dropped, once something is listed ahead of it.
        for pair in known.windows(2) {
            let made = made.iter().find(|made| pair[1].3.ends_with(&made.number.to_string()));
            if made.is_some_and(|made| made.tagged[track]) && pair[1].2 == 0 {
                return Err(format!("{} lost its tag", pair[1].3));
            }
        }
        if !known.is_empty() {
            players[track] = known;
        }
        Ok(players[track].last().map(|last| (last.3.clone(), last.1)))
    };
    let mut clock = record(&mut dice, &mut made, false);
    for _ in 0..dice.below(24) {
        match dice.below(12) {
            0..5 => clock = record(&mut dice, &mut made, false),
            5..11 => {
                let track = dice.below(TRACKS as u64) as usize;
                poll(&mut timeline, &made, generation, from, track, clock)?;
            }
            _ if is_saved => {
                // Another process: its sessions are counted anew.
                let Some(saved) = timeline.saved() else { continue };
                timeline = Timeline::new(WINDOW, always, false);
                timeline.resume(&saved, Timestamp::from_millis(clock));
                (generation, from) = (1, made.len().saturating_sub(WINDOW));
            }
            _ => (generation, from) = (generation + 1, made.len().saturating_sub(WINDOW)),
        }
    }
    // Two fragments that all tracks have, without a discontinuity: behind them tracks agree.
    let mut last = Vec::new();
    for _ in 0..2 {
        clock = record(&mut dice, &mut made, true);
        last.clear();
        for track in 0..TRACKS {
            last.extend(poll(&mut timeline, &made, generation, from, track, clock)?);
        }
    }
    let disagree = last.windows(2).any(|pair| pair[0] != pair[1]);
    if disagree { Err(format!("tracks disagree: {last:?}")) } else { Ok(()) }
}

#[test]
fn hls_js_finds_no_mismatch_whatever_tracks_lack() {
    for seed in 0..30_000 {
        if let Err(why) = play(seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

/// The case that was seen: a fragment with a discontinuity that one track lacks.
#[test]
fn a_track_that_lacks_a_discontinuity_has_it_ahead_of_its_next_fragment() {
    let mut made: Vec<Made> = (0..3)
        .map(|n| Made {
            number: fragment(n, START + n * 2000, 1),
            present: [true; TRACKS],
            tagged: [false; TRACKS],
        })
        .collect();
    made[1].present[1] = false;
    made[1].tagged[0] = true;
    let mut timeline = Timeline::new(WINDOW, false, false);
    let counts = [0, 1].map(|track: usize| {
        let offered = playlist(&made, 0, track);
        let published = timeline.merge(track as u8 + 1, 1, &offered, Timestamp::from_millis(START)).unwrap();
        merge(&[], &published)
            .unwrap()
            .into_iter()
            .map(|(_, count, tags, _)| (count, tags))
            .collect::<Vec<_>>()
    });
    assert_eq!(counts, [vec![(0, 0), (1, 1), (1, 0)], vec![(0, 0), (1, 1)]]);
}
