//! Scripts that the store runs, and the values that go in and come out.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::Value;
use std::sync::OnceLock;

/// A Lua script, sent once to each server and called by its digest from then on. It has to declare all its
/// keys, and to take the time from the server (`TIME`), the one clock that all replicas share.
pub struct Script {
    text: &'static str,
    sha: OnceLock<String>,
}

impl Script {
    /// A script of this text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, sha: OnceLock::new() }
    }

    /// By its digest, for a server that knows it.
    pub(super) fn by_digest(&self, keys: &[&str], args: &[Arg<'_>]) -> redis::Cmd {
        // The name of the script in the protocol; nothing rests on its strength.
        let sha = self.sha.get_or_init(|| {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.text.as_bytes());
            crate::base::hex::encode(digest.as_ref())
        });
        command("EVALSHA", sha, keys, args)
    }

    /// By its text, which the server keeps.
    pub(super) fn by_text(&self, keys: &[&str], args: &[Arg<'_>]) -> redis::Cmd {
        command("EVAL", self.text, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[&str], args: &[Arg<'_>]) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for arg in args {
        match arg {
            Arg::Bytes(bytes) => command.arg(bytes),
            Arg::Number(number) => command.arg(number),
        };
    }
    command
}

/// An argument of a script.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// Bytes or a text.
    Bytes(&'a [u8]),
    /// A whole number. Lua has no larger ones than 2^53.
    Number(u64),
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl From<u64> for Arg<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<std::time::Duration> for Arg<'_> {
    /// In milliseconds.
    fn from(span: std::time::Duration) -> Self {
        Self::Number(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What a script or command gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Nothing: false or nil in Lua.
    Nil,
    /// A whole number.
    Number(i64),
    /// Bytes or a text.
    Bytes(Vec<u8>),
    /// Several of these.
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn from_value(value: Value) -> Self {
        match value {
            Value::Int(number) => Self::Number(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Boolean(yes) => Self::Number(i64::from(yes)),
            Value::Array(list) | Value::Set(list) => {
                Self::List(list.into_iter().map(Self::from_value).collect())
            }
            Value::Map(pairs) => {
                let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
                Self::List(flat.map(Self::from_value).collect())
            }
            _ => Self::Nil,
        }
    }

    /// The number, also one that is written as a text.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether it is this text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes == text.as_bytes())
    }

    /// The values of a list; empty if it is none.
    #[must_use]
    pub fn list(self) -> std::vec::IntoIter<Reply> {
        match self {
            Self::List(list) => list.into_iter(),
            _ => Vec::new().into_iter(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_the_script_by_its_sha1() {
        static SCRIPT: Script = Script::new("return 1");
        let packed = SCRIPT.by_digest(&["k"], &["a".into(), 7.into()]).get_packed_command();
        let text = String::from_utf8(packed).unwrap();
        assert!(text.contains("e0e1f9fabfc9d4800c877a703b823ac0578ff8db"), "{text}");
        assert!(text.ends_with("$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n$1\r\n7\r\n"), "{text}");
    }

    #[test]
    fn replies_are_read_by_what_they_are() {
        let value = Value::Array(vec![Value::Int(3), Value::BulkString(b"17".to_vec()), Value::Nil]);
        let mut list = Reply::from_value(value).list();
        assert_eq!(list.next().unwrap().number(), Some(3));
        let text = list.next().unwrap();
        assert_eq!((text.number(), text.is("17")), (Some(17), true));
        assert_eq!(list.next(), Some(Reply::Nil));
        assert_eq!(Reply::Nil.list().next(), None);
    }
}
