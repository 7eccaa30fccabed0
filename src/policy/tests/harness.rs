//! Callers, streams and requests for the tests of this part.

use crate::caller::Caller;
use crate::kvs::{
    Call, Container, DiscontinuityMode, FragmentNumber, Operation, PlaybackMode, Protocol, Request, Resource,
    SelectorType, SessionParameters, StreamName, StreamRef, Timestamp,
};
use crate::policy::{
    AttributeType, Attributes, Config, NamePattern, Policy, RequestContext, StreamFacts, Zone,
};
use crate::setting::Mistake;
use std::sync::Arc;
use std::time::Duration;

/// 2026-01-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub fn config() -> Config {
    let sets = [("lobby", vec!["lobby-*"]), ("vault", vec!["vault-*"]), ("all", vec!["*"])];
    let stream_sets = sets.map(|(name, globs)| (name.into(), globs.into_iter().map(Into::into).collect()));
    Config {
        files: vec![],
        stream_sets: stream_sets.into(),
        stream_names: vec![NamePattern::parse("{place}-{number}").unwrap()],
        time_zone: Zone::named("Europe/Berlin").unwrap(),
    }
}

pub fn load_with(text: &str, mut config: Config, attributes: &Attributes) -> Result<Policy, Vec<Mistake>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.cedar"), text).unwrap();
    config.files = vec!["*.cedar".into()];
    config.resolve(folder.path());
    Policy::load(&config, attributes)
}

pub fn load(text: &str) -> Result<Policy, Vec<Mistake>> {
    let attributes = [("clearance", AttributeType::Long), ("sites", AttributeType::Set)];
    load_with(text, config(), &Attributes(attributes.map(|(name, kind)| (name.into(), kind)).into()))
}

pub fn policy(text: &str) -> Policy {
    load(text).map_err(|mistakes| format!("{text}\n{mistakes:#?}")).unwrap()
}

pub fn caller(subject: &str, groups: &[&str]) -> Arc<Caller> {
    Arc::new(Caller {
        issuer: "https://login.example.com/".into(),
        subject: subject.into(),
        token_id: None,
        groups: groups.iter().collect(),
        groups_withheld: false,
        attributes: Default::default(),
        expires: NOW.plus(Duration::from_secs(3600)),
    })
}

pub fn facts(stream: &str) -> StreamFacts {
    StreamFacts {
        name: StreamName::parse(stream).unwrap(),
        region: "eu-west-1".into(),
        account: None,
        arn: None,
        tags: None,
    }
}

pub fn context(stream: &str) -> RequestContext {
    RequestContext { now: NOW, source_ip: "10.0.0.1".parse().unwrap(), stream: Some(facts(stream)) }
}

pub fn permits(policy: &Policy, caller: &Arc<Caller>, request: Request, stream: &str) -> bool {
    policy.permit(caller.clone(), request, &context(stream)).is_ok()
}

pub fn request(operation: Operation, body: &str) -> Request {
    let call = Call::read(operation, body.as_bytes(), NOW);
    Request::Call(call.map_err(|invalid| format!("{body}: {invalid:?}")).unwrap())
}

/// A request for a stream still to be named.
pub type Ask = Box<dyn Fn(&str) -> Request>;

fn ago(seconds: u64) -> u64 {
    NOW.minus(Duration::from_secs(seconds)).millis() / 1000
}

fn ask(operation: Operation, members: String) -> Ask {
    Box::new(move |stream| request(operation, &format!(r#"{{"StreamName":"{stream}"{members}}}"#)))
}

fn range(start: u64, end: u64) -> String {
    format!(r#""TimestampRange":{{"StartTimestamp":{},"EndTimestamp":{}}}"#, ago(start), ago(end))
}

pub fn live() -> Ask {
    ask(Operation::GetHlsStreamingSessionUrl, r#","PlaybackMode":"LIVE""#.into())
}

pub fn on_demand(start: u64, end: u64) -> Ask {
    let members = format!(
        r#","PlaybackMode":"ON_DEMAND","HLSFragmentSelector":{{"FragmentSelectorType":"SERVER_TIMESTAMP",{}}}"#,
        range(start, end)
    );
    ask(Operation::GetHlsStreamingSessionUrl, members)
}

pub fn live_replay(start: u64) -> Ask {
    let members = format!(
        r#","PlaybackMode":"LIVE_REPLAY","DASHFragmentSelector":{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{{"StartTimestamp":{}}}}}"#,
        ago(start)
    );
    ask(Operation::GetDashStreamingSessionUrl, members)
}

pub fn images(start: u64, end: u64) -> Ask {
    let members = format!(
        r#","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":{},"EndTimestamp":{},"Format":"JPEG""#,
        ago(start),
        ago(end)
    );
    ask(Operation::GetImages, members)
}

pub fn clip(start: u64, end: u64) -> Ask {
    let members = format!(
        r#","ClipFragmentSelector":{{"FragmentSelectorType":"SERVER_TIMESTAMP",{}}}"#,
        range(start, end)
    );
    ask(Operation::GetClip, members)
}

pub fn fragments(start: u64, end: u64) -> Ask {
    let members =
        format!(r#","FragmentSelector":{{"FragmentSelectorType":"SERVER_TIMESTAMP",{}}}"#, range(start, end));
    ask(Operation::ListFragments, members)
}

pub fn fragments_by_token() -> Ask {
    ask(Operation::ListFragments, r#","NextToken":"AAAA""#.into())
}

pub fn describe() -> Ask {
    ask(Operation::DescribeStream, String::new())
}

pub fn endpoint(api: &str) -> Ask {
    ask(Operation::GetDataEndpoint, format!(r#","APIName":"{api}""#))
}

pub fn fragment_list(numbers: &[&str]) -> Ask {
    ask(Operation::GetMediaForFragmentList, format!(r#","Fragments":["{}"]"#, numbers.join("\",\"")))
}

/// The number of a fragment that reached KVS so long ago, with counter and tail 0.
pub fn fragment_number(seconds_ago: u64) -> String {
    // 2^156 + millis * 2^28, added up in decimal.
    let mut digits: Vec<u8> =
        "91343852333181432387730302044767688728495783936".bytes().rev().map(|b| b - b'0').collect();
    let mut carry = u128::from(NOW.minus(Duration::from_secs(seconds_ago)).millis()) << 28;
    for digit in &mut digits {
        carry += u128::from(*digit);
        *digit = (carry % 10) as u8;
        carry /= 10;
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

pub fn session(start: u64, end: u64) -> SessionParameters {
    let at = |seconds| Some(NOW.minus(Duration::from_secs(seconds)));
    SessionParameters { mode: PlaybackMode::OnDemand, start: at(start), end: at(end), ..live_session() }
}

pub fn live_session() -> SessionParameters {
    SessionParameters {
        protocol: Protocol::Hls,
        mode: PlaybackMode::Live,
        selector: SelectorType::Server,
        start: None,
        end: None,
        container: Container::FragmentedMp4,
        discontinuity: DiscontinuityMode::Always,
        show_timestamps: false,
        show_numbers: false,
        max_fragments: 5,
        ends_when_silent: false,
    }
}

pub fn segment(number: &str) -> Resource {
    Resource::Mp4Fragment {
        protocol: Protocol::Hls,
        number: FragmentNumber::parse(number).unwrap(),
        track: 1,
    }
}

pub fn playback(session: SessionParameters, resource: Resource) -> Ask {
    let session = Arc::new(session);
    Box::new(move |stream| Request::Playback {
        stream: StreamRef::Name(StreamName::parse(stream).unwrap()),
        session: session.clone(),
        resource: resource.clone(),
    })
}
