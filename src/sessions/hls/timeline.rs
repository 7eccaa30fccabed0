//! Merges the playlists of one upstream session after another into one that a strict HLS player can follow.
//!
//! Players must not notice that upstream sessions end, begin anew, have gaps and fail. MEDIA-SEQUENCE never
//! goes back: a fragment keeps the number that it was first given. Fragments are matched by their number,
//! which is the same in every session, else by PROGRAM-DATE-TIME; else what is listed counts as new, with a
//! discontinuity. EXT-X-DISCONTINUITY-SEQUENCE, which KVS leaves out, is maintained: `discontinuity` counts.
//!
//! A discontinuity stands where KVS has one, and in two more places. The first is where the fragments of one
//! session end and those of another begin, unless the times of both are shifted onto the one timeline that
//! runs by PROGRAM-DATE-TIME and their init segments are equal. (`tfdt` is not proven equal across sessions,
//! docs/KVS.md 8.) The second is after a gap in time of more than two target durations. There are as few
//! discontinuities as possible, because some players stall at each, and a restarted process cannot know how
//! many there were.
//!
//! When a camera was away for that long, what was listed before is no longer listed. A player that lays
//! fragments end to end while its clock runs on (Shaka Player) would treat even the new ones as expired; this
//! way it joins anew, at a MEDIA-SEQUENCE that it has not seen. Where each fragment has a discontinuity that
//! is not done, since tracks would disagree on the count.
//!
//! TARGETDURATION must not change (RFC 8216, 6.2.1): `target_duration` says how it is found. A list holds
//! three target durations, since a server must not remove more (6.2.2), as far as `LIVE_WINDOW_MAX` fragments
//! do, and at least `window` fragments.
//!
//! There is no I/O here: playlists in, playlists out. Numbers begin as `numbering` says.

use super::discontinuity::{Around, MOST_TAGS, beginning, following};
use super::init_segments::InitSegments;
use super::mark::{Mark, Position, REMEMBERED};
use super::media_times::MediaTimes;
use super::offered::{Offered, after_last_absence, is_absence, offered};
use super::pairs;
use super::target_duration::{Recent, TargetDuration};
use super::track_playlist::{Last, Listed, Numbered, TrackPlaylist};
use crate::kvs::bounds::LIVE_WINDOW_MAX;
use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::playback::mp4;
use crate::sessions::key::LIVE_FRAGMENTS;
use crate::sessions::numbering::{self, Generation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One stream as its players see it, all tracks.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct Timeline {
    /// Fragments listed, as far as there are so many. More where they last less than three target durations.
    pub(super) window: usize,
    pub(super) target: TargetDuration,
    /// Each fragment has a DISCONTINUITY (`DiscontinuityMode::Always`).
    pub(super) always: bool,
    /// True for LIVE_REPLAY. LIVE never ends.
    pub(super) may_end: bool,
    #[serde(with = "pairs")]
    pub(super) marks: BTreeMap<Position, Mark>,
    pub(super) tracks: BTreeMap<u8, TrackPlaylist>,
    pub(super) init_segments: InitSegments,
    /// The end of what was recorded ahead of the last gap, and the beginning of what was recorded after it.
    pub(super) gap: Option<(Timestamp, Timestamp)>,
    /// When the media of each fragment is presented.
    pub(in crate::sessions) media_times: MediaTimes,
    /// Sessions whose media is shifted onto the one timeline.
    pub(super) shifted: BTreeSet<Generation>,
    /// It continues what an earlier process saved.
    pub(super) resumed: bool,
    /// Other replicas list the same apart from this one.
    #[serde(skip)]
    beside_others: bool,
}

impl Timeline {
    pub(in crate::sessions) fn new(window: usize, always: bool, may_end: bool) -> Self {
        let init_segments = InitSegments::default();
        Self {
            window: window.max(1),
            target: TargetDuration::default(),
            always,
            may_end,
            marks: BTreeMap::new(),
            tracks: BTreeMap::new(),
            init_segments,
            gap: None,
            media_times: MediaTimes::default(),
            shifted: BTreeSet::new(),
            resumed: false,
            beside_others: false,
        }
    }

    /// Notes whether other replicas list the same apart from this one: what it has not listed, they have.
    pub(in crate::sessions) fn note_others(&mut self, list_apart: bool) {
        self.beside_others = list_apart;
    }

    /// Notes that the media of a session is shifted onto the one timeline: a fragment begins at its
    /// PROGRAM-DATE-TIME.
    pub(in crate::sessions) fn shift_times_of(&mut self, generation: Generation) {
        self.shifted.insert(generation);
        while self.shifted.len() > REMEMBERED {
            self.shifted.pop_first();
        }
    }

    /// True if TARGETDURATION stands.
    pub(in crate::sessions) fn target_is_known(&self) -> bool {
        self.target.seconds() > 0
    }

    /// Notes how long fragments lasted of late, ahead of the first playlist.
    pub(in crate::sessions) fn learn_target(&mut self, recent: Vec<Recent>) {
        self.target.learn(recent);
    }

    /// Notes what an init segment of a session holds.
    pub(in crate::sessions) fn learn(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        content: mp4::Init,
    ) {
        self.init_segments.learn(generation, upstream, content);
    }

    /// The init segments of a playlist that [`Timeline::learn`] has not been given yet.
    pub(in crate::sessions) fn unknown_inits(
        &self,
        generation: Generation,
        playlist: &MediaPlaylist,
    ) -> Vec<Resource> {
        let maps = playlist.segments.iter().filter_map(|segment| Some(&segment.map.as_ref()?.resource));
        let mut unknown: Vec<_> =
            maps.filter(|init| self.init_segments.content(generation, init).is_none()).cloned().collect();
        unknown.dedup();
        unknown
    }

    /// What an init segment holds, if [`Timeline::learn`] was given it.
    pub(in crate::sessions) fn learned(&self, generation: Generation, init: &Resource) -> Option<mp4::Init> {
        self.init_segments.content(generation, init)
    }

    /// What the newest init segment of a track holds in a session.
    pub(in crate::sessions) fn newest_init(&self, generation: Generation, track: u8) -> Option<mp4::Init> {
        self.init_segments.newest(generation, track)
    }

    /// Merges what `generation` lists for `track`, and gives what players get.
    pub(in crate::sessions) fn merge(
        &mut self,
        track: u8,
        generation: Generation,
        playlist: &MediaPlaylist,
        now: Timestamp,
    ) -> Result<MediaPlaylist, &'static str> {
        let offered = offered(generation, playlist)?;
        let mut state = self.tracks.remove(&track).unwrap_or_else(|| TrackPlaylist::new(generation, now));
        if !offered.is_empty() {
            self.target.begin(playlist.target);
        }
        self.note_gap(&offered);
        let newest = self.first_in_window(&offered);
        let mut fresh = state.first_unseen(&offered, playlist, now, newest);
        let missed = state.may_have_missed(&offered);
        // With a discontinuity ahead of each fragment, one left out would make tracks disagree on the count.
        let drops_old_fragments = !self.may_end && !self.always;
        let is_away = |first: &Offered<'_>| {
            let listed_elsewhere = self.beside_others && state.has_skipped(generation, first);
            !listed_elsewhere && state.was_away(first, self.target.seconds(), now)
        };
        let mut away = drops_old_fragments && offered.get(fresh).is_some_and(is_away);
        if away || (drops_old_fragments && state.listed.is_empty()) {
            // This way tracks agree, and a process that starts after a camera's absence lists no more than
            // the one before it.
            let after_absence = after_last_absence(&offered, self.target.seconds());
            let known = || offered.iter().position(|offered| self.marks.contains_key(&offered.position));
            // Where another track begins behind it, so does this one.
            let is_known =
                |at: usize| offered.get(at).is_some_and(|offered| self.marks.contains_key(&offered.position));
            let begin = match away || self.marks.is_empty() {
                true => after_absence,
                // What an earlier process saved does not tell of an absence since.
                false if self.resumed || is_known(after_absence) => known().unwrap_or(0).max(after_absence),
                false => known().unwrap_or(0),
            };
            away |= self.resumed && begin > 0 && begin == after_absence;
            fresh = fresh.max(begin);
        }
        // What is older than all that an earlier process listed last has no number.
        let oldest = state.resumed.keys().next().filter(|_| state.listed.is_empty());
        let listed_before =
            |oldest: &Position| offered.iter().position(|offered| offered.position >= *oldest);
        fresh = fresh.max(oldest.and_then(listed_before).unwrap_or(0));
        if let [first, .., last] | [first @ last] = &offered[fresh..] {
            let mut sequence = self.next_sequence(&mut state, generation, first, missed, now);
            if away {
                state.listed.clear();
            }
            state.upstream = (generation, last.upstream);
            state.changed = now;
            for offered in &offered[fresh..] {
                let gap = std::mem::take(&mut away)
                    || state.is_gap(offered, self.target.seconds())
                    || state.listed.is_empty() && self.is_gap_on_other_tracks(offered);
                sequence = self.list(&mut state, generation, offered, sequence, gap, now) + 1;
            }
        }
        while state.listed.len() > self.window
            && self.is_enough(state.listed.iter().skip(1).map(|l| l.segment.millis.min(l.most_millis)))
        {
            state.listed.pop_front();
        }
        state.ended |= playlist.ended && self.may_end;
        let published = self.published(&state, playlist);
        self.tracks.insert(track, state);
        self.forget();
        Ok(published)
    }

    /// Which session lists a fragment; the newest, if numbers are not global.
    pub(in crate::sessions) fn generation(&self, number: &FragmentNumber) -> Option<Generation> {
        self.marks
            .iter()
            .rev()
            .find(|(position, _)| position.number == *number)
            .map(|(_, mark)| mark.generation)
    }

    /// The init segment behind a published address: its session, and its name there.
    pub(in crate::sessions) fn init(&self, published: &Resource) -> Option<(Generation, Resource)> {
        self.init_segments.find(published)
    }

    /// The init segment last published for a track, for players that hold an address from before a restart.
    pub(in crate::sessions) fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        self.init_segments.latest(track)
    }

    /// The newest fragment listed, and its start if that is known.
    pub(in crate::sessions) fn newest(&self) -> Option<(FragmentNumber, Option<Timestamp>)> {
        let last =
            self.tracks.values().filter_map(|track| track.listed.back()).max_by_key(|l| &l.position)?;
        Some((last.position.number.clone(), last.segment.date))
    }

    /// The fragments that are listed on a track, oldest first.
    pub(in crate::sessions) fn fragments(&self, track: u8) -> Vec<Resource> {
        let listed = self.tracks.get(&track).map(|track| &track.listed);
        listed.into_iter().flatten().map(|listed| listed.segment.resource.clone()).collect()
    }

    /// Those of them that come after all whose times are known, oldest first.
    pub(in crate::sessions) fn fragments_behind_known(&self, track: u8) -> Vec<Resource> {
        let is_unknown = |resource: &Resource| {
            resource.fragment_number().is_some_and(|number| self.media_times.of(number).is_none())
        };
        let mut new: Vec<_> = self.fragments(track).into_iter().rev().take_while(is_unknown).collect();
        new.reverse();
        new
    }

    fn next_sequence(
        &self,
        state: &mut TrackPlaylist,
        generation: Generation,
        first: &Offered<'_>,
        missed: bool,
        now: Timestamp,
    ) -> u64 {
        let Some(last) = state.listed.back() else {
            let alone = numbering::first_sequence(&first.position.number, first.segment.date, now);
            // What an earlier process listed on this track keeps its number, and what comes after is higher.
            let floor = match state.resumed.range(..=&first.position).next_back() {
                Some((position, numbered)) if *position == first.position => return numbered.sequence,
                before => {
                    // Numbers that an earlier process gave belong to no session of this one.
                    let last = before.map(|(position, numbered)| {
                        let shifted = self.marks.get(position).is_some_and(|mark| mark.shifted);
                        Last { numbered: *numbered, generation: 0, shifted }
                    });
                    state.last = state.last.or(last);
                    last.map_or(0, |last| last.numbered.sequence + 1)
                }
            };
            let sequence = match self.marks.range(..=&first.position).next_back() {
                None => alone,
                Some((position, mark)) if *position == first.position => mark.sequence,
                Some((_, mark)) if mark.generation == generation => {
                    mark.sequence + first.upstream.saturating_sub(mark.upstream).max(1)
                }
                Some((_, mark)) => alone.max(mark.sequence + 1),
            };
            return sequence.max(floor);
        };
        if !missed {
            return last.numbered.sequence + 1;
        }
        // The number of fragments that were missed follows from KVS's count within one session.
        let (known, number) = state.upstream;
        let step = if known == generation { first.upstream.saturating_sub(number).max(1) } else { 1 };
        // Another track may have listed more of them, and the fragment numbers tell of the rest. Neither
        // exceeds the number that a process would give which starts here.
        let seen = self.marks.range(..=&first.position).next_back().map_or(0, |(position, mark)| {
            mark.sequence + numbering::distance(&position.number, &first.position.number)
        });
        let before = last.numbered.sequence;
        let sequence = seen.max(before + step);
        if sequence > before + 1 {
            state.listed.clear();
        }
        sequence
    }

    /// Lists a fragment with this MEDIA-SEQUENCE, or the one that it gives. `gap`: nothing was recorded ahead
    /// of it.
    fn list(
        &mut self,
        state: &mut TrackPlaylist,
        generation: Generation,
        offered: &Offered<'_>,
        mut sequence: u64,
        gap: bool,
        now: Timestamp,
    ) -> u64 {
        let Offered { position, segment, upstream } = offered;
        let mut segment = (*segment).clone();
        let around = self.around(position);
        let here = (generation, self.shifted.contains(&generation));
        // The media comes from the session that listed it first, and so does its init segment.
        let (source, shifted) = around.known.map_or(here, |known| (known.generation, known.shifted));
        let from_before = state.last.filter(|last| last.generation == source && source != generation);
        segment.map = match (from_before, state.listed.back()) {
            (Some(_), Some(before)) => before.segment.map.clone(),
            _ => segment.map.map(|map| {
                let address = self.init_segments.address(generation, &map.resource, now);
                map.at(address)
            }),
        };
        let map = segment.map.as_ref().map(|map| map.resource.clone());
        // What an earlier process published of its own session, this one addresses anew.
        let other_init = from_before.is_none() && state.map.is_some() && state.map != map;
        state.map = map;
        if let Some(resumed) = state.resumed.get(position).filter(|resumed| resumed.sequence > sequence) {
            // An earlier process had missed fragments ahead of it.
            state.listed.clear();
            sequence = resumed.sequence;
        }
        let least = state.last.map_or(0, |last| last.numbered.count.index);
        let follows = state.last.is_some_and(|last| last.numbered.sequence + 1 == sequence);
        let previous = match (follows, state.last, around.before) {
            (true, Some(last), _) => Some((last.generation, last.shifted)),
            (_, _, before) => before.map(|before| (before.generation, before.shifted)),
        };
        let continues = previous.is_none_or(|previous| previous.0 == source || (previous.1 && shifted));
        // What is ahead of a fragment behind a jump is known on the track that listed it first.
        let breaks = (follows || around.known.is_none()) && (gap || !continues || other_init);
        let own = segment.discontinuities > 0 || breaks;
        let uncounted =
            Mark { generation, upstream: *upstream, sequence, tagged: own, index: 0, shifted: here.1 };
        let resumed = state.resumed.get(position).filter(|resumed| {
            resumed.sequence == sequence && (!follows || resumed.count.index == least + resumed.count.tags)
        });
        let count = match resumed {
            Some(resumed) => resumed.count,
            None if follows => following(least, own, self.always || gap, &around),
            None => beginning(least, uncounted, self.always, &around),
        };
        let count = if resumed.is_none() && follows && count.tags > MOST_TAGS {
            // It has missed so many that it begins anew.
            state.listed.clear();
            sequence += 1;
            beginning(least, Mark { sequence, ..uncounted }, self.always, &around)
        } else {
            count
        };
        let mark = Mark { sequence, tagged: count.tags > 0, index: count.index, ..uncounted };
        // Where a track is ahead, the others reach it at their next fragment.
        let decided = self.marks.entry(position.clone()).or_insert(mark);
        decided.index = decided.index.max(count.index);
        segment.discontinuities = count.tags;
        let most_millis = self.target.hold(segment.millis);
        let numbered = Numbered { sequence, count };
        state.last = Some(Last { numbered, generation: source, shifted });
        state.listed.push_back(Listed { position: position.clone(), numbered, segment, most_millis });
        sequence
    }

    /// True if the other tracks have nothing for that long ahead of a fragment: a track that begins there
    /// counts the discontinuity that they have, or will have.
    fn is_gap_on_other_tracks(&self, next: &Offered<'_>) -> bool {
        let before = |track: &TrackPlaylist| {
            let index = track.listed.partition_point(|listed| listed.position < next.position);
            let listed = track.listed.get(index.checked_sub(1)?)?;
            Some((
                listed.position.clone(),
                is_absence(&listed.position, &listed.segment, next, self.target.seconds()),
            ))
        };
        self.tracks.values().filter_map(before).max().is_some_and(|(_, is_absence)| is_absence)
    }

    fn around(&self, position: &Position) -> Around {
        let mark = |(_, mark): (&Position, &Mark)| *mark;
        Around {
            known: self.marks.get(position).copied(),
            before: self.marks.range(..position).next_back().map(mark),
            after: self.marks.range(position..).next().map(mark),
        }
    }

    /// Index of the first fragment that a list of the newest ones holds.
    fn first_in_window(&self, offered: &[Offered<'_>]) -> usize {
        let mut first = offered.len().saturating_sub(self.window);
        while first > 0 && !self.is_enough(offered[first..].iter().map(|offered| offered.segment.millis)) {
            first -= 1;
        }
        first
    }

    /// True if a list may be as short as fragments of these milliseconds: three target durations (RFC 8216,
    /// 6.2.2), where whoever opened the session did not ask for fewer.
    fn is_enough(&self, rest: impl ExactSizeIterator<Item = u64>) -> bool {
        let is_exact = self.may_end || self.window < usize::from(LIVE_FRAGMENTS);
        is_exact
            || rest.len() >= usize::from(LIVE_WINDOW_MAX)
            || rest.sum::<u64>() >= self.target.seconds() * 3000
    }

    fn published(&self, state: &TrackPlaylist, playlist: &MediaPlaylist) -> MediaPlaylist {
        let first = state.listed.front().map(|first| first.numbered);
        let sequence = first.map_or(playlist.sequence, |first| first.sequence);
        let discontinuities = first.map_or(0, |first| first.count.index - first.count.tags);
        let segments = state.listed.iter().map(Listed::published).collect();
        let target = if state.listed.is_empty() { playlist.target } else { self.target.seconds() };
        let mut published = playlist.with(target, sequence, discontinuities, segments);
        published.ended = state.ended;
        published
    }

    pub(super) fn forget(&mut self) {
        while self.marks.len() > self.window.max(usize::from(LIVE_WINDOW_MAX)) + REMEMBERED {
            self.marks.pop_first();
        }
    }
}
