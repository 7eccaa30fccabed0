//! Who is asking: hostile tokens over HTTP against a running edge, and keys that rotate under load.

use crate::harness::{Edge, Setup};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kvs_edge::identity::Algorithm;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::edge::{AUDIENCE, ISSUER};

/// What the access log of this process holds.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES
        .get_or_init(|| {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_env_filter("access=info")
                .with_writer(move || writer.clone());
            tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
            lines
        })
        .clone()
}

impl Lines {
    /// The access line of a request.
    async fn of(&self, request_id: &str) -> Value {
        for _ in 0..200 {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains(request_id)) {
                return serde_json::from_str(line).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no access line of {request_id}");
    }
}

/// A token of any header and payload, signed by the issuer's own key.
fn signed(edge: &Edge, header: &str, payload: &str) -> String {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let pem = edge.issuer.private_key_pem();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &STANDARD.decode(text).unwrap());
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.unwrap().sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "groups": ["investigators"], "iat": now(), "exp": now() + 600})
}

/// Hostile tokens, and the reason that the log must hold.
#[allow(clippy::too_many_lines)] // a table
fn hostile(edge: &Edge) -> Vec<(String, String, &'static str)> {
    let kid = edge.issuer.kid();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
    let body = claims().to_string();
    let good = edge.alice();
    let parts: Vec<&str> = good.split('.').collect();
    let mut table: Vec<(String, String, &'static str)> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", " none", "es256", "HS256", "RS256", "PS512"] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid}).to_string());
        for signature in ["", parts[2]] {
            let token = format!("{head}.{}.{signature}", parts[1]);
            table.push((
                format!("alg {alg:?}, signature {}", signature.len()),
                token,
                "algorithm is not allowed",
            ));
        }
    }
    for (what, change, reason) in [
        ("kid unknown", json!({"kid": "unknown"}), "key is unknown"),
        ("kid a path", json!({"kid": "../../dev/null"}), "key is unknown"),
        ("kid SQL", json!({"kid": "' OR 1=1 --"}), "key is unknown"),
        ("kid in capitals", json!({"kid": kid.to_uppercase()}), "key is unknown"),
        ("kid a number", json!({"kid": 1}), "malformed"),
        ("crit", json!({"crit": ["exp"]}), "demands an extension"),
        ("b64", json!({"b64": false}), "demands an extension"),
        ("zip", json!({"zip": "DEF"}), "compressed"),
        ("enc", json!({"enc": "A128GCM"}), "encrypted"),
        ("nested", json!({"cty": "JWT"}), "nested"),
        ("another type", json!({"typ": "logout+jwt"}), "another type"),
        ("a DPoP proof", json!({"typ": "dpop+jwt"}), "another type"),
    ] {
        let mut head = header.clone();
        head.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        table.push((what.into(), signed(edge, &head.to_string(), &body), reason));
    }
    let forger = SigningKey::generate(KeyKind::P256).unwrap();
    let forged = forger.sign(Algorithm::ES256, &claims()).unwrap();
    table.push(("a stranger's key".into(), forged, "key is unknown"));
    let forger = forger.with_kid(kid.to_owned());
    let forged = forger.sign(Algorithm::ES256, &claims()).unwrap();
    table.push(("a stranger's key under a known kid".into(), forged.clone(), "signature is wrong"));
    for (name, value) in
        [("jwk", forger.jwk()), ("jku", json!("https://evil.test/k")), ("x5u", json!("https://evil.test/c"))]
    {
        let mut head = header.clone();
        head[name] = value;
        let head = URL_SAFE_NO_PAD.encode(head.to_string());
        let rest = forged.split_once('.').unwrap().1;
        table.push((format!("{name} in the header"), format!("{head}.{rest}"), "signature is wrong"));
    }
    for (name, value, reason) in [
        ("iss", Value::Null, "unknown issuer"),
        ("iss", json!("https://evil.test/"), "unknown issuer"),
        ("iss", json!("https://login.test"), "unknown issuer"),
        ("iss", json!([ISSUER]), "unknown issuer"),
        ("aud", Value::Null, "meant for somebody else"),
        ("aud", json!("another"), "meant for somebody else"),
        ("aud", json!(["a", "b"]), "meant for somebody else"),
        ("aud", json!([]), "meant for somebody else"),
        ("aud", json!([[AUDIENCE]]), "meant for somebody else"),
        ("aud", json!("KVS-EDGE"), "meant for somebody else"),
        ("exp", json!(now() - 61), "has expired"),
        ("exp", json!(0), "has expired"),
        ("exp", json!("9999999999"), "malformed"),
        ("exp", json!(-1), "malformed"),
        ("exp", json!(now() + 3 * 86_400), "lives too long"),
        ("nbf", json!(now() + 120), "not valid yet"),
        ("iat", json!(now() + 120), "issued in the future"),
        ("sub", json!(""), "names no subject"),
        ("sub", json!(7), "names no subject"),
        ("cnf", json!({"jkt": "A"}), "bound to a key"),
        ("cnf", json!({"x5t#S256": "A"}), "bound to a key"),
    ] {
        let mut all = claims();
        all[name] = value;
        table.push((format!("{name} {}", all[name]), edge.issuer.sign(&all).unwrap(), reason));
    }
    for name in ["sub", "exp", "aud", "iss"] {
        let mut all = claims();
        all.as_object_mut().unwrap().remove(name);
        let reason = match name {
            "sub" => "names no subject",
            "exp" => "never expires",
            "aud" => "meant for somebody else",
            _ => "unknown issuer",
        };
        table.push((format!("no {name}"), edge.issuer.sign(&all).unwrap(), reason));
    }
    let twice =
        |more: &str| signed(edge, &header.to_string(), &format!("{},{more}}}", &body[..body.len() - 1]));
    table.push(("sub twice".into(), twice(r#""sub":"root""#), "says something twice"));
    table.push(("sub twice by escape".into(), twice(r#""s\u0075b":"root""#), "says something twice"));
    table.push((
        "alg twice".into(),
        signed(edge, r#"{"alg":"none","alg":"ES256"}"#, &body),
        "says something twice",
    ));
    let changed = body.replace("eve", "root");
    let changed = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(changed), parts[2]);
    table.push(("payload changed".into(), changed, "signature is wrong"));
    table.push((
        "signature of zeros".into(),
        format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        "signature is wrong",
    ));
    table.push(("five segments".into(), format!("{good}.{0}.{0}", parts[1]), "encrypted"));
    for (what, token) in [
        ("nothing", String::new()),
        ("a word", "token".into()),
        ("dots", "..".into()),
        ("two segments", format!("{}.{}", parts[0], parts[1])),
        ("four segments", format!("{good}.{}", parts[2])),
        ("two tokens", format!("{good},{good}")),
        ("padding", format!("{good}==")),
        ("not base64", format!("{}.{}.!!!", parts[0], parts[1])),
        ("header no JSON", format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("x"), parts[1], parts[2])),
        ("payload no JSON", signed(edge, &header.to_string(), "hello")),
        ("payload null", signed(edge, &header.to_string(), "null")),
        ("payload deep", signed(edge, &header.to_string(), &"[".repeat(3000))),
        ("JSON form", json!({"payload": parts[1], "signature": parts[2]}).to_string()),
    ] {
        table.push((what.into(), token, "malformed"));
    }
    // Longer than a token may be, and not longer than a header may be.
    let rest = 16_400 - parts[0].len() - parts[2].len() - 2;
    table.push(("huge".into(), format!("{}.{}.{}", parts[0], "A".repeat(rest), parts[2]), "at most 16384"));
    table
}

#[tokio::test]
async fn no_hostile_token_is_accepted_and_each_leaves_its_reason_in_the_log() {
    let log = log();
    let edge = Edge::start().await;
    edge.forget_reached().await;
    let table = hostile(&edge);
    assert!(table.len() >= 60, "{}", table.len());
    let aws = "AWS4-HMAC-SHA256 Credential=kvsedge/20260101/eu-west-1/kinesisvideo/aws4_request";
    for (number, (what, token, reason)) in table.iter().enumerate() {
        // By turns in the two places that clients use.
        let bearer = format!("Bearer {token}");
        let headers = if number % 2 == 0 || token.is_empty() {
            vec![("authorization", bearer.as_str())]
        } else {
            vec![("authorization", aws), ("x-amz-security-token", token)]
        };
        let url = format!("{}/describeStream", edge.url);
        let answer = edge.http.post(&url, &headers, json!({"StreamName": "cam-1"}).to_string()).await;
        let expected = if what == "huge" { 431 } else { 401 };
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        if expected == 401 {
            assert_eq!(answer.kind(), "NotAuthorizedException", "{what}");
            assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{what}");
        }
        let line = log.of(answer.header("x-request-id").unwrap()).await;
        let told = line["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{what}: the log says {told:?} and not {reason:?}");
        assert_eq!(line["status"], expected, "{what}");
        assert!(token.len() < 20 || !line.to_string().contains(token), "{what}: the token is in the log");
    }
    let good = edge.alice();
    let (bearer, cookie) = (format!("Bearer {good}"), format!("session={good}"));
    let two: [&[(&str, &str)]; 4] = [
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &bearer), ("x-amz-security-token", &good)],
        &[("authorization", &bearer), ("authorization", aws), ("x-amz-security-token", &good)],
        &[("authorization", aws), ("x-amz-security-token", &good), ("x-amz-security-token", &good)],
    ];
    for headers in two {
        let answer = edge.http.get(&format!("{}/streams", edge.url), headers).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().starts_with("more than one credential: "), "{}", answer.message());
    }
    let unasked = edge.http.get(&format!("{}/streams", edge.url), &[("cookie", &cookie)]).await;
    assert_eq!(unasked.status, 401, "a cookie that is not configured counts for nothing");
    assert_eq!(edge.reached().await["total"], json!({}), "nothing reached KVS");
    let decided = edge.metric("kvs_edge_auth_decisions_total", &[r#"result="allow""#]).await;
    assert_eq!(decided, 0.0, "none was let in");
    for groups in [json!({"investigators": true}), json!([1]), json!("investigators guards"), Value::Null] {
        let mut all = claims();
        all["groups"] = groups;
        let token = edge.issuer.sign(&all).unwrap();
        let answer = edge.call("/describeStream", token, &json!({"StreamName": "cam-1"})).await;
        assert_eq!(answer.status, 403, "groups of another type are none: {}", answer.text());
    }
    assert_eq!(edge.get("/streams", good).await.status, 200, "an honest one still is");
}

#[tokio::test]
async fn a_cookie_signs_in_for_reading_but_not_for_a_stranger_s_page() {
    let setup = Setup::default()
        .setting("IDENTITY__COOKIE", "session")
        .setting("IDENTITY__HEADERS", "[\"X-Access\"]");
    let edge = setup.start().await;
    let cookie = format!("session={}", edge.alice());
    let read = edge.http.get(&format!("{}/streams", edge.url), &[("cookie", &cookie)]).await;
    assert_eq!(read.status, 200);
    let post = async |more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str()), ("content-type", "text/plain")], more].concat();
        let url = format!("{}/describeStream", edge.url);
        edge.http.post(&url, &headers, json!({"StreamName": "cam-1"}).to_string()).await
    };
    let strange = post(&[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")]).await;
    assert_eq!(strange.status, 401, "{}", strange.text());
    assert!(strange.message().contains("a cookie counts only for GET"), "{}", strange.message());
    assert_eq!(post(&[]).await.status, 401);
    assert_eq!(post(&[("sec-fetch-site", "same-origin")]).await.status, 200, "our own console");
    let token = edge.alice();
    let both =
        edge.http.get(&format!("{}/streams", edge.url), &[("cookie", &cookie), ("x-access", &token)]).await;
    assert_eq!(both.status, 400);
    assert_eq!(
        both.message(),
        "more than one credential: X-Access, cookie session; send exactly one, or let identity.order say which of them decides"
    );
}

/// An issuer whose keys change; remembers when it was asked.
#[derive(Clone, Default)]
struct Rotating {
    document: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Rotating {
    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        *self.document.lock().unwrap() = json!({ "keys": keys }).to_string();
    }

    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        self.answer_at(listener);
        url
    }

    /// Answers until the task is aborted; the port is free then.
    fn answer_at(&self, listener: tokio::net::TcpListener) -> tokio::task::JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                this.asked.lock().unwrap().push(Instant::now());
                let body = this.document.lock().unwrap().clone();
                let _ = socket.read(&mut [0; 4096]).await;
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = socket.write_all((head + &body).as_bytes()).await;
            }
        })
    }
}

/// The new key is published while the old one is in use, and used when the issuer's readers have had their 15
/// s; all the while strangers ask with keys that do not exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_a_flood_of_unknown_kids_and_nobody_honest_is_refused() {
    const OTHER: &str = "https://rotating.test/";
    let key = || SigningKey::generate(KeyKind::P256).unwrap();
    let (old, new, rotating) = (key(), key(), Rotating::default());
    rotating.publish(&[&old]);
    let jwks = rotating.serve().await;
    let setup = Setup {
        more: format!(
            "[[issuer]]\nissuer = \"{OTHER}\"\naudience = [\"{AUDIENCE}\"]\nalgorithms = [\"ES256\"]\njwks = \"{jwks}\"\n\
             claims = {{ subject = \"/sub\", groups = \"/groups\" }}\n"
        ),
        ..Setup::default()
    };
    let edge = Arc::new(setup.start().await);
    assert_eq!(rotating.asked.lock().unwrap().len(), 1, "read at the start");
    let claims = |subject: &str| json!({"iss": OTHER, "aud": AUDIENCE, "sub": subject, "groups": ["investigators"], "exp": now() + 600});
    let begun = Instant::now();
    let end = Duration::from_secs(18);
    let mut strangers = tokio::task::JoinSet::new();
    for stranger in 0..8 {
        let (edge, forged) = (edge.clone(), key().sign(Algorithm::ES256, &claims("eve")).unwrap());
        strangers.spawn(async move {
            let (_, rest) = forged.split_once('.').unwrap();
            let mut sent = 0_u64;
            while begun.elapsed() < end {
                sent += 1;
                let header = json!({"alg": "ES256", "kid": format!("{stranger}-{sent}")}).to_string();
                let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
                let answer = edge.get("/console/me", token).await;
                assert_eq!(answer.status, 401, "{}", answer.text());
            }
            sent
        });
    }
    let mut honest = 0;
    while begun.elapsed() < end {
        if begun.elapsed() > Duration::from_millis(500) {
            rotating.publish(&[&old, &new]);
        }
        let both = begun.elapsed() > Duration::from_millis(16_500);
        for key in [Some(&old), both.then_some(&new)].into_iter().flatten() {
            let token = key.sign(Algorithm::ES256, &claims(&format!("ann-{honest}"))).unwrap();
            let answer = edge.get("/console/me", token).await;
            assert_eq!(answer.status, 200, "after {:?}: {}", begun.elapsed(), answer.text());
            honest += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut sent = 0;
    while let Some(one) = strangers.join_next().await {
        sent += one.unwrap();
    }
    let asked = rotating.asked.lock().unwrap().clone();
    println!(
        "{sent} requests with unknown keys and {honest} honest ones in {:.1} s ({:.0}/s); the issuer was asked {} times",
        begun.elapsed().as_secs_f64(),
        (sent + honest) as f64 / begun.elapsed().as_secs_f64(),
        asked.len()
    );
    assert!((2..=3).contains(&asked.len()), "one read at the start, and one forced per 15 s: {asked:?}");
    for pair in asked[1..].windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(15), "{:?}", pair[1] - pair[0]);
    }
    assert!(honest > 100 && sent > 1000, "{honest} {sent}");
}

/// The issuer's server goes away: tokens are good until its keys are older than `stale_max`, then they are
/// neither accepted nor refused (503), and `/readyz` notes why; when it is back, so is everybody.
#[tokio::test]
async fn keys_past_their_bound_are_not_trusted_and_readyz_says_why() {
    const OTHER: &str = "https://gone.test/";
    let (key, server) = (SigningKey::generate(KeyKind::P256).unwrap(), Rotating::default());
    server.publish(&[&key]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = server.answer_at(listener);
    let setup = Setup {
        more: format!(
            "[[issuer]]\nissuer = \"{OTHER}\"\naudience = [\"{AUDIENCE}\"]\nalgorithms = [\"ES256\"]\n\
             jwks = \"http://{address}/keys\"\nclaims = {{ subject = \"/sub\", groups = \"/groups\" }}\n\
             refresh = \"15s\"\nstale_max = \"15s\"\n"
        ),
        ..Setup::default()
    };
    let edge = setup.start().await;
    let claims =
        json!({"iss": OTHER, "aud": AUDIENCE, "sub": "ann", "groups": ["investigators"], "exp": now() + 600});
    let token = key.sign(Algorithm::ES256, &claims).unwrap();
    let ready = async || edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert_eq!(edge.get("/streams", &token).await.status, 200);
    assert_eq!(ready().await.status, 200);
    answering.abort();
    let _ = answering.await;
    let told = async || {
        let ready = ready().await;
        ready.json()["notes"].to_string().contains(&format!("the keys of issuer {OTHER} are not available"))
    };
    edge.until("readyz says so", told).await;
    let ready_text = ready().await.text();
    assert!(ready_text.contains("they were last read 1"), "since when: {ready_text}");
    assert_eq!(ready().await.status, 200, "one issuer of two is a note: {ready_text}");
    let other = format!(r#"issuer="{OTHER}""#);
    assert_eq!(edge.metric("kvs_edge_issuer_keys_available", &[&other]).await, 0.0);
    let answer = edge.get("/streams", &token).await;
    assert_eq!((answer.status, answer.kind()), (503, "ServiceUnavailableException"), "{}", answer.text());
    assert!(answer.message().contains(OTHER), "{}", answer.message());
    assert_eq!(edge.get("/streams", edge.alice()).await.status, 200, "other issuers' people notice nothing");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _answering = server.answer_at(listener);
    let back = async || edge.get("/streams", &token).await.status == 200;
    edge.until("the keys are read again", back).await;
    assert_eq!(ready().await.status, 200);
}
