//! A body that is here whole, in pieces.

use super::body::cut;
use crate::net::body::{ByteStream, in_pieces};
use bytes::Bytes;
use prometheus::IntCounter;
use std::ops::Range;

/// A part of these pieces as a body. `bytes` counts what leaves.
pub(super) fn body(pieces: Vec<Bytes>, part: Range<usize>, bytes: IntCounter) -> ByteStream {
    let pieces = cut(pieces, part);
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    in_pieces(pieces.into_iter().inspect(move |piece| bytes.inc_by(piece.len() as u64)), length)
}
