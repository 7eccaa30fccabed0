//! Reading and moving the times in fragmented MP4, so that fragments of different upstream sessions lie on
//! one timeline.
//!
//! A fragment is `moof` + `mdat` of one track (`docs/KVS.md` 5.7); when it is presented stands in
//! `moof/traf/tfdt` alone (ISO/IEC 14496-12, 8.8.12), in ticks whose rate the track's init segment holds
//! (`mdhd`). Since the time counts from 1970 after moving, `tfdt` is written with 64 bits, which may make it
//! four bytes longer: sizes around it and the offsets that lead into `mdat` follow. A `sidx` ahead, if there
//! is one, is moved too. What is not understood is refused, so that nothing is passed on at a wrong time.

use super::error::Error;
use crate::kvs::Timestamp;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an init segment (`ftyp` + `moov`, one track) says about its track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Init {
    /// Ticks per second of the media's times.
    pub timescale: u32,
    /// A digest of what a decoder takes from it (codec settings, track, defaults, ticks): equal for equal
    /// ones, in every process. What a packager stamps with the time of day is no part of it.
    pub digest: u64,
}

impl Init {
    /// How much later than its own time, in ticks, a fragment must be presented to begin at `begins`; `None`
    /// if that is earlier. Less than a second earlier is the difference of two clocks, and counts as no
    /// delay.
    #[must_use]
    pub fn delay(self, own: u64, begins: Timestamp) -> Option<Duration> {
        let own = u128::from(own) * 1000 / u128::from(self.timescale.max(1));
        let begins = u128::from(begins.millis());
        let delay = if begins + 1000 < own { None } else { Some(begins.saturating_sub(own)) }?;
        u64::try_from(delay).ok().map(Duration::from_millis)
    }

    /// A span in ticks of its media.
    #[must_use]
    pub fn ticks(self, span: Duration) -> u64 {
        u64::try_from(span.as_millis() * u128::from(self.timescale) / 1000).unwrap_or(u64::MAX)
    }
}

/// Reads an init segment; `None` if it is not one of a single track.
#[must_use]
pub fn init(bytes: &[u8]) -> Option<Init> {
    let moov = find(bytes, b"moov")?;
    let mut tracks = boxes(moov).filter_map(|found| found.filter(|found| &found.kind == b"trak"));
    let track = tracks.next()?.body;
    let media = find(track, b"mdia")?;
    if tracks.next().is_some() {
        return None;
    }
    let header = find(media, b"mdhd")?;
    let at = if *header.first()? == 1 { 20 } else { 12 };
    let timescale = u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?);
    let settings = find(find(find(media, b"minf")?, b"stbl")?, b"stsd")?;
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&timescale.to_be_bytes(), track_id(track).unwrap_or_default(), settings] {
        context.update(part);
    }
    // `trex`: the defaults of samples.
    context.update(find(moov, b"mvex").unwrap_or_default());
    let digest = context.finish();
    let digest = digest.as_ref()[..8].iter().fold(0, |digest, byte| digest << 8 | u64::from(*byte));
    (timescale > 0).then_some(Init { timescale, digest })
}

fn track_id(track: &[u8]) -> Option<&[u8]> {
    let header = find(track, b"tkhd")?;
    let at = if *header.first()? == 1 { 20 } else { 12 };
    header.get(at..at + 4)
}

/// How many bytes of a fragment must be at hand to move its times: up to the end of `moof`. `None`: more than
/// `bytes` to tell.
///
/// # Errors
/// It is no fragment, or a head larger than 4 MiB.
pub fn head(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let mut at = 0;
    loop {
        let Some(start) = bytes.get(at..at + 8) else { return Ok(None) };
        let (size, kind) = (u32::from_be_bytes([start[0], start[1], start[2], start[3]]), &start[4..]);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if kind == b"mdat" || !(8..=LARGEST_HEAD).contains(&size) || at + size > LARGEST_HEAD {
            return Err(NOT_ONE);
        }
        at += size;
        if kind == b"moof" {
            return Ok(if bytes.len() < at { None } else { Some(at) });
        }
    }
}

/// The head of a fragment, see [`head()`], with its times moved by so many ticks.
///
/// # Errors
/// It is not understood.
pub fn moved(head: &[u8], ticks: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(head.len() + 4);
    for found in boxes(head) {
        let found = found.ok_or(NOT_ONE)?;
        match &found.kind {
            b"moof" => movie_fragment(&found, ticks, &mut out).ok_or(NOT_ONE)?,
            b"sidx" => index(&found, ticks, &mut out).ok_or(NOT_ONE)?,
            _ => out.extend_from_slice(found.whole),
        }
    }
    Ok(out)
}

/// When a fragment is presented, in ticks, by its head.
///
/// # Errors
/// It is not understood.
pub fn time(head: &[u8]) -> Result<u64, Error> {
    let track = find(head, b"moof").and_then(|moof| find(moof, b"traf")).ok_or(NOT_ONE)?;
    find(track, b"tfdt").and_then(read_time).map(|(time, _)| time).ok_or(NOT_ONE)
}

/// How long a fragment lasts, in ticks, by its head; `None` if that is not in it.
#[must_use]
pub fn length(head: &[u8]) -> Option<u64> {
    let track = find(find(head, b"moof")?, b"traf")?;
    let default = find(track, b"tfhd").and_then(default_duration);
    let mut all = 0_u64;
    for run in boxes(track).map_while(|found| found).filter(|found| &found.kind == b"trun") {
        let word = |at: usize| Some(u32::from_be_bytes(run.body.get(at..at + 4)?.try_into().ok()?));
        let (flags, count) = (word(0)?, word(4)?);
        if flags & 0x100 == 0 {
            all = all.checked_add(u64::from(count) * u64::from(default?))?;
            continue;
        }
        // Ahead of the samples: an offset, the flags of the first. Of each: duration, size, flags, time of
        // composition.
        let begin = 8 + 4 * ((flags & 1) + (flags >> 2 & 1)) as usize;
        let sample = 4 * (flags >> 8 & 0xf).count_ones() as usize;
        for at in 0..usize::try_from(count).ok()? {
            all = all.checked_add(u64::from(word(begin + at * sample)?))?;
        }
    }
    (all > 0).then_some(all)
}

/// `tfhd`: the duration of samples that do not have their own.
fn default_duration(body: &[u8]) -> Option<u32> {
    let flags = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
    // Ahead of it: the track, an offset of 64 bits, the index of the description.
    let at = 8 + if flags & 1 == 0 { 0 } else { 8 } + if flags & 2 == 0 { 0 } else { 4 };
    (flags & 8 != 0).then(|| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?)))?
}

/// Twenty seconds at sixty frames take some 20 KB.
const LARGEST_HEAD: usize = 4 << 20;
const NOT_ONE: Error = Error::Malformed("KVS answered with a fragment whose times cannot be moved");

fn movie_fragment(moof: &Mp4Box<'_>, ticks: u64, out: &mut Vec<u8>) -> Option<()> {
    let mut body = Vec::with_capacity(moof.whole.len() + 4);
    let mut tracks = 0;
    for child in boxes(moof.body) {
        let child = child?;
        if &child.kind == b"traf" {
            tracks += 1;
            let (time, grown) = decode_time(find(child.body, b"tfdt")?, ticks)?;
            let mut track = Vec::with_capacity(child.whole.len() + 4);
            for inner in boxes(child.body) {
                let inner = inner?;
                match &inner.kind {
                    b"tfdt" => track.extend_from_slice(&time),
                    b"trun" => run(&inner, grown, &mut track)?,
                    // Both say where something stands in the file.
                    b"saio" if grown > 0 => return None,
                    _ => track.extend_from_slice(inner.whole),
                }
            }
            boxed(b"traf", &track, &mut body)?;
        } else {
            body.extend_from_slice(child.whole);
        }
    }
    // With one track alone, by how much `moof` grows is what that one grows.
    (tracks == 1).then_some(())?;
    boxed(b"moof", &body, out)
}

/// The time in a `tfdt`, and by how many bytes one of 64 bits is longer.
fn read_time(body: &[u8]) -> Option<(u64, u32)> {
    match (body.first()?, body.len()) {
        (0, 8) => Some((u64::from(u32::from_be_bytes(body[4..8].try_into().ok()?)), 4)),
        (1, 12) => Some((u64::from_be_bytes(body[4..12].try_into().ok()?), 0)),
        _ => None,
    }
}

/// A `tfdt` of 64 bits, and by how many bytes it is longer than the one there.
fn decode_time(body: &[u8], ticks: u64) -> Option<(Vec<u8>, u32)> {
    let (time, grown) = read_time(body)?;
    let mut inner = vec![1];
    inner.extend_from_slice(&body[1..4]);
    inner.extend_from_slice(&time.checked_add(ticks)?.to_be_bytes());
    let mut out = Vec::with_capacity(20);
    boxed(b"tfdt", &inner, &mut out)?;
    Some((out, grown))
}

/// `trun`: its data offset counts from the beginning of `moof`.
fn run(found: &Mp4Box<'_>, grown: u32, out: &mut Vec<u8>) -> Option<()> {
    let flags = u32::from_be_bytes(found.body.get(..4)?.try_into().ok()?);
    let at = out.len() + found.whole.len() - found.body.len() + 8;
    out.extend_from_slice(found.whole);
    if flags & 1 == 0 {
        // Without an offset the data follows, wherever that is.
        return Some(());
    }
    let offset = out.get_mut(at..at + 4)?;
    let moved = u32::from_be_bytes((&*offset).try_into().ok()?).checked_add(grown)?;
    offset.copy_from_slice(&moved.to_be_bytes());
    Some(())
}

/// `sidx`: the earliest presentation time. Only that of 64 bits can hold ours; another is left out, since the
/// manifest holds the same.
fn index(found: &Mp4Box<'_>, ticks: u64, out: &mut Vec<u8>) -> Option<()> {
    if *found.body.first()? == 0 {
        return Some(());
    }
    let at = out.len() + found.whole.len() - found.body.len() + 12;
    out.extend_from_slice(found.whole);
    let time = out.get_mut(at..at + 8)?;
    let moved = u64::from_be_bytes((&*time).try_into().ok()?).checked_add(ticks)?;
    time.copy_from_slice(&moved.to_be_bytes());
    Some(())
}

fn boxed(kind: &[u8; 4], body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u32::try_from(body.len() + 8).ok()?.to_be_bytes());
    out.extend_from_slice(kind);
    out.extend_from_slice(body);
    Some(())
}

/// A box: size, kind, body.
struct Mp4Box<'a> {
    kind: [u8; 4],
    whole: &'a [u8],
    body: &'a [u8],
}

/// The boxes in a body, `None` at the first that is broken.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = Option<Mp4Box<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = first(rest);
        rest = found.as_ref().map_or(&[], |found| &rest[found.whole.len()..]);
        Some(found)
    })
}

fn first(bytes: &[u8]) -> Option<Mp4Box<'_>> {
    let size = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = bytes.get(4..8)?.try_into().ok()?;
    let whole = bytes.get(..size)?;
    Some(Mp4Box { kind, whole, body: whole.get(8..)? })
}

fn find<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find_map(|found| found.filter(|found| &found.kind == kind)).map(|found| found.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn make(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        boxed(kind, body, &mut out).unwrap();
        out
    }

    /// As KVS's own were never captured: every member that matters, in the order that packagers write.
    fn fragment(time: u64, long: bool, payload: &[u8]) -> Vec<u8> {
        let tfdt = if long {
            [&[1, 0, 0, 0][..], &time.to_be_bytes()].concat()
        } else {
            [&[0; 4][..], &u32::try_from(time).unwrap().to_be_bytes()].concat()
        };
        let trun =
            |offset: u32| [&[0, 0, 2, 1, 0, 0, 0, 1][..], &offset.to_be_bytes(), &[0, 0, 0, 9]].concat();
        let moof = |offset| {
            let traf = [
                make(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]),
                make(b"tfdt", &tfdt),
                make(b"trun", &trun(offset)),
            ];
            make(b"moof", &[make(b"mfhd", &[0, 0, 0, 0, 0, 0, 0, 7]), make(b"traf", &traf.concat())].concat())
        };
        let length = u32::try_from(moof(0).len()).unwrap();
        [make(b"styp", b"msdh"), moof(length + 8), make(b"mdat", payload)].concat()
    }

    fn read(bytes: &[u8]) -> (u64, usize) {
        let moof = boxes(bytes).flatten().find(|found| &found.kind == b"moof").unwrap();
        let traf = find(moof.body, b"traf").unwrap();
        let tfdt = find(traf, b"tfdt").unwrap();
        let time = match tfdt[0] {
            0 => u64::from(u32::from_be_bytes(tfdt[4..8].try_into().unwrap())),
            _ => u64::from_be_bytes(tfdt[4..12].try_into().unwrap()),
        };
        let offset = u32::from_be_bytes(find(traf, b"trun").unwrap()[8..12].try_into().unwrap());
        let start = moof.whole.as_ptr() as usize - bytes.as_ptr() as usize;
        (time, start + usize::try_from(offset).unwrap())
    }

    fn whole(bytes: &[u8], ticks: u64) -> Vec<u8> {
        let head = head(bytes).unwrap().unwrap();
        [moved(&bytes[..head], ticks).unwrap(), bytes[head..].to_vec()].concat()
    }

    fn init_segment(timescale: u32, settings: &[u8]) -> Vec<u8> {
        let mdhd = [&[0; 12][..], &timescale.to_be_bytes(), &[0; 8]].concat();
        let stbl = make(b"stbl", &make(b"stsd", settings));
        let mdia = make(b"mdia", &[make(b"mdhd", &mdhd), make(b"minf", &stbl)].concat());
        [make(b"ftyp", b"iso5"), make(b"moov", &make(b"trak", &mdia))].concat()
    }

    #[test]
    fn an_init_segment_tells_timescale_and_settings() {
        let one = init(&init_segment(16_000, b"avc1")).unwrap();
        assert_eq!(one.timescale, 16_000);
        assert_eq!(init(&init_segment(16_000, b"avc1")), Some(one));
        assert_ne!(init(&init_segment(16_000, b"hvc1")).unwrap().digest, one.digest);
        for bad in [&[][..], b"junk", &init_segment(0, b"x"), &fragment(1, true, b"x")] {
            assert_eq!(init(bad), None);
        }
    }

    #[test]
    fn a_head_is_complete_when_moof_is() {
        let bytes = fragment(5, true, b"payload");
        let end = bytes.len() - 15;
        for at in 0..end {
            assert_eq!(head(&bytes[..at]).unwrap(), None, "{at}");
        }
        assert_eq!(head(&bytes[..end]).unwrap(), Some(end));
        for bad in [make(b"mdat", b"x"), vec![0, 0, 0, 0, b'm', b'o', b'o', b'f'], vec![0xff; 8]] {
            assert!(head(&bad).is_err());
        }
    }

    #[test]
    fn the_length_of_a_fragment_is_that_of_its_samples() {
        let head = |tfhd: &[u8], trun: &[u8]| {
            make(b"moof", &make(b"traf", &[make(b"tfhd", tfhd), make(b"trun", trun)].concat()))
        };
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let track = words(&[0, 1]);
        // Offset, flags of the first; of each duration, size, flags, composition.
        let own = words(&[0x0000_0f05, 2, 99, 0, 1000, 7, 0, 0, 1024, 7, 0, 0]);
        assert_eq!(length(&head(&track, &own)), Some(2024));
        // The default, behind an offset of 64 bits and the index of the description.
        let default = words(&[0x0000_000b, 1, 0, 0, 1, 640]);
        assert_eq!(length(&head(&default, &words(&[0x0000_0201, 3, 99, 7, 7, 7]))), Some(1920));
        for (tfhd, trun) in
            [(&track, words(&[0x0000_0201, 3, 99])), (&track, words(&[0x0000_0100, 9, 1])), (&track, vec![1])]
        {
            assert_eq!(length(&head(tfhd, &trun)), None);
        }
    }

    proptest! {
        #[test]
        fn any_head_has_a_length_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = length(&make(b"moof", &make(b"traf", &make(b"trun", &bytes))));
        }

        #[test]
        fn times_move_and_samples_stay_where_their_offset_leads(
            time in 0..1_u64 << 32, long: bool, ticks in 0..1_u64 << 50,
            payload in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let before = fragment(time, long, &payload);
            prop_assert_eq!(super::time(&before[..head(&before).unwrap().unwrap()]), Ok(time));
            let after = whole(&before, ticks);
            let (moved, offset) = read(&after);
            prop_assert_eq!(moved, time + ticks);
            prop_assert_eq!(&after[offset..], &payload[..]);
            prop_assert_eq!(after.len(), before.len() + if long { 0 } else { 4 });
            prop_assert!(boxes(&after).all(|found| found.is_some()));
        }

        #[test]
        fn damage_is_refused_or_moved_without_panic(
            at: prop::sample::Index, byte: u8, cut: prop::sample::Index
        ) {
            let mut bytes = fragment(9, false, b"payload");
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(Some(end)) = head(&bytes) {
                let _ = moved(&bytes[..end], 1 << 40);
                let _ = super::time(&bytes[..end]);
            }
            let mut bytes = init_segment(90_000, b"avc1");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = init(&bytes);
        }
    }
}
