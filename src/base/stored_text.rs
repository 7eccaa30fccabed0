//! Playlists and manifests in memory: each once for all readers, and long ones compressed only.
//!
//! A playlist of three days has some 6 MB and compresses to a tenth. Most clients take gzip, so only the
//! compressed form is kept. For other clients it is unpacked piece by piece while it is sent. A long text
//! that had to make room is written anew for the next request.

use super::gzip::gzip;
use super::hex;
use super::room::{Kept, Room};
use aws_lc_rs::digest;
use bytes::Bytes;
use flate2::read::GzDecoder;
use std::io::Read as _;
use std::sync::{Arc, OnceLock};

/// A text for many readers.
#[derive(Debug)]
pub struct StoredText {
    form: Form,
    /// Bytes of the text itself.
    length: usize,
    etag: Arc<str>,
}

#[derive(Debug)]
enum Form {
    /// As it is, and compressed once a reader needs that.
    Short { plain: Bytes, gzip: OnceLock<Bytes> },
    /// Compressed.
    Long(Bytes),
}

/// Longer texts are kept compressed only, as long as there is room.
const SHORT: usize = 256 << 10;
/// More than this is compressed off the runtime: it takes some milliseconds.
const QUICK: usize = 64 << 10;
/// What is unpacked at a time.
const PIECE: usize = 64 << 10;

impl StoredText {
    /// Stores a text. A long one is compressed now, which takes some 10 ms for each MB.
    #[must_use]
    pub fn new(text: String) -> Self {
        let (length, digest) = (text.len(), digest::digest(&digest::SHA256, text.as_bytes()));
        let etag = format!("\"{}\"", hex::encode(&digest.as_ref()[..16])).into();
        let form = if length > SHORT {
            Form::Long(gzip(text.as_bytes()))
        } else {
            Form::Short { plain: text.into(), gzip: OnceLock::new() }
        };
        Self { form, length, etag }
    }

    /// A strong entity tag with its quotation marks: equal texts have equal tags, in any replica.
    #[must_use]
    pub fn etag(&self) -> &Arc<str> {
        &self.etag
    }

    /// Bytes of the text itself.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The text in one piece, if it is short.
    #[must_use]
    pub fn plain(&self) -> Option<&Bytes> {
        match &self.form {
            Form::Short { plain, .. } => Some(plain),
            Form::Long(_) => None,
        }
    }

    /// The text as gzip, compressed by the first call that needs it.
    pub async fn gzip(&self) -> Bytes {
        let (plain, kept) = match &self.form {
            Form::Long(packed) => return packed.clone(),
            Form::Short { plain, gzip } => (plain, gzip),
        };
        if let Some(packed) = kept.get() {
            return packed.clone();
        }
        let packed = if plain.len() <= QUICK {
            gzip(plain)
        } else {
            let text = plain.clone();
            let packing = tokio::task::spawn_blocking(move || gzip(&text));
            // It does not panic; the runtime may be shutting down.
            packing.await.unwrap_or_default()
        };
        kept.get_or_init(|| packed).clone()
    }

    /// The text in pieces, each unpacked when it is asked for.
    #[must_use]
    pub fn pieces(&self) -> TextPieces {
        match &self.form {
            Form::Short { plain, .. } => TextPieces::Whole(Some(plain.clone())),
            Form::Long(packed) => TextPieces::Packed(Box::new(GzDecoder::new(PackedReader(packed.clone())))),
        }
    }

    fn weight(&self) -> usize {
        match &self.form {
            Form::Short { plain, .. } => plain.len(),
            Form::Long(packed) => packed.len(),
        }
    }
}

/// The pieces of a text.
pub enum TextPieces {
    /// At once.
    Whole(Option<Bytes>),
    /// From its compressed form.
    Packed(Box<GzDecoder<PackedReader>>),
}

/// Reads bytes that are shared.
pub struct PackedReader(Bytes);

impl std::io::Read for PackedReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let part = self.0.split_to(self.0.len().min(out.len()));
        out[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

impl Iterator for TextPieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(text) => text.take().filter(|text| !text.is_empty()),
            Self::Packed(decoder) => {
                let mut piece = Vec::with_capacity(PIECE);
                // What we compressed ourselves does not fail to unpack.
                decoder.by_ref().take(PIECE as u64).read_to_end(&mut piece).ok()?;
                (!piece.is_empty()).then(|| piece.into())
            }
        }
    }
}

/// A text that stays in memory if it is short, and as long as there is room if it is long.
#[derive(Clone)]
pub struct HeldText(StoredForm);

#[derive(Clone)]
enum StoredForm {
    Short(Arc<StoredText>),
    Long(Kept<StoredText>),
}

impl HeldText {
    /// Holds a text; a long one in `room`.
    #[must_use]
    pub fn new(text: Arc<StoredText>, room: &Room) -> Self {
        Self(if text.plain().is_some() {
            StoredForm::Short(text)
        } else {
            let weight = text.weight();
            StoredForm::Long(room.keep(text, weight))
        })
    }

    /// The text, if `room` still has it.
    #[must_use]
    pub fn get(&self, room: &Room) -> Option<Arc<StoredText>> {
        match &self.0 {
            StoredForm::Short(text) => Some(text.clone()),
            StoredForm::Long(kept) => room.get(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playlist(rows: usize) -> String {
        (0..rows)
            .map(|n| format!("#EXTINF:2.000,\nv1-{}.m4s\n", 1_767_225_600_000_u64 + n as u64 * 2000))
            .collect()
    }

    #[tokio::test]
    async fn what_is_stored_comes_back_whole_packed_and_in_pieces() {
        for rows in [0, 1, 3_000, 50_000] {
            let text = playlist(rows);
            let stored = StoredText::new(text.clone());
            assert_eq!(stored.length(), text.len());
            let pieces: Vec<Bytes> = stored.pieces().collect();
            assert!(pieces.iter().all(|piece| piece.len() <= SHORT));
            assert!(pieces.concat() == text.as_bytes(), "{rows}");
            let mut unpacked = String::new();
            GzDecoder::new(&stored.gzip().await[..]).read_to_string(&mut unpacked).unwrap();
            assert!(unpacked == text, "{rows}");
            assert_eq!(stored.plain().is_some(), text.len() <= SHORT);
            assert_eq!(stored.etag(), StoredText::new(text).etag());
        }
    }

    #[test]
    fn a_long_text_takes_a_fraction_of_its_length() {
        let stored = StoredText::new(playlist(95_000));
        assert!(stored.weight() * 6 < stored.length(), "{} of {}", stored.weight(), stored.length());
    }

    #[test]
    fn a_long_text_may_have_to_make_room_and_a_short_one_stays() {
        let room = Room::new(1 << 20);
        let text = || Arc::new(StoredText::new(playlist(50_000)));
        let held: Vec<HeldText> = (0..20).map(|_| HeldText::new(text(), &room)).collect();
        let short = HeldText::new(Arc::new(StoredText::new(playlist(10))), &room);
        room.settle();
        assert!(held.last().unwrap().get(&room).is_some() && held[0].get(&room).is_none());
        assert!(short.get(&room).is_some());
    }
}
