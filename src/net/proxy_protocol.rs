//! The PROXY protocol, versions 1 and 2: the line or block in which a TCP proxy names the client.
//!
//! Read before TLS and only from trusted proxies; exactly the header is read, not one byte more. See
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1, with its line break.
const LONGEST_LINE: usize = 107;
/// Version 2, behind the first 16 bytes: addresses and any extensions.
const LONGEST_BLOCK: usize = 2048;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer closed or broke off.
    #[error("the connection ended before the PROXY header did")]
    Ended(#[from] std::io::Error),
    /// What came is not a PROXY header.
    #[error("malformed PROXY header")]
    Malformed,
}

/// Reads the header. `None`: the proxy connects on its own behalf (health checks), or does not know the
/// client.
///
/// # Errors
/// The peer closed, or sent something else.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Option<IpAddr>, Error> {
    let mut start = [0; 12]; // no header is shorter
    from.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let mut rest = [0; 4];
        from.read_exact(&mut rest).await?;
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if length > LONGEST_BLOCK {
            return Err(Error::Malformed);
        }
        let mut block = vec![0; length];
        from.read_exact(&mut block).await?;
        return block_source(rest[0], rest[1], &block).ok_or(Error::Malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Error::Malformed);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(Error::Malformed);
        }
        line.push(from.read_u8().await?); // once per connection, and proxies send the line in one piece
    }
    line_source(&line).ok_or(Error::Malformed)
}

/// The source of a version 1 line: `PROXY TCP4 source destination port port`.
fn line_source(line: &[u8]) -> Option<Option<IpAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next()?;
    if kind == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let ports = (words.next()?.parse::<u16>().ok()?, words.next()?.parse::<u16>().ok()?);
    let fits = match kind {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    let _ = ports; // only that they are ports
    (fits && words.next().is_none()).then_some(Some(source))
}

/// The source of a version 2 block.
fn block_source(version_and_command: u8, family: u8, block: &[u8]) -> Option<Option<IpAddr>> {
    match version_and_command {
        0x20 => return Some(None), // LOCAL
        0x21 => {}
        _ => return None,
    }
    match family >> 4 {
        1 if block.len() >= 12 => {
            let source: [u8; 4] = block[..4].try_into().ok()?;
            Some(Some(IpAddr::V4(Ipv4Addr::from(source))))
        }
        2 if block.len() >= 36 => {
            let source: [u8; 16] = block[..16].try_into().ok()?;
            Some(Some(IpAddr::V6(Ipv6Addr::from(source)).to_canonical()))
        }
        0 | 3 => Some(None), // unspecified, Unix
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The address and how much was left unread.
    fn parse(bytes: &[u8]) -> Result<(Option<String>, usize), Error> {
        let mut rest = bytes;
        let read = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read(&mut rest));
        read.map(|address| (address.map(|a| a.to_string()), rest.len()))
    }

    fn version2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block, b"GET /"].concat()
    }

    #[test]
    fn headers_are_read_to_their_last_byte() {
        let is = |bytes: &[u8], address: Option<&str>| {
            assert_eq!(parse(bytes).unwrap(), (address.map(str::to_owned), 5), "{bytes:?}");
        };
        is(b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\nGET /", Some("203.0.113.7"));
        is(b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\nGET /", Some("2001:db8::1"));
        is(b"PROXY UNKNOWN\r\nGET /", None);
        is(b"PROXY UNKNOWN ffff::1 ffff::1 1 1\r\nGET /", None);
        is(&version2(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 1, 2, 3, 4]), Some("203.0.113.7"));
        is(&version2(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 1, 2, 3, 4, 9, 9, 9]), Some("203.0.113.7"));
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        is(&version2(0x21, 0x21, &six), Some("2001::"));
        is(&version2(0x20, 0, &[]), None);
        is(&version2(0x21, 0, &[]), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for bad in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 5000\r\nGET /",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443 1\r\nGET /",
            b"PROXY TCP4 2001:db8::1 ::1 5000 443\r\nGET /",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 99999\r\nGET /",
            b"PROXY TCP9 203.0.113.7 10.0.0.1 5000 443\r\nGET /",
            b"PROXY UNKN",
            long.as_bytes(),
            &version2(0x11, 0x11, &[0; 12]),
            &version2(0x22, 0x11, &[0; 12]),
            &version2(0x21, 0x11, &[0; 11]),
            &version2(0x21, 0x41, &[0; 40]),
            &version2(0x21, 0x11, &[0; 3000]),
            &version2(0x21, 0x11, &[0; 12])[..20],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            block in proptest::collection::vec(any::<u8>(), 0..60),
            command: u8,
            family: u8,
            line in "[ -~]{0,60}",
        ) {
            let _ = block_source(command, family, &block);
            let _ = line_source(format!("PROXY {line}\r\n").as_bytes());
        }
    }
}
