//! Finds requests of an HTTP/2 connection whose `:path` has a fragment, before h2 cuts it off.
//!
//! HTTP/1 refuses such a target on the bytes (`http1_framing`). Here the path without its fragment is noted
//! in the state of the connection, and the request that comes out of h2 with this path is refused.

use super::hpack::PathReader;

/// The preface of a connection, which comes before the first frame.
const PREFACE: usize = 24;
/// Length, type, flags and stream of a frame (RFC 9113 section 4.1).
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Follows the frames of one connection.
pub(super) struct PathCheck {
    at: FramePosition,
    reader: PathReader,
    /// The header block under way.
    block: Vec<u8>,
    most: usize,
}

enum FramePosition {
    Preface(usize),
    Head([u8; FRAME_HEAD], usize),
    Payload(Frame),
    /// Nothing is known of what follows.
    Lost,
}

struct Frame {
    /// Bytes to come.
    left: usize,
    /// Whether they belong to a header block, and whether it ends with them.
    block: Option<BlockPart>,
}

struct BlockPart {
    /// Its first bytes are the padding's length and the priority.
    skipped: usize,
    is_padded: bool,
    /// Padding at the end.
    padding: usize,
    ends: bool,
}

/// The frames cannot be followed any more: the connection should end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lost;

impl PathCheck {
    /// `most`: the longest header block that is read.
    pub(super) fn new(most: usize) -> Self {
        Self { at: FramePosition::Preface(PREFACE), reader: PathReader::default(), block: Vec::new(), most }
    }

    /// Follows the next bytes. `cut` gets the path before the fragment of each request that has one.
    ///
    /// # Errors
    /// Once, when the frames or a header block make no sense.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut cut: impl FnMut(Box<[u8]>)) -> Result<(), Lost> {
        while !bytes.is_empty() {
            match &mut self.at {
                FramePosition::Preface(left) => {
                    let taken = bytes.len().min(*left);
                    (*left, bytes) = (*left - taken, &bytes[taken..]);
                    if *left == 0 {
                        self.at = FramePosition::Head([0; FRAME_HEAD], 0);
                    }
                }
                FramePosition::Head(head, have) => {
                    let taken = bytes.len().min(FRAME_HEAD - *have);
                    head[*have..*have + taken].copy_from_slice(&bytes[..taken]);
                    (*have, bytes) = (*have + taken, &bytes[taken..]);
                    if *have == FRAME_HEAD {
                        let frame = Frame::of(*head);
                        self.at = FramePosition::Payload(frame);
                        self.ends(&mut cut)?;
                    }
                }
                FramePosition::Payload(frame) => {
                    let (now, after) = bytes.split_at(bytes.len().min(frame.left));
                    bytes = after;
                    frame.left -= now.len();
                    if let Some(part) = &mut frame.block {
                        part.take(now, frame.left, &mut self.block);
                        if self.block.len() > self.most {
                            return self.lost();
                        }
                    }
                    self.ends(&mut cut)?;
                }
                FramePosition::Lost => return Ok(()),
            }
        }
        Ok(())
    }

    /// Goes on to the next frame if this one is complete.
    fn ends(&mut self, cut: &mut impl FnMut(Box<[u8]>)) -> Result<(), Lost> {
        let FramePosition::Payload(frame) = &self.at else { return Ok(()) };
        if frame.left > 0 {
            return Ok(());
        }
        if frame.block.as_ref().is_some_and(|part| part.ends) {
            match self.reader.read(&self.block) {
                Ok(found) => found.into_iter().for_each(cut),
                Err(_) => return self.lost(),
            }
            self.block = Vec::new();
        }
        self.at = FramePosition::Head([0; FRAME_HEAD], 0);
        Ok(())
    }

    fn lost(&mut self) -> Result<(), Lost> {
        self.at = FramePosition::Lost;
        self.block = Vec::new();
        Err(Lost)
    }
}

impl Frame {
    fn of(head: [u8; FRAME_HEAD]) -> Self {
        let [high, middle, low, kind, flags, ..] = head;
        let left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let is_headers = kind == HEADERS;
        let block = (is_headers || kind == CONTINUATION).then(|| {
            let is_padded = is_headers && flags & PADDED != 0;
            let priority = if is_headers && flags & PRIORITY != 0 { 5 } else { 0 };
            let skipped = usize::from(is_padded) + priority;
            BlockPart { skipped, is_padded, padding: 0, ends: flags & END_HEADERS != 0 }
        });
        Self { left, block }
    }
}

impl BlockPart {
    /// Appends what of `bytes` belongs to the block; `left` bytes of the frame follow.
    fn take(&mut self, bytes: &[u8], left: usize, block: &mut Vec<u8>) {
        if std::mem::take(&mut self.is_padded) {
            // The first byte of the payload: this is the first part of it.
            self.padding = bytes.first().copied().unwrap_or_default().into();
        }
        let skipped = self.skipped.min(bytes.len());
        self.skipped -= skipped;
        let bytes = &bytes[skipped..];
        let padding = self.padding.saturating_sub(left).min(bytes.len());
        block.extend_from_slice(&bytes[..bytes.len() - padding]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    fn path(text: &str) -> Vec<u8> {
        [&[0x82, 0x04, text.len() as u8][..], text.as_bytes()].concat()
    }

    /// The paths that are cut, with the bytes in pieces of `step`.
    fn cut(frames: &[Vec<u8>], step: usize) -> Result<Vec<String>, Lost> {
        let bytes = [&[b'P'; PREFACE][..], &frames.concat()].concat();
        let (mut check, mut found) = (PathCheck::new(1000), Vec::new());
        for piece in bytes.chunks(step) {
            check.pass(piece, |path| found.push(String::from_utf8(path.into()).unwrap()))?;
        }
        Ok(found)
    }

    #[test]
    fn paths_are_found_in_whatever_frames_they_come() {
        let block = path("/a#b");
        let padded = [&[3, 0, 0, 0, 0, 16][..], &block, &[0; 3]].concat();
        let frames = [
            frame(4, 0, &[]),
            frame(HEADERS, END_HEADERS, &path("/plain")),
            frame(HEADERS, END_HEADERS, &block),
            frame(0, 0, b"/x#y"),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded),
            frame(HEADERS, PADDED, &[&[2][..], &block[..4], &[0; 2]].concat()),
            frame(CONTINUATION, 0, &[]),
            frame(CONTINUATION, END_HEADERS, &block[4..]),
        ];
        for step in 1..40 {
            assert_eq!(cut(&frames, step), Ok(vec!["/a".to_owned(); 3]), "{step}");
        }
    }

    #[test]
    fn what_makes_no_sense_or_is_too_long_ends_it() {
        assert_eq!(cut(&[frame(HEADERS, END_HEADERS, &[0x80])], 7), Err(Lost));
        let long = [frame(HEADERS, 0, &[0; 200]), frame(CONTINUATION, 0, &[0; 200])];
        assert_eq!(cut(&[&long[..], &vec![long[1].clone(); 4]].concat(), 64), Err(Lost));
    }

    proptest! {
        #[test]
        fn anything_passes_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1..20_usize,
        ) {
            let mut check = PathCheck::new(100);
            for piece in bytes.chunks(step) {
                let _ = check.pass(piece, |_| {});
            }
        }
    }
}
