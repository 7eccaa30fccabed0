//! What it costs a cached request that its sender is known and that policy permits it: the same bytes with and without,
//! in one process and one run. Not a test of promises; `docs/PERFORMANCE.md` tells what was seen.
//!
//! `cargo test --profile perf --lib --no-run`, then `taskset -c 0 target/perf/deps/kvs_edge-… app::cost --ignored
//! --nocapture`. Needs `wrk`, which runs on core 1.

use super::{Logging, Running, start};
use crate::config::Source;
use crate::emulator;
use crate::identity::Algorithm;
use crate::identity::mint::{Kind, SigningKey};
use crate::kvs::Timestamp;
use crate::net::client::{Client, Limits, Options};
use crate::net::listener;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const ISSUER: &str = "https://login.example.com/";
const ROUNDS: usize = 25;
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
    let config = emulator::Config { listen: ([127, 0, 0, 1], 0).into(), ..emulator::Config::default() };
    let (access, secret) = (config.access_key.clone(), config.secret_key.clone());
    let emulator = emulator::start(config).await.unwrap();
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
async fn open_door(running: &Running, path: &str) -> String {
    let app = running.app.clone();
    let gateway = app.gateway();
    let uri: http::Uri = path.parse().unwrap();
    let caller = Arc::new(crate::caller::Caller {
        issuer: ISSUER.into(),
        subject: "nobody".into(),
        token_id: None,
        groups: [Arc::from("guards")].into(),
        attributes: std::collections::BTreeMap::default(),
        expires: Timestamp::now().plus(std::time::Duration::from_secs(3600)),
    });
    let permit = gateway.permitted(gateway.asked_by(&uri), caller, [127, 0, 0, 1].into()).await;
    let permit = Arc::new(permit);
    let config = app.config();
    let terms = listener::Terms {
        limits: config.limits.clone(),
        tls: app.certificates.current(),
        trust: Arc::new(config.server.trust()),
        proxy_protocol: config.server.proxy_protocol,
        metrics: app.lasting.listener.clone(),
    };
    let bound = listener::bind(&config.server.listen).await.unwrap();
    let address = bound.addresses()[0];
    let signal = app.draining.clone();
    let serving = app.clone();
    tokio::spawn(listener::serve(
        bound,
        terms,
        move |request, peer| {
            let (gateway, permit) = (serving.gateway.load_full(), permit.clone());
            async move { gateway.handle_unguarded(request, &peer, &permit).await }
        },
        signal,
    ));
    format!("http://{address}{path}")
}

/// Requests a second, and microseconds of this process's processor time for each.
async fn load(url: &str, headers: &[String], script: Option<&Path>) -> (f64, f64) {
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", "1", "wrk", "-t1", "-c16", "-d1s"]);
    for header in headers {
        wrk.args(["-H", header]);
    }
    if let Some(script) = script {
        wrk.arg("-s").arg(script);
    }
    wrk.arg(url);
    let before = processor_seconds();
    let output = tokio::task::spawn_blocking(move || wrk.output().unwrap()).await.unwrap();
    let used = processor_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("Non-2xx"), "{text}");
    let number = |line: &str, after: bool| -> f64 {
        let line = text.lines().find(|l| l.contains(line)).unwrap_or_else(|| panic!("{text}"));
        let words = line.split_whitespace();
        let word = if after { words.last() } else { words.into_iter().next() };
        word.unwrap().parse().unwrap()
    };
    let (rate, requests) = (number("Requests/sec", true), number("requests in", false));
    (rate, used * 1e6 / requests)
}

fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let ticks: f64 = after.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One thread serves, so that it has a core and the load generator the other.
#[test]
#[ignore = "measures; run it on a perf build, pinned"]
fn with_and_without_authentication() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(measure()).await.unwrap() });
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(Kind::Rsa).unwrap();
    let running = edge(folder.path(), &key).await;
    let at = Timestamp::now().millis() / 1000 - 120;
    let path = format!("/streams/cam-1/snapshot.jpg?at={at}&width=320&height=180");
    let guarded = format!("http://{}{path}", running.addresses[0]);
    let tokens: Vec<String> = (0..TOKENS).map(|number| token(&key, number)).collect();
    let client = Client::new(Options { allow_http: true, ..Options::default() }).unwrap();
    let mut bytes = 0;
    for token in &tokens {
        let request = http::Request::get(&guarded).header("authorization", format!("Bearer {token}"));
        let request = request.body(bytes::Bytes::new()).unwrap();
        let answer = client.fetch(request, 1 << 20, &Limits::default()).await.unwrap();
        assert_eq!(answer.status(), 200);
        bytes = answer.body().len();
    }
    let open = open_door(&running, &path).await;
    let list = folder.path().join("tokens");
    fs::write(&list, tokens.join("\n")).unwrap();
    let script = folder.path().join("tokens.lua");
    fs::write(&script, ROTATE.replace("TOKENS", list.to_str().unwrap())).unwrap();
    let bearer = [format!("Authorization: Bearer {}", tokens[0])];
    let kinds: [(&str, &str, &[String], Option<&Path>); 4] = [
        ("without", &open, &[], None),
        ("without, token sent and ignored", &open, &bearer, None),
        ("with, one token seen before", &guarded, &bearer, None),
        ("with, 2,000 tokens in rotation", &guarded, &[], Some(&script)),
    ];
    let mut seen: Vec<Vec<(f64, f64)>> = vec![Vec::new(); kinds.len()];
    // For a profile of one kind: its number.
    let only: Option<usize> =
        std::env::var("KVS_EDGE_TEST_COST_ONLY").ok().and_then(|kind| kind.parse().ok());
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let kind = only.unwrap_or((round + turn) % kinds.len());
            let (_, url, headers, script) = kinds[kind];
            seen[kind].push(load(url, headers, script).await);
        }
    }
    println!(
        "a cached picture of {bytes} bytes, token of {} bytes, {ROUNDS} rounds of 1 s each, medians; ratios within a round",
        tokens[0].len()
    );
    let base = &seen[only.unwrap_or(0)];
    for (kind, (name, ..)) in
        kinds.iter().enumerate().filter(|(kind, _)| only.is_none_or(|only| only == *kind))
    {
        let of = |number: fn(&(f64, f64)) -> f64| median(seen[kind].iter().map(number));
        let beside = |number: fn(&(f64, f64), &(f64, f64)) -> f64| {
            median(seen[kind].iter().zip(base).map(|(one, base)| number(one, base)))
        };
        println!(
            "{name:<34} {:>8.0} requests/s  ratio {:.3}   {:>6.1} us of processor each  ({:+.1})",
            of(|seen| seen.0),
            beside(|one, base| one.0 / base.0),
            of(|seen| seen.1),
            beside(|one, base| one.1 - base.1)
        );
    }
}

const ROTATE: &str = r#"
local requests, next = {}, 0
init = function(args)
  for token in io.lines("TOKENS") do
    requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
  end
end
request = function()
  next = next % #requests + 1
  return requests[next]
end
"#;
