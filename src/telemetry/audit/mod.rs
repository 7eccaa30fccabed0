//! The audit log: who was let see what, by which policy, and what they then watched; one JSON object per line.
//!
//! It stands apart from the access log: it has a sink of its own, tells decisions and not transfers, and with
//! `required` nothing is served that it could not tell of. An entry holds no token, capability or KVS secret, since
//! none of its fields can: they are names, times and counts. `docs/AUDIT.md` describes every key.

mod sink;
mod watch;

pub use sink::{Sink, Unavailable};
pub use watch::{Viewer, Watch};

use crate::caller::Caller;
use crate::kvs::{PlaybackMode, StreamName, TimeRange, Timestamp};
use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `[log] audit`: `"stdout"`, `"file:PATH"`, or `{ to = "file:PATH", required = true }`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Where the lines go.
    pub to: Target,
    /// Refuse requests while lines cannot be written. Otherwise lines are lost, counted and told of later.
    pub required: bool,
}

/// Where the lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, appended to, and opened anew when it has been moved away; relative paths start at the configuration
    /// file's folder.
    File(PathBuf),
}

impl Config {
    /// Makes a relative path start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Target::File(path) = &mut self.to {
            *path = folder.join(&*path);
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match (text, text.strip_prefix("file:")) {
            ("stdout", _) => Ok(Self::Stdout),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("write \"stdout\" or \"file:PATH\""),
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            to: String,
            #[serde(default)]
            required: bool,
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "write \"stdout\", \"file:PATH\" or { to = \"file:PATH\", required = true }"
        )]
        enum Form {
            Text(String),
            Table(Table),
        }
        let (to, required) = match Form::deserialize(from)? {
            Form::Text(to) => (to, false),
            Form::Table(table) => (table.to, table.required),
        };
        let to = Target::parse(&to).map_err(|how| D::Error::custom(format!("`{to}`: {how}")))?;
        Ok(Self { to, required })
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let to = match &self.to {
            Target::Stdout => "stdout".to_owned(),
            Target::File(path) => format!("file:{}", path.display()),
        };
        if !self.required {
            return serializer.serialize_str(&to);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("to", &to)?;
        map.serialize_entry("required", &true)?;
        map.end()
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A decision on a request.
    Decision(Decision<'a>),
    /// A playback session showed its first byte.
    PlaybackStart(Playback<'a>),
    /// What it showed since its last entry.
    PlaybackMinute(Playback<'a>),
    /// It has shown nothing for a while, or kvs-edge is stopping: what it showed in all.
    PlaybackEnd(Playback<'a>),
    /// So many entries could not be written.
    Lost(u64),
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The request's id, as the client was told it.
    pub request_id: &'a str,
    /// Who asked.
    pub caller: &'a Caller,
    /// From where.
    pub source_ip: IpAddr,
    /// AWS's name of the action.
    pub action: &'a str,
    /// Which stream; `None` for ListStreams.
    pub stream: Option<&'a StreamName>,
    /// Live or archive, where there is a difference.
    pub mode: Option<PlaybackMode>,
    /// Which footage, where the request says so.
    pub range: Option<TimeRange>,
    /// Whether it was permitted; if not, one word for why.
    pub outcome: Result<(), &'a str>,
    /// The policies that decided.
    pub policies: &'a [Arc<str>],
    /// Which set of policies that was.
    pub policy_version: &'a str,
}

/// Watching.
#[derive(Clone, Debug)]
pub struct Playback<'a> {
    /// Tells this viewing from others; no secret, and nothing can be opened with it.
    pub viewing: &'a str,
    /// Who watches.
    pub caller: &'a Caller,
    /// From where.
    pub source_ip: IpAddr,
    /// `hls` or `dash`.
    pub protocol: &'a str,
    /// Which stream.
    pub stream: &'a StreamName,
    /// Live or archive.
    pub mode: PlaybackMode,
    /// The footage shown, as far as fragments tell their times.
    pub footage: Option<(Timestamp, Timestamp)>,
    /// How long, in seconds of the wall clock.
    pub seconds: u64,
    /// How many bytes of media.
    pub bytes: u64,
    /// The policies in force.
    pub policy_version: &'a str,
}

impl Event<'_> {
    /// The line, without its end. `time` is when it happened.
    #[must_use]
    pub fn line(&self, time: Timestamp) -> String {
        let mut line = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Value| {
            if !value.is_null() {
                line.insert(key.to_owned(), value);
            }
        };
        put("time", time.to_string().into());
        put("event", self.name().into());
        match self {
            Self::Decision(decision) => decision.tell(&mut put),
            Self::PlaybackStart(playback) | Self::PlaybackMinute(playback) | Self::PlaybackEnd(playback) => {
                playback.tell(&mut put);
            }
            Self::Lost(lines) => put("lines", (*lines).into()),
        }
        serde_json::Value::Object(line).to_string()
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::PlaybackStart(_) => "playback_start",
            Self::PlaybackMinute(_) => "playback",
            Self::PlaybackEnd(_) => "playback_end",
            Self::Lost(_) => "lost",
        }
    }
}

type Put<'a> = &'a mut dyn FnMut(&str, serde_json::Value);

fn tell_caller(caller: &Caller, source_ip: IpAddr, put: Put<'_>) {
    put("sub", (*caller.subject).into());
    put("iss", (*caller.issuer).into());
    put("jti", caller.token_id.as_deref().into());
    put("ip", source_ip.to_canonical().to_string().into());
}

impl Decision<'_> {
    fn tell(&self, put: Put<'_>) {
        put("decision", if self.outcome.is_ok() { "permit" } else { "deny" }.into());
        put("reason", self.outcome.err().into());
        put("request_id", self.request_id.into());
        tell_caller(self.caller, self.source_ip, put);
        put("action", self.action.into());
        put("stream", self.stream.map(StreamName::as_str).into());
        put("mode", self.mode.map(PlaybackMode::as_str).into());
        put("from", self.range.map(|range| range.start.to_string()).into());
        put("to", self.range.and_then(|range| range.end).map(|end| end.to_string()).into());
        put("policies", self.policies.iter().map(|label| &**label).collect());
        put("policy_version", self.policy_version.into());
    }
}

impl Playback<'_> {
    fn tell(&self, put: Put<'_>) {
        put("viewing", self.viewing.into());
        tell_caller(self.caller, self.source_ip, put);
        put("protocol", self.protocol.into());
        put("stream", self.stream.as_str().into());
        put("mode", self.mode.as_str().into());
        put("from", self.footage.map(|(from, _)| from.to_string()).into());
        put("to", self.footage.map(|(_, to)| to.to_string()).into());
        put("seconds", self.seconds.into());
        put("bytes", self.bytes.into());
        put("policy_version", self.policy_version.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            issuer: "https://login.example.com/".into(),
            subject: "alice\n{\"event\":\"decision\"}".into(),
            token_id: Some("t-1".into()),
            groups: Default::default(),
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_decision_is_one_line_that_no_name_can_break() {
        let (caller, stream) = (caller(), StreamName::parse("cam-1").unwrap());
        let start = Timestamp::from_millis(1_767_225_600_000);
        let decision = Decision {
            request_id: "r-1",
            caller: &caller,
            source_ip: "::ffff:10.0.0.1".parse().unwrap(),
            action: "GetClip",
            stream: Some(&stream),
            mode: None,
            range: Some(TimeRange { start, end: Some(start) }),
            outcome: Err("no_permit"),
            policies: &["a (b.cedar:1)".into()],
            policy_version: "0123456789ab",
        };
        let line = Event::Decision(decision).line(start);
        assert!(!line.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "time": "2026-01-01T00:00:00.000Z", "event": "decision", "decision": "deny",
                "reason": "no_permit", "request_id": "r-1", "sub": &*caller.subject,
                "iss": "https://login.example.com/", "jti": "t-1", "ip": "10.0.0.1", "action": "GetClip",
                "stream": "cam-1", "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T00:00:00.000Z",
                "policies": ["a (b.cedar:1)"], "policy_version": "0123456789ab",
            })
        );
    }

    #[test]
    fn the_setting_is_a_text_or_a_table() {
        #[derive(Deserialize)]
        struct Log {
            audit: Config,
        }
        let read = |text: &str| toml::from_str::<Log>(text).map(|log| log.audit);
        let file = Target::File("audit.log".into());
        assert_eq!(read("audit = 'stdout'").unwrap(), Config::default());
        assert_eq!(read("audit = 'file:audit.log'").unwrap(), Config { to: file.clone(), required: false });
        let required = Config { to: file, required: true };
        assert_eq!(read("audit = { to = 'file:audit.log', required = true }").unwrap(), required);
        for bad in
            ["audit = 'syslog'", "audit = 'file:'", "audit = { to = 'stdout', requird = true }", "audit = 1"]
        {
            assert!(read(bad).err().unwrap().to_string().contains("file:PATH"), "{bad}");
        }
        let shown = serde_json::to_value(required).unwrap();
        assert_eq!(shown, serde_json::json!({"to": "file:audit.log", "required": true}));
    }
}
