//! A table of hostile tokens (RFC 8725 and what has broken other verifiers): every one is refused, for the
//! stated reason, by the same `Identity` that accepts honest tokens next to them.

use super::mint::{KeyKind, SigningKey};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::Mutex;

const NOW: u64 = 1_800_000_000;
const A: &str = "https://a.example.com/";
const B: &str = "https://b.example.com/";
const C: &str = "https://c.example.com/";
const SECRET: &[u8; 32] = b"a shared secret of 32 bytes long";

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A world with three issuers: A with an EC, an RSA and an Ed25519 key, B with its own EC key, C with a
/// secret.
struct World {
    identity: Arc<Identity>,
    ec: SigningKey,
    rsa: SigningKey,
    ed: SigningKey,
    other: SigningKey,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let key = |kind| SigningKey::generate(kind).unwrap();
        let (ec, rsa, ed, other) =
            (key(KeyKind::P256), key(KeyKind::Rsa), key(KeyKind::Ed25519), key(KeyKind::P256));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let documents = [
            json!({ "keys": [ec.jwk(), rsa.jwk(), ed.jwk()] }).to_string(),
            json!({ "keys": [other.jwk()] }).to_string(),
        ];
        let log = asked.clone();
        let fetch: Fetch = Arc::new(move |request: Request<Bytes>| {
            let url = request.uri().to_string();
            log.lock().unwrap().push(url.clone());
            let body = documents[usize::from(url.contains("b.example.com"))].clone();
            Box::pin(async move { Ok(Response::new(Bytes::from(body))) })
        });
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let issuer = |name: &str, rest: &str| -> IssuerConfig {
            let text = format!("issuer = '{name}'\naudience = ['kvs-edge', 'kvs-edge-2']\n{rest}");
            toml::from_str(&text).unwrap()
        };
        let public = |name: &str| {
            let rest = format!(
                "algorithms = ['RS256', 'ES256', 'EdDSA']\njwks = '{name}keys'\n[claims]\nsite = '/site'\n\
                 level = {{ pointer = '/level', type = 'long', required = false }}\n\
                 active = {{ pointer = '/active', type = 'bool' }}"
            );
            issuer(name, &rest)
        };
        let shared = issuer(C, &format!("algorithms = ['HS256']\nsecret = 'file:{}'", secret.display()));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let mut issuers = [public(A), public(B), shared];
        IssuerConfig::complete(&mut issuers);
        let mut mistakes = Vec::new();
        IssuerConfig::check_all(&issuers, &mut mistakes);
        assert_eq!(mistakes, []);
        let identity = Identity::start(&issuers, &Config::default(), fetch, metrics).await.unwrap();
        Self { identity, ec, rsa, ed, other, asked, _folder: folder }
    }

    async fn reason(&self, token: &str) -> &'static str {
        match self.identity.verify(token, now()).await {
            Ok(_) => "accepted",
            Err(e) => {
                assert!(token.len() < 20 || !e.to_string().contains(token), "the token shows in {e}");
                e.as_str()
            }
        }
    }
}

fn claims() -> Value {
    json!({ "iss": A, "aud": "kvs-edge", "sub": "ann", "exp": NOW + 600, "iat": NOW - 10, "groups": ["guards"] })
}

fn but(name: &str, value: impl Into<Value>) -> Value {
    let mut all = claims();
    all[name] = value.into();
    all
}

fn without(name: &str) -> Value {
    let mut all = claims();
    all.as_object_mut().unwrap().remove(name);
    all
}

/// Signed well by A's EC key, with any header members and payload text.
fn with_header(key: &SigningKey, extra: &Value, payload: &str) -> String {
    let mut header = json!({ "alg": "ES256", "typ": "JWT", "kid": key.kid() });
    for (name, value) in extra.as_object().unwrap() {
        if value.is_null() {
            header.as_object_mut().unwrap().remove(name);
        } else {
            header[name] = value.clone();
        }
    }
    key.sign_as(Algorithm::ES256, &header.to_string(), payload).unwrap()
}

fn hs256(key: &[u8], kid: &str, iss: &str) -> String {
    let header = b64(json!({ "alg": "HS256", "typ": "JWT", "kid": kid }).to_string());
    let signed = format!("{header}.{}", b64(but("iss", iss).to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
}

#[tokio::test]
async fn honest_tokens_are_accepted() {
    let world = World::new().await;
    let bare = json!({ "iss": A, "aud": ["x", "kvs-edge-2"], "sub": "ann", "exp": NOW as f64 + 0.5 });
    for (what, token) in [
        ("EC", world.ec.sign(Algorithm::ES256, &claims()).unwrap()),
        ("RSA", world.rsa.sign(Algorithm::RS256, &claims()).unwrap()),
        ("Ed25519", world.ed.sign(Algorithm::EdDSA, &claims()).unwrap()),
        ("issuer B", world.other.sign(Algorithm::ES256, &but("iss", B)).unwrap()),
        ("issuer C", hs256(SECRET, "any", C)),
        ("few claims", world.ec.sign(Algorithm::ES256, &bare).unwrap()),
        ("no typ", with_header(&world.ec, &json!({ "typ": null }), &claims().to_string())),
        (
            "access token",
            with_header(&world.ec, &json!({ "typ": "application/at+JWT" }), &claims().to_string()),
        ),
        ("expired within leeway", world.ec.sign(Algorithm::ES256, &but("exp", NOW - 29)).unwrap()),
        ("nbf within leeway", world.ec.sign(Algorithm::ES256, &but("nbf", NOW + 30)).unwrap()),
        ("unknown headers", with_header(&world.ec, &json!({ "x": 1, "cty": "text" }), &claims().to_string())),
        ("one group", world.ec.sign(Algorithm::ES256, &but("groups", "guards")).unwrap()),
    ] {
        for _ in 0..2 {
            assert_eq!(world.reason(&token).await, "accepted", "{what}");
        }
    }
    let rich = json!({
        "iss": A, "aud": "kvs-edge", "sub": "ann", "exp": NOW + 600, "jti": "j1",
        "groups": ["guards", "night"], "site": "berlin", "level": 3, "active": true, "more": { "x": 1 },
    });
    let token = world.ec.sign(Algorithm::ES256, &rich).unwrap();
    let caller = world.identity.verify(&token, now()).await.unwrap();
    assert_eq!((&*caller.issuer, &*caller.subject, caller.token_id.as_deref()), (A, "ann", Some("j1")));
    assert_eq!(caller.groups.iter().collect::<Vec<_>>(), ["guards", "night"]);
    assert_eq!(
        serde_json::to_value(&caller.attributes).unwrap(),
        json!({ "active": true, "level": 3, "site": "berlin" })
    );
    assert_eq!(caller.expires.millis(), (NOW + 600) * 1000);
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // a table
async fn hostile_tokens_are_refused_each_for_its_reason() {
    let world = World::new().await;
    let (ec, rsa) = (&world.ec, &world.rsa);
    let good = ec.sign(Algorithm::ES256, &claims()).unwrap();
    assert_eq!(world.reason(&good).await, "accepted");
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let body = claims().to_string();
    let es = |all: Value| ec.sign(Algorithm::ES256, &all).unwrap();
    let head = |extra: Value| with_header(ec, &extra, &body);
    let raw = |header: &str, payload: &str| ec.sign_as(Algorithm::ES256, header, payload).unwrap();
    let unsigned = |alg: &str| {
        let header = b64(json!({ "alg": alg, "typ": "JWT", "kid": ec.kid() }).to_string());
        [format!("{header}.{payload}."), format!("{header}.{payload}.{signature}")]
    };
    let plain_header = json!({ "alg": "ES256", "kid": ec.kid() }).to_string();
    let mut table: Vec<(String, String, &str)> = Vec::new();
    let mut row = |what: &str, token: String, reason: &'static str| table.push((what.into(), token, reason));

    // No signature, by any name.
    for alg in ["none", "None", "NONE", "nOnE", "none ", " none", "", "n\u{f6}ne", "null"] {
        for token in unsigned(alg) {
            row(&format!("alg {alg:?}"), token, "algorithm");
        }
    }
    row("alg absent", raw(r#"{"kid":"x"}"#, &body), "malformed");
    row("alg null", raw(r#"{"alg":null}"#, &body), "malformed");
    row("alg a list", raw(r#"{"alg":["ES256","none"]}"#, &body), "malformed");
    row("signature cut off", format!("{header}.{payload}."), "signature");
    row("signature of zeros", format!("{header}.{payload}.{}", b64([0; 64])), "signature");
    row("signature too long", format!("{header}.{payload}.{}", b64([1; 65])), "signature");
    row(
        "signature in ASN.1",
        format!("{header}.{payload}.{}", b64([0x30, 6, 2, 1, 1, 2, 1, 1])),
        "signature",
    );

    // Another algorithm or key than the issuer's.
    let public_pem = format!("{}", rsa.jwk());
    row("HS256 with the public key as secret", hs256(public_pem.as_bytes(), rsa.kid(), A), "algorithm");
    row("HS256 with an empty secret", hs256(b"", ec.kid(), A), "algorithm");
    row("HS256 of C, said to be from A", hs256(SECRET, "k", A), "algorithm");
    row("HS256 with a wrong secret", hs256(b"another secret", "k", C), "signature");
    row("ES256 said to be from C", es(but("iss", C)), "algorithm");
    row("allowed by nobody: PS256", rsa.sign(Algorithm::PS256, &claims()).unwrap(), "algorithm");
    row("allowed by nobody: RS512", rsa.sign(Algorithm::RS512, &claims()).unwrap(), "algorithm");
    row("letter case: es256", head(json!({ "alg": "es256" })), "algorithm");
    row("RS256 with the EC key's kid", head(json!({ "alg": "RS256" })), "key");
    row("ES256 with the RSA key's kid", head(json!({ "kid": rsa.kid() })), "key");
    row("EdDSA with the EC key's kid", head(json!({ "alg": "EdDSA" })), "key");
    row("B's key for A's token", world.other.sign(Algorithm::ES256, &claims()).unwrap(), "key");
    row("A's key for B's token", es(but("iss", B)), "key");
    let forger = SigningKey::generate(KeyKind::P256).unwrap().with_kid(ec.kid().to_owned());
    row("a stranger's key under a known kid", forger.sign(Algorithm::ES256, &claims()).unwrap(), "signature");
    row("kid unknown", head(json!({ "kid": "unknown" })), "key");
    row("kid absent", head(json!({ "kid": null })), "key");
    row("kid a path", head(json!({ "kid": "../../../../dev/null" })), "key");
    row("kid SQL", head(json!({ "kid": "' UNION SELECT 'k" })), "key");
    row("kid in another letter case", head(json!({ "kid": ec.kid().to_ascii_lowercase() + "X" })), "key");
    row("kid a number", head(json!({ "kid": 1 })), "malformed");
    row("kid long", head(json!({ "kid": "k".repeat(4000) })), "key");
    for (name, value) in [
        ("jwk", forger.jwk()),
        ("jku", "https://evil.example.com/keys".into()),
        ("x5u", "https://evil.example.com/cert".into()),
        ("x5c", json!(["MIIB"])),
    ] {
        let own = with_header(&forger, &json!({ name: value, "kid": "forged" }), &body);
        row(&format!("{name} with the forger's key"), own, "key");
        let known = with_header(&forger, &json!({ name: value }), &body);
        row(&format!("{name} under a known kid"), known, "signature");
    }

    // Extensions, encryption, nesting.
    row("crit", head(json!({ "crit": ["exp"], "exp": 1 })), "critical");
    row("crit empty", head(json!({ "crit": [] })), "critical");
    row("b64 false", head(json!({ "b64": false })), "critical");
    row("zip", head(json!({ "zip": "DEF" })), "compressed");
    row("JWE", format!("{header}.{payload}.{signature}.{payload}.{signature}"), "encrypted");
    row("enc", head(json!({ "enc": "A128GCM" })), "encrypted");
    row("nested by cty", head(json!({ "cty": "jwt" })), "nested");
    row("nested by cty with application/", head(json!({ "cty": "application/JWT" })), "nested");
    row("nested by content", raw(&plain_header, &good), "malformed");
    row("an ID of another type", head(json!({ "typ": "logout+jwt" })), "type");
    row("a DPoP proof", head(json!({ "typ": "dpop+jwt" })), "type");
    row("typ a number", head(json!({ "typ": 1 })), "malformed");

    // Not a token, or not quite.
    for (what, text) in [
        ("empty", String::new()),
        ("a word", "token".into()),
        ("dots", "..".into()),
        ("many dots", ".".repeat(8000)),
        ("two segments", format!("{header}.{payload}")),
        ("four segments", format!("{good}.{signature}")),
        ("two tokens", format!("{good},{good}")),
        ("two tokens with a space", format!("{good} {good}")),
        ("a line break at the end", format!("{good}\n")),
        ("a space in front", format!(" {good}")),
        ("a NUL", format!("{good}\0")),
        ("half a padding", format!("{good}=")),
        ("padding inside", format!("{header}=.{payload}.{signature}")),
        ("plain base64", format!("{header}.{}.{signature}", STANDARD.encode("{\"a\":\"???>>>\"}"))),
        ("not base64", format!("{header}.{payload}.!!!!")),
        ("header no JSON", format!("{}.{payload}.{signature}", b64("hello"))),
        ("header a list", format!("{}.{payload}.{signature}", b64("[]"))),
        ("header not UTF-8", format!("{}.{payload}.{signature}", b64([0x7b, 0xff, 0x7d]))),
        (
            "header with a byte order mark",
            format!("{}.{payload}.{signature}", b64(format!("\u{feff}{plain_header}"))),
        ),
        ("payload a text", raw(&plain_header, "\"hello\"")),
        ("payload null", raw(&plain_header, "null")),
        ("payload empty", raw(&plain_header, "")),
        ("payload with something after it", raw(&plain_header, &format!("{body} {body}"))),
        ("payload deep", raw(&plain_header, &format!("{}1{}", "{\"a\":".repeat(900), "}".repeat(900)))),
        ("payload deep lists", raw(&plain_header, &"[".repeat(5000))),
        ("JSON form of a JWS", json!({ "payload": payload, "signature": signature }).to_string()),
    ] {
        row(what, text, "malformed");
    }
    row("huge", format!("{header}.{}.{signature}", "A".repeat(17_000)), "too_large");
    let last = signature.chars().last().unwrap();
    let next = if last == 'A' { 'B' } else { 'A' };
    let second_spelling = format!("{}{next}", &good[..good.len() - 1]);
    let spelled = URL_SAFE_NO_PAD.decode(&second_spelling[header.len() + payload.len() + 2..]);
    row("another last letter", second_spelling, if spelled.is_ok() { "signature" } else { "malformed" });
    row(
        "payload changed",
        format!("{header}.{}.{signature}", b64(but("sub", "root").to_string())),
        "signature",
    );
    row("header changed", format!("{}.{payload}.{signature}", b64(&plain_header)), "signature");
    let padded = URL_SAFE.encode(URL_SAFE_NO_PAD.decode(header).unwrap());
    row("header padded after signing", format!("{padded}.{payload}.{signature}"), "malformed");
    let padded = format!("{}.{}", URL_SAFE.encode(format!("{plain_header} ")), URL_SAFE.encode(&body));
    let padded_signature = ec.signature(Algorithm::ES256, padded.as_bytes()).unwrap();
    row("padded before signing", format!("{padded}.{padded_signature}"), "malformed");

    // The same member twice.
    let double = |text: &str| format!("{},{text}}}", &body[..body.len() - 1]);
    row("sub twice", raw(&plain_header, &double(r#""sub":"root""#)), "duplicate");
    row("sub twice by escape", raw(&plain_header, &double(r#""s\u0075b":"root""#)), "duplicate");
    row("exp twice", raw(&plain_header, &double(r#""exp":9999999999"#)), "duplicate");
    row("twice inside", raw(&plain_header, &double(r#""x":{"a":1,"a":2}"#)), "duplicate");
    row("alg twice", raw(r#"{"alg":"none","alg":"ES256"}"#, &body), "duplicate");

    // Who and for whom.
    row("iss absent", es(without("iss")), "issuer");
    row("iss unknown", es(but("iss", "https://evil.example.com/")), "issuer");
    row("iss without its slash", es(but("iss", "https://a.example.com")), "issuer");
    row("iss in capitals", es(but("iss", "HTTPS://A.EXAMPLE.COM/")), "issuer");
    row("iss a list with a good one", es(but("iss", json!([A]))), "issuer");
    row("iss with a space", es(but("iss", format!("{A} "))), "issuer");
    row("aud absent", es(without("aud")), "audience");
    row("aud another", es(but("aud", "kvs-edge-3")), "audience");
    row("aud a list of others", es(but("aud", json!(["x", "y"]))), "audience");
    row("aud an empty list", es(but("aud", json!([]))), "audience");
    row("aud in a list in a list", es(but("aud", json!([["kvs-edge"]]))), "audience");
    row("aud among what is not text", es(but("aud", json!(["kvs-edge", 1]))), "audience");
    row("aud an object", es(but("aud", json!({ "kvs-edge": true }))), "audience");
    row("aud in capitals", es(but("aud", "KVS-EDGE")), "audience");
    row("aud a beginning", es(but("aud", "kvs")), "audience");
    row("sub absent", es(without("sub")), "subject");
    row("sub empty", es(but("sub", "")), "subject");
    row("sub a number", es(but("sub", 7)), "subject");
    row("sub a list", es(but("sub", json!(["ann"]))), "subject");
    row("sub with a line break", es(but("sub", "ann\nroot")), "subject");
    row("sub long", es(but("sub", "a".repeat(600))), "subject");
    row("jti a list", es(but("jti", json!([1]))), "malformed");
    row("bound to a certificate", es(but("cnf", json!({ "x5t#S256": "A" }))), "bound");
    row("bound to a DPoP key", es(but("cnf", json!({ "jkt": "A" }))), "bound");
    row("bound by what is no object", es(but("cnf", "A")), "bound");

    // When.
    row("expired", es(but("exp", NOW - 31)), "expired");
    row("expired long ago", es(but("exp", 0)), "expired");
    row("exp absent", es(without("exp")), "unbounded");
    row("exp null", es(but("exp", Value::Null)), "malformed");
    row("exp text", es(but("exp", (NOW + 600).to_string())), "malformed");
    row("exp negative", es(but("exp", -1)), "malformed");
    row("exp in milliseconds", es(but("exp", (NOW + 600) * 1000)), "malformed");
    row(
        "exp beyond numbers",
        raw(&plain_header, &body.replace(&(NOW + 600).to_string(), "1e999")),
        "malformed",
    );
    row("exp enormous", es(but("exp", 1e300)), "malformed");
    row("nbf ahead", es(but("nbf", NOW + 31)), "not_yet");
    row("nbf text", es(but("nbf", "0")), "malformed");
    row("iat ahead", es(but("iat", NOW + 31)), "issued_ahead");
    row("iat text", es(but("iat", "now")), "malformed");
    row("lives too long", es(but("exp", NOW + 2 * 86_400)), "lifetime");
    row(
        "lives too long and hides its start",
        es(json!({ "iss": A, "aud": "kvs-edge", "sub": "ann", "exp": NOW + 2 * 86_400 })),
        "lifetime",
    );

    assert!(table.len() >= 60, "{}", table.len());
    for (what, token, reason) in &table {
        // Twice: what was refused must not be remembered as good.
        assert_eq!(world.reason(token).await, *reason, "{what}");
        assert_eq!(world.reason(token).await, *reason, "{what}, again");
    }
    assert_eq!(world.reason(&good).await, "accepted");
    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().all(|url| !url.contains("evil")), "{asked:?}");
    assert!(asked.len() <= 4, "one read at the start and one forced, each of A and B: {asked:?}");
}

/// A claim of the wrong type grants nothing, and what the policy must not miss is `required`.
#[tokio::test]
async fn claims_of_another_type_are_left_out() {
    let world = World::new().await;
    for (name, bad) in [
        ("groups", json!({ "guards": true })),
        ("groups", json!([1])),
        ("groups", json!(["guards", ["root"]])),
        ("groups", json!(true)),
        ("level", json!("3")),
        ("level", json!(3.5)),
        ("active", json!("true")),
        ("site", json!(["berlin"])),
    ] {
        let token = world.ec.sign(Algorithm::ES256, &but(name, bad)).unwrap();
        let caller = world.identity.verify(&token, now()).await.unwrap();
        assert!(!caller.attributes.contains_key(name), "{name}");
        assert_eq!(caller.groups.len(), usize::from(name != "groups"), "{name}");
    }
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let world = World::new().await;
    let token = world.ec.sign(Algorithm::ES256, &claims()).unwrap();
    assert!(world.identity.verify(&token, now()).await.is_ok());
    let later = |seconds| Timestamp::from_millis((NOW + seconds) * 1000);
    assert!(world.identity.verify(&token, later(629)).await.is_ok());
    let error = world.identity.verify(&token, later(630)).await.unwrap_err();
    assert_eq!(error.as_str(), "expired");
}

#[test]
fn a_good_token_with_any_one_byte_changed_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let good = world.ec.sign(Algorithm::ES256, &claims()).unwrap();
    assert_eq!(runtime.block_on(world.reason(&good)), "accepted");
    for at in 0..good.len() {
        for new in [b'A', b'_', b'z', b'.', b'=', b' ', 0x7f] {
            let mut bytes = good.clone().into_bytes();
            if std::mem::replace(&mut bytes[at], new) != new {
                let changed = String::from_utf8(bytes).unwrap();
                assert_ne!(runtime.block_on(world.reason(&changed)), "accepted", "byte {at}");
            }
        }
    }
}

/// Before there was a bound in bytes, 10,000 tokens of 8 KiB took 825 MB.
#[tokio::test]
async fn remembered_tokens_are_bounded_in_bytes() {
    let world = World::new().await;
    let groups: Vec<String> = (0..800).map(|number| format!("g{number}")).collect();
    let mut token = claims();
    token["groups"] = json!(groups);
    let mut weights = Vec::new();
    for number in 0..2600 {
        token["jti"] = json!(number.to_string());
        let signed = world.ec.sign(Algorithm::ES256, &token).unwrap();
        let caller = world.identity.verify(&signed, now()).await.unwrap();
        assert_eq!(caller.groups.len(), 800);
        weights.push(world.identity.verified.weight());
    }
    // Each counts what it takes: its claims, not ten times as much.
    assert!((6_500..8_000).contains(&weights[0]), "{}", weights[0]);
    assert!(weights.iter().all(|weight| *weight <= 16 << 20), "{:?}", weights.last());
    assert!(weights.last() > Some(&(12 << 20)), "{:?}", weights.last());
}
