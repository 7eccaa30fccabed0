//! Merges the playlists of one upstream session after another into one that a strict HLS player can follow.
//!
//! Players must not notice that upstream sessions end, begin anew, have gaps and fail. MEDIA-SEQUENCE never
//! goes back: a fragment keeps the number that it was first given. Fragments are matched by their number,
//! which is the same in every session, else by PROGRAM-DATE-TIME; else what is listed counts as new, with a
//! discontinuity. EXT-X-DISCONTINUITY-SEQUENCE, which KVS leaves out, is maintained and is the same on all
//! tracks: what stands ahead of a fragment is decided once per fragment.
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
//! There is no I/O here: playlists in, playlists out. Numbers begin as `numbering` says.

use super::discontinuity::{Break, count_each, count_rare};
use super::init_segments::InitSegments;
use super::mark::{Mark, Position, REMEMBERED};
use super::offered::{Offered, after_last_absence, offered};
use super::track_playlist::{Listed, TrackPlaylist};
use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::hls::MediaPlaylist;
use crate::playback::mp4;
use crate::sessions::numbering::{self, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// One stream as its players see it, all tracks.
pub(in crate::sessions) struct Timeline {
    /// Fragments listed at most.
    pub(super) window: usize,
    /// Each fragment has a DISCONTINUITY (`DiscontinuityMode::Always`).
    pub(super) always: bool,
    /// True for LIVE_REPLAY. LIVE never ends.
    pub(super) may_end: bool,
    pub(super) marks: BTreeMap<Position, Mark>,
    pub(super) tracks: BTreeMap<u8, TrackPlaylist>,
    pub(super) init_segments: InitSegments,
    /// Sessions whose media is shifted onto the one timeline.
    pub(super) shifted: BTreeSet<Generation>,
    /// It continues what an earlier process saved.
    pub(super) resumed: bool,
}

impl Timeline {
    pub(in crate::sessions) fn new(window: usize, always: bool, may_end: bool) -> Self {
        let init_segments = InitSegments::default();
        Self {
            window: window.max(1),
            always,
            may_end,
            marks: BTreeMap::new(),
            tracks: BTreeMap::new(),
            init_segments,
            shifted: BTreeSet::new(),
            resumed: false,
        }
    }

    /// Notes that the media of a session is shifted onto the one timeline: a fragment begins at its
    /// PROGRAM-DATE-TIME.
    pub(in crate::sessions) fn shift_times_of(&mut self, generation: Generation) {
        self.shifted.insert(generation);
        while self.shifted.len() > REMEMBERED {
            self.shifted.pop_first();
        }
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
        state.target = state.target.max(playlist.target);
        let mut fresh = state.first_unseen(&offered, playlist, now, self.window);
        let missed = state.may_have_missed(&offered);
        // With a discontinuity ahead of each fragment, one left out would make tracks disagree on the count.
        let drops_old_fragments = !self.may_end && !self.always;
        let mut away =
            drops_old_fragments && offered.get(fresh).is_some_and(|first| state.was_away(first, now));
        if away || (drops_old_fragments && state.listed.is_empty()) {
            // This way tracks agree, and a process that starts after a camera's absence lists no more than
            // the one before it.
            let after_absence = after_last_absence(&offered, state.target);
            let known = || offered.iter().position(|offered| self.marks.contains_key(&offered.position));
            let begin = match away || self.marks.is_empty() {
                true => after_absence,
                // What an earlier process saved does not tell of an absence since.
                false if self.resumed => known().unwrap_or(0).max(after_absence),
                false => known().unwrap_or(0),
            };
            away |= self.resumed && begin > 0 && begin == after_absence;
            fresh = fresh.max(begin);
        }
        if let [first, .., last] | [first @ last] = &offered[fresh..] {
            let sequence = self.next_sequence(&mut state, generation, first, missed, now);
            if away {
                state.listed.clear();
            }
            state.upstream = (generation, last.upstream);
            state.changed = now;
            for (Offered { position, segment, upstream }, sequence) in offered[fresh..].iter().zip(sequence..)
            {
                let (tagged, shifted) = (segment.discontinuity, self.shifted.contains(&generation));
                let uncounted = Mark { generation, upstream: *upstream, sequence, tagged, index: 0, shifted };
                let gap = std::mem::take(&mut away) || state.is_gap(segment);
                let mut segment = (*segment).clone();
                segment.map = segment.map.map(|map| {
                    let address = self.init_segments.address(generation, &map.resource, now);
                    map.at(address)
                });
                let map = segment.map.as_ref().map(|map| map.resource.clone());
                let same = state.map.is_none() || state.map == map;
                state.map = map;
                let mark = self.mark(position, uncounted, Break { gap, init: !same });
                segment.discontinuity = mark.tagged;
                state.listed.push_back(Listed { position: position.clone(), sequence, segment });
            }
        }
        while state.listed.len() > self.window {
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
                Some((position, sequence)) if *position == first.position => return *sequence,
                before => before.map_or(0, |(_, sequence)| sequence + 1),
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
            return last.sequence + 1;
        }
        // The number of fragments that were missed follows from KVS's count within one session.
        let (known, number) = state.upstream;
        let step = if known == generation { first.upstream.saturating_sub(number).max(1) } else { 1 };
        // Another track may have listed more of them, and the fragment numbers tell of the rest. Neither
        // exceeds the number that a process would give which starts here.
        let seen = self.marks.range(..=&first.position).next_back().map_or(0, |(position, mark)| {
            mark.sequence + numbering::distance(&position.number, &first.position.number)
        });
        let sequence = seen.max(last.sequence + step);
        if sequence > last.sequence + 1 {
            state.listed.clear();
        }
        sequence
    }

    /// Decides what stands ahead of a fragment, unless that was decided before. `uncounted` has everything
    /// except the count.
    fn mark(&mut self, position: &Position, uncounted: Mark, breaks: Break) -> Mark {
        if let Some(mark) = self.marks.get(position) {
            return *mark;
        }
        let before = self.marks.range(..position).next_back().map(|(_, mark)| *mark);
        let after = self.marks.range(position..).next().map(|(_, mark)| *mark);
        let mark = if self.always && uncounted.tagged {
            count_each(uncounted, before, after)
        } else {
            count_rare(uncounted, before, after, breaks)
        };
        self.marks.insert(position.clone(), mark);
        mark
    }

    fn published(&self, state: &TrackPlaylist, playlist: &MediaPlaylist) -> MediaPlaylist {
        let first = state.listed.front();
        let sequence = first.map_or(playlist.sequence, |first| first.sequence);
        let discontinuities = first
            .and_then(|first| self.marks.get(&first.position))
            .map_or(0, |mark| mark.index.saturating_sub(u64::from(mark.tagged)));
        let segments = state.listed.iter().map(|listed| listed.segment.clone()).collect();
        let mut published = playlist.with(state.target, sequence, discontinuities, segments);
        published.ended = state.ended;
        published
    }

    fn forget(&mut self) {
        let listed = self.tracks.values().filter_map(|track| track.listed.front()).map(|l| &l.position).min();
        let Some(oldest) = listed.cloned() else { return };
        while self.marks.len() > self.window + REMEMBERED
            && self.marks.first_key_value().is_some_and(|(first, _)| *first < oldest)
        {
            self.marks.pop_first();
        }
    }
}
