//! The audit log: who was let see what, by which policy, and what they then watched; one JSON object per line.
//!
//! It stands apart from the access log: it has a sink of its own, tells decisions and not transfers, and with
//! `required` nothing is served that it could not tell of. An entry holds no token, capability or KVS secret, since
//! none of its fields can: they are names, times and counts. `docs/AUDIT.md` describes every key.

mod line;
mod output;
mod repeats;
mod sink;
mod watch;

pub use sink::{Receipt, Sink, Unavailable};
pub use watch::{Refusal, Viewer, Watch};

use crate::caller::Caller;
use crate::kvs::{PlaybackMode, StreamName, TimeRange, Timestamp};
use line::Line;
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
            #[serde(default = "stdout")]
            to: String,
            #[serde(default)]
            required: bool,
        }
        fn stdout() -> String {
            "stdout".to_owned()
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
    pub request_id: &'a Arc<str>,
    /// Who asked.
    pub caller: &'a Arc<Caller>,
    /// From where.
    pub source_ip: IpAddr,
    /// AWS's name of the action.
    pub action: &'static str,
    /// Which stream; `None` for ListStreams.
    pub stream: Option<&'a StreamName>,
    /// Where it is, as far as that is known: two accounts may have streams of one name.
    pub place: Option<Place<'a>>,
    /// Live or archive, where there is a difference.
    pub mode: Option<PlaybackMode>,
    /// Which footage, where the request says so.
    pub range: Option<TimeRange>,
    /// Whether it was permitted; if not, one word for why.
    pub outcome: Result<(), &'static str>,
    /// The policies that decided.
    pub policies: &'a Arc<[Arc<str>]>,
    /// Which set of policies that was.
    pub policy_version: &'a Arc<str>,
    /// For how many equal decisions the line stands, the last of which it names; from 2 on it says so.
    pub repeats: u64,
}

/// Where a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// Its region.
    pub region: &'a Arc<str>,
    /// Its account, if known.
    pub account: Option<&'a Arc<str>>,
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
        let mut line = Line::new();
        line.shown("time", time);
        line.text("event", self.name());
        match self {
            Self::Decision(decision) => decision.tell(&mut line),
            Self::PlaybackStart(playback) | Self::PlaybackMinute(playback) | Self::PlaybackEnd(playback) => {
                playback.tell(&mut line);
            }
            Self::Lost(lines) => line.shown_bare("lines", lines),
        }
        line.end()
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

fn tell_caller(caller: &Caller, source_ip: IpAddr, line: &mut Line) {
    line.text("sub", &caller.subject);
    line.text("iss", &caller.issuer);
    line.some_text("jti", caller.token_id.as_deref());
    line.shown("ip", source_ip.to_canonical());
}

impl Decision<'_> {
    fn tell(&self, line: &mut Line) {
        line.text("decision", if self.outcome.is_ok() { "permit" } else { "deny" });
        line.some_text("reason", self.outcome.err());
        line.text("request_id", self.request_id);
        tell_caller(self.caller, self.source_ip, line);
        line.text("action", self.action);
        line.some_text("stream", self.stream.map(StreamName::as_str));
        line.some_text("region", self.place.map(|place| &**place.region));
        line.some_text("account", self.place.and_then(|place| place.account).map(|account| &**account));
        line.some_text("mode", self.mode.map(PlaybackMode::as_str));
        if let Some(range) = self.range {
            line.shown("from", range.start);
            range.end.into_iter().for_each(|end| line.shown("to", end));
        }
        line.texts("policies", self.policies);
        line.text("policy_version", self.policy_version);
        if self.repeats > 1 {
            line.shown_bare("repeats", self.repeats);
        }
    }
}

impl Playback<'_> {
    fn tell(&self, line: &mut Line) {
        line.text("viewing", self.viewing);
        tell_caller(self.caller, self.source_ip, line);
        line.text("protocol", self.protocol);
        line.text("stream", self.stream.as_str());
        line.text("mode", self.mode.as_str());
        if let Some((from, to)) = self.footage {
            line.shown("from", from);
            line.shown("to", to);
        }
        line.shown_bare("seconds", self.seconds);
        line.shown_bare("bytes", self.bytes);
        line.text("policy_version", self.policy_version);
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
        let (caller, stream) = (Arc::new(caller()), StreamName::parse("cam-1").unwrap());
        let start = Timestamp::from_millis(1_767_225_600_000);
        let decision = Decision {
            request_id: &"r-1".into(),
            caller: &caller,
            source_ip: "::ffff:10.0.0.1".parse().unwrap(),
            action: "GetClip",
            stream: Some(&stream),
            place: Some(Place { region: &"eu-west-1".into(), account: Some(&"111122223333".into()) }),
            mode: None,
            range: Some(TimeRange { start, end: Some(start) }),
            outcome: Err("no_permit"),
            policies: &[Arc::from("a (b.cedar:1)")].into(),
            policy_version: &"0123456789ab".into(),
            repeats: 1,
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
                "stream": "cam-1", "region": "eu-west-1", "account": "111122223333",
                "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T00:00:00.000Z",
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
