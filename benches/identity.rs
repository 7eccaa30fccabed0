//! What it costs to know who is asking and to decide whether they may, without the rest of a request.
//!
//! `cargo bench --profile perf --bench identity`; `docs/PERFORMANCE.md` tells what was seen.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use kvs_edge::identity::{Algorithm, Config, Fetch, Identity, IssuerConfig, Metrics};
use kvs_edge::kvs::{
    Call, Container, DiscontinuityMode, Operation, PlaybackMode, Protocol, Request, Resource, SelectorType,
    SessionParameters, StreamName, StreamRef, Timestamp,
};
use kvs_edge::policy::{self, Policy, RequestContext, StreamFacts};
use serde_json::json;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ISSUER: &str = "https://login.example.com/";
const POLICIES: &str = r#"
permit (principal in Group::"investigators", action, resource);
permit (principal in Group::"guards", action in [Action::"View", Action::"Describe"], resource in StreamSet::"lobby")
when { context.mode == "LIVE" || context.start_age <= 86400 };
forbid (principal, action, resource == Stream::"vault-1") unless { principal in Group::"board" };
"#;

/// The median of many rounds, so that a busy machine shows as little as possible.
fn median(rounds: usize, mut round: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<f64> = (0..rounds).map(|_| round().as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

fn token(key: &SigningKey, algorithm: Algorithm, number: usize) -> String {
    let exp = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 + 3600;
    let claims = json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": format!("user-{number}"), "exp": exp,
        "groups": ["guards", "night-shift", "berlin"], "email": "somebody@example.com", "name": "Some Body" });
    key.sign(algorithm, &claims).expect("the key fits the algorithm")
}

async fn identity(key: &SigningKey, algorithm: Algorithm, asked: Arc<AtomicUsize>) -> Arc<Identity> {
    let document = json!({ "keys": [key.jwk()] }).to_string();
    let fetch: Fetch = Arc::new(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = http::Response::new(Bytes::from(document.clone()));
        Box::pin(async move { Ok(answer) })
    });
    let issuer: IssuerConfig = toml::from_str(&format!(
        "issuer = '{ISSUER}'\naudience = ['kvs-edge']\nalgorithms = ['{}']\njwks = 'https://login.example.com/keys'\n\
         claims = {{ subject = '/sub', groups = '/groups' }}",
        algorithm.as_str()
    ))
    .expect("these settings are right");
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("an empty registry");
    Identity::start(&[issuer], &Config::default(), fetch, metrics).await.expect("these settings are right")
}

async fn tokens() {
    for (name, kind, algorithm) in [
        ("RS256", KeyKind::Rsa, Algorithm::RS256),
        ("ES256", KeyKind::P256, Algorithm::ES256),
        ("EdDSA", KeyKind::Ed25519, Algorithm::EdDSA),
    ] {
        let key = SigningKey::generate(kind).expect("randomness");
        let identity = identity(&key, algorithm, Arc::default()).await;
        let now = Timestamp::from(kvs_edge::base::clock::now());
        let mut fresh = Vec::new();
        for number in 0..300 {
            let token = token(&key, algorithm, number);
            let start = Instant::now();
            black_box(identity.verify(&token, now).await.expect("a good token"));
            fresh.push(start.elapsed().as_secs_f64() * 1e6);
        }
        fresh.sort_by(f64::total_cmp);
        let seen = token(&key, algorithm, 1000);
        identity.verify(&seen, now).await.expect("a good token");
        let mut again = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            for _ in 0..500 {
                black_box(identity.verify(black_box(&seen), now).await.expect("a good token"));
            }
            again.push(start.elapsed().as_secs_f64() * 1e6 / 500.0);
        }
        again.sort_by(f64::total_cmp);
        println!(
            "{name}: token of {} bytes; first sight {:.1} us (p90 {:.1}); seen before {:.2} us",
            seen.len(),
            fresh[150],
            fresh[270],
            again[100]
        );
    }
}

/// Tokens whose `kid` nobody knows, as fast as they can be refused: how often does the issuer hear of it?
async fn flood() {
    let key = SigningKey::generate(KeyKind::P256).expect("randomness");
    let asked = Arc::new(AtomicUsize::new(0));
    let identity = identity(&key, Algorithm::ES256, asked.clone()).await;
    let forged = token(&key, Algorithm::ES256, 0);
    let (_, rest) = forged.split_once('.').expect("a token has dots");
    let (start, mut sent, mut honest) = (Instant::now(), 0_usize, 0_usize);
    while start.elapsed() < Duration::from_secs(20) {
        sent += 1;
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "kid": sent.to_string() }).to_string());
        let refused =
            identity.verify(&format!("{header}.{rest}"), Timestamp::from(kvs_edge::base::clock::now())).await;
        assert!(refused.is_err());
        if sent.is_multiple_of(100) {
            honest += 1;
            let token = token(&key, Algorithm::ES256, honest);
            identity
                .verify(&token, Timestamp::from(kvs_edge::base::clock::now()))
                .await
                .expect("an honest token");
        }
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    let asked = asked.load(Ordering::Relaxed);
    println!(
        "flood: {rate:.0} unknown kids a second for 20 s, {honest} honest tokens accepted; keys were read {asked} times"
    );
}

fn decisions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("p.cedar"), POLICIES).expect("a temporary file");
    let mut config: policy::Config =
        toml::from_str("files = ['p.cedar']\nstream_sets = { lobby = ['lobby-*'] }").expect("right settings");
    config.resolve(folder.path());
    let policy = Policy::load(&config, &policy::Attributes::default()).expect("right policies");
    let now = Timestamp::from(kvs_edge::base::clock::now());
    let name = StreamName::parse("lobby-1").expect("a name");
    let facts =
        StreamFacts { name: name.clone(), region: "eu-west-1".into(), account: None, arn: None, tags: None };
    let context = RequestContext { now, source_ip: [10, 0, 0, 1].into(), stream: Some(facts) };
    let caller = Arc::new(kvs_edge::caller::Caller {
        issuer: ISSUER.into(),
        subject: "user-1".into(),
        token_id: None,
        groups: ["guards", "night-shift", "berlin"].into(),
        groups_withheld: false,
        attributes: std::collections::BTreeMap::default(),
        expires: now.plus(Duration::from_secs(3600)),
    });
    let body = json!({ "StreamName": "lobby-1", "FragmentSelector": { "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": { "StartTimestamp": now.millis() / 1000 - 60, "EndTimestamp": now.millis() / 1000 } } });
    let call = Call::read(Operation::ListFragments, body.to_string().as_bytes(), now).expect("a good call");
    let session = SessionParameters {
        protocol: Protocol::Hls,
        mode: PlaybackMode::Live,
        selector: SelectorType::Server,
        start: None,
        end: None,
        container: Container::FragmentedMp4,
        discontinuity: DiscontinuityMode::OnDiscontinuity,
        show_timestamps: true,
        show_numbers: false,
        max_fragments: 5,
        ends_when_silent: false,
    };
    let resource =
        Resource::parse(Protocol::Hls, "getHLSMediaPlaylist.m3u8", "TrackNumber=1").expect("a resource");
    let (stream, session) = (StreamRef::Name(name), Arc::new(session));
    let playback = Request::Playback { stream, session, resource };
    for (what, request) in [("a call", Request::Call(call)), ("playback, remembered", playback)] {
        let cost = median(200, || {
            let start = Instant::now();
            for _ in 0..200 {
                assert!(black_box(policy.permit(caller.clone(), request.clone(), &context)).is_ok());
            }
            start.elapsed() / 200
        });
        println!("decision on {what}: {cost:.2} us");
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(tokens());
    runtime.block_on(flood());
    decisions();
}
