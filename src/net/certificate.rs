//! Reads three facts of an X.509 certificate: its subject, its names, and when it expires. Nothing is
//! verified here; rustls does that.

use crate::kvs::Timestamp;

/// What a certificate says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The subject, such as `CN=probe,O=Example`, in the certificate's order; other kinds of entries are left
    /// out.
    pub subject: String,
    /// DNS names, or the subject's common name when there are none.
    pub names: Vec<String>,
    /// `notAfter`.
    pub expires: Timestamp,
}

impl Certificate {
    /// Reads a certificate in DER. `None` when it is malformed.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        if fields.peek() == Some(0xa0) {
            fields.next()?; // version
        }
        fields.next()?; // serial number
        fields.next()?; // signature algorithm
        fields.next()?; // issuer
        let mut validity = Der(fields.expect(SEQUENCE)?);
        validity.next()?;
        let (kind, not_after) = validity.next()?;
        let expires = time(kind, not_after)?;
        let subject = Subject::read(fields.expect(SEQUENCE)?)?;
        fields.next()?; // public key
        let mut names = Vec::new();
        while let Some((kind, content)) = fields.next() {
            if kind == 0xa3 {
                names = alternative_names(content)?;
            }
        }
        if names.is_empty() {
            names.extend(subject.common_name);
        }
        Some(Self { subject: subject.text, names, expires })
    }
}

struct Subject {
    text: String,
    common_name: Option<String>,
}

impl Subject {
    fn read(name: &[u8]) -> Option<Self> {
        let mut subject = Self { text: String::new(), common_name: None };
        let mut sets = Der(name);
        while let Some((_, set)) = sets.next() {
            let mut set = Der(set);
            while let Some((_, pair)) = set.next() {
                let mut pair = Der(pair);
                let kind = pair.expect(OBJECT_IDENTIFIER)?;
                let (_, value) = pair.next()?;
                let label = match kind {
                    [0x55, 4, 3] => "CN",
                    [0x55, 4, 6] => "C",
                    [0x55, 4, 7] => "L",
                    [0x55, 4, 8] => "ST",
                    [0x55, 4, 10] => "O",
                    [0x55, 4, 11] => "OU",
                    _ => continue,
                };
                let value: String =
                    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(128).collect();
                let comma = if subject.text.is_empty() { "" } else { "," };
                subject.text += &format!("{comma}{label}={value}");
                if label == "CN" {
                    subject.common_name = Some(value);
                }
            }
        }
        Some(subject)
    }
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some((_, extension)) = extensions.next() {
        let mut extension = Der(extension);
        if extension.expect(OBJECT_IDENTIFIER)? != [0x55, 0x1d, 17] {
            continue;
        }
        let (mut kind, mut content) = extension.next()?;
        if kind == 1 {
            (kind, content) = extension.next()?; // it was `critical`
        }
        if kind != 4 {
            return None;
        }
        let mut list = Der(Der(content).expect(SEQUENCE)?);
        while let Some((kind, name)) = list.next() {
            if kind == 0x82 {
                names.push(std::str::from_utf8(name).ok()?.to_owned());
            }
        }
    }
    Some(names)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    let digits = text.strip_suffix(b"Z").filter(|t| t.iter().all(u8::is_ascii_digit))?;
    let digits = std::str::from_utf8(digits).ok()?;
    let full = match (kind, digits.len()) {
        (0x17, 12) if digits < "50" => format!("20{digits}"),
        (0x17, 12) => format!("19{digits}"),
        (0x18, 14) => digits.to_owned(),
        _ => return None,
    };
    let (date, clock) = full.split_at(8);
    let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
    Timestamp::parse(&format!("{year}-{month}-{day}T{}:{}:{}Z", &clock[..2], &clock[2..4], &clock[4..])).ok()
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 6;

/// DER, one element after the other.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element's kind and content.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&kind, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, after) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(b, _)| b.len() <= 4)?;
            length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((kind, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next().filter(|(kind, _)| *kind == wanted).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(year: i32, names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "probe");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_subject_and_end_are_read() {
        let read = Certificate::read(&made(2031, &["a.example", "*.b.example"])).unwrap();
        assert_eq!(read.names, ["a.example", "*.b.example"]);
        assert_eq!(read.subject, "CN=probe,O=Example");
        assert_eq!(read.expires, Timestamp::from_millis(1_930_089_600_000)); // 2031-03-01T00:00:00Z
        let read = Certificate::read(&made(2052, &[])).unwrap(); // from 2050 on the year has four digits
        assert_eq!(read.names, ["probe"]);
        assert_eq!(read.expires, Timestamp::from_millis(2_592_864_000_000)); // 2052-03-01T00:00:00Z
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(at in 0usize..600, byte: u8, end in 0usize..600) {
            let mut der = made(2031, &["a.example"]);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = Certificate::read(&der[..end.min(der.len())]);
            let _ = Certificate::read(&der);
        }
    }
}
