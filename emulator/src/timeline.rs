//! Where the fragments of a camera begin: a pattern of pictures that repeats for ever.
//!
//! Slot n is the n-th fragment that the camera would have recorded since 1970 without a pause. Pictures are
//! counted through the endless loop of the recording, so every slot begins with a key frame.

use super::media::{LOOP_FRAMES, Recording, Timing, VideoCodec, WINDOW_FRAMES};
use std::sync::LazyLock;

/// Windows in a cell of `Timing::Varied`: 18.432 s.
const CELL_WINDOWS: u64 = 9;

/// The slots of one timing.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The first picture of each slot of the pattern.
    starts: Vec<u64>,
    /// Pictures in the pattern.
    period: u64,
}

static REGULAR: LazyLock<Timeline> = LazyLock::new(|| Timeline { starts: vec![0], period: WINDOW_FRAMES });
static JITTER: LazyLock<Timeline> = LazyLock::new(|| Timeline {
    starts: Recording::of(VideoCodec::H264, 0).key_frames(),
    period: LOOP_FRAMES,
});
static VARIED: LazyLock<Timeline> = LazyLock::new(varied);

impl Timeline {
    /// The slots of a timing.
    pub(super) fn of(timing: Timing) -> &'static Self {
        match timing {
            Timing::Regular => &REGULAR,
            Timing::Jitter => &JITTER,
            Timing::Varied => &VARIED,
        }
    }

    /// The first picture of a slot.
    pub(super) fn first_frame(&self, slot: u64) -> u64 {
        let count = self.starts.len() as u64;
        slot / count * self.period + self.starts[(slot % count) as usize]
    }

    /// The slot that a picture belongs to.
    pub(super) fn slot_of(&self, frame: u64) -> u64 {
        let within = self.starts.partition_point(|start| *start <= frame % self.period) as u64 - 1;
        frame / self.period * self.starts.len() as u64 + within
    }
}

/// Cells of nine windows: one fragment of 18.432 s, every group of pictures its own fragment, fragments of
/// one window, and two halves, in turn. The pattern ends where cells and loops end together.
fn varied() -> Timeline {
    let cell = CELL_WINDOWS * WINDOW_FRAMES;
    let period = cell * LOOP_FRAMES / WINDOW_FRAMES;
    let keys = Recording::of(VideoCodec::H264, 0).key_frames();
    let begins = |frame: &u64| {
        let within = frame % cell;
        match frame / cell % 4 {
            0 => within == 0,
            1 => true,
            2 => within.is_multiple_of(WINDOW_FRAMES),
            _ => within == 0 || within == CELL_WINDOWS / 2 * WINDOW_FRAMES,
        }
    };
    let all = (0..period / LOOP_FRAMES).flat_map(|turn| keys.iter().map(move |key| turn * LOOP_FRAMES + key));
    Timeline { starts: all.filter(begins).collect(), period }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Timing; 3] = [Timing::Regular, Timing::Jitter, Timing::Varied];

    #[test]
    fn lengths_are_those_of_the_timing() {
        for (timing, least, most) in
            [(Timing::Regular, 32, 32), (Timing::Jitter, 5, 23), (Timing::Varied, 5, 288)]
        {
            let timeline = Timeline::of(timing);
            let lengths = (0..2000).map(|slot| timeline.first_frame(slot + 1) - timeline.first_frame(slot));
            let (low, high) = lengths.fold((u64::MAX, 0), |(low, high), n| (low.min(n), high.max(n)));
            assert_eq!((low, high), (least, most), "{timing:?}");
        }
    }

    proptest! {
        #[test]
        fn each_picture_is_in_one_slot_that_begins_with_a_key_frame(
            timing in proptest::sample::select(&ALL[..]), frame in 0..1_u64 << 40,
        ) {
            let timeline = Timeline::of(timing);
            let slot = timeline.slot_of(frame);
            let (first, next) = (timeline.first_frame(slot), timeline.first_frame(slot + 1));
            prop_assert!((first..next).contains(&frame));
            prop_assert!(Recording::of(VideoCodec::H264, 0).is_key(first));
        }
    }
}
