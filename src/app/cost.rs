//! What it costs a cached request that its sender is known and that policy permits it: the same bytes with and without,
//! in one process and one run. Not a test of promises; `docs/PERFORMANCE.md` tells what was seen.
//!
//! `cargo test --release --lib --no-run`, then `taskset -c 0 target/release/deps/kvs_edge-… app::cost --ignored
//! --nocapture`. The load generator (`load`) runs on core 1.

mod load;

use super::{Logging, Running, start};
use crate::config::Source;
use crate::identity::Algorithm;
use crate::identity::mint::{Kind, SigningKey};
use crate::kvs::Timestamp;
use crate::net::client::{Client, Limits, Options};
use crate::net::listener;
use load::Load;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

const ISSUER: &str = "https://login.example.com/";
const ROUNDS: usize = 80;
const TOKENS: usize = 2000;

fn configuration(emulator: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[[aws]]
name = "main"
region = "eu-west-1"
account = "123456789012"
endpoint_url = "{emulator}"
access_key_id = "file:access-key"
secret_access_key = "file:secret-key"
[[issuer]]
issuer = "{ISSUER}"
audience = ["kvs-edge"]
algorithms = ["RS256"]
jwks = "file:jwks.json"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["p.cedar"]
stream_sets = {{ lobby = ["cam-*"] }}
[playback]
keys = ["file:playback-key"]
[log]
access = false
audit = "file:/dev/null"
"#
    )
}

const POLICIES: &str = r#"
permit (principal in Group::"investigators", action, resource);
permit (principal in Group::"guards", action in [Action::"View", Action::"Describe"], resource in StreamSet::"lobby")
when { context.mode == "LIVE" || context.start_age <= 86400 };
forbid (principal, action, resource == Stream::"vault-1") unless { principal in Group::"board" };
"#;

fn token(key: &SigningKey, number: usize) -> String {
    let exp = Timestamp::now().millis() / 1000 + 3600;
    let claims = json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": format!("user-{number}"), "exp": exp,
        "groups": ["guards", "night-shift", "berlin"], "email": "somebody@example.com", "name": "Some Body" });
    key.sign(Algorithm::RS256, &claims).unwrap()
}

async fn edge(folder: &Path, key: &SigningKey) -> Running {
    let config = kvs_edge_emulator::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        ..kvs_edge_emulator::Config::default()
    };
    let (access, secret) = (config.access_key.clone(), config.secret_key.clone());
    let emulator = kvs_edge_emulator::start(config).await.unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("jwks.json", &json!({ "keys": [key.jwk()] }).to_string());
    write("p.cedar", POLICIES);
    write("access-key", &access);
    write("secret-key", &secret);
    write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
    write("edge.toml", &configuration(&emulator.url()));
    std::mem::forget(emulator);
    let source = Source::read(&folder.join("edge.toml"), std::iter::empty()).unwrap();
    start(source, Logging::Elsewhere).await.unwrap()
}

/// Another door to the same gateway, where nobody is asked who he is.
async fn open_door(running: &Running) -> SocketAddr {
    let app = running.app.clone();
    let caller = Arc::new(crate::caller::Caller {
        issuer: ISSUER.into(),
        subject: "nobody".into(),
        token_id: None,
        groups: [Arc::from("guards")].into(),
        attributes: std::collections::BTreeMap::default(),
        expires: Timestamp::now().plus(std::time::Duration::from_secs(3600)),
    });
    let config = app.config();
    let terms = listener::Terms {
        limits: config.limits.clone(),
        tls: app.certificates.current(),
        trust: Arc::new(config.server.trust()),
        proxy_protocol: config.server.proxy_protocol,
        metrics: app.persistent.listener.clone(),
    };
    let bound = listener::bind(&config.server.listen).await.unwrap();
    let address = bound.addresses()[0];
    let signal = app.draining.clone();
    let serving = app.clone();
    tokio::spawn(listener::serve(
        bound,
        terms,
        move |request, peer| {
            let (gateway, caller) = (serving.gateway.load_full(), caller.clone());
            async move { gateway.handle_unguarded(request, &peer, &caller).await }
        },
        signal,
    ));
    address
}

fn setting(name: &str) -> Option<usize> {
    std::env::var(format!("KVS_EDGE_TEST_COST_{name}")).ok()?.parse().ok()
}

/// The median, and the quartiles on its sides.
fn median(numbers: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() / 4], all[all.len() * 3 / 4])
}

/// One thread serves, so that it has a core and the load generator the other.
#[test]
#[ignore = "measures; run it on a release build, pinned"]
fn with_and_without_authentication() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(measure()).await.unwrap() });
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(Kind::Rsa).unwrap();
    let running = edge(folder.path(), &key).await;
    let at = Timestamp::now().millis() / 1000 - 120;
    let width = setting("WIDTH").unwrap_or(96);
    let path = format!("/streams/cam-1/snapshot.jpg?at={at}&width={width}&height={}", width * 9 / 16);
    let connections = setting("CONNECTIONS").unwrap_or(16);
    let url = format!("http://{}{path}", running.addresses[0]);
    let tokens: Vec<String> = (0..TOKENS).map(|number| token(&key, number)).collect();
    let client = Client::new(Options { allow_http: true, ..Options::default() }).unwrap();
    let mut bytes = 0;
    for token in &tokens {
        let request = http::Request::get(&url).header("authorization", format!("Bearer {token}"));
        let request = request.body(bytes::Bytes::new()).unwrap();
        let answer = client.fetch(request, 1 << 20, &Limits::default()).await.unwrap();
        assert_eq!(answer.status(), 200);
        bytes = answer.body().len();
    }
    let open = open_door(&running).await;
    let list = |name: &str, tokens: &[String]| {
        let file = folder.path().join(name);
        fs::write(&file, tokens.join("\n")).unwrap();
        Some(file)
    };
    let (one, all) = (list("one", &tokens[..1]), list("all", &tokens));
    let kind = |address, tokens| Load { address, path: path.clone(), tokens, connections };
    let guarded = running.addresses[0];
    let kinds = [
        ("without", kind(open, None)),
        ("without, token sent and ignored", kind(open, one.clone())),
        ("with, one token seen before", kind(guarded, one)),
        ("with, 2,000 tokens in rotation", kind(guarded, all)),
    ];
    let mut seen = vec![Vec::new(); kinds.len()];
    // For a profile of one kind: its number.
    let only = setting("ONLY");
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let kind = only.unwrap_or((round + turn) % kinds.len());
            let load = kinds[kind].1.clone();
            seen[kind].push(tokio::task::spawn_blocking(move || load.rate()).await.unwrap());
        }
    }
    println!(
        "a cached picture of {bytes} bytes, token of {} bytes, {connections} connections, {ROUNDS} rounds of {} ms each, \
         medians; ratios within a round, with quartiles",
        tokens[0].len(),
        load::COUNTED.as_millis()
    );
    for ((name, _), rates) in kinds.iter().zip(&seen).filter(|(_, rates)| !rates.is_empty()) {
        let beside = |base: &[f64]| match median(rates.iter().zip(base).map(|(one, base)| one / base)) {
            _ if base.is_empty() => String::new(),
            (middle, low, high) => format!("{middle:.3} ({low:.3}-{high:.3})"),
        };
        let (rate, ..) = median(rates.iter().copied());
        let (nothing, sent) = (beside(&seen[0]), beside(&seen[1]));
        println!("{name:<32} {rate:>7.0} requests/s, of `without` {nothing}, of `token sent` {sent}");
    }
}
