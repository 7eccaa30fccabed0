//! Key rotation under load and trouble: who is accepted, and how often the issuer is asked, on a clock of our
//! own.

use super::jwks::COOLDOWN;
use super::mint::{KeyKind, SigningKey};
use super::*;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::time::{Instant, advance, sleep};

pub(super) const ISSUER: &str = "https://a.example.com/";
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

type FetchedAt = (Instant, Request<Bytes>);

/// An issuer's server: what it answers now, and when it was asked.
#[derive(Clone)]
pub(super) struct Server {
    answer: Arc<Mutex<Result<Response<Bytes>, String>>>,
    asked: Arc<Mutex<Vec<FetchedAt>>>,
    latency: Duration,
}

impl Server {
    pub(super) fn new(keys: &[&SigningKey]) -> Self {
        let server = Self {
            answer: Arc::new(Mutex::new(Err(String::new()))),
            asked: Arc::default(),
            latency: Duration::from_millis(20),
        };
        server.serve(keys);
        server
    }

    pub(super) fn serve(&self, keys: &[&SigningKey]) {
        let document = json!({ "keys": keys.iter().map(|k| k.jwk()).collect::<Vec<_>>() }).to_string();
        self.answer(Ok(Response::new(Bytes::from(document))));
    }

    pub(super) fn answer(&self, answer: Result<Response<Bytes>, String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn fetch(&self) -> Fetch {
        let server = self.clone();
        Arc::new(move |request| {
            server.asked.lock().unwrap().push((Instant::now(), request));
            let server = server.clone();
            Box::pin(async move {
                sleep(server.latency).await;
                server.answer.lock().unwrap().clone()
            })
        })
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) async fn identity(&self, more: &str) -> Arc<Identity> {
        Identity::start(&[config(more)], &Config::default(), self.fetch(), metrics()).await.unwrap()
    }
}

pub(super) fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

pub(super) fn config(more: &str) -> IssuerConfig {
    let keys = if more.contains("discovery") { "" } else { "jwks = 'https://a.example.com/keys'" };
    let text =
        format!("issuer = '{ISSUER}'\naudience = ['kvs-edge']\nalgorithms = ['ES256']\n{keys}\n{more}");
    toml::from_str(&text).unwrap()
}

pub(super) fn key() -> SigningKey {
    SigningKey::generate(KeyKind::P256).unwrap()
}

pub(super) fn token(key: &SigningKey, subject: &str) -> String {
    let claims =
        json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": subject, "exp": NOW.millis() / 1000 + 3600 });
    key.sign(Algorithm::ES256, &claims).unwrap()
}

pub(super) async fn word(identity: &Identity, token: &str) -> &'static str {
    identity.verify(token, NOW).await.map_or_else(|e| e.as_str(), |_| "accepted")
}

#[tokio::test(start_paused = true)]
async fn random_kids_cause_one_read_per_cooldown_and_no_valid_token_is_refused_across_a_rotation() {
    let (old, new) = (key(), key());
    let server = Server::new(&[&old]);
    let identity = server.identity("").await;
    let (old_token, new_token) = (token(&old, "ann"), token(&new, "ann"));
    let start = Instant::now();
    let hostile = token(&key(), "eve");
    let (_, rest) = hostile.split_once('.').unwrap();
    let mut number = 0_u64;
    let mut published = None;
    // 90 s at 200 random kids a second, five at a time; the new key is published at 30 s, used 16 s later,
    // and the old one withdrawn at 70 s.
    while start.elapsed() < Duration::from_secs(90) {
        let flood: Vec<_> = (0..5)
            .map(|_| {
                number += 1;
                let header = json!({ "alg": "ES256", "kid": format!("random-{number}") }).to_string();
                let token = format!("{}.{rest}", base64_url(&header));
                let identity = identity.clone();
                tokio::spawn(async move { word(&identity, &token).await })
            })
            .collect();
        for one in flood {
            assert_eq!(one.await.unwrap(), "key");
        }
        if start.elapsed() < Duration::from_secs(70) {
            assert_eq!(word(&identity, &old_token).await, "accepted");
        } else {
            server.serve(&[&new]);
        }
        if start.elapsed() > Duration::from_secs(30) && published.is_none() {
            server.serve(&[&old, &new]);
            published = Some(Instant::now());
        }
        if published.is_some_and(|at| at.elapsed() > COOLDOWN + Duration::from_millis(500)) {
            assert_eq!(word(&identity, &new_token).await, "accepted");
        }
        advance(Duration::from_millis(25)).await;
    }
    let asked: Vec<_> = server.asked.lock().unwrap().iter().map(|(when, _)| *when).collect();
    // The first read belongs to the start.
    for pair in asked[1..].windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(15), "{:?}", pair[1] - pair[0]);
    }
    assert!((5..=8).contains(&asked.len()), "{}", asked.len());
    assert_eq!(word(&identity, &old_token).await, "key", "a withdrawn key's token is forgotten");
}

pub(super) fn base64_url(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_at_once_and_everybody_waits_for_the_same_read() {
    let (old, new) = (key(), key());
    let server = Server::new(&[&old]);
    let identity = server.identity("").await;
    let generation = identity.generation();
    server.serve(&[&old, &new]);
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let (identity, token) = (identity.clone(), token(&new, &format!("user-{n}")));
            tokio::spawn(async move { word(&identity, &token).await })
        })
        .collect();
    for one in waiting {
        assert_eq!(one.await.unwrap(), "accepted");
    }
    assert_eq!(server.count(), 2);
    assert!(identity.generation() > generation);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_does_not_stop_the_read() {
    let (old, new) = (key(), key());
    let server = Server::new(&[&old]);
    let identity = server.identity("").await;
    server.serve(&[&old, &new]);
    let (left, token) = (identity.clone(), token(&new, "ann"));
    let gone = token.clone();
    let leaving = tokio::spawn(async move { word(&left, &gone).await });
    sleep(Duration::from_millis(5)).await;
    leaving.abort();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(word(&identity, &token).await, "accepted");
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn good_keys_survive_every_bad_answer_until_they_are_too_old() {
    let key = key();
    let server = Server::new(&[&key]);
    let identity = server.identity("refresh = '5m'\nstale_max = '1h'").await;
    let token = token(&key, "ann");
    let generation = identity.generation();
    let body = |text: String| Ok(Response::new(Bytes::from(text)));
    let status = |status| Ok(Response::builder().status(status).body(Bytes::new()).unwrap());
    let full = json!({ "keys": [key.jwk()], "x": "x".repeat(1 << 20) }).to_string();
    for bad in [
        Err("connection refused".to_owned()),
        status(StatusCode::INTERNAL_SERVER_ERROR),
        status(StatusCode::FOUND),
        status(StatusCode::NOT_MODIFIED),
        body(String::new()),
        body("<html>".into()),
        body(r#"{"keys":[]}"#.into()),
        body(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#.into()),
        body(full),
    ] {
        let before = server.count();
        server.answer(bad);
        sleep(Duration::from_secs(330)).await;
        assert!(server.count() > before, "it was asked");
        assert_eq!(word(&identity, &token).await, "accepted");
        assert_eq!(identity.problems(), Vec::<String>::new());
    }
    sleep(Duration::from_secs(1800)).await;
    assert_eq!(word(&identity, &token).await, "keys_unavailable");
    assert!(
        identity.problems()[0].contains("1 MiB") || identity.problems()[0].contains("longer"),
        "{:?}",
        identity.problems()
    );
    server.serve(&[&key]);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(word(&identity, &token).await, "accepted");
    assert_eq!(identity.generation(), generation, "the same keys again are no rotation");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_asked_until_it_answers() {
    let key = key();
    let server = Server::new(&[&key]);
    server.answer(Err("connection refused".into()));
    let identity = server.identity("").await;
    let token = token(&key, "ann");
    let error = identity.verify(&token, NOW).await.unwrap_err();
    assert!(matches!(&error, Error::KeysUnavailable { .. }), "{error}");
    assert!(identity.problems()[0].contains("connection refused"));
    server.serve(&[&key]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(word(&identity, &token).await, "accepted");
    assert!(identity.problems().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_delays_a_request_for_a_bounded_time() {
    let key = key();
    let mut server = Server::new(&[&key]);
    server.latency = Duration::from_secs(100_000);
    let started = Instant::now();
    let identity = server.identity("").await;
    assert_eq!(word(&identity, &token(&key, "ann")).await, "keys_unavailable");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_document_is_not_sent_again() {
    let key = key();
    let server = Server::new(&[&key]);
    let document = json!({ "keys": [key.jwk()] }).to_string();
    let tagged = Response::builder().header("etag", "\"v1\"").body(Bytes::from(document)).unwrap();
    server.answer(Ok(tagged));
    let identity = server.identity("refresh = '1m'\nstale_max = '10m'").await;
    server.answer(Ok(Response::builder().status(304).body(Bytes::new()).unwrap()));
    sleep(Duration::from_secs(1800)).await;
    assert_eq!(word(&identity, &token(&key, "ann")).await, "accepted");
    let asked = server.asked.lock().unwrap();
    assert!(asked[0].1.headers().get("if-none-match").is_none());
    assert!(asked[1..].iter().all(|(_, r)| r.headers()["if-none-match"] == "\"v1\""));
    assert!((29..=31).contains(&asked.len()), "{}", asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_anyway_is_no_reason_to_ask() {
    let key = key();
    let server = Server::new(&[&key]);
    let identity = server.identity("").await;
    let stranger = self::key();
    for (claims, expected) in [
        (json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": "a", "exp": 5 }), "expired"),
        (json!({ "iss": ISSUER, "aud": "x", "sub": "a", "exp": NOW.millis() / 1000 + 60 }), "audience"),
    ] {
        let token = stranger.sign(Algorithm::ES256, &claims).unwrap();
        assert_eq!(word(&identity, &token).await, expected);
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn discovery_finds_the_keys_and_believes_only_the_right_issuer() {
    let key = key();
    let keys = json!({ "keys": [key.jwk()] }).to_string();
    let document = Arc::new(Mutex::new(Value::Null));
    let shown = document.clone();
    let fetch: Fetch = Arc::new(move |request: Request<Bytes>| {
        let body = match request.uri().to_string().as_str() {
            "https://a.example.com/.well-known/openid-configuration" => shown.lock().unwrap().to_string(),
            "https://keys.example.com/k" => keys.clone(),
            other => panic!("{other} was asked"),
        };
        Box::pin(async move { Ok(Response::new(Bytes::from(body))) })
    });
    *document.lock().unwrap() =
        json!({ "issuer": "https://evil.example.com/", "jwks_uri": "https://keys.example.com/k" });
    let issuers = [config("discovery = true")];
    let identity = Identity::start(&issuers, &Config::default(), fetch, metrics()).await.unwrap();
    assert!(identity.problems()[0].contains("another issuer"), "{:?}", identity.problems());
    *document.lock().unwrap() = json!({ "issuer": ISSUER, "jwks_uri": "http://keys.example.com/k" });
    sleep(Duration::from_secs(40)).await;
    assert!(identity.problems()[0].contains("plain http"), "{:?}", identity.problems());
    *document.lock().unwrap() = json!({ "issuer": ISSUER, "jwks_uri": "https://keys.example.com/k" });
    sleep(Duration::from_secs(40)).await;
    assert_eq!(word(&identity, &token(&key, "ann")).await, "accepted");
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_within_the_origin_only_and_not_for_ever() {
    let key = key();
    let keys = json!({ "keys": [key.jwk()] }).to_string();
    let target = Arc::new(Mutex::new("/v2/keys"));
    let shown = target.clone();
    let fetch: Fetch = Arc::new(move |request: Request<Bytes>| {
        let moved =
            |to: &str| Response::builder().status(307).header("location", to).body(Bytes::new()).unwrap();
        let answer = match request.uri().to_string().as_str() {
            "https://a.example.com/keys" => moved(*shown.lock().unwrap()),
            "https://a.example.com/v2/keys" => Response::new(Bytes::from(keys.clone())),
            "https://a.example.com/again" => moved("/again"),
            other => panic!("{other} was asked"),
        };
        Box::pin(async move { Ok(answer) })
    });
    let (issuers, settings) = ([config("")], Config::default());
    let start = || Identity::start(&issuers, &settings, fetch.clone(), metrics());
    let identity = start().await.unwrap();
    assert_eq!(word(&identity, &token(&key, "ann")).await, "accepted");
    for (bad, why) in [("https://evil.example.com/keys", "another origin"), ("/again", "more than 3 times")] {
        *target.lock().unwrap() = bad;
        let identity = start().await.unwrap();
        assert!(identity.problems()[0].contains(why), "{:?}", identity.problems());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_may_not_grow_old_are_read_before_they_do() {
    let key = key();
    let server = Server::new(&[&key]);
    let identity = server.identity("refresh = '5m'\nstale_max = '5m'").await;
    let token = token(&key, "ann");
    for second in 0..1800 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(word(&identity, &token).await, "accepted", "after {second} s");
        assert_eq!(identity.problems(), Vec::<String>::new());
    }
}

/// A token without `kid` names no key, so only its signature can tell that there is a new one.
#[tokio::test(start_paused = true)]
async fn without_kid_a_new_only_key_is_found_at_once_and_a_stranger_causes_one_read_per_cooldown() {
    let (old, new) = (key(), key());
    let nameless = |key: &SigningKey| {
        let claims =
            json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": "ann", "exp": NOW.millis() / 1000 + 60 });
        key.sign_as(Algorithm::ES256, r#"{"alg":"ES256"}"#, &claims.to_string()).unwrap()
    };
    let server = Server::new(&[&old]);
    let identity = server.identity("allow_missing_kid = true").await;
    assert_eq!(word(&identity, &nameless(&old)).await, "accepted");
    server.serve(&[&new]);
    assert_eq!(word(&identity, &nameless(&new)).await, "accepted");
    assert_eq!(server.count(), 2);
    for _ in 0..100 {
        assert_eq!(word(&identity, &nameless(&key())).await, "signature");
    }
    assert_eq!(server.count(), 2, "not while it cools down");
    sleep(COOLDOWN).await;
    // While two keys could be meant, neither is; when the old one has gone, the next token finds that out.
    server.serve(&[&old, &new]);
    assert_eq!(word(&identity, &nameless(&key())).await, "signature");
    assert_eq!(word(&identity, &nameless(&new)).await, "key");
    server.serve(&[&new]);
    sleep(COOLDOWN).await;
    assert_eq!(word(&identity, &nameless(&new)).await, "accepted");
}

#[tokio::test(start_paused = true)]
async fn keys_that_move_are_followed_and_an_etag_is_shown_only_where_it_came_from() {
    let (old, new) = (key(), key());
    let place = Arc::new(Mutex::new(Some("https://a.example.com/old")));
    let (shown, keys) = (place.clone(), [&old, &new].map(|key| json!({ "keys": [key.jwk()] }).to_string()));
    let fetch: Fetch = Arc::new(move |request: Request<Bytes>| {
        let answer = |body: &str| {
            Ok(Response::builder().header("etag", "\"1\"").body(Bytes::from(body.to_owned())).unwrap())
        };
        let matches = request.headers().contains_key("if-none-match");
        let answer = match (request.uri().path(), *shown.lock().unwrap()) {
            ("/.well-known/openid-configuration", None) => Err("connection refused".to_owned()),
            ("/.well-known/openid-configuration", Some(uri)) => {
                answer(&json!({ "issuer": ISSUER, "jwks_uri": uri }).to_string())
            }
            // Both have the same tag: it must not be taken for the other's.
            _ if matches => Ok(Response::builder().status(304).body(Bytes::new()).unwrap()),
            ("/old", _) => answer(&keys[0]),
            ("/new", _) => answer(&keys[1]),
            (other, _) => panic!("{other} was asked"),
        };
        Box::pin(async move { answer })
    });
    let issuers = [config("discovery = true\nstale_max = '1h'")];
    let identity = Identity::start(&issuers, &Config::default(), fetch, metrics()).await.unwrap();
    assert_eq!(word(&identity, &token(&old, "ann")).await, "accepted");
    *place.lock().unwrap() = Some("https://a.example.com/new");
    assert_eq!(
        word(&identity, &token(&new, "ann")).await,
        "accepted",
        "found by the first token of a new key"
    );
    assert_eq!(word(&identity, &token(&old, "ann")).await, "key");
    // Where they were last is good enough while nobody says where they are.
    *place.lock().unwrap() = None;
    sleep(Duration::from_secs(7200)).await;
    assert_eq!(word(&identity, &token(&new, "ann")).await, "accepted");
}

/// What was verified must not outlive what made it true.
#[tokio::test(start_paused = true)]
async fn a_verified_token_holds_until_its_end_a_rotation_or_a_reload_and_for_its_every_byte() {
    let (old, new) = (key(), key());
    let server = Server::new(&[&old]);
    let identity = server.identity("refresh = '60s'").await;
    let ann = token(&old, "ann");
    let say = async |identity: &Identity, token: &str, now: Timestamp| match identity.verify(token, now).await
    {
        Ok(caller) => caller.subject.to_string(),
        Err(error) => error.as_str().to_owned(),
    };
    assert_eq!(say(&identity, &ann, NOW).await, "ann");
    assert_eq!(say(&identity, &ann, NOW).await, "ann");
    assert_eq!(say(&identity, &ann, NOW.plus(Duration::from_secs(7200))).await, "expired");
    let forged = format!("{}{}", &ann[..ann.len() - 4], if ann.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    assert_eq!(say(&identity, &forged, NOW).await, "signature");
    assert_eq!(say(&identity, &token(&old, "bob"), NOW).await, "bob");
    assert_eq!(say(&identity, &ann, NOW).await, "ann");
    // Other rules after a reload, the same keys.
    let elsewhere = IssuerConfig { audience: vec!["another".into()], ..config("refresh = '60s'") };
    let strict = identity.restart(&[elsewhere], &Config::default()).await.unwrap();
    assert_eq!(say(&strict, &ann, NOW).await, "audience");
    // The key is withdrawn.
    server.serve(&[&new]);
    sleep(Duration::from_secs(120)).await;
    assert_ne!(say(&identity, &ann, NOW).await, "ann");
}

#[tokio::test(start_paused = true)]
async fn dropping_identity_ends_its_tasks() {
    let server = Server::new(&[&key()]);
    let identity = server.identity("").await;
    drop(identity);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_changed_key_file_is_noticed_and_a_broken_one_changes_nothing() {
    let (old, new) = (key(), key());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let write = |text: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    let document = |key: &SigningKey| json!({ "keys": [key.jwk()] }).to_string();
    let mut issuer = config("discovery = false");
    issuer.jwks = Some(JwksSource::File("jwks.json".into()));
    issuer.resolve(folder.path());
    let fetch: Fetch = Arc::new(|_| panic!("nothing is fetched"));
    let (issuers, settings) = ([issuer], Config::default());
    let start = || Identity::start(&issuers, &settings, fetch.clone(), metrics());

    let mistakes = start().await.err().unwrap();
    assert_eq!(mistakes[0].place, crate::setting::MistakePlace::Key("issuer[0].jwks".into()));
    write("{}");
    assert!(start().await.err().unwrap()[0].problem.contains("no `keys` array"));

    write(&document(&old));
    let identity = start().await.unwrap();
    assert_eq!(word(&identity, &token(&old, "ann")).await, "accepted");
    let generation = identity.generation();
    write("{ half a docu");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(word(&identity, &token(&old, "ann")).await, "accepted");
    write(&document(&new));
    while identity.generation() == generation {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(word(&identity, &token(&new, "ann")).await, "accepted");
    assert_eq!(word(&identity, &token(&old, "ann")).await, "key");
}

#[tokio::test(start_paused = true)]
async fn reads_are_counted_and_the_age_is_right_when_somebody_looks() {
    let key = key();
    let server = Server::new(&[&key]);
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let identity = Identity::start(&[config("")], &Config::default(), server.fetch(), metrics).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        format!("kvs_edge_jwks_age_seconds{{issuer=\"{ISSUER}\"}} 100"),
        format!("kvs_edge_jwks_refresh_total{{issuer=\"{ISSUER}\",result=\"changed\"}} 1"),
        format!("kvs_edge_jwks_refresh_total{{issuer=\"{ISSUER}\",result=\"failed\"}} 0"),
    ] {
        assert!(page.contains(&line), "{line} in {page}");
    }
    let mut other = config("");
    other.issuer = "https://b.example.com/".into();
    let again = identity.restart(&[other], &Config::default()).await.unwrap();
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(page.contains(ISSUER), "it may still be refused for other reasons: {page}");
    again.in_force();
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(!page.contains(ISSUER) && page.contains("https://b.example.com/"), "{page}");
    drop((identity, again));
}
