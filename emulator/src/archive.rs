//! The fragments of a stream at any instant within its retention. They are computed, not stored.
//!
//! Time is divided into slots (`timeline`), counted from 1970, so that two emulators, or one before and
//! after a restart, give a fragment the same number and the same bytes. A stream has a fragment in each
//! slot since it was created, except in gaps. Backfill is footage of a gap that is uploaded afterwards: its
//! fragments have producer times in the gap and the server times of the upload, as at KVS (docs/KVS.md 4.1,
//! 9.1).

use super::clock::Millis;
use super::media::mkv::{self, Label};
use super::media::ts::{self, Place};
use super::media::{
    FRAME_MILLIS, Footage, FragmentSize, Producer, Recorded, Recording, SoundCodec, Span, Timecodes, Timing,
    VideoCodec, WINDOW_FRAMES, WINDOW_MILLIS,
};
use super::number::{FragmentNumber, mix};
use super::timeline::Timeline;
use bytes::Bytes;

/// How long after its last frame a fragment can be listed.
const PERSIST_MILLIS: Millis = 120;
/// The interval of backfilled fragments: KVS accepts five a second (docs/KVS.md 6).
const LATE_STEP: Millis = 200;
/// How far the counter of fragment numbers jumps between two PutMedia sessions.
const RUN_JUMP: u64 = 1000;
/// A frame of a camera with jitter is late by less than this.
const LATE_FRAME: Millis = 24;
/// How much earlier an overlapping fragment begins.
const OVERLAP_MILLIS: Millis = 200;
/// From producer to server time with jitter, in milliseconds: the extremes of [seen G13].
const LAG: (i64, i64) = (-346, 1479);
/// The lag varies by less than this between two fragments, and by the rest of `LAG` within `LAG_STEP`. Less
/// than the shortest distance of two fragments, so that they arrive in order.
const LAG_JITTER: i64 = 280;
const LAG_STEP: Millis = 64_000;
/// A camera that records motion has at most one stretch in each cell of time.
const MOTION_CELL: Millis = 180_000;

/// Which clock a range is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Selector {
    /// When KVS began to receive a fragment.
    Server,
    /// When a fragment began by the clock of the camera.
    Producer,
}

/// One recorded fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fragment {
    /// Its slot in the timeline.
    pub(super) slot: u64,
    /// When it was recorded, in milliseconds since 1970.
    pub(super) recorded: Millis,
    /// How long it lasts.
    pub(super) millis: Millis,
    /// When it began as the producer says.
    pub(super) producer: Millis,
    /// The timecode of its Cluster.
    pub(super) timecode: Millis,
    /// When it began to arrive.
    pub(super) server: Millis,
    /// When it can be listed and fetched.
    pub(super) ready: Millis,
    /// Its fragment number.
    pub(super) number: FragmentNumber,
    /// The number of changes of codec settings or tracks before it.
    pub(super) codec: u32,
    /// The recording that it shows, of those of its codec.
    pub(super) recording: usize,
    /// The codec of its pictures.
    pub(super) video: VideoCodec,
    /// The codec of its sound.
    pub(super) sound: SoundCodec,
    /// Whether it was uploaded afterwards.
    pub(super) backfilled: bool,
}

impl Fragment {
    /// Its start on the selected clock.
    pub(super) fn start(&self, selector: Selector) -> Millis {
        match selector {
            Selector::Server => self.server,
            Selector::Producer => self.producer,
        }
    }

    /// The recording that holds its pictures.
    pub(super) fn recording(&self) -> &'static Recording {
        Recording::of(self.video, self.recording)
    }

    /// What its chunk says about it.
    fn label(&self) -> Label {
        Label {
            number: self.number.to_string(),
            server_millis: self.server,
            producer_millis: self.producer,
            timecode: self.timecode,
        }
    }

    /// Whether its codec settings and tracks are those of another.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        (self.video, self.sound) == (other.video, other.sound)
            && std::ptr::eq(self.recording(), other.recording())
    }
}

/// Footage of `[from, to)` that is uploaded from `at` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Backfill {
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) at: Millis,
}

/// What determines the fragments of one stream.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// Identifies the stream in its fragment numbers, and varies its jitter.
    pub(super) seed: u64,
    /// How the camera makes its fragments.
    pub(super) producer: Producer,
    /// Nothing arrived before.
    pub(super) first_recorded: Millis,
    /// The retention; 0 keeps nothing.
    pub(super) retention_hours: u64,
    /// From the camera to KVS, if its timing is regular.
    pub(super) latency: Millis,
    /// The latency of a fragment of regular timing is longer by up to this. Less than its length.
    pub(super) jitter: Millis,
    /// When the camera did not record. The end `Millis::MAX` stands for a gap that has not ended.
    pub(super) gaps: Vec<(Millis, Millis)>,
    /// Footage that is uploaded afterwards.
    pub(super) backfills: Vec<Backfill>,
    /// When the codec settings changed, in ascending order.
    pub(super) codec_changes: Vec<Millis>,
    /// The recording of the camera, and the position in its loop at 1970, in windows.
    pub(super) recording: usize,
    pub(super) loop_offset: u64,
}

impl Archive {
    /// The oldest instant that is kept at `now`.
    pub(super) fn head(&self, now: Millis) -> Millis {
        self.first_recorded.max(now.saturating_sub(self.retention_hours * 3_600_000))
    }

    /// Every fragment that is ready at `now` and starts within `[from, to]` on the selected clock, in the
    /// order in which KVS received them.
    pub(super) fn range(&self, selector: Selector, from: Millis, to: Millis, now: Millis) -> Vec<Fragment> {
        let head = self.head(now);
        let (least, most) = self.lag_bounds();
        let (first, last) = match selector {
            Selector::Producer => {
                let behind = self.producer_origin() as i64 - self.clock_ahead();
                (from.saturating_add_signed(behind), to.saturating_add_signed(behind + OVERLAP_MILLIS as i64))
            }
            Selector::Server => (before(from, most), before(to, least)),
        };
        let (first, last) = (first.max(before(head, most)), last.min(before(now, least)));
        let slots = self.slot_of(first).saturating_sub(1)..=self.slot_of(last);
        let mut found: Vec<Fragment> = slots.filter_map(|slot| self.live(slot)).collect();
        found.extend(self.backfilled());
        found.retain(|f| (from..=to).contains(&f.start(selector)) && f.server >= head && f.ready <= now);
        found.sort_unstable_by_key(|f| f.number);
        found
    }

    /// The newest `count` fragments by server time at `now`, oldest first.
    pub(super) fn newest(&self, count: usize, now: Millis) -> Vec<Fragment> {
        let mut from = now.saturating_sub(WINDOW_MILLIS * (count as u64 + 8));
        loop {
            let mut found = self.range(Selector::Server, from, now, now);
            if found.len() >= count || from <= self.head(now) {
                return found.split_off(found.len().saturating_sub(count));
            }
            from = from.saturating_sub((now - from) * 3);
        }
    }

    /// The fragment with this number, if it exists and is ready at `now`.
    pub(super) fn find(&self, number: FragmentNumber, now: Millis) -> Option<Fragment> {
        let at = number.server_millis;
        self.range(Selector::Server, at, at, now).into_iter().find(|f| f.number == number)
    }

    /// Whether this stream issues a number, at any time.
    pub(super) fn issued(&self, number: FragmentNumber) -> bool {
        FragmentNumber::new(self.seed, number.counter, number.server_millis) == number
    }

    /// The samples of a fragment.
    pub(super) fn footage(&self, fragment: &Fragment) -> Footage {
        let mut footage = Footage::new(fragment.recording(), fragment.sound, &self.span(fragment));
        if self.lacks_sound(fragment) {
            footage.audio.clear();
        }
        if self.producer.filler_bytes > 0 {
            footage.fill(self.producer.filler_bytes);
        }
        footage
    }

    fn span(&self, fragment: &Fragment) -> Span {
        let timeline = self.timeline();
        let frames = timeline.first_frame(fragment.slot)..timeline.first_frame(fragment.slot + 1);
        let late_sound = if self.producer.timing == Timing::Regular { 0 } else { self.seed % FRAME_MILLIS };
        Span {
            start: fragment.recorded,
            end: fragment.recorded + fragment.millis,
            shown: frames.clone().map(|frame| self.shown(frame)).collect(),
            frames,
            sound_delay: late_sound,
            loop_shift: self.loop_shift(),
        }
    }

    /// Bytes of a fragment as ListFragments gives them.
    pub(super) fn size(&self, fragment: &Fragment, footage: &Footage) -> usize {
        match self.producer.fragment_size {
            FragmentSize::Payload => footage.size(footage.tracks()),
            FragmentSize::Chunk => mkv::chunk_length(footage, self.producer.container, &fragment.label()),
        }
    }

    /// A fragment as GetMediaForFragmentList gives it.
    pub(super) fn chunk(&self, fragment: &Fragment) -> Bytes {
        mkv::chunk(&self.footage(fragment), self.producer.container, &fragment.label())
    }

    /// A fragment as MPEG-TS, its first frame at `start` of the session.
    pub(super) fn transport_stream(&self, fragment: &Fragment, start: Millis) -> Bytes {
        let footage = self.footage(fragment);
        let place = Place {
            fragments: fragment.slot,
            pictures: self.timeline().first_frame(fragment.slot),
            sounds: self.span(fragment).first_sound(fragment.sound),
        };
        ts::fragment(&footage, &place, start)
    }

    /// The window of the recording that a fragment shows `after` milliseconds from its start.
    pub(super) fn window(&self, fragment: &Fragment, after: Millis) -> u64 {
        (self.timeline().first_frame(fragment.slot) + after / FRAME_MILLIS) / WINDOW_FRAMES
    }

    fn timeline(&self) -> &'static Timeline {
        Timeline::of(self.producer.timing)
    }

    /// Added to an instant to find its place in the endless loop.
    fn loop_shift(&self) -> Millis {
        self.loop_offset * WINDOW_MILLIS
    }

    /// When a picture of the endless loop is shown.
    fn shown(&self, frame: u64) -> Millis {
        let late = match self.producer.timing {
            Timing::Regular => 0,
            _ => mix(self.seed ^ frame) % LATE_FRAME,
        };
        (frame * FRAME_MILLIS).saturating_sub(self.loop_shift()) + late
    }

    /// The slot that an instant belongs to, or the one after it.
    fn slot_of(&self, at: Millis) -> u64 {
        self.timeline().slot_of(at.saturating_add(self.loop_shift()) / FRAME_MILLIS)
    }

    fn slot_start(&self, slot: u64) -> Millis {
        self.shown(self.timeline().first_frame(slot))
    }

    /// The first slot that starts at or after an instant.
    fn first_slot(&self, at: Millis) -> u64 {
        let slot = self.slot_of(at).saturating_sub(1);
        (slot..).find(|slot| self.slot_start(*slot) >= at).unwrap_or(slot)
    }

    /// The least and the largest lag of a fragment.
    fn lag_bounds(&self) -> (i64, i64) {
        let delay = self.upload_delay() as i64;
        match self.producer.timing {
            Timing::Regular => {
                let latency = delay + self.latency as i64;
                (latency, latency + self.jitter.min(WINDOW_MILLIS) as i64)
            }
            _ => (delay + LAG.0, delay + LAG.1),
        }
    }

    fn upload_delay(&self) -> Millis {
        self.producer.upload_delay_seconds * 1000
    }

    /// From the recording of a slot that starts at `start` to its arrival.
    fn lag(&self, slot: u64, start: Millis) -> i64 {
        let (least, _) = self.lag_bounds();
        if self.producer.timing == Timing::Regular {
            let most = self.jitter.min(WINDOW_MILLIS);
            return least + if most == 0 { 0 } else { (mix(slot ^ self.loop_offset) % most) as i64 };
        }
        // Slow drift between values that stand `LAG_STEP` apart, and a fast part.
        let width = (LAG.1 - LAG.0 - LAG_JITTER) as u64;
        let value = |step: u64| (mix(self.seed ^ mix(step)) % width) as i64;
        let (step, into) = (start / LAG_STEP, (start % LAG_STEP) as i64);
        let drift = value(step) + (value(step + 1) - value(step)) * into / LAG_STEP as i64;
        let fast = (mix(self.seed.rotate_left(17) ^ slot) % LAG_JITTER as u64) as i64;
        least + drift + fast
    }

    fn server_of(&self, slot: u64) -> Millis {
        let start = self.slot_start(slot);
        start.saturating_add_signed(self.lag(slot, start))
    }

    /// When the camera began to record.
    fn camera_began(&self) -> Millis {
        self.first_recorded.saturating_sub(self.upload_delay())
    }

    /// What producer timestamps count from, in milliseconds since 1970.
    fn producer_origin(&self) -> Millis {
        match self.producer.timecodes {
            Timecodes::RelativeWithoutStart => self.slot_start(self.first_slot(self.camera_began())),
            Timecodes::Absolute | Timecodes::Relative => 0,
        }
    }

    /// How much the clock of the camera is ahead.
    fn clock_ahead(&self) -> i64 {
        self.producer.clock_ahead_seconds.saturating_mul(1000)
    }

    /// Whether a fragment has no frame of sound, though the stream has a track of it.
    pub(super) fn lacks_sound(&self, fragment: &Fragment) -> bool {
        self.producer.sound_missing && mix(self.seed.rotate_left(41) ^ fragment.slot).is_multiple_of(5)
    }

    /// The fragment that the camera sent as it recorded this slot.
    fn live(&self, slot: u64) -> Option<Fragment> {
        let (start, end) = (self.slot_start(slot), self.slot_start(slot + 1));
        if start < self.camera_began() || self.in_gap(start, end) || !self.moves(start) {
            return None;
        }
        let server = start.saturating_add_signed(self.lag(slot, start));
        // It is complete when the next one begins to arrive.
        let ready = self.server_of(slot + 1) + PERSIST_MILLIS;
        Some(self.fragment(slot, server, ready, false))
    }

    /// All backfilled fragments.
    fn backfilled(&self) -> impl Iterator<Item = Fragment> {
        self.backfills.iter().flat_map(move |backfill| {
            let slots = (self.first_slot(backfill.from)..)
                .take_while(move |slot| self.slot_start(*slot + 1) <= backfill.to);
            let arrival = move |n: usize| backfill.at + n as u64 * LATE_STEP;
            slots.enumerate().map(move |(n, slot)| self.fragment(slot, arrival(n), arrival(n), true))
        })
    }

    fn fragment(&self, slot: u64, server: Millis, ready: Millis, backfilled: bool) -> Fragment {
        let recorded = self.slot_start(slot);
        // A late fragment is counted where it arrives. Equal counters are ordered by server time, the next
        // part of the number.
        let counted = if backfilled { self.arriving(server) } else { slot };
        let counter = counted + RUN_JUMP * self.run(self.slot_start(counted));
        let changes = self.changes(recorded);
        let early = if self.overlaps(slot) { OVERLAP_MILLIS } else { 0 };
        let producer = recorded.saturating_sub(self.producer_origin() + early);
        let producer = producer.saturating_add_signed(self.clock_ahead());
        let silent = self.producer.sound_begins.is_some_and(|at| (recorded as f64) < at * 1000.0);
        Fragment {
            slot,
            recorded,
            millis: self.slot_start(slot + 1) - recorded,
            producer,
            timecode: match self.producer.timecodes {
                Timecodes::Relative => producer.saturating_sub(self.run_start(recorded)),
                Timecodes::Absolute | Timecodes::RelativeWithoutStart => producer,
            },
            server,
            ready,
            number: FragmentNumber::new(self.seed, counter, server),
            codec: changes as u32 + u32::from(self.producer.sound_begins.is_some() && !silent),
            recording: self.recording + changes,
            video: self.producer.video,
            sound: if silent { SoundCodec::None } else { self.producer.sound },
            backfilled,
        }
    }

    /// The newest slot whose fragment began to arrive at or before `server`.
    fn arriving(&self, server: Millis) -> u64 {
        let newest = self.slot_of(before(server, self.lag_bounds().0));
        (0..=newest).rev().find(|slot| self.server_of(*slot) <= server).unwrap_or_default()
    }

    fn in_gap(&self, start: Millis, end: Millis) -> bool {
        self.gaps.iter().any(|&(from, to)| start < to && end > from)
    }

    /// Whether there is something to record at `at`.
    fn moves(&self, at: Millis) -> bool {
        match self.producer.recording {
            Recorded::Continuous => true,
            Recorded::Motion => {
                let dice = mix(self.seed ^ (at / MOTION_CELL));
                let begin = dice >> 8 & 0xffff;
                let length = 10_000 + (dice >> 32) % 50_000;
                !dice.is_multiple_of(3) && (begin..begin + length).contains(&(at % MOTION_CELL))
            }
        }
    }

    /// The instant at which the regular end of a PutMedia session before `at` lies, and how many there
    /// were.
    fn session(&self, at: Millis) -> (Millis, u64) {
        let length = match (self.producer.recording, self.producer.run_seconds) {
            (Recorded::Motion, _) => MOTION_CELL,
            (Recorded::Continuous, Some(seconds)) if seconds > 0 => seconds * 1000,
            (Recorded::Continuous, _) => return (0, 0),
        };
        (at - at % length, at / length)
    }

    /// How many changes of codec settings there were before `at`.
    fn changes(&self, at: Millis) -> usize {
        let planned = self.codec_changes.iter().filter(|change| **change <= at).count();
        let (_, sessions) = self.session(at);
        let (_, before) = self.session(self.camera_began());
        planned + if self.producer.settings_change { sessions.saturating_sub(before) as usize } else { 0 }
    }

    /// The instants up to `at` at which the settings or tracks change, which ends a PutMedia session.
    fn restarts(&self, at: Millis) -> impl Iterator<Item = Millis> {
        let sound = self.producer.sound_begins.map(|seconds| (seconds * 1000.0) as Millis);
        self.codec_changes.iter().copied().chain(sound).filter(move |restart| *restart <= at)
    }

    /// The number of PutMedia sessions before the one under way at `at`. Those that end with a gap are not
    /// counted: the slots of a gap make the counter jump.
    fn run(&self, at: Millis) -> u64 {
        self.session(at).1 + self.restarts(at).count() as u64
    }

    /// When the PutMedia session began that was under way at `at`.
    fn run_start(&self, at: Millis) -> Millis {
        let gaps = self.gaps.iter().map(|gap| gap.1).filter(|end| *end <= at);
        let begun = gaps.chain(self.restarts(at)).chain([self.camera_began(), self.session(at).0]);
        let begun = begun.max().unwrap_or_default();
        self.slot_start(
            (self.first_slot(begun)..).find(|slot| self.moves(self.slot_start(*slot))).unwrap_or(0),
        )
    }

    fn overlaps(&self, slot: u64) -> bool {
        self.producer.overlaps && mix(self.seed.rotate_left(29) ^ slot).is_multiple_of(8)
    }
}

/// An instant that is `lag` before another.
fn before(at: Millis, lag: i64) -> Millis {
    at.saturating_add_signed(-lag)
}

#[cfg(test)]
#[path = "tests/archive.rs"]
mod tests;
