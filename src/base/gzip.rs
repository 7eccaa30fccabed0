//! Text as gzip, for bodies that are made here.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// Compresses a text, quickly rather than well: some 10 ms for each MB.
#[must_use]
pub fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    // Writing into memory does not fail.
    _ = encoder.write_all(text);
    let mut packed = encoder.finish().unwrap_or_default();
    packed.shrink_to_fit();
    packed.into()
}
