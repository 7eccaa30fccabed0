//! What a capability says: which caller may play which stream, with which session parameters, or may have
//! which clip or picture of it, until when.
//!
//! It holds *parameters*, no KVS token and no host. Any replica can open or find the upstream session with
//! them, and policy can judge the caller's attributes again at each request. `keys` seals it.

use super::compact::{FieldReader, FieldWriter};
use super::error::Error;
use super::link::Link;
use crate::caller::{Attribute, Caller, SigningKey};
use crate::kvs::{
    Container, DiscontinuityMode, PlaybackMode, Protocol, SelectorType, SessionParameters, StreamArn,
    StreamName, StreamRef, Timestamp,
};
use aws_lc_rs::digest;
use std::net::IpAddr;
use std::sync::Arc;

/// "This caller may play this stream with these parameters, or have this file of it, until then."
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The caller of the verified token; judged anew at each request.
    pub caller: Caller,
    /// The stream. By ARN where it is known, since a name can be given to another stream later.
    pub stream: StreamRef,
    /// What of the stream it opens.
    pub opens: Opens,
    /// When it was made. A LIVE_REPLAY begins here.
    pub issued: Timestamp,
    /// Its end, see [`super::lifetime`].
    pub expires: Timestamp,
    /// What the request must show besides the capability.
    pub bind: Option<Binding>,
    /// The version of the policies that were in force, if `caller` holds only the groups that those name:
    /// others may name, or forbid, a group that was left out.
    pub policies: Option<Arc<str>>,
    /// The issuer's key that verified the caller's token: the capability ends when it is trusted no more.
    /// None in capabilities of versions that did not write it.
    pub key: Option<SigningKey>,
}

/// What a capability opens. One kind opens nothing of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opens {
    /// The resources of a playback session with these parameters.
    Session(Arc<SessionParameters>),
    /// One file.
    Link(Link),
}

/// What ties a capability to the client that it was made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Binding {
    /// The client's address.
    Address(IpAddr),
    /// The digest of a cookie's value.
    Cookie([u8; 16]),
}

impl Binding {
    /// Binds to a cookie's value; only its digest is kept.
    #[must_use]
    pub fn cookie(value: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, value.as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_ref()[..16]);
        Self::Cookie(short)
    }

    /// True if a request from `address` with binding cookie `cookie` is by the client that the capability was
    /// made for. An IPv4 address and its IPv6-mapped form are the same.
    #[must_use]
    pub fn holds(&self, address: IpAddr, cookie: Option<&str>) -> bool {
        match self {
            Self::Address(bound) => bound.to_canonical() == address.to_canonical(),
            Self::Cookie(_) => cookie.is_some_and(|value| Self::cookie(value) == *self),
        }
    }
}

/// The first byte: how the rest is written. Without a signing key.
const FORM: u8 = 1;
/// The same, with the signing key behind it.
const KEYED: u8 = 2;
/// A link, with the signing key behind it, which is empty if there is none.
const LINK: u8 = 3;

/// Most ARNs begin so.
const ARN_START: &str = "arn:aws:kinesisvideo:";

impl Statement {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut to = FieldWriter::default();
        match (&self.opens, &self.key) {
            (Opens::Session(_), None) => to.byte(FORM),
            (Opens::Session(_), Some(SigningKey(key))) => {
                to.byte(KEYED);
                to.bytes(key);
            }
            (Opens::Link(_), key) => {
                to.byte(LINK);
                to.bytes(key.as_ref().map_or(&[], |SigningKey(key)| key.as_slice()));
            }
        }
        to.number(self.issued.millis());
        to.number(self.expires.millis());
        write_binding(&mut to, self.bind.as_ref());
        match &self.stream {
            StreamRef::Name(name) => {
                to.byte(0);
                to.text(name.as_str());
            }
            StreamRef::Arn(arn) => match arn.as_str().strip_prefix(ARN_START) {
                Some(rest) => {
                    to.byte(2);
                    to.text(rest);
                }
                None => {
                    to.byte(1);
                    to.text(arn.as_str());
                }
            },
        }
        match &self.opens {
            Opens::Session(session) => write_session(&mut to, session),
            Opens::Link(link) => link.write(&mut to),
        }
        write_caller(&mut to, &self.caller);
        if let Some(version) = &self.policies {
            to.text(version);
        }
        to.finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut from = FieldReader(bytes);
        let form = from.byte()?;
        let key = match form {
            FORM => None,
            KEYED | LINK => match from.bytes()? {
                [] if form == LINK => None,
                key => match key.try_into() {
                    Ok(key) => Some(SigningKey(key)),
                    Err(_) => return FieldReader::broken(),
                },
            },
            _ => return FieldReader::broken(),
        };
        let issued = Timestamp::from_millis(from.number()?);
        let expires = Timestamp::from_millis(from.number()?);
        let bind = read_binding(&mut from)?;
        let kind = from.byte()?;
        let text = from.text()?;
        let stream = match kind {
            0 => StreamName::parse(&text).map(StreamRef::Name),
            1 => StreamArn::parse(&text).map(StreamRef::Arn),
            2 => StreamArn::parse(&format!("{ARN_START}{text}")).map(StreamRef::Arn),
            _ => return FieldReader::broken(),
        };
        let Ok(stream) = stream else { return FieldReader::broken() };
        let opens = if form == LINK {
            Opens::Link(Link::read(&mut from)?)
        } else {
            Opens::Session(read_session(&mut from)?.into())
        };
        let caller = read_caller(&mut from)?;
        // Written only where it is needed, so that all others stay as they were.
        let policies = if from.end().is_ok() { None } else { Some(from.text()?.into()) };
        from.end()?;
        Ok(Self { caller, stream, opens, issued, expires, bind, policies, key })
    }
}

fn write_binding(to: &mut FieldWriter, bind: Option<&Binding>) {
    match bind {
        None => to.byte(0),
        Some(Binding::Address(IpAddr::V4(address))) => {
            to.byte(1);
            to.bytes(&address.octets());
        }
        Some(Binding::Address(IpAddr::V6(address))) => {
            to.byte(1);
            to.bytes(&address.octets());
        }
        Some(Binding::Cookie(digest)) => {
            to.byte(2);
            to.bytes(digest);
        }
    }
}

fn read_binding(from: &mut FieldReader<'_>) -> Result<Option<Binding>, Error> {
    let kind = from.byte()?;
    if kind == 0 {
        return Ok(None);
    }
    let bytes = from.bytes()?;
    let four: Result<[u8; 4], _> = bytes.try_into();
    let sixteen: Result<[u8; 16], _> = bytes.try_into();
    match (kind, four, sixteen) {
        (1, Ok(octets), _) => Ok(Some(Binding::Address(octets.into()))),
        (1, _, Ok(octets)) => Ok(Some(Binding::Address(octets.into()))),
        (2, _, Ok(digest)) => Ok(Some(Binding::Cookie(digest))),
        _ => FieldReader::broken(),
    }
}

fn write_session(to: &mut FieldWriter, session: &SessionParameters) {
    let flag = |set: bool, bit: u8| u8::from(set) << bit;
    let mode = match session.mode {
        PlaybackMode::Live => 0,
        PlaybackMode::LiveReplay => 1,
        PlaybackMode::OnDemand => 2,
    };
    let discontinuity = match session.discontinuity {
        DiscontinuityMode::Always => 0,
        DiscontinuityMode::Never => 1,
        DiscontinuityMode::OnDiscontinuity => 2,
    };
    to.byte(
        flag(session.protocol == Protocol::Dash, 0)
            | flag(session.selector == SelectorType::Server, 1)
            | flag(session.container == Container::MpegTs, 2)
            | flag(session.show_timestamps, 3)
            | flag(session.show_numbers, 4)
            | flag(session.start.is_some(), 5)
            | flag(session.end.is_some(), 6)
            | flag(session.ends_when_silent, 7),
    );
    to.byte(mode | discontinuity << 4);
    to.number(u64::from(session.max_fragments));
    for time in [session.start, session.end].into_iter().flatten() {
        to.number(time.millis());
    }
}

fn read_session(from: &mut FieldReader<'_>) -> Result<SessionParameters, Error> {
    let flags = from.byte()?;
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let modes = from.byte()?;
    let mode = match modes & 15 {
        0 => PlaybackMode::Live,
        1 => PlaybackMode::LiveReplay,
        2 => PlaybackMode::OnDemand,
        _ => return FieldReader::broken(),
    };
    let discontinuity = match modes >> 4 {
        0 => DiscontinuityMode::Always,
        1 => DiscontinuityMode::Never,
        2 => DiscontinuityMode::OnDiscontinuity,
        _ => return FieldReader::broken(),
    };
    let Ok(max_fragments) = u16::try_from(from.number()?) else { return FieldReader::broken() };
    let mut time = |present: bool| present.then(|| from.number().map(Timestamp::from_millis)).transpose();
    Ok(SessionParameters {
        protocol: if flag(0) { Protocol::Dash } else { Protocol::Hls },
        mode,
        selector: if flag(1) { SelectorType::Server } else { SelectorType::Producer },
        start: time(flag(5))?,
        end: time(flag(6))?,
        container: if flag(2) { Container::MpegTs } else { Container::FragmentedMp4 },
        discontinuity,
        show_timestamps: flag(3),
        show_numbers: flag(4),
        max_fragments,
        ends_when_silent: flag(7),
    })
}

fn write_caller(to: &mut FieldWriter, caller: &Caller) {
    to.path(&caller.issuer);
    to.text(&caller.subject);
    match &caller.token_id {
        None => to.byte(0),
        Some(id) => {
            to.byte(1);
            to.text(id);
        }
    }
    to.number(caller.expires.millis());
    to.texts(caller.groups.iter());
    to.number(caller.attributes.len() as u64);
    for (name, value) in &caller.attributes {
        to.text(name);
        match value {
            Attribute::Bool(value) => to.byte(u8::from(*value)),
            Attribute::Long(value) => {
                to.byte(2);
                to.number(value.cast_unsigned());
            }
            Attribute::Text(value) => {
                to.byte(3);
                to.text(value);
            }
            Attribute::Texts(values) => {
                to.byte(4);
                to.texts(values.iter());
            }
            Attribute::Ip(value) => {
                to.byte(5);
                to.text(value);
            }
            Attribute::Datetime(value) => {
                to.byte(6);
                to.number(value.millis());
            }
        }
    }
}

fn read_caller(from: &mut FieldReader<'_>) -> Result<Caller, Error> {
    let issuer = from.path()?.into();
    let subject = from.text()?.into();
    let token_id = match from.byte()? {
        0 => None,
        1 => Some(from.text()?.into()),
        _ => return FieldReader::broken(),
    };
    let expires = Timestamp::from_millis(from.number()?);
    let groups = from.texts()?.into_iter().collect();
    let mut attributes = std::collections::BTreeMap::new();
    for _ in 0..from.length()? {
        let name = from.text()?;
        let value = match from.byte()? {
            flag @ (0 | 1) => Attribute::Bool(flag == 1),
            2 => Attribute::Long(from.number()?.cast_signed()),
            3 => Attribute::Text(from.text()?),
            4 => Attribute::Texts(from.texts()?.into_iter().collect()),
            5 => Attribute::Ip(from.text()?),
            6 => Attribute::Datetime(Timestamp::from_millis(from.number()?)),
            _ => return FieldReader::broken(),
        };
        attributes.insert(name, value);
    }
    Ok(Caller { issuer, subject, token_id, groups, groups_withheld: false, attributes, expires })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::playback::LinkFile;
    use proptest::prelude::*;

    /// Anything that could be sealed.
    pub(in crate::playback) fn any_statement() -> impl Strategy<Value = Statement> {
        let value = prop_oneof![
            any::<bool>().prop_map(Attribute::Bool),
            any::<i64>().prop_map(Attribute::Long),
            "\\PC{0,12}".prop_map(Attribute::Text),
            proptest::collection::btree_set("[a-z]{0,8}", 0..4)
                .prop_map(|texts| Attribute::Texts(texts.into_iter().collect())),
            "10\\.[0-9]{1,2}\\.0\\.0/16".prop_map(Attribute::Ip),
            (0..4_000_000_000_000_u64).prop_map(|at| Attribute::Datetime(Timestamp::from_millis(at))),
        ];
        let caller = (
            "https://[a-z]{1,12}\\.example/",
            "\\PC{1,20}",
            proptest::option::of("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
            proptest::collection::btree_set("[a-z\u{fc}/-]{0,12}", 0..6),
            proptest::collection::btree_map("[a-z]{1,8}", value, 0..4),
            0..4_000_000_000_000_u64,
        )
            .prop_map(|(issuer, subject, id, groups, attributes, expires)| Caller {
                issuer: issuer.into(),
                subject: subject.into(),
                token_id: id.map(Into::into),
                groups: groups.into_iter().collect(),
                groups_withheld: false,
                attributes,
                expires: Timestamp::from_millis(expires),
            });
        let stream = prop_oneof![
            "[a-zA-Z0-9_.-]{1,40}".prop_map(|name| StreamRef::Name(StreamName::parse(&name).unwrap())),
            "arn:aws(-cn)?:kinesisvideo:[a-z]{2}-west-1:[0-9]{12}:stream/[a-z-]{1,20}/[0-9]{13}"
                .prop_map(|arn| StreamRef::Arn(StreamArn::parse(&arn).unwrap())),
        ];
        let time = || (0..4_000_000_000_000_u64).prop_map(Timestamp::from_millis);
        let session = (
            prop_oneof![Just(Protocol::Hls), Just(Protocol::Dash)],
            prop_oneof![
                Just(PlaybackMode::Live),
                Just(PlaybackMode::LiveReplay),
                Just(PlaybackMode::OnDemand)
            ],
            prop_oneof![Just(SelectorType::Server), Just(SelectorType::Producer)],
            (proptest::option::of(time()), proptest::option::of(time())),
            prop_oneof![Just(Container::FragmentedMp4), Just(Container::MpegTs)],
            prop_oneof![
                Just(DiscontinuityMode::Always),
                Just(DiscontinuityMode::Never),
                Just(DiscontinuityMode::OnDiscontinuity)
            ],
            any::<(bool, bool)>(),
            1..=5000_u16,
        )
            .prop_map(
                |(protocol, mode, selector, (start, end), container, discontinuity, show, n)| {
                    SessionParameters {
                        protocol,
                        mode,
                        selector,
                        start,
                        end,
                        container,
                        discontinuity,
                        show_timestamps: show.0,
                        show_numbers: show.1,
                        max_fragments: n,
                        ends_when_silent: show.0 && !show.1,
                    }
                },
            );
        let file = prop_oneof![
            Just(LinkFile::Mp4Clip),
            Just(LinkFile::MatroskaClip),
            Just(LinkFile::Snapshot),
            Just(LinkFile::PngSnapshot)
        ];
        let link = (file, "[!-~]{0,40}").prop_map(|(file, query)| Opens::Link(Link { file, query }));
        let opens = prop_oneof![session.prop_map(|session| Opens::Session(session.into())), link];
        let bind = proptest::option::of(prop_oneof![
            any::<[u8; 4]>().prop_map(|a| Binding::Address(a.into())),
            any::<[u8; 16]>().prop_map(|a| Binding::Address(a.into())),
            any::<[u8; 16]>().prop_map(Binding::Cookie),
        ]);
        let policies = proptest::option::of("[0-9a-f]{12}");
        let key = proptest::option::of(any::<[u8; 8]>().prop_map(SigningKey));
        (caller, stream, opens, time(), time(), bind, policies, key).prop_map(
            |(caller, stream, opens, issued, expires, bind, policies, key)| Statement {
                caller,
                stream,
                opens,
                issued,
                expires,
                bind,
                policies: policies.map(Into::into),
                key,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(statement in any_statement()) {
            prop_assert_eq!(Statement::from_bytes(&statement.to_bytes()), Ok(statement));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = Statement::from_bytes(&bytes);
            let _ = Statement::from_bytes(&[&[FORM], &bytes[..]].concat());
        }
    }

    #[test]
    fn a_binding_holds_for_its_owner_only() {
        let here = Binding::Address("192.0.2.7".parse().unwrap());
        assert!(here.holds("192.0.2.7".parse().unwrap(), None));
        assert!(here.holds("::ffff:192.0.2.7".parse().unwrap(), None));
        assert!(!here.holds("192.0.2.8".parse().unwrap(), None));
        let cookie = Binding::cookie("value");
        assert!(cookie.holds("192.0.2.7".parse().unwrap(), Some("value")));
        assert!(!cookie.holds("192.0.2.7".parse().unwrap(), Some("guess")));
        assert!(!cookie.holds("192.0.2.7".parse().unwrap(), None));
    }
}
