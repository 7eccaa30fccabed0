//! What players of live HLS must not notice: that upstream sessions end, begin anew, gap and fail.
//!
//! Successive playlists of KVS, from one session after another, are merged into one playlist per track that a strict
//! player follows. MEDIA-SEQUENCE never goes back: a fragment keeps the number it was first given. Fragments are
//! matched by their number, which is the same in every session; else by PROGRAM-DATE-TIME; else what is listed is
//! taken for new and a discontinuity is counted. EXT-X-DISCONTINUITY-SEQUENCE, which KVS leaves out, is maintained,
//! and is the same on all tracks: what stands ahead of a fragment is decided once per fragment.
//!
//! Where a discontinuity stands, beyond KVS's own: where the fragments of one session end and another's begin, unless
//! the times of both are moved onto the one timeline that runs by PROGRAM-DATE-TIME (`moves`; `tfdt` is not proven
//! equal across sessions, `KVS.md` 8) and their init segments are equal; and after a gap in time of more than two
//! target durations. Few discontinuities are what players bear best: some stall at each, and a restarted process
//! cannot know how many there were. When a camera was away for that long, what was listed before is listed no more: a player that lays
//! fragments end to end while its clock runs on (Shaka Player) would hold even the new ones for expired, and joins
//! anew at a MEDIA-SEQUENCE it has not seen. Not so where each fragment has a discontinuity: tracks would disagree on
//! the count.
//!
//! Pure: playlists in, playlists out. Numbers begin as `numbering` says.

use super::discontinuity::{Break, every, now_and_then};
use super::init_segments::Inits;
use super::offered::{Offered, absence, absent, after_last_absence, gap, offered};
use super::playlist::{MediaPlaylist, Segment};
use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::mp4;
use crate::sessions::numbering::{self, Generation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One stream as its players see it, all tracks.
pub(in crate::sessions) struct Timeline {
    /// Fragments listed at most.
    pub(super) window: usize,
    /// Fragments have a DISCONTINUITY each (`DiscontinuityMode::Always`).
    pub(super) always: bool,
    /// LIVE never ends; LIVE_REPLAY may.
    pub(super) may_end: bool,
    pub(super) marks: BTreeMap<Position, Mark>,
    pub(super) tracks: BTreeMap<u8, Track>,
    pub(super) inits: Inits,
    /// Sessions whose media is moved onto the one timeline.
    pub(super) moved: BTreeSet<Generation>,
    /// It goes on from what an earlier process kept.
    pub(super) resumed: bool,
}

/// The order of fragments: by number where numbers are global, else by session first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Position {
    pub(super) era: Generation,
    pub(super) number: FragmentNumber,
}

/// What was decided about a fragment, for all tracks.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// The session that first listed it, and KVS's own sequence number there.
    pub(super) generation: Generation,
    pub(super) upstream: u64,
    /// Its MEDIA-SEQUENCE where it was first listed.
    pub(super) sequence: u64,
    /// A DISCONTINUITY stands ahead of it.
    pub(super) tagged: bool,
    /// How many stand ahead of it in all.
    pub(super) index: u64,
    /// Its times are moved onto the one timeline.
    pub(super) moved: bool,
}

/// One track's published playlist.
pub(super) struct Track {
    pub(super) target: u64,
    pub(super) listed: VecDeque<Listed>,
    /// The init segment of the last one listed, as published.
    pub(super) map: Option<Resource>,
    /// What an earlier process listed last, with the numbers it gave.
    pub(super) kept: BTreeMap<Position, u64>,
    /// Generation and KVS's own sequence number of the last one listed.
    pub(super) upstream: (Generation, u64),
    /// When something was listed last.
    pub(super) changed: Timestamp,
    pub(super) ended: bool,
}

pub(super) struct Listed {
    pub(super) position: Position,
    pub(super) sequence: u64,
    pub(super) segment: Segment,
}

/// Marks older than the window that are kept for requests still under way.
pub(super) const REMEMBERED: usize = 256;

impl Timeline {
    pub(in crate::sessions) fn new(window: usize, always: bool, may_end: bool) -> Self {
        let inits = Inits::default();
        Self {
            window: window.max(1),
            always,
            may_end,
            marks: BTreeMap::new(),
            tracks: BTreeMap::new(),
            inits,
            moved: BTreeSet::new(),
            resumed: false,
        }
    }

    /// Says that the media of a session is moved onto the one timeline: a fragment begins at its PROGRAM-DATE-TIME.
    pub(in crate::sessions) fn shift_times_of(&mut self, generation: Generation) {
        self.moved.insert(generation);
        while self.moved.len() > REMEMBERED {
            self.moved.pop_first();
        }
    }

    /// What stands in an init segment of a session.
    pub(in crate::sessions) fn learn(
        &mut self,
        generation: Generation,
        upstream: &Resource,
        track: mp4::Init,
    ) {
        self.inits.learn(generation, upstream, track);
    }

    /// The init segments of a playlist that [`Timeline::learn`] was told nothing of yet.
    pub(in crate::sessions) fn unknown_inits(
        &self,
        generation: Generation,
        playlist: &MediaPlaylist,
    ) -> Vec<Resource> {
        let maps = playlist.segments.iter().filter_map(|segment| Some(&segment.map.as_ref()?.resource));
        let mut unknown: Vec<_> =
            maps.filter(|init| self.inits.track(generation, init).is_none()).cloned().collect();
        unknown.dedup();
        unknown
    }

    /// What was learned of an init segment.
    pub(in crate::sessions) fn learned(&self, generation: Generation, init: &Resource) -> Option<mp4::Init> {
        self.inits.track(generation, init)
    }

    /// The init segment of a track that was read last in a session.
    pub(in crate::sessions) fn newest_init(&self, generation: Generation, track: u8) -> Option<mp4::Init> {
        self.inits.newest(generation, track)
    }

    /// Merges what `generation` lists for `track` and gives what players shall see.
    pub(in crate::sessions) fn merge(
        &mut self,
        track: u8,
        generation: Generation,
        playlist: &MediaPlaylist,
        now: Timestamp,
    ) -> Result<MediaPlaylist, &'static str> {
        let offered = offered(generation, playlist)?;
        let mut state = self.tracks.remove(&track).unwrap_or_else(|| Track {
            target: 0,
            listed: VecDeque::new(),
            map: None,
            kept: BTreeMap::new(),
            upstream: (generation, 0),
            changed: now,
            ended: false,
        });
        state.target = state.target.max(playlist.target);
        let mut fresh = state.unseen(&offered, playlist, now, self.window);
        let missed = state.missed(&offered);
        // With a discontinuity ahead of each fragment, one left out would make tracks disagree on the count.
        let lets_go = !self.may_end && !self.always;
        let mut away = lets_go && offered.get(fresh).is_some_and(|first| state.away(first, now));
        if away || (lets_go && state.listed.is_empty()) {
            // So that tracks agree, and a process begun after a camera's absence lists no more than the one before it.
            let after_absence = after_last_absence(&offered, state.target);
            let known = || offered.iter().position(|offered| self.marks.contains_key(&offered.position));
            let begin = match away || self.marks.is_empty() {
                true => after_absence,
                // What an earlier process kept says nothing of an absence since.
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
                let (tagged, moved) = (segment.discontinuity, self.moved.contains(&generation));
                let place = Mark { generation, upstream: *upstream, sequence, tagged, index: 0, moved };
                let gap = std::mem::take(&mut away) || gap(&state, segment);
                let mut segment = (*segment).clone();
                segment.map = segment.map.map(|map| {
                    let address = self.inits.address(generation, &map.resource, now);
                    map.at(address)
                });
                let map = segment.map.as_ref().map(|map| map.resource.clone());
                let same = state.map.is_none() || state.map == map;
                state.map = map;
                let mark = self.mark(position, place, Break { gap, session: !same });
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
        self.inits.find(published)
    }

    /// The init segment last published for a track, for players that hold an address from before a restart.
    pub(in crate::sessions) fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        self.inits.latest(track)
    }

    /// The newest fragment listed, and its own start if told.
    pub(in crate::sessions) fn newest(&self) -> Option<(FragmentNumber, Option<Timestamp>)> {
        let last =
            self.tracks.values().filter_map(|track| track.listed.back()).max_by_key(|l| &l.position)?;
        Some((last.position.number.clone(), last.segment.date))
    }

    /// The fragments that a track's players see, oldest first.
    pub(in crate::sessions) fn fragments(&self, track: u8) -> Vec<Resource> {
        let listed = self.tracks.get(&track).map(|track| &track.listed);
        listed.into_iter().flatten().map(|listed| listed.segment.resource.clone()).collect()
    }

    fn next_sequence(
        &self,
        state: &mut Track,
        generation: Generation,
        first: &Offered<'_>,
        missed: bool,
        now: Timestamp,
    ) -> u64 {
        let Some(last) = state.listed.back() else {
            let alone = numbering::first_sequence(&first.position.number, first.segment.date, now);
            // What an earlier process listed on this track keeps its number, and what comes after is higher.
            let floor = match state.kept.range(..=&first.position).next_back() {
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
        // How many slid past unseen? Inside one session KVS's own count tells.
        let (known, number) = state.upstream;
        let step = if known == generation { first.upstream.saturating_sub(number).max(1) } else { 1 };
        // Another track may have seen more go by, and the fragments' own numbers tell of the rest. Both stay at or below
        // what a process would say that begins here.
        let seen = self.marks.range(..=&first.position).next_back().map_or(0, |(position, mark)| {
            mark.sequence + numbering::distance(&position.number, &first.position.number)
        });
        let sequence = seen.max(last.sequence + step);
        if sequence > last.sequence + 1 {
            state.listed.clear();
        }
        sequence
    }

    /// Decides what stands ahead of a fragment, unless that is decided. `place` has all but the count.
    fn mark(&mut self, position: &Position, place: Mark, breaks: Break) -> Mark {
        if let Some(mark) = self.marks.get(position) {
            return *mark;
        }
        let before = self.marks.range(..position).next_back().map(|(_, mark)| *mark);
        let after = self.marks.range(position..).next().map(|(_, mark)| *mark);
        let mark = if self.always && place.tagged {
            every(place, before, after)
        } else {
            now_and_then(place, before, after, breaks)
        };
        self.marks.insert(position.clone(), mark);
        mark
    }

    fn published(&self, state: &Track, playlist: &MediaPlaylist) -> MediaPlaylist {
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

impl Track {
    /// True if the camera was away: nothing came for more than two target durations, and nothing was recorded.
    fn away(&self, first: &Offered<'_>, now: Timestamp) -> bool {
        let Some(last) = self.listed.back() else { return false };
        absent(&last.position, &last.segment, first, self.target)
            && self.changed.age(now).as_millis() > absence(self.target)
    }

    /// True if fragments may have gone by between what is listed and what is offered.
    fn missed(&self, offered: &[Offered<'_>]) -> bool {
        self.listed.back().zip(offered.first()).is_some_and(|(last, first)| {
            first.position.era == last.position.era && first.position > last.position
        })
    }

    /// Index of the first offered fragment that comes after everything listed; the number of them if none does.
    fn unseen(
        &self,
        offered: &[Offered<'_>],
        playlist: &MediaPlaylist,
        now: Timestamp,
        window: usize,
    ) -> usize {
        let newest = offered.len().saturating_sub(window);
        if self.ended {
            return offered.len();
        }
        let Some(last) = self.listed.back() else { return newest };
        let by_number = offered.iter().rposition(|offered| offered.position <= last.position);
        if let Some(at) = by_number {
            return at + 1;
        }
        if offered.first().is_none_or(|offered| offered.position.era == last.position.era) {
            return newest;
        }
        // Numbers of another session say nothing. Times do, if shown.
        if let Some(date) = last.segment.date
            && offered.iter().all(|offered| offered.segment.date.is_some())
        {
            let seen = offered.iter().rposition(|offered| offered.segment.date.is_some_and(|d| d <= date));
            return seen.map_or(newest, |at| at + 1).max(newest);
        }
        // What can have come since, by its length.
        let since = u64::try_from(self.changed.age(now).as_millis()).unwrap_or(u64::MAX);
        let mut room = since.saturating_add(playlist.target * 500);
        let fits = |offered: &&Offered<'_>| {
            let fits = room >= offered.segment.millis;
            room = room.saturating_sub(offered.segment.millis);
            fits
        };
        (offered.len() - offered.iter().rev().take_while(fits).count()).max(newest)
    }
}
