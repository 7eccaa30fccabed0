//! What hyper hides about HTTP/1 requests, caught on the bytes before hyper has them.
//!
//! Two parsers that read the same bytes as different requests are how requests are smuggled. hyper 1.12 refuses much
//! itself, but takes some things silently, so that no check of the parsed request can see them. Who catches what:
//!
//! | Oddity | caught by |
//! |---|---|
//! | bare LF as a line's end; `Content-Length` with `Transfer-Encoding`; several of either, equal or not; a coding other than `chunked`; a fragment in the request target; a malformed length | here |
//! | space before the colon, folded lines, NUL and other control characters, bare CR, signed or listed lengths, HTTP/0.9, `Transfer-Encoding` in HTTP/1.0, malformed chunks | hyper (and folded lines here too) |
//! | methods, target, `Host`, `Upgrade`, `Expect`, names with `_`, single sizes | [`crate::net::strict`] |
//! | block size, header count, connection headers in HTTP/2, floods of frames | hyper and h2, by [`super::Limits`] |
//!
//! To see where each head begins, the screen follows lengths and chunks. It answers nothing: it makes the offending
//! line break unreadable, and hyper refuses the head with a 400 and closes.

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Screen {
    at: At,
    /// The line so far, as much as matters, when it began in an earlier read.
    line: [u8; LINE],
    kept: u8,
    /// Whether the line, with its CR, is longer than what was kept.
    cut: bool,
    /// The last byte of the earlier read.
    last: u8,
    lengths: u8,
    codings: u8,
    length: u64,
}

/// The longest line start that is looked at: a name that matters, a colon, spaces and the longest number.
const LINE: usize = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
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

/// Something that the parsed request would not show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Oddity;

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            at: At::Between,
            line: [0; LINE],
            kept: 0,
            cut: false,
            last: 0,
            lengths: 0,
            codings: 0,
            length: 0,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.at, At::RequestLine | At::Headers)
    }

    /// Whether a request has begun and is not complete.
    pub(super) fn amid(&self) -> bool {
        self.at != At::Between
    }

    /// Looks at the next bytes of the connection. At an oddity the line break that completes it is overwritten, and
    /// nothing after it should be passed on.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> Result<(), Oddity> {
        let mut from = 0;
        while from < bytes.len() {
            let left = (bytes.len() - from) as u64;
            match &mut self.at {
                At::Body(rest) if *rest > left => {
                    *rest -= left;
                    return Ok(());
                }
                At::Body(rest) => {
                    from += *rest as usize; // at most `left`
                    self.at = At::Between;
                }
                At::Chunk(rest) if *rest > left => {
                    *rest -= left;
                    return Ok(());
                }
                At::Chunk(rest) => {
                    from += *rest as usize; // at most `left`
                    self.at = At::ChunkSize;
                }
                At::Refused => return Err(Oddity),
                _ => {
                    if self.at == At::Between && self.kept == 0 && !matches!(bytes[from], b'\r' | b'\n') {
                        self.at = At::RequestLine;
                    }
                    let Some(end) = memchr::memchr(b'\n', &bytes[from..]).map(|n| from + n) else {
                        self.keep(&bytes[from..]);
                        return Ok(());
                    };
                    if let Err(oddity) = self.line_ends(&bytes[from..end]) {
                        bytes[end] = 0;
                        self.at = At::Refused;
                        return Err(oddity);
                    }
                    from = end + 1;
                }
            }
        }
        Ok(())
    }

    /// Keeps the start of a line that goes on in the next read.
    fn keep(&mut self, part: &[u8]) {
        let kept = usize::from(self.kept);
        let taken = part.len().min(LINE - kept);
        self.line[kept..kept + taken].copy_from_slice(&part[..taken]);
        self.kept += taken as u8; // at most LINE
        self.cut |= taken < part.len();
        self.last = *part.last().unwrap_or(&self.last);
    }

    /// A line ends, `tail` being what of it was not kept, without the LF.
    fn line_ends(&mut self, tail: &[u8]) -> Result<(), Oddity> {
        if self.kept == 0 {
            let line = tail.strip_suffix(b"\r").ok_or(Oddity)?;
            return self.line(line, line.len() >= LINE);
        }
        self.keep(tail);
        let (line, kept, cut) = (self.line, usize::from(self.kept), self.cut);
        let last = self.last;
        (self.kept, self.cut) = (0, false);
        if last != b'\r' {
            return Err(Oddity);
        }
        if cut { self.line(&line[..kept], true) } else { self.line(&line[..kept - 1], false) }
    }

    fn line(&mut self, line: &[u8], cut: bool) -> Result<(), Oddity> {
        match self.at {
            At::Between if line.is_empty() => {} // before a request
            At::Between => return Err(Oddity),
            At::RequestLine => {
                if memchr::memchr(b'#', line).is_some() {
                    return Err(Oddity);
                }
                (self.lengths, self.codings, self.length) = (0, 0, 0);
                self.at = At::Headers;
            }
            At::Headers if line.is_empty() => {
                if self.lengths + self.codings > 1 {
                    return Err(Oddity);
                }
                self.at = match (self.codings, self.length) {
                    (0, 0) => At::Between,
                    (0, length) => At::Body(length),
                    _ => At::ChunkSize,
                };
            }
            At::Headers => self.header(line, cut)?,
            At::ChunkSize => {
                self.at = match chunk_size(line).ok_or(Oddity)? {
                    0 => At::Trailers,
                    size => At::Chunk(size.checked_add(2).ok_or(Oddity)?),
                }
            }
            At::Trailers if line.is_empty() => self.at = At::Between,
            At::Trailers => {}
            At::Body(_) | At::Chunk(_) | At::Refused => {} // not read by lines
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], cut: bool) -> Result<(), Oddity> {
        match line[0] {
            b' ' | b'\t' => return Err(Oddity),
            b'c' | b'C' | b't' | b'T' => {}
            _ => return Ok(()),
        }
        if let Some(value) = value_of(line, b"content-length:") {
            self.lengths = self.lengths.saturating_add(1);
            self.length = if cut { None } else { decimal(value) }.ok_or(Oddity)?;
        } else if let Some(value) = value_of(line, b"transfer-encoding:") {
            self.codings = self.codings.saturating_add(1);
            if cut || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Oddity);
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

    /// Passes `bytes` in pieces of `step`; where it was refused, counted in bytes, or what the screen is at.
    fn pass(bytes: &[u8], step: usize) -> Result<At, usize> {
        let mut screen = Screen::new();
        for (n, piece) in bytes.chunks(step).enumerate() {
            let mut piece = piece.to_vec();
            if screen.pass(&mut piece).is_err() {
                let spoilt = piece.iter().position(|b| *b == 0).unwrap();
                return Err(n * step + spoilt);
            }
        }
        Ok(screen.at)
    }

    #[test]
    fn good_requests_pass_however_they_are_cut() {
        for (request, at) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", At::Between),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", At::Between),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo", At::Headers),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\n\r\n", At::Between),
            ("POST / HTTP/1.1\r\ncontent-length:   0005  \r\n\r\nab\ncdGET /", At::RequestLine),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", At::Body(3)),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nb\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\nG",
                At::RequestLine,
            ),
            ("POST / HTTP/1.1\r\nTE: trailers\r\nCookie: content-length: 4\r\n\r\n", At::Between),
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
        fn cuts_change_nothing(bytes in "(GET|POST) / HTTP/1[.]1\r\n([a-cC-]{1,60}: ?[a-z0-9;]{0,60}\r\n|Content-Length: [0-9]{1,3}\r\n|\n){0,4}\r\n[\r\na-f0-9GET /]{0,80}", step in 1usize..40) {
            prop_assert_eq!(pass(bytes.as_bytes(), step), pass(bytes.as_bytes(), bytes.len()));
        }
    }
}
