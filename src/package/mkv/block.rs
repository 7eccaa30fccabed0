//! Blocks: which track a block belongs to, where its frames lie, and when each is presented (RFC 9559 10).

use crate::kvs::ebml::Vint;
use crate::package::{Codec, Document, Refusal, Track, TrackSettings};
use std::ops::Range;

/// Frames of a fragment: 20 s, the longest that KVS stores, hold some 3,000.
pub(super) const MOST_FRAMES: usize = 1 << 16;

pub(super) const TIME: Refusal = Refusal::Malformed("a time is beyond all clocks");
/// Time and flags.
const FIXED_HEAD: usize = 3;
const ENDS_IN_HEAD: Refusal = Refusal::Malformed("a block ends inside its head");
const ALL_BITS_SET: Refusal = Refusal::Malformed("a number in a block has all bits set");
const NO_BYTES: Refusal = Refusal::Unsupported("a frame has no bytes");
const LACE: Refusal = Refusal::Malformed("the sizes of a lace do not fit its block");

/// Where the content of a block lies.
pub(super) struct Block {
    place: Range<usize>,
    /// Whether it is a key frame, if that does not stand in its flags.
    key: Option<bool>,
}

/// The head of a block.
pub(super) struct BlockHead {
    /// The number of its track.
    pub(super) track: u64,
    /// Its time, in ticks after the Cluster's.
    pub(super) relative: i16,
    pub(super) key: bool,
    lacing: Lacing,
    /// What follows the head.
    payload: Range<usize>,
}

#[derive(Clone, Copy)]
enum Lacing {
    No,
    Xiph,
    Fixed,
    Ebml,
}

impl Block {
    /// The content of a SimpleBlock.
    pub(super) fn simple(place: Range<usize>) -> Self {
        Self { place, key: None }
    }

    /// The content of a Block, which stands in a BlockGroup.
    pub(super) fn of_group(place: Range<usize>, key: bool) -> Self {
        Self { place, key: Some(key) }
    }

    pub(super) fn head(&self, document: &Document) -> Result<BlockHead, Refusal> {
        // In one read: this is done for each frame.
        let mut room = [0; Vint::LONGEST + FIXED_HEAD];
        let most = room.len().min(self.place.len());
        let filled = document.read(self.place.start, &mut room[..most]);
        let track = Vint::read(&room[..filled])?.ok_or(ENDS_IN_HEAD)?;
        let fixed = room[..filled].get(track.length..track.length + FIXED_HEAD).ok_or(ENDS_IN_HEAD)?;
        let (relative, flags) = (i16::from_be_bytes([fixed[0], fixed[1]]), fixed[2]);
        let payload = self.place.start + track.length + FIXED_HEAD..self.place.end;
        let track = track.value.ok_or(ALL_BITS_SET)?;
        let lacing = match flags >> 1 & 3 {
            0 => Lacing::No,
            1 => Lacing::Xiph,
            2 => Lacing::Fixed,
            _ => Lacing::Ebml,
        };
        let key = self.key.unwrap_or(flags & 0x80 != 0);
        Ok(BlockHead { track, relative, key, lacing, payload })
    }
}

impl BlockHead {
    /// Where its only frame lies, if it is not laced.
    pub(super) fn single(&self) -> Result<Option<Range<usize>>, Refusal> {
        match self.lacing {
            Lacing::No if self.payload.is_empty() => Err(NO_BYTES),
            Lacing::No => Ok(Some(self.payload.clone())),
            Lacing::Xiph | Lacing::Fixed | Lacing::Ebml => Ok(None),
        }
    }

    /// Where its frames lie; none of them is empty.
    pub(super) fn frames(&self, document: &Document, most: usize) -> Result<Vec<Range<usize>>, Refusal> {
        let mut cursor = Cursor { document, rest: self.payload.clone() };
        let sizes = match self.lacing {
            Lacing::No => Vec::new(),
            Lacing::Xiph => cursor.xiph_sizes()?,
            Lacing::Fixed => cursor.fixed_sizes()?,
            Lacing::Ebml => cursor.ebml_sizes()?,
        };
        if sizes.len() >= most {
            return Err(Refusal::TooLarge("frames"));
        }
        let Range { start: mut at, end } = cursor.rest;
        let mut frames = Vec::with_capacity(sizes.len() + 1);
        for size in sizes {
            let next = at.checked_add(size).filter(|next| *next <= end).ok_or(LACE)?;
            frames.push(at..next);
            at = next;
        }
        // The last frame takes what is left.
        frames.push(at..end);
        if frames.iter().any(Range::is_empty) {
            return Err(NO_BYTES);
        }
        Ok(frames)
    }
}

/// The bytes of a block, one after the other.
struct Cursor<'d> {
    document: &'d Document,
    rest: Range<usize>,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, Refusal> {
        let mut byte = [0];
        if self.rest.is_empty() || self.document.read(self.rest.start, &mut byte) == 0 {
            return Err(ENDS_IN_HEAD);
        }
        self.rest.start += 1;
        Ok(byte[0])
    }

    fn vint_of_length(&mut self) -> Result<(u64, usize), Refusal> {
        let mut room = [0; Vint::LONGEST];
        let most = room.len().min(self.rest.len());
        let filled = self.document.read(self.rest.start, &mut room[..most]);
        let vint = Vint::read(&room[..filled])?;
        let vint = vint.ok_or(ENDS_IN_HEAD)?;
        self.rest.start += vint.length;
        Ok((vint.value.ok_or(ALL_BITS_SET)?, vint.length))
    }

    /// How many frames a lace has besides its last one, whose size does not stand in it.
    fn sized_frames(&mut self) -> Result<usize, Refusal> {
        self.byte().map(usize::from)
    }

    fn xiph_sizes(&mut self) -> Result<Vec<usize>, Refusal> {
        let count = self.sized_frames()?;
        let mut sizes = Vec::with_capacity(count);
        for _ in 0..count {
            let mut size = 0;
            loop {
                let byte = self.byte()?;
                size += usize::from(byte);
                if size > self.rest.len() {
                    return Err(LACE);
                }
                if byte < u8::MAX {
                    break;
                }
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    fn fixed_sizes(&mut self) -> Result<Vec<usize>, Refusal> {
        let count = self.sized_frames()?;
        let size = self.rest.len() / (count + 1);
        if size * (count + 1) != self.rest.len() {
            return Err(LACE);
        }
        Ok(vec![size; count])
    }

    /// The first size stands as it is, the others as signed differences to the one before.
    fn ebml_sizes(&mut self) -> Result<Vec<usize>, Refusal> {
        let count = self.sized_frames()?;
        let mut sizes = Vec::with_capacity(count);
        let mut last = 0_i64;
        for index in 0..count {
            let (value, length) = self.vint_of_length()?;
            let bias = if index == 0 { 0 } else { (1_i64 << (7 * length - 1)) - 1 };
            // A value has at most 56 bits, and so has the bias.
            last = last.checked_add(value as i64 - bias).ok_or(LACE)?;
            sizes.push(usize::try_from(last).map_err(|_| LACE)?);
        }
        Ok(sizes)
    }
}

/// How the frames of a lace follow each other: only the first has a time in the document.
pub(super) struct FrameSpacing {
    unit: SpacingUnit,
    /// Nanoseconds.
    tick: u64,
}

enum SpacingUnit {
    /// DefaultDuration.
    Nanoseconds(u64),
    /// Samples of a frame, and how many there are in a second.
    Samples(u32, u32),
    /// Bytes of a sample, and how many samples there are in a second.
    Bytes(u16, u32),
    /// All at once.
    Unknown,
}

impl FrameSpacing {
    pub(super) fn of(track: &Track, tick: u64) -> Self {
        let settings = TrackSettings::of(track);
        let unit = match (track.default_duration, settings) {
            (Some(duration), _) if duration > 0 => SpacingUnit::Nanoseconds(duration),
            (_, Ok(settings)) => match settings.codec {
                Codec::Avc | Codec::Hevc => SpacingUnit::Unknown,
                Codec::Aac => SpacingUnit::Samples(settings.frame, settings.timescale),
                Codec::Alaw | Codec::Ulaw => SpacingUnit::Bytes(settings.channels, settings.timescale),
            },
            _ => SpacingUnit::Unknown,
        };
        Self { unit, tick }
    }

    /// When each of these frames of one block is presented, in ticks.
    pub(super) fn times(&self, first: i64, frames: &[Range<usize>]) -> Result<Vec<i64>, Refusal> {
        let mut bytes = 0;
        let times = frames.iter().enumerate().map(|(index, frame)| {
            let after = self.ticks(index as u128, bytes);
            bytes += frame.len() as u128;
            i64::try_from(after).ok().and_then(|after| first.checked_add(after)).ok_or(TIME)
        });
        times.collect()
    }

    /// How long after the first frame the one begins that has so many frames and bytes before it.
    fn ticks(&self, frames: u128, bytes: u128) -> u128 {
        const SECOND: u128 = 1_000_000_000;
        // Frames and bytes have at most 27 bits, a duration 64, a rate 32, a second 30: 128 bits hold it all.
        let (nanoseconds, per) = match self.unit {
            SpacingUnit::Nanoseconds(duration) => (frames * u128::from(duration), 1),
            SpacingUnit::Samples(samples, rate) => (frames * u128::from(samples) * SECOND, u128::from(rate)),
            SpacingUnit::Bytes(channels, rate) => {
                (bytes / u128::from(channels.max(1)) * SECOND, u128::from(rate))
            }
            SpacingUnit::Unknown => (0, 1),
        };
        let per = per.max(1) * u128::from(self.tick.max(1));
        (nanoseconds + per / 2) / per
    }
}
