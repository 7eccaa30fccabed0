//! The whole path against a tiny KVS on loopback that answers by script.

use super::*;
use crate::base::clock;
use crate::kvs::{Call, Operation, StreamName, StreamRef, Timestamp};
use crate::setting::{SecretSource, Span};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod faults;
mod media;
mod session;

/// A KVS that answers each path from a script, then with its usual answer.
pub(super) struct Kvs {
    pub(super) url: String,
    scripts: Mutex<HashMap<String, VecDeque<Reply>>>,
    usual: Mutex<HashMap<String, Reply>>,
    seen: Mutex<Vec<Seen>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) head: String,
    pub(super) body: String,
}

#[derive(Clone)]
pub(super) enum Reply {
    /// A whole answer with a length.
    Is { status: u16, headers: &'static str, body: Vec<u8> },
    /// These bytes as they are, then the end.
    Raw(&'static str),
    /// Nothing, for ever.
    Hang,
}

pub(super) fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Is { status: 200, headers: "content-type: application/json\r\n", body: body.into() }
}

pub(super) fn fault(status: u16, kind: &'static str) -> Reply {
    let headers = Box::leak(format!("x-amzn-ErrorType: {kind}:http://x/\r\n").into_boxed_str());
    Reply::Is { status, headers, body: br#"{"Message":"so says the script"}"#.to_vec() }
}

pub(super) fn wrong_host() -> Reply {
    ok(r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#)
}

impl Kvs {
    pub(super) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this = Arc::new(Self {
            url: url.clone(),
            scripts: Mutex::default(),
            usual: Mutex::default(),
            seen: Mutex::default(),
        });
        this.usually("/getDataEndpoint", ok(format!(r#"{{"DataEndpoint":"{url}"}}"#)));
        this.usually("/listFragments", ok(r#"{"Fragments":[],"NextToken":null}"#));
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(socket));
            }
        });
        this
    }

    pub(super) fn usually(&self, path: &str, reply: Reply) {
        self.usual.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub(super) fn then(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.scripts.lock().unwrap().entry(path.to_owned()).or_default().extend(replies);
    }

    pub(super) fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.path.split('?').next() == Some(path))
            .cloned()
            .collect()
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        while let Some(seen) = read_request(&mut socket).await {
            let path = seen.path.split('?').next().unwrap_or_default().to_owned();
            self.seen.lock().unwrap().push(seen);
            let scripted = self.scripts.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front);
            let reply = scripted.or_else(|| self.usual.lock().unwrap().get(&path).cloned());
            match reply.unwrap_or_else(|| fault(404, "ResourceNotFoundException")) {
                Reply::Is { status, headers, body } => {
                    let head =
                        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
                    if socket.write_all(&[head.into_bytes(), body].concat()).await.is_err() {
                        return;
                    }
                }
                Reply::Raw(text) => {
                    let _ = socket.write_all(text.as_bytes()).await;
                    return;
                }
                Reply::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                let path = head.split(' ').nth(1)?.to_owned();
                return Some(Seen { path, head: head.to_owned(), body: body.to_owned() });
            }
        }
        let mut more = [0; 4096];
        match socket.read(&mut more).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&more[..n]),
            _ => return None,
        }
    }
}

/// Keys in files: tests do not touch the environment.
fn keys(folder: &std::path::Path) -> (SecretSource, SecretSource) {
    let file = |name: &str| {
        std::fs::write(folder.join(name), format!("AKID{name}")).unwrap();
        SecretSource::File(folder.join(name))
    };
    (file("id"), file("secret"))
}

pub(super) async fn upstream_with(kvs: &Kvs, config: Config) -> Upstream {
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = keys(folder.path());
    let entry = EntryConfig {
        endpoint_url: Some(kvs.url.clone()),
        access_key_id: Some(id),
        secret_access_key: Some(secret),
        ..EntryConfig::new("main", "eu-west-1")
    };
    let metrics = crate::upstream::metrics::for_tests(&prometheus::Registry::new());
    Upstream::start(&[entry], &config, None, metrics).await.unwrap()
}

pub(super) async fn upstream(kvs: &Kvs) -> Upstream {
    upstream_with(kvs, Config::default()).await
}

pub(super) fn quick() -> Config {
    let short = Span(Duration::from_millis(300));
    Config { first_byte: short, clip_first_byte: short, between_bytes: short, ..Config::default() }
}

pub(super) fn stream(name: &str) -> StreamRef {
    StreamRef::Name(StreamName::parse(name).unwrap())
}

pub(super) fn call(operation: Operation, body: &str) -> Call {
    Call::read(operation, body.as_bytes(), Timestamp::from(clock::now())).unwrap()
}

pub(super) fn list() -> Call {
    let range = r#"{"StartTimestamp":1700000000,"EndTimestamp":1700000060}"#;
    let selector = format!(r#"{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{range}}}"#);
    call(Operation::ListFragments, &format!(r#"{{"StreamName":"cam-1","FragmentSelector":{selector}}}"#))
}

pub(super) async fn listed(upstream: &Upstream) -> Result<bytes::Bytes, Error> {
    let located = upstream.locate(&stream("cam-1"))?;
    let answer = upstream.call(&located, &list(), &OnBehalfOf::all_callers("alice")).await?;
    answer.bytes(1 << 20).await.map_err(|broken| Error::BrokenAnswer(broken.to_string()))
}

#[tokio::test]
async fn a_call_resolves_signs_and_sends_nothing_else() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    assert_eq!(listed(&upstream).await.unwrap(), r#"{"Fragments":[],"NextToken":null}"#);
    listed(&upstream).await.unwrap();
    assert_eq!(kvs.seen("/getDataEndpoint").len(), 1, "one lookup for two calls");
    let seen = kvs.seen("/listFragments").remove(0);
    assert!(seen.body.starts_with('{') && seen.body.contains(r#""StreamName":"cam-1""#), "{}", seen.body);
    let mut names: Vec<_> = seen.head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    names.sort_unstable();
    let wanted = [
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-amz-date",
    ];
    assert_eq!(names, wanted);
    assert!(
        seen.head
            .contains("/eu-west-1/kinesisvideo/aws4_request, SignedHeaders=content-type;host;x-amz-date,")
    );
    assert_eq!(upstream.problems(), Vec::<String>::new());
}

#[tokio::test]
async fn a_hundred_callers_together_cost_one_lookup() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let upstream = upstream.clone();
            tokio::spawn(async move { listed(&upstream).await.is_ok() })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert_eq!(kvs.seen("/getDataEndpoint").len(), 1);
}

#[tokio::test]
async fn streams_are_described_once_and_remembered_while_kvs_is_down() {
    let kvs = Kvs::start().await;
    let arn = "arn:aws:kinesisvideo:eu-west-1:111122223333:stream/cam-1/1720751492346";
    kvs.usually(
        "/describeStream",
        ok(format!(
            r#"{{"StreamInfo":{{"StreamARN":"{arn}","StreamName":"cam-1","DataRetentionInHours":24}}}}"#
        )),
    );
    kvs.then("/listTagsForStream", [ok(r#"{"NextToken":"a","Tags":{"site":"x"}}"#)]);
    kvs.usually("/listTagsForStream", ok(r#"{"NextToken":null,"Tags":{"floor":"1"}}"#));
    let upstream =
        upstream_with(&kvs, Config { describe_ttl: Span(Duration::from_millis(50)), ..quick() }).await;
    let located = upstream.locate(&stream("cam-1")).unwrap();
    assert_eq!(located.account, None);
    assert_eq!(upstream.describe(&located, || "alice".into()).await.unwrap().arn.as_str(), arn);
    assert_eq!(
        upstream.locate(&stream("cam-1")).unwrap().account.as_deref(),
        Some("111122223333"),
        "learned"
    );
    assert_eq!(
        upstream.tags(&located, || Some(OnBehalfOf::all_callers("stream facts"))).await.unwrap().len(),
        2
    );
    upstream.describe(&located, || "alice".into()).await.unwrap();
    assert_eq!(kvs.seen("/describeStream").len(), 1);
    kvs.usually("/describeStream", fault(500, "InternalFailure"));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(upstream.describe(&located, || "alice".into()).await.unwrap().retention_hours, 24);
}

#[tokio::test]
async fn arns_of_others_are_not_served() {
    let kvs = Kvs::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = keys(folder.path());
    let one = EntryConfig {
        endpoint_url: Some(kvs.url.clone()),
        account: Some("111122223333".into()),
        access_key_id: Some(id),
        secret_access_key: Some(secret),
        streams: vec!["cam-*".into()],
        ..EntryConfig::new("one", "eu-west-1")
    };
    let two = EntryConfig {
        streams: vec![],
        name: "two".into(),
        account: Some("444455556666".into()),
        ..one.clone()
    };
    let metrics = crate::upstream::metrics::for_tests(&prometheus::Registry::new());
    let upstream = Upstream::start(&[one, two], &Config::default(), None, metrics).await.unwrap();
    let arn = |region: &str, account: &str, name: &str| {
        let text = format!("arn:aws:kinesisvideo:{region}:{account}:stream/{name}/1");
        StreamRef::Arn(crate::kvs::StreamArn::parse(&text).unwrap())
    };
    let entry = |stream: &StreamRef| upstream.locate(stream).map(|located| located.entry.to_string());
    assert_eq!(entry(&arn("eu-west-1", "111122223333", "cam-1")).unwrap(), "one");
    assert_eq!(entry(&arn("eu-west-1", "444455556666", "cam-1")).unwrap(), "two");
    assert_eq!(entry(&stream("cam-1")).unwrap(), "one");
    for other in [
        arn("eu-west-1", "999999999999", "cam-1"),
        arn("us-east-1", "111122223333", "cam-1"),
        arn("eu-west-1", "111122223333", "gate"),
        stream("gate"),
    ] {
        assert!(matches!(entry(&other), Err(Error::NotServed(_))), "{other:?}");
    }
}

#[tokio::test]
async fn mistakes_are_all_told_at_once() {
    let metrics = || crate::upstream::metrics::for_tests(&prometheus::Registry::new());
    let bad = EntryConfig {
        access_key_id: Some(SecretSource::File("/no/such/file".into())),
        secret_access_key: Some(SecretSource::File("/no/such/file".into())),
        ..EntryConfig::new("main", "eu-west-1")
    };
    let Err(mistakes) = Upstream::start(&[bad], &Config::default(), None, metrics()).await else { panic!() };
    assert!(mistakes[0].problem.contains("/no/such/file"), "{mistakes:?}");
    assert!(Upstream::start(&[], &Config::default(), None, metrics()).await.is_err());
}
