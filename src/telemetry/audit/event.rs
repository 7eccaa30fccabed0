//! What the audit log has entries for, and the JSON line of each. `docs/AUDIT.md` describes every key.
//!
//! An entry holds no token, capability or KVS secret, because none of its fields can: they are names, times
//! and counts.

use crate::caller::{Attribute, Caller};
use crate::kvs::{PlaybackMode, StreamName, TimeRange, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::net::IpAddr;
use std::sync::Arc;

/// What an entry is about.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A decision on a request.
    Decision(Decision<'a>),
    /// A viewing has begun.
    PlaybackStart(Playback<'a>),
    /// What it showed since its last entry.
    PlaybackMinute(Playback<'a>),
    /// A viewing has ended, or kvs-edge is stopping: what it showed in all.
    PlaybackEnd(Playback<'a>),
    /// This many entries could not be written.
    Lost(u64),
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The request's id, as the response has it.
    pub request_id: &'a Arc<str>,
    /// The caller.
    pub caller: &'a Arc<Caller>,
    /// The client's address.
    pub source_ip: IpAddr,
    /// AWS's name of the action.
    pub action: &'static str,
    /// Which stream; `None` for ListStreams.
    pub stream: Option<&'a StreamName>,
    /// The stream's region and account, as far as they are known: two accounts may have streams of one name.
    pub place: Option<StreamLocation<'a>>,
    /// Live or archive, where there is a difference.
    pub mode: Option<PlaybackMode>,
    /// The footage, where the request names it.
    pub range: Option<TimeRange>,
    /// Whether it was permitted; if not, the reason in one word.
    pub outcome: Result<(), &'static str>,
    /// The policies that decided.
    pub policies: &'a Arc<[Arc<str>]>,
    /// The highest `@severity` of them, in one word.
    pub severity: Option<&'static str>,
    /// The version of the set of policies.
    pub policy_version: &'a Arc<str>,
    /// The number of equal decisions that the line stands for; it names the last of them. Shown from 2 on.
    pub repeats: u64,
}

/// The region and account of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamLocation<'a> {
    /// Its region.
    pub region: &'a Arc<str>,
    /// Its account, if known.
    pub account: Option<&'a Arc<str>>,
}

/// Watching.
#[derive(Clone, Debug)]
pub struct Playback<'a> {
    /// Distinguishes this viewing from others. It is no secret: nothing can be opened with it.
    pub viewing: &'a str,
    /// The caller.
    pub caller: &'a Caller,
    /// The client's address.
    pub source_ip: IpAddr,
    /// `hls` or `dash`.
    pub protocol: &'a str,
    /// Which stream.
    pub stream: &'a StreamName,
    /// Live or archive.
    pub mode: PlaybackMode,
    /// The footage shown, as far as the times of fragments are known.
    pub footage: Option<(Timestamp, Timestamp)>,
    /// How long, in seconds of the wall clock.
    pub seconds: u64,
    /// How many bytes of media.
    pub bytes: u64,
    /// The policies in force.
    pub policy_version: &'a str,
}

impl Event<'_> {
    /// Appends the line, with its line break. `time` is when it happened; `claims` are the attributes of
    /// callers that lines show (`[log] audit_claims`).
    pub fn append(&self, time: Timestamp, claims: &[String], lines: &mut Vec<u8>) {
        let time = Rfc3339(time);
        // Writing to memory does not fail, and neither does serializing texts and numbers.
        let _ = match self {
            Self::Decision(decision) => serde_json::to_writer(&mut *lines, &decision.line(time, claims)),
            Self::PlaybackStart(playback) | Self::PlaybackMinute(playback) | Self::PlaybackEnd(playback) => {
                serde_json::to_writer(&mut *lines, &playback.line(time, self.name(), claims))
            }
            Self::Lost(count) => {
                let line = LostLine { time, event: self.name(), lines: *count };
                serde_json::to_writer(&mut *lines, &line)
            }
        };
        lines.push(b'\n');
    }

    /// The line, without its line break.
    #[cfg(test)]
    pub fn line(&self, time: Timestamp) -> String {
        let mut line = Vec::new();
        self.append(time, &["email".to_owned(), "since".to_owned(), "none".to_owned()], &mut line);
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::PlaybackStart(_) => "playback_start",
            Self::PlaybackMinute(_) => "playback",
            Self::PlaybackEnd(_) => "playback_end",
            Self::Lost(_) => "lost",
        }
    }
}

/// A time as the log shows it. `Timestamp` itself serializes as a number.
struct Rfc3339(Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// The line of a decision; its fields are in the order of the keys.
#[derive(Serialize)]
struct DecisionLine<'a> {
    time: Rfc3339,
    event: &'static str,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    request_id: &'a str,
    sub: &'a str,
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<ShownClaims<'a>>,
    ip: IpAddr,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Rfc3339>,
    #[serde(serialize_with = "texts")]
    policies: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    policy_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u64>,
}

/// The configured ones of a caller's attributes.
struct ShownClaims<'a> {
    caller: &'a Caller,
    names: &'a [String],
}

impl<'a> ShownClaims<'a> {
    /// `None` if the caller has none of them.
    fn of(caller: &'a Caller, names: &'a [String]) -> Option<Self> {
        let any = names.iter().any(|name| caller.attributes.contains_key(name));
        any.then_some(Self { caller, names })
    }
}

impl Serialize for ShownClaims<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for name in self.names {
            match self.caller.attributes.get(name) {
                None => {}
                Some(Attribute::Datetime(at)) => map.serialize_entry(name, &Rfc3339(*at))?,
                Some(value) => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

fn texts<S: Serializer>(texts: &[Arc<str>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(texts.iter().map(|text| &**text))
}

impl Decision<'_> {
    fn line<'a>(&'a self, time: Rfc3339, claims: &'a [String]) -> DecisionLine<'a> {
        DecisionLine {
            time,
            event: "decision",
            decision: if self.outcome.is_ok() { "permit" } else { "deny" },
            reason: self.outcome.err(),
            request_id: self.request_id,
            sub: &self.caller.subject,
            iss: &self.caller.issuer,
            jti: self.caller.token_id.as_deref(),
            claims: ShownClaims::of(self.caller, claims),
            ip: self.source_ip.to_canonical(),
            action: self.action,
            stream: self.stream.map(StreamName::as_str),
            region: self.place.map(|place| &**place.region),
            account: self.place.and_then(|place| place.account).map(|account| &**account),
            mode: self.mode.map(PlaybackMode::as_str),
            from: self.range.map(|range| Rfc3339(range.start)),
            to: self.range.and_then(|range| range.end).map(Rfc3339),
            policies: self.policies,
            severity: self.severity,
            policy_version: self.policy_version,
            repeats: (self.repeats > 1).then_some(self.repeats),
        }
    }
}

/// The line of a playback event; its fields are in the order of the keys.
#[derive(Serialize)]
struct PlaybackLine<'a> {
    time: Rfc3339,
    event: &'static str,
    viewing: &'a str,
    sub: &'a str,
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<ShownClaims<'a>>,
    ip: IpAddr,
    protocol: &'a str,
    stream: &'a str,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Rfc3339>,
    seconds: u64,
    bytes: u64,
    policy_version: &'a str,
}

impl Playback<'_> {
    fn line<'a>(&'a self, time: Rfc3339, event: &'static str, claims: &'a [String]) -> PlaybackLine<'a> {
        PlaybackLine {
            time,
            event,
            viewing: self.viewing,
            sub: &self.caller.subject,
            iss: &self.caller.issuer,
            jti: self.caller.token_id.as_deref(),
            claims: ShownClaims::of(self.caller, claims),
            ip: self.source_ip.to_canonical(),
            protocol: self.protocol,
            stream: self.stream.as_str(),
            mode: self.mode.as_str(),
            from: self.footage.map(|(from, _)| Rfc3339(from)),
            to: self.footage.map(|(_, to)| Rfc3339(to)),
            seconds: self.seconds,
            bytes: self.bytes,
            policy_version: self.policy_version,
        }
    }
}

/// The line that reports lost entries.
#[derive(Serialize)]
struct LostLine {
    time: Rfc3339,
    event: &'static str,
    lines: u64,
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
            groups_withheld: false,
            attributes: [
                ("email".to_owned(), Attribute::Text("alice@example.com".into())),
                ("since".to_owned(), Attribute::Datetime(Timestamp::from_millis(1_767_225_600_000))),
                ("salary".to_owned(), Attribute::Long(1)),
            ]
            .into(),
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
            place: Some(StreamLocation {
                region: &"eu-west-1".into(),
                account: Some(&"111122223333".into()),
            }),
            mode: None,
            range: Some(TimeRange { start, end: Some(start) }),
            outcome: Err("no_permit"),
            policies: &[Arc::from("a (b.cedar:1)")].into(),
            severity: Some("high"),
            policy_version: &"0123456789ab".into(),
            repeats: 1,
        };
        let line = Event::Decision(decision).line(start);
        // The order of the keys is that of docs/AUDIT.md.
        assert!(
            line.starts_with(r#"{"time":"2026-01-01T00:00:00.000Z","event":"decision","decision":"deny","#)
        );
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
                "claims": {"email": "alice@example.com", "since": "2026-01-01T00:00:00.000Z"},
                "policies": ["a (b.cedar:1)"], "severity": "high", "policy_version": "0123456789ab",
            })
        );
    }
}
