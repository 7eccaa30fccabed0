//! One stored object, one file: a header that says what the bytes are, then the bytes.
//!
//! The header carries format version, key, lengths, expiry, entity tag and one CRC-32 for each 64 KiB block
//! of the body, and ends with a CRC-32 of itself. A file therefore shows that it is whole, that it is the
//! right one, and that each block is as it was written. Any single wrong byte is detected, and a range is
//! checked by reading only its blocks. All functions here block.

use crate::cache::entry::{Entry, Head, tag_bytes};
use crate::cache::key::Key;
use crate::cache::memory::budget::Reservation;
use crate::kvs::Timestamp;
use bytes::{Buf as _, Bytes};
use crc32fast::Hasher;
use http::HeaderValue;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// What a file begins with; its last byte is the version of the format.
const MAGIC: [u8; 8] = *b"KVSEDGE\x01";

/// The unit of checking, which is on the disk for ever, and happens to be that of memory.
pub(super) const BLOCK: u64 = 64 << 10;

/// Lengths and numbers ahead of the texts.
const FIXED: usize = 116;

/// No header is longer: texts of at most 64 KiB each and the checksums of 16 GiB.
const LONGEST_HEADER: u32 = 4 << 20;

/// What a header says.
#[derive(Clone)]
pub(in crate::cache) struct Header {
    pub(super) key: Key,
    pub(in crate::cache) head: Arc<Head>,
    pub(in crate::cache) expires: Timestamp,
    pub(in crate::cache) began: Timestamp,
    pub(in crate::cache) etag: HeaderValue,
    pub(super) length: u64,
    /// Where the body begins.
    body_at: u64,
    /// One checksum for each block.
    sums: Arc<[u32]>,
}

/// A file's identity and state: changed since it was checked means to be checked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { inode: meta.ino(), length: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// The file is not what it should be.
fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes an entry to `path` by way of `draft`: the name appears when the file is whole.
pub(super) fn write(entry: &Entry, expires: Timestamp, draft: &Path, path: &Path) -> io::Result<Stamp> {
    let written = || -> io::Result<Stamp> {
        let mut file = File::create_new(draft)?;
        file.write_all(&header(entry, expires)?)?;
        entry.pieces().iter().try_for_each(|piece| file.write_all(piece))?;
        let stamp = Stamp::of(&file)?;
        fs::rename(draft, path)?;
        Ok(stamp)
    };
    written().inspect_err(|_| drop(fs::remove_file(draft)))
}

/// How large the file of an entry will be, in bytes.
pub(super) fn size(entry: &Entry) -> u64 {
    let texts = entry.head.content_type.len() + entry.head.note.as_deref().map_or(0, str::len);
    entry.length() + (FIXED + texts) as u64 + (entry.length().div_ceil(BLOCK) + 1) * 4
}

fn header(entry: &Entry, expires: Timestamp) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::other("a text is too long to be stored");
    let (kind, note) =
        (entry.head.content_type.as_bytes(), entry.head.note.as_deref().unwrap_or("").as_bytes());
    let length = usize::try_from(size(entry) - entry.length()).map_err(io::Error::other)?;
    let mut to = Vec::with_capacity(length);
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    to.extend_from_slice(&u32::from(entry.head.note.is_some()).to_le_bytes());
    for number in [entry.length(), entry.head.stored.millis(), entry.began.millis(), expires.millis()] {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to.extend_from_slice(&entry.key.digest);
    to.extend_from_slice(&entry.key.arn.to_le_bytes());
    to.extend_from_slice(&entry.key.name.to_le_bytes());
    to.extend_from_slice(&tag_bytes(entry.etag()).ok_or_else(|| damaged("not an entity tag of ours"))?);
    to.extend_from_slice(&u16::try_from(kind.len()).map_err(too_long)?.to_le_bytes());
    to.extend_from_slice(&u16::try_from(note.len()).map_err(too_long)?.to_le_bytes());
    debug_assert_eq!(to.len(), FIXED);
    to.extend_from_slice(kind);
    to.extend_from_slice(note);
    sums(entry.pieces()).iter().for_each(|sum| to.extend_from_slice(&sum.to_le_bytes()));
    let own = crc32fast::hash(&to);
    to.extend_from_slice(&own.to_le_bytes());
    Ok(to)
}

/// The checksums of a body's blocks, wherever its pieces are cut.
fn sums(pieces: &[Bytes]) -> Vec<u32> {
    let (mut sums, mut hasher, mut room) = (Vec::new(), Hasher::new(), BLOCK as usize);
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            hasher.update(now);
            (rest, room) = (later, room - now.len());
            if room == 0 {
                sums.push(std::mem::take(&mut hasher).finalize());
                room = BLOCK as usize;
            }
        }
    }
    if room < BLOCK as usize {
        sums.push(hasher.finalize());
    }
    sums
}

impl Header {
    /// Reads and checks a header, and that the file is as long as it says.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut fixed = [0; FIXED];
        file.read_exact_at(&mut fixed, 0)?;
        if fixed[..8] != MAGIC {
            return Err(damaged("another format"));
        }
        let length = u32_at(&fixed, 8);
        if length < FIXED as u32 + 4 || length > LONGEST_HEADER {
            return Err(damaged("an impossible header"));
        }
        let mut all = vec![0; length as usize];
        file.read_exact_at(&mut all, 0)?;
        let (all, own) = all.split_at(length as usize - 4);
        if crc32fast::hash(all) != u32_at(own, 0) {
            return Err(damaged("the header's checksum"));
        }
        let header = Self::parse(all, u64::from(length)).ok_or_else(|| damaged("the header's lengths"))?;
        if file.metadata()?.len() != header.body_at + header.length {
            return Err(damaged("the file's length"));
        }
        Ok(header)
    }

    /// Reads a header that is as it was written.
    fn parse(all: &[u8], body_at: u64) -> Option<Self> {
        let number = |at| u64_at(all, at);
        let [length, stored, began, expires] = [16, 24, 32, 40].map(number);
        // Files of earlier versions have the expiry twice, and do not say when their fetch began.
        let began = if began == expires { stored } else { began };
        let mut key = Key { digest: [0; 32], arn: number(80), name: number(88) };
        key.digest.copy_from_slice(&all[48..80]);
        let texts = [112, 114].map(|at| usize::from(u16::from_le_bytes([all[at], all[at + 1]])));
        let (kind, rest) = all[FIXED..].split_at_checked(texts[0])?;
        let (note, rest) = rest.split_at_checked(texts[1])?;
        if rest.len() as u64 != length.div_ceil(BLOCK) * 4 {
            return None;
        }
        let noted = u32_at(all, 12) == 1;
        let head = Head {
            content_type: HeaderValue::from_bytes(kind).ok()?,
            length: Some(length),
            stored: Timestamp::from_millis(stored),
            note: if noted { Some(std::str::from_utf8(note).ok()?.into()) } else { None },
        };
        let at = Timestamp::from_millis;
        Some(Self {
            key,
            head: Arc::new(head),
            expires: at(expires),
            began: at(began),
            etag: crate::cache::entry::entity_tag(&all[96..112]),
            length,
            body_at,
            sums: rest.chunks_exact(4).map(|sum| u32_at(sum, 0)).collect(),
        })
    }

    /// How large the file is.
    pub(super) fn size(&self) -> u64 {
        self.body_at + self.length
    }

    /// Reads and checks the blocks that hold the beginning of `range`, at most `most` bytes of them, and
    /// gives the range's bytes in those, from its start on, in memory that is taken from the reservation.
    pub(super) fn read_range(
        &self,
        file: &File,
        range: Range<u64>,
        most: u64,
        reservation: &mut Reservation,
    ) -> io::Result<VecDeque<Bytes>> {
        let from = range.start / BLOCK * BLOCK;
        let to = range.end.min(from + most.max(BLOCK));
        let pieces = self.read_blocks(file, from..to, reservation)?;
        let (mut skip, mut left) = ((range.start - from) as usize, (to - range.start) as usize);
        let wanted = pieces.into_iter().filter_map(|mut piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            piece.advance(skipped);
            piece.truncate(left);
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        });
        Ok(wanted.collect())
    }

    /// Reads and checks all blocks that hold something of `range`, which begins where one does.
    fn read_blocks(
        &self,
        file: &File,
        range: Range<u64>,
        reservation: &mut Reservation,
    ) -> io::Result<Vec<Bytes>> {
        let mut pieces = Vec::new();
        for at in range.step_by(BLOCK as usize) {
            self.read_block(file, at, reservation, &mut pieces)?;
        }
        Ok(pieces)
    }

    /// Reads and checks the block that begins at `at`.
    fn read_block(
        &self,
        file: &File,
        mut at: u64,
        reservation: &mut Reservation,
        pieces: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        let number = usize::try_from(at / BLOCK).map_err(io::Error::other)?;
        let end = self.length.min(at + BLOCK);
        let mut sum = Hasher::new();
        while at < end {
            let mut piece = reservation.block((end - at) as usize);
            file.read_exact_at(piece.bytes_mut(), self.body_at + at)?;
            sum.update(piece.bytes_mut());
            let piece = piece.freeze();
            at += piece.len() as u64;
            pieces.push(piece);
        }
        if self.sums.get(number) == Some(&sum.finalize()) {
            Ok(())
        } else {
            Err(damaged("a block's checksum"))
        }
    }

    /// Reads and checks the whole body, into memory that is taken from the reservation.
    pub(super) fn read_whole(&self, file: &File, reservation: &mut Reservation) -> io::Result<Entry> {
        let pieces = self.read_blocks(file, 0..self.length, reservation)?;
        let entry =
            Entry::new(self.key, &self.head, Some(self.expires), pieces.into(), Some(self.etag.clone()));
        Ok(entry.since(self.began).counted(reservation))
    }

    /// Checks the whole body without keeping it.
    pub(super) fn check(&self, file: &File, reservation: &mut Reservation) -> io::Result<()> {
        let mut starts = (0..self.length).step_by(BLOCK as usize);
        starts.try_for_each(|at| self.read_block(file, at, reservation, &mut Vec::new()))
    }
}

/// What is read at once, a multiple of the block.
pub(super) const PIECE: u64 = 4 * BLOCK;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
#[path = "../tests/disk_file.rs"]
mod tests;
