//! Checks the framing of HTTP/1 requests on the bytes, before hyper parses them.
//!
//! Requests are smuggled where two parsers read the same bytes as different requests. hyper 1.12 refuses much
//! itself, but accepts some things silently, so that no check of the parsed request can see them. What is
//! refused where:
//!
//! - Here: a bare LF as the end of a line; `Content-Length` with `Transfer-Encoding`; several of either,
//!   equal or not; a coding other than `chunked`; a fragment in the request target; a malformed length;
//!   folded lines.
//! - By hyper: a space before the colon, folded lines, NUL and other control characters, a bare CR, signed or
//!   listed lengths, HTTP/0.9, `Transfer-Encoding` in HTTP/1.0, malformed chunks.
//! - In HTTP/2, a fragment in the path: by `http2_paths`.
//! - By [`crate::net::request_checks`]: methods, target, `Host`, `Upgrade`, `Expect`, names with `_`, sizes
//!   of single headers.
//! - By hyper and h2, with the listener's limits: block size, header count, connection headers in HTTP/2,
//!   floods of frames.
//!
//! To find the beginning of each head, the check follows lengths and chunks. It sends no response itself: it
//! overwrites the offending line break, so that hyper refuses the head with a 400 and closes.

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct FramingCheck {
    at: Position,
    /// The start of a line that began in an earlier read.
    line: [u8; LINE],
    kept: u8,
    /// Whether the line, with its CR, is longer than what was kept.
    cut: bool,
    /// The last byte of the earlier read.
    last: u8,
    lengths: u8,
    codings: u8,
    length: u64,
    heads: u32,
}

/// The longest line start that is looked at: a name that matters, a colon, spaces and the longest number.
const LINE: usize = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    /// Between requests; empty lines are allowed.
    Between,
    RequestLine,
    Headers,
    /// This many bytes of a body are to come.
    Body(u64),
    ChunkSize,
    /// A chunk's bytes with its line break.
    Chunk(u64),
    Trailers,
    Refused,
}

/// A framing that the parsed request would not show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FramingError;

impl FramingCheck {
    pub(super) fn new() -> Self {
        Self {
            at: Position::Between,
            line: [0; LINE],
            kept: 0,
            cut: false,
            last: 0,
            lengths: 0,
            codings: 0,
            length: 0,
            heads: 0,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.at, Position::RequestLine | Position::Headers)
    }

    /// Whether a request has begun and is not complete.
    pub(super) fn in_request(&self) -> bool {
        self.at != Position::Between
    }

    /// How many heads are complete.
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether a head is complete and its body is not.
    pub(super) fn in_body(&self) -> bool {
        matches!(self.at, Position::Body(_) | Position::ChunkSize | Position::Chunk(_) | Position::Trailers)
    }

    /// Checks the next bytes of the connection. At an error, the line break that completes the line is
    /// overwritten; nothing after it may be passed on.
    ///
    /// # Errors
    /// The request is refused.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> Result<(), FramingError> {
        let mut from = 0;
        while from < bytes.len() {
            let left = (bytes.len() - from) as u64;
            match &mut self.at {
                Position::Body(rest) if *rest > left => {
                    *rest -= left;
                    return Ok(());
                }
                Position::Body(rest) => {
                    from += *rest as usize; // at most `left`
                    self.at = Position::Between;
                }
                Position::Chunk(rest) if *rest > left => {
                    *rest -= left;
                    return Ok(());
                }
                Position::Chunk(rest) => {
                    from += *rest as usize; // at most `left`
                    self.at = Position::ChunkSize;
                }
                Position::Refused => return Err(FramingError),
                _ => {
                    if self.at == Position::Between && self.kept == 0 && !matches!(bytes[from], b'\r' | b'\n')
                    {
                        self.at = Position::RequestLine;
                    }
                    let Some(end) = memchr::memchr(b'\n', &bytes[from..]).map(|n| from + n) else {
                        self.keep(&bytes[from..]);
                        return Ok(());
                    };
                    if let Err(oddity) = self.line_ends(&bytes[from..end]) {
                        bytes[end] = 0;
                        self.at = Position::Refused;
                        return Err(oddity);
                    }
                    from = end + 1;
                }
            }
        }
        Ok(())
    }

    /// Keeps the start of a line that continues in the next read.
    fn keep(&mut self, part: &[u8]) {
        let kept = usize::from(self.kept);
        let taken = part.len().min(LINE - kept);
        self.line[kept..kept + taken].copy_from_slice(&part[..taken]);
        self.kept += taken as u8; // at most LINE
        self.cut |= taken < part.len();
        self.last = *part.last().unwrap_or(&self.last);
    }

    /// A line ends; `tail` is the part that was not kept, without the LF.
    fn line_ends(&mut self, tail: &[u8]) -> Result<(), FramingError> {
        if self.kept == 0 {
            let line = tail.strip_suffix(b"\r").ok_or(FramingError)?;
            return self.line(line, line.len() >= LINE);
        }
        self.keep(tail);
        let (line, kept, cut) = (self.line, usize::from(self.kept), self.cut);
        let last = self.last;
        (self.kept, self.cut) = (0, false);
        if last != b'\r' {
            return Err(FramingError);
        }
        if cut { self.line(&line[..kept], true) } else { self.line(&line[..kept - 1], false) }
    }

    fn line(&mut self, line: &[u8], cut: bool) -> Result<(), FramingError> {
        match self.at {
            Position::Between if line.is_empty() => {} // before a request
            Position::Between => return Err(FramingError),
            Position::RequestLine => {
                if memchr::memchr(b'#', line).is_some() {
                    return Err(FramingError);
                }
                (self.lengths, self.codings, self.length) = (0, 0, 0);
                self.at = Position::Headers;
            }
            Position::Headers if line.is_empty() => {
                if self.lengths + self.codings > 1 {
                    return Err(FramingError);
                }
                self.heads = self.heads.wrapping_add(1);
                self.at = match (self.codings, self.length) {
                    (0, 0) => Position::Between,
                    (0, length) => Position::Body(length),
                    _ => Position::ChunkSize,
                };
            }
            Position::Headers => self.header(line, cut)?,
            Position::ChunkSize => {
                self.at = match chunk_size(line).ok_or(FramingError)? {
                    0 => Position::Trailers,
                    size => Position::Chunk(size.checked_add(2).ok_or(FramingError)?),
                }
            }
            Position::Trailers if line.is_empty() => self.at = Position::Between,
            Position::Trailers => {}
            Position::Body(_) | Position::Chunk(_) | Position::Refused => {} // not read by lines
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], cut: bool) -> Result<(), FramingError> {
        match line[0] {
            b' ' | b'\t' => return Err(FramingError),
            b'c' | b'C' | b't' | b'T' => {}
            _ => return Ok(()),
        }
        if let Some(value) = value_of(line, b"content-length:") {
            self.lengths = self.lengths.saturating_add(1);
            self.length = if cut { None } else { decimal(value) }.ok_or(FramingError)?;
        } else if let Some(value) = value_of(line, b"transfer-encoding:") {
            self.codings = self.codings.saturating_add(1);
            if cut || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError);
            }
        }
        Ok(())
    }
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

fn decimal(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A chunk's size, up to an extension.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    if end == 0 || end > 16 || !matches!(line.get(end), None | Some(b';' | b' ' | b'\t')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&line[..end]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Passes `bytes` in pieces of `step`: the offset at which they are refused, or the position at the end.
    fn pass(bytes: &[u8], step: usize) -> Result<Position, usize> {
        let mut framing = FramingCheck::new();
        for (n, piece) in bytes.chunks(step).enumerate() {
            let mut piece = piece.to_vec();
            if framing.pass(&mut piece).is_err() {
                let spoilt = piece.iter().position(|b| *b == 0).unwrap();
                return Err(n * step + spoilt);
            }
        }
        Ok(framing.at)
    }

    #[test]
    fn good_requests_pass_however_they_are_cut() {
        for (request, at) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Position::Between),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Position::Between),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo", Position::Headers),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\n\r\n", Position::Between),
            ("POST / HTTP/1.1\r\ncontent-length:   0005  \r\n\r\nab\ncdGET /", Position::RequestLine),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", Position::Body(3)),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                 3\r\na\nb\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\nG",
                Position::RequestLine,
            ),
            ("POST / HTTP/1.1\r\nTE: trailers\r\nCookie: content-length: 4\r\n\r\n", Position::Between),
        ] {
            for step in 1..=request.len() {
                assert_eq!(pass(request.as_bytes(), step), Ok(at), "{request:?} by {step}");
            }
        }
    }

    #[test]
    fn oddities_are_refused_however_they_are_cut() {
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {}5\r\n\r\n", "0".repeat(60));
        for request in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: x\n\r\n",
            &long,
        ] {
            let whole = pass(request.as_bytes(), request.len());
            assert!(whole.is_err(), "{request:?}: {whole:?}");
            for step in 1..request.len() {
                assert_eq!(pass(request.as_bytes(), step), whole, "{request:?} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            bytes in "(GET|POST) / HTTP/1[.]1\r\n([a-cC-]{1,60}: ?[a-z0-9;]{0,60}\r\n|\
                      Content-Length: [0-9]{1,3}\r\n|\n){0,4}\r\n[\r\na-f0-9GET /]{0,80}",
            step in 1usize..40,
        ) {
            prop_assert_eq!(pass(bytes.as_bytes(), step), pass(bytes.as_bytes(), bytes.len()));
        }
    }
}
