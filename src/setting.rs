//! The values that settings are made of: sizes, durations, secrets. [`Mistake`] says where a setting is wrong
//! and what to write instead.
//!
//! Each part has a `Config` of these; the file as a whole is read by `config`.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A number of bytes, written `512MiB`, `50GiB`, `64KiB` or plain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl ByteSize {
    /// Reads a size.
    ///
    /// # Errors
    /// Says how sizes are written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write a size such as 64KiB, 512MiB or 50GiB";
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, size)| Some((text.strip_suffix(name)?, *size)))
            .unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| HOW)?;
        number.checked_mul(unit).map(Self).ok_or(HOW)
    }

    /// The bytes, as an index.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, size) in [UNITS[3], UNITS[2], UNITS[1], UNITS[0]] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{name}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time, written `250ms`, `60s`, `40m`, `12h`, `7d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// From whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// Says how durations are written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write a duration such as 250ms, 60s, 40m, 12h or 7d";
        const UNIT: &str =
            "a number alone has no unit: write a duration such as \"5s\", 250ms, 40m, 12h or 7d";
        let how = if text.is_empty() { HOW } else { UNIT };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(how)?;
        let number: u64 = text[..split].parse().map_err(|_| HOW)?;
        let millis = match &text[split..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(HOW),
        };
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis))).ok_or(HOW)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (name, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{}{name}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads and shows a setting as its text.
macro_rules! as_text {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                <$type>::parse(&text).map_err(|how| D::Error::custom(format!("`{text}`: {how}")))
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}
as_text!(ByteSize);
as_text!(Span);

/// Bytes that must not be shown; wiped when dropped. No `Debug`, no `Display`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes bytes in.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Where a secret is kept: `env:NAME` or `file:PATH`. The setting itself is no secret and may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; relative paths start at the configuration file's folder. A line break at its end is not part
    /// of it.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the setting, not the secret.
    ///
    /// # Errors
    /// Says how secrets are named.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("secrets are never written here: use env:NAME or file:PATH"),
        }
    }

    /// Makes a relative path start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            *path = folder.join(&*path);
        }
    }

    /// The file that holds it, if one does.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// A digest by which a changed secret is noticed; `None` while it cannot be read.
    #[must_use]
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        let secret = self.read().ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.expose());
        digest.as_ref().try_into().ok()
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// Says which variable or file could not be read, never its content.
    pub fn read(&self) -> Result<Secret, String> {
        let mut bytes = match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("environment variable {name} is not set"))?
                .into_bytes(),
            Self::File(path) => {
                std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?
            }
        };
        while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.is_empty() { Err(format!("{self} is empty")) } else { Ok(Secret::new(bytes)) }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    /// The refused text is not repeated: it may be the secret itself.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Where.
    pub place: MistakePlace,
    /// What is wrong and what to write instead, one sentence each.
    pub problem: String,
}

/// Where a mistake is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MistakePlace {
    /// A key of the configuration, such as `issuer[0].jwks`; `config` finds its line.
    Key(String),
    /// A spot in another file, such as a policy; lines and columns count from 1.
    File {
        /// Which file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// Its column, in characters.
        column: usize,
    },
}

impl Mistake {
    /// A mistake at a key of the configuration.
    #[must_use]
    pub fn at(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: MistakePlace::Key(key.into()), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        assert_eq!(ByteSize::parse("512MiB").unwrap().0, 512 << 20);
        assert_eq!(ByteSize::parse("100").unwrap().0, 100);
        assert_eq!(Span::parse("40m").unwrap().0, Duration::from_secs(2400));
        for bad in ["", "MiB", "1.5GiB", "-1", "99999999TiB"] {
            assert!(ByteSize::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "40", "m", "4 m", "1w", "-1s"] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_written_into_the_file_is_refused_and_not_repeated() {
        let error = toml::from_str::<std::collections::BTreeMap<String, SecretSource>>("key = 'hunter2'")
            .unwrap_err();
        assert!(!error.message().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("env:NAME"));
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(size: u64, millis in 0..u64::MAX / 2) {
            prop_assert_eq!(ByteSize::parse(&ByteSize(size).to_string()).unwrap().0, size);
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(Span::parse(&span.to_string()).unwrap(), span);
        }
    }
}
