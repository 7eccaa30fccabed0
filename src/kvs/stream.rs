//! Streams and how callers name them: by name, by ARN, or by both.
//!
//! Patterns and bounds are those of docs/KVS.md 2.1. Both types are made only by parsing, so that a value
//! of one of them is always well formed. Comparison is exact: KVS names are case-sensitive and ASCII only,
//! which leaves no room for look-alikes.

use std::fmt;
use std::sync::Arc;

/// A stream's name: 1..256 characters of `[a-zA-Z0-9_.-]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Reads a name, or says what is wrong with it.
    ///
    /// # Errors
    /// A text that states the bound which the value breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > 256 {
            return Err("must be 1 to 256 characters long");
        }
        if !text.bytes().all(is_name_byte) {
            return Err("may hold only letters, digits, '_', '.' and '-'");
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A full stream ARN, `arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation ms>`.
///
/// The creation time at its end distinguishes a stream from a later one of the same name, so caches key on
/// an ARN, not on a name (docs/KVS.md 8.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamArn {
    text: Arc<str>,
    name: StreamName,
    /// Ends of partition, region and account inside `text`; service is fixed.
    partition: (u16, u16),
    region: (u16, u16),
    account: (u16, u16),
}

impl StreamArn {
    /// Reads an ARN, or says what is wrong with it.
    ///
    /// # Errors
    /// A text that states the expected shape.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str =
            "must look like arn:aws:kinesisvideo:<region>:<account>:stream/<name>/<creation time in ms>";
        if text.len() > 1024 {
            return Err("must be at most 1024 characters long");
        }
        let mut parts = text.split(':');
        let (arn, partition, service, region, account, resource) = match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(a), Some(p), Some(s), Some(r), Some(c), Some(x), None) => (a, p, s, r, c, x),
            _ => return Err(SHAPE),
        };
        let region_like = |t: &str| {
            !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let mut resource = resource.split('/');
        let (kind, name, created) = match (resource.next(), resource.next(), resource.next(), resource.next())
        {
            (Some(k), Some(n), Some(c), None) => (k, n, c),
            _ => return Err(SHAPE),
        };
        if arn != "arn"
            || service != "kinesisvideo"
            || kind != "stream"
            || !region_like(partition)
            || !region_like(region)
            || !digits(account)
            || !digits(created)
        {
            return Err(SHAPE);
        }
        let name = StreamName::parse(name)?;
        // At most 1024 bytes, checked above: every offset fits.
        let span = |start: usize, part: &str| (start as u16, (start + part.len()) as u16);
        let partition_at = 4;
        let region_at = partition_at + partition.len() + 1 + service.len() + 1;
        let account_at = region_at + region.len() + 1;
        Ok(Self {
            partition: span(partition_at, partition),
            region: span(region_at, region),
            account: span(account_at, account),
            name,
            text: text.into(),
        })
    }

    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// `aws`, `aws-cn`, `aws-us-gov`, …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(self.partition)
    }

    /// The region, such as `eu-west-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(self.region)
    }

    /// The account number as text.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(self.account)
    }

    fn part(&self, (start, end): (u16, u16)) -> &str {
        &self.text[usize::from(start)..usize::from(end)]
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a request names its stream. With name and ARN both given they must agree, and the ARN is kept: it
/// says more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamRef {
    /// By name alone: account and region come from the configuration.
    Name(StreamName),
    /// By full ARN.
    Arn(StreamArn),
}

impl StreamRef {
    /// The stream's name, however it was given.
    #[must_use]
    pub fn name(&self) -> &StreamName {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn.name(),
        }
    }

    /// The ARN, if the request gave one.
    #[must_use]
    pub fn arn(&self) -> Option<&StreamArn> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => Some(arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARN: &str = "arn:aws:kinesisvideo:us-east-1:111122223333:stream/cam-1/1720751492346";

    #[test]
    fn an_arn_tells_its_parts() {
        let arn = StreamArn::parse(ARN).unwrap();
        assert_eq!(
            (arn.partition(), arn.region(), arn.account(), arn.name().as_str()),
            ("aws", "us-east-1", "111122223333", "cam-1")
        );
        assert_eq!(arn.as_str(), ARN);
    }

    #[test]
    fn malformed_names_and_arns_are_refused() {
        for bad in ["", "a b", "cam/1", "kam\u{435}ra", &"x".repeat(257), "a%2f"] {
            assert!(StreamName::parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "arn:aws:s3:::b",
            "arn:aws:kinesisvideo:us-east-1:111122223333:stream/cam-1",
            "arn:aws:kinesisvideo:us-east-1:111122223333:channel/cam-1/1",
            "arn:aws:kinesisvideo:us-east-1:acct:stream/cam-1/1",
            "ARN:aws:kinesisvideo:us-east-1:1:stream/cam-1/1",
            "arn:aws:kinesisvideo:us-east-1:1:stream/cam-1/1:x",
            "arn:aws:kinesisvideo:us-east-1:1:stream/cam-1/1/2",
            "arn:aws:kinesisvideo:us-\u{435}ast-1:1:stream/cam-1/1",
        ] {
            assert!(StreamArn::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,80}") {
            if let Ok(name) = StreamName::parse(&text) { prop_assert_eq!(name.as_str(), text.as_str()); }
            let _ = StreamArn::parse(&text);
        }

        #[test]
        fn arns_of_the_documented_shape_keep_their_parts(
            partition in "aws(-[a-z]{2,3})?", region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
            account in "[0-9]{12}", name in "[a-zA-Z0-9_.-]{1,64}", created in "[0-9]{13}"
        ) {
            let text = format!("arn:{partition}:kinesisvideo:{region}:{account}:stream/{name}/{created}");
            let arn = StreamArn::parse(&text).unwrap();
            prop_assert_eq!(arn.partition(), partition);
            prop_assert_eq!(arn.region(), region);
            prop_assert_eq!(arn.account(), account);
            prop_assert_eq!(arn.name().as_str(), name);
        }
    }
}
