//! As much of HPACK (RFC 7541) as it takes to find each request's `:path`.
//!
//! h2 cuts a fragment off the path, and no check of the parsed request can see that it was there. So header
//! blocks are read a second time, for this one field. Of everything else only lengths are kept, which the
//! dynamic table is accounted in. What cannot be read is an error here and in h2, which then ends the
//! connection.

use std::collections::VecDeque;
use std::sync::LazyLock;

/// The header block cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HpackError;

/// The size that h2 lets peers use, since none is announced (RFC 9113 section 6.5.2).
const TABLE_SIZE: usize = 4096;
/// What an entry takes besides its bytes (RFC 7541 section 4.1).
const OVERHEAD: usize = 32;
/// Lengths of the names in the static table (RFC 7541 appendix A).
const STATIC_NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13,
    12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];
/// Where `:path` is in it: `/` and `/index.html`.
const STATIC_PATHS: [usize; 2] = [4, 5];
const PATH: &[u8] = b":path";

/// What is known of a field.
#[derive(Clone)]
struct Field {
    size: usize,
    name_length: usize,
    is_path: bool,
    /// Of a path with a fragment, the part before it.
    cut_path: Option<Box<[u8]>>,
}

/// Reads the header blocks of one connection, in their order.
#[derive(Default)]
pub(super) struct PathReader {
    /// The newest first.
    dynamic: VecDeque<Field>,
    size: usize,
    /// What the peer has set, if it is less than [`TABLE_SIZE`].
    most: Option<usize>,
}

impl PathReader {
    /// Reads a whole header block. If its `:path` has a fragment, gives the part before it.
    ///
    /// # Errors
    /// The block is malformed; nothing after it can be read either.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Option<Box<[u8]>>, HpackError> {
        let (mut rest, mut found) = (block, None);
        while let Some(first) = rest.first().copied() {
            let field = match first {
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    self.indexed(index)?
                }
                0x40..0x80 => {
                    let field = self.literal(&mut rest, 6)?;
                    self.insert(field.clone());
                    field
                }
                0x20..0x40 => {
                    let most = integer(&mut rest, 5)?;
                    if most > TABLE_SIZE {
                        return Err(HpackError);
                    }
                    self.most = Some(most);
                    self.evict();
                    continue;
                }
                _ => self.literal(&mut rest, 4)?,
            };
            found = found.or(field.cut_path);
        }
        Ok(found)
    }

    fn indexed(&self, index: usize) -> Result<Field, HpackError> {
        match index.checked_sub(STATIC_NAMES.len() + 1) {
            Some(at) => self.dynamic.get(at).cloned().ok_or(HpackError),
            None => {
                let name = index.checked_sub(1).ok_or(HpackError)?;
                let is_path = STATIC_PATHS.contains(&index);
                Ok(Field { size: 0, name_length: STATIC_NAMES[name].into(), is_path, cut_path: None })
            }
        }
    }

    fn literal(&self, rest: &mut &[u8], prefix: u32) -> Result<Field, HpackError> {
        let (name_length, is_path) = match integer(rest, prefix)? {
            0 => {
                let name = string(rest)?;
                (name.len(), name == PATH)
            }
            index => {
                let named = self.indexed(index)?;
                (named.name_length, named.is_path)
            }
        };
        let value = string(rest)?;
        let size = name_length + value.len() + OVERHEAD;
        let fragment = if is_path { memchr::memchr(b'#', &value) } else { None };
        Ok(Field { size, name_length, is_path, cut_path: fragment.map(|at| value[..at].into()) })
    }

    fn insert(&mut self, field: Field) {
        self.size += field.size;
        self.dynamic.push_front(field);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.most.unwrap_or(TABLE_SIZE)
            && let Some(oldest) = self.dynamic.pop_back()
        {
            self.size -= oldest.size;
        }
    }
}

/// An integer whose first byte has so many bits of it (RFC 7541 section 5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(take(rest)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = take(rest)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError)
}

fn take(rest: &mut &[u8]) -> Result<u8, HpackError> {
    let (first, others) = rest.split_first().ok_or(HpackError)?;
    *rest = others;
    Ok(*first)
}

fn string(rest: &mut &[u8]) -> Result<Vec<u8>, HpackError> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, others) = rest.split_at_checked(length).ok_or(HpackError)?;
    *rest = others;
    if is_huffman { huffman(bytes) } else { Ok(bytes.to_vec()) }
}

/// Code lengths of all bytes and of the end (RFC 7541 appendix B). The code is canonical, so they define it.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6,
    6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5,
    6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24,
    23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26,
    26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21,
    26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26,
    26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;

/// Codes by length: the first of each, how many there are, and where their symbols begin.
struct Codes {
    by_length: [(u32, u32, usize); LONGEST + 1],
    symbols: Vec<u16>,
}

static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let (mut symbols, mut by_length, mut code) = (Vec::new(), [(0, 0, 0); LONGEST + 1], 0_u32);
    for (length, entry) in by_length.iter_mut().enumerate().skip(1) {
        code <<= 1;
        let begin = symbols.len();
        symbols.extend((0_u16..257).filter(|symbol| usize::from(LENGTHS[usize::from(*symbol)]) == length));
        let count = (symbols.len() - begin) as u32; // at most 257
        *entry = (code, count, begin);
        code += count;
    }
    Codes { by_length, symbols }
});

fn huffman(bytes: &[u8]) -> Result<Vec<u8>, HpackError> {
    let codes = &*CODES;
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0_usize);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        let (first, count, begin) = codes.by_length.get(length).ok_or(HpackError)?;
        if code >= *first && code - first < *count {
            // The end has no place in a string, and its number fits no byte.
            let symbol = codes.symbols[begin + (code - first) as usize];
            text.push(u8::try_from(symbol).map_err(|_| HpackError)?);
            (code, length) = (0, 0);
        }
    }
    // What is left over is less than a byte of ones.
    let padding = (1_u32 << length) - 1;
    if length < 8 && code == padding { Ok(text) } else { Err(HpackError) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap()).collect()
    }

    fn huffman_encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let (first, _, begin) = CODES.by_length[length];
            let at = CODES.symbols[begin..].iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
            let code = first + at as u32;
            bits.extend((0..length).rev().map(|n| (code >> n & 1) as u8));
        }
        bits.resize(bits.len().next_multiple_of(8), 1);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        assert_eq!(huffman(&bytes("f1e3 c2e5 f23a 6ba0 ab90 f4ff")).unwrap(), b"www.example.com");
        assert_eq!(integer(&mut &bytes("1f9a0a")[..], 5).unwrap(), 1337);
        // Appendix C.4: three requests on one connection.
        let mut reader = PathReader::default();
        for (block, size) in [
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", 57),
            ("8286 84be 5886 a8eb 1064 9cbf", 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", 164),
        ] {
            assert_eq!(reader.read(&bytes(block)), Ok(None));
            assert_eq!(reader.size, size);
        }
    }

    #[test]
    fn a_fragment_is_found_however_the_path_is_written() {
        let plain = [&[0x04, 6][..], b"/a?b#c"].concat();
        let coded = huffman_encoded(b"/a?b#c");
        let coded = [&[0x44, 0x80 | coded.len() as u8][..], &coded].concat();
        let named = [&[0x10, 5][..], b":path", &[6], b"/a?b#c"].concat();
        let mut reader = PathReader::default();
        for block in [&plain, &coded, &named, &vec![0x80 | 62]] {
            assert_eq!(reader.read(block).unwrap().as_deref(), Some(&b"/a?b"[..]), "{block:?}");
        }
        let other = [&[0x00, 1][..], b"x", &[3], b"a#b"].concat();
        assert_eq!(reader.read(&other), Ok(None));
    }

    #[test]
    fn the_table_keeps_its_size() {
        let mut reader = PathReader::default();
        let long = [&[0x40, 1, b'x', 0x7f, 0xb1, 0x0e][..], &[b'y'; 1968]].concat();
        for _ in 0..5 {
            reader.read(&long).unwrap();
        }
        assert_eq!((reader.dynamic.len(), reader.size), (2, 2 * 2001));
        reader.read(&[0x20]).unwrap();
        assert_eq!((reader.dynamic.len(), reader.size), (0, 0));
        for bad in [&[0x80][..], &[0xbe], &[0x3f, 0xff, 0xff, 0x7f], &[0x04], &[0x04, 5, b'/'], &[0x7f]] {
            assert!(PathReader::default().read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(huffman(&huffman_encoded(&text)), Ok(text));
        }

        #[test]
        fn anything_is_read_or_refused_without_panic(block in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut reader = PathReader::default();
            for _ in 0..3 {
                let _ = reader.read(&block);
            }
            prop_assert!(reader.size <= TABLE_SIZE);
        }
    }
}
