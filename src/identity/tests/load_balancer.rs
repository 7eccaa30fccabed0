//! Tokens of Application Load Balancers and of Verified Access, honest and hostile: the signer, claims in the
//! header, padding, and keys that are read one by one.

use super::mint::{KeyKind, SigningKey};
use super::rotation::metrics;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::time::sleep;

const NOW: u64 = 1_800_000_000;
const IDP: &str = "https://login.example.com";
const SIGNER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/edge/50dc6c495c0c9188";
const INSTANCE: &str = "arn:aws:ec2:us-east-1:111122223333:verified-access-instance/vai-0abc123";
const KID: &str = "12345678-1234-1234-1234-123456789012";

fn issuers() -> Vec<IssuerConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        issuer: Vec<IssuerConfig>,
    }
    let text = format!(
        "[[issuer]]\nkind = 'alb'\nissuer = '{IDP}'\naudience = ['client-1']\nsigner = '{SIGNER}'\n\
         [[issuer]]\nkind = 'verified-access'\nissuer = '{IDP}'\nsigner = '{INSTANCE}'\n\
         [[issuer]]\nissuer = '{IDP}'\naudience = ['kvs-edge']\nalgorithms = ['ES256']\njwks = '{IDP}/keys'\n"
    );
    let mut issuers = toml::from_str::<File>(&text).unwrap().issuer;
    IssuerConfig::complete(&mut issuers);
    let mut mistakes = Vec::new();
    IssuerConfig::check_all(&issuers, &mut mistakes);
    assert_eq!(mistakes, []);
    issuers
}

/// The public key as AWS publishes it.
fn pem(key: &SigningKey) -> String {
    let jwk = key.jwk();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let prefix: &[u8] = if jwk["crv"] == "P-256" {
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"
    } else {
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04"
    };
    let der = STANDARD.encode([prefix, &number("x"), &number("y")].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

/// AWS's addresses of keys, and what they answer.
#[derive(Clone, Default)]
struct Addresses {
    keys: Arc<Mutex<BTreeMap<String, Result<String, u16>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Addresses {
    fn publish(&self, url: String, answer: Result<String, u16>) {
        self.keys.lock().unwrap().insert(url, answer);
    }

    fn fetch(&self) -> Fetch {
        let this = self.clone();
        Arc::new(move |request: Request<Bytes>| {
            let url = request.uri().to_string();
            this.asked.lock().unwrap().push(url.clone());
            let answer = this.keys.lock().unwrap().get(&url).cloned().unwrap_or(Err(404));
            Box::pin(async move {
                sleep(Duration::from_millis(5)).await;
                match answer {
                    Ok(body) => Ok(Response::new(Bytes::from(body))),
                    Err(0) => Err("connection refused".into()),
                    Err(status) => Ok(Response::builder().status(status).body(Bytes::new()).unwrap()),
                }
            })
        })
    }

    fn asked_for(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|url| url.contains(part)).count()
    }
}

const ALB_KEYS: &str = "https://public-keys.auth.elb.eu-west-1.amazonaws.com";
const AVA_KEYS: &str = "https://public-keys.prod.verified-access.us-east-1.amazonaws.com";
const OIDC_DATA: &str = "x-amzn-oidc-data";
const AVA: &str = "x-amzn-ava-user-context";
const BEARER: &str = "authorization";

struct World {
    identity: Arc<Identity>,
    places: TokenPlaces,
    addresses: Addresses,
    alb: SigningKey,
    ava: SigningKey,
    idp: SigningKey,
}

impl World {
    async fn new() -> Self {
        let key = |kind| SigningKey::generate(kind).unwrap();
        let (alb, ava, idp) = (key(KeyKind::P256), key(KeyKind::P384), key(KeyKind::P256));
        let addresses = Addresses::default();
        addresses.publish(format!("{ALB_KEYS}/{KID}"), Ok(pem(&alb)));
        addresses.publish(format!("{AVA_KEYS}/{KID}"), Ok(pem(&ava)));
        addresses.publish(format!("{IDP}/keys"), Ok(json!({ "keys": [idp.jwk()] }).to_string()));
        let settings = Config {
            headers: vec!["X-Amzn-Oidc-Data".into(), "X-Amzn-Ava-User-Context".into()],
            ..Config::default()
        };
        let identity = Identity::start(&issuers(), &settings, addresses.fetch(), metrics()).await.unwrap();
        Self { identity, places: TokenPlaces::new(&settings), addresses, alb, ava, idp }
    }

    async fn sent(&self, header: &'static str, token: &str) -> Result<Arc<Caller>, Error> {
        let value = if header == BEARER { format!("Bearer {token}") } else { token.to_owned() };
        let headers = HeaderMap::from_iter([(HeaderName::from_static(header), value.parse().unwrap())]);
        let token = self.places.token(&Method::GET, &headers)?;
        self.identity.verify_sent(token, Timestamp::from_millis(NOW * 1000)).await.map(|(caller, _)| caller)
    }

    async fn word(&self, header: &'static str, token: &str) -> &'static str {
        self.sent(header, token).await.map_or_else(|e| e.as_str(), |_| "accepted")
    }
}

fn header() -> Value {
    json!({ "typ": "JWT", "kid": KID, "alg": "ES256", "iss": IDP, "client": "client-1", "signer": SIGNER, "exp": NOW + 120 })
}

fn ava_header() -> Value {
    json!({ "kid": KID, "alg": "ES384", "iss": IDP, "signer": INSTANCE, "exp": NOW + 120 })
}

fn user() -> Value {
    json!({ "sub": "00u1", "email": "ann@example.com", "groups": ["guards"], "exp": NOW + 120, "iss": IDP })
}

fn but(all: &Value, name: &str, value: Value) -> Value {
    let mut all = all.clone();
    if value.is_null() {
        all.as_object_mut().unwrap().remove(name);
    } else {
        all[name] = value;
    }
    all
}

/// As load balancers write it: each segment padded.
fn padded(key: &SigningKey, header: &Value, payload: &Value) -> String {
    // A space makes sure that there is padding.
    let space = |text: String| if text.len().is_multiple_of(3) { format!("{text} ") } else { text };
    let segment = |value: &Value| URL_SAFE.encode(space(value.to_string()));
    let signed = format!("{}.{}", segment(header), segment(payload));
    assert!(signed.contains('='));
    let signature = key.signature(key.algorithms()[0], signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap()))
}

#[tokio::test]
async fn honest_tokens_of_both_are_accepted_in_their_headers() {
    let world = World::new().await;
    assert_eq!(world.identity.problems(), Vec::<String>::new(), "no key has been needed yet");
    let bare = but(&but(&user(), "exp", Value::Null), "iss", Value::Null);
    for (what, place, token) in [
        ("load balancer", OIDC_DATA, padded(&world.alb, &header(), &user())),
        ("without iss and exp in the payload", OIDC_DATA, padded(&world.alb, &header(), &bare)),
        ("not padded", OIDC_DATA, {
            world.alb.sign_as(Algorithm::ES256, &header().to_string(), &user().to_string()).unwrap()
        }),
        ("Verified Access", AVA, padded(&world.ava, &ava_header(), &bare)),
    ] {
        for _ in 0..2 {
            let caller = world.sent(place, &token).await.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!((&*caller.issuer, &*caller.subject), (IDP, "00u1"), "{what}");
            assert_eq!(caller.groups.iter().collect::<Vec<_>>(), ["guards"], "{what}");
            assert_eq!(caller.expires.millis(), (NOW + 120) * 1000, "{what}");
        }
    }
    assert_eq!(world.addresses.asked_for(ALB_KEYS), 1);
    let own = json!({ "iss": IDP, "aud": "kvs-edge", "sub": "ann", "exp": NOW + 60 });
    assert_eq!(world.word(BEARER, &world.idp.sign(Algorithm::ES256, &own).unwrap()).await, "accepted");
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // a table
async fn no_hostile_token_passes_for_a_load_balancers() {
    let world = World::new().await;
    let (alb, idp) = (&world.alb, &world.idp);
    assert_eq!(world.word(OIDC_DATA, &padded(alb, &header(), &user())).await, "accepted");
    let head = |name: &str, value: Value| padded(alb, &but(&header(), name, value), &user());
    let body = |name: &str, value: Value| padded(alb, &header(), &but(&user(), name, value));
    let another = SIGNER.replace("111122223333", "999999999999");
    let own = json!({ "iss": IDP, "aud": "kvs-edge", "sub": "ann", "exp": NOW + 60 });
    let raw = |header: &str| alb.sign_as(Algorithm::ES256, header, &user().to_string()).unwrap();
    let text = header().to_string();
    let good = padded(alb, &header(), &user());
    let forger = SigningKey::generate(KeyKind::P256).unwrap();
    for (what, place, token, reason) in [
        // Every load balancer of a region signs with the same keys: only the signer tells them apart.
        ("the signer of another account", OIDC_DATA, head("signer", another.clone().into()), "signer"),
        (
            "another load balancer of ours",
            OIDC_DATA,
            head("signer", SIGNER.replace("edge", "blog").into()),
            "signer",
        ),
        ("a signer that begins alike", OIDC_DATA, head("signer", format!("{SIGNER}1").into()), "signer"),
        ("a signer in capitals", OIDC_DATA, head("signer", SIGNER.to_uppercase().into()), "signer"),
        ("two signers", OIDC_DATA, head("signer", json!([SIGNER, another])), "signer"),
        ("a signer in a list", OIDC_DATA, head("signer", json!([SIGNER])), "signer"),
        (
            "the signer twice",
            OIDC_DATA,
            raw(&format!("{},\"signer\":\"{another}\"}}", &text[..text.len() - 1])),
            "duplicate",
        ),
        ("no signer", OIDC_DATA, head("signer", Value::Null), "malformed"),
        (
            "no signer, not padded",
            OIDC_DATA,
            raw(&but(&header(), "signer", Value::Null).to_string()),
            "audience",
        ),
        (
            "the signer in the payload",
            OIDC_DATA,
            alb.sign_as(
                Algorithm::ES256,
                &but(&header(), "signer", Value::Null).to_string(),
                &but(&user(), "signer", SIGNER.into()).to_string(),
            )
            .unwrap(),
            "audience",
        ),
        ("another issuer behind it", OIDC_DATA, head("iss", "https://evil.example.com".into()), "issuer"),
        ("no issuer in the header", OIDC_DATA, head("iss", Value::Null), "issuer"),
        ("the issuer in a list", OIDC_DATA, head("iss", json!([IDP])), "issuer"),
        (
            "another issuer in the payload",
            OIDC_DATA,
            body("iss", "https://evil.example.com".into()),
            "issuer",
        ),
        ("another client", OIDC_DATA, head("client", "client-2".into()), "audience"),
        ("no client", OIDC_DATA, head("client", Value::Null), "audience"),
        ("the client in a list", OIDC_DATA, head("client", json!(["client-1"])), "audience"),
        (
            "the client in the payload's aud",
            OIDC_DATA,
            padded(alb, &but(&header(), "client", "x".into()), &but(&user(), "aud", "client-1".into())),
            "audience",
        ),
        ("expired in the header", OIDC_DATA, head("exp", (NOW - 31).into()), "expired"),
        ("expired in the payload", OIDC_DATA, body("exp", (NOW - 31).into()), "expired"),
        ("no end in the header", OIDC_DATA, head("exp", Value::Null), "unbounded"),
        ("the end as text", OIDC_DATA, head("exp", (NOW + 60).to_string().into()), "malformed"),
        ("the payload's end as text", OIDC_DATA, body("exp", (NOW + 60).to_string().into()), "malformed"),
        ("no subject", OIDC_DATA, body("sub", Value::Null), "subject"),
        ("bound", OIDC_DATA, body("cnf", json!({ "jkt": "A" })), "bound"),
        ("a stranger's key under the kid", OIDC_DATA, padded(&forger, &header(), &user()), "signature"),
        ("a kid that is a path", OIDC_DATA, head("kid", "../../12345678".into()), "key"),
        ("a kid with a query", OIDC_DATA, head("kid", format!("{KID}?a=b").into()), "key"),
        ("a kid with an escape", OIDC_DATA, head("kid", "%2e%2e".into()), "key"),
        ("a kid that is an address", OIDC_DATA, head("kid", "https://evil.example.com/k".into()), "key"),
        ("no kid", OIDC_DATA, head("kid", Value::Null), "key"),
        ("alg none", OIDC_DATA, head("alg", "none".into()), "algorithm"),
        ("alg of Verified Access", OIDC_DATA, head("alg", "ES384".into()), "algorithm"),
        ("crit", OIDC_DATA, head("crit", json!(["signer"])), "critical"),
        ("the proxy's token as bearer", BEARER, good.replace('=', ""), "place"),
        ("padded as bearer", BEARER, good.clone(), "malformed"),
        ("in the other proxy's header", AVA, good.clone(), "place"),
        ("padding taken off", OIDC_DATA, good.replace('=', ""), "signature"),
        ("one padding taken off", OIDC_DATA, good.replacen('=', "", 1), "signature"),
        ("the provider signs as the load balancer", OIDC_DATA, padded(idp, &header(), &user()), "signature"),
        ("the load balancer signs as the provider", BEARER, alb.sign(Algorithm::ES256, &own).unwrap(), "key"),
        (
            "the provider's token, padded",
            OIDC_DATA,
            { padded(idp, &json!({ "alg": "ES256", "kid": idp.kid() }), &own) },
            "malformed",
        ),
        (
            "Verified Access without end",
            AVA,
            padded(&world.ava, &but(&ava_header(), "exp", Value::Null), &user()),
            "unbounded",
        ),
        (
            "another instance",
            AVA,
            padded(
                &world.ava,
                &but(&ava_header(), "signer", INSTANCE.replace("0abc", "1abc").into()),
                &user(),
            ),
            "signer",
        ),
        (
            "the load balancer's key for the instance",
            AVA,
            padded(alb, &but(&ava_header(), "alg", "ES256".into()), &user()),
            "algorithm",
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(world.word(place, &token).await, reason, "{what}");
        }
    }
    assert_eq!(world.word(OIDC_DATA, &good).await, "accepted");
    let asked = world.addresses.asked.lock().unwrap();
    assert!(asked.iter().all(|url| !url.contains("evil") && !url.contains("..")), "{asked:?}");
}

/// Names of keys that were made up cause a bounded number of reads and do not keep out a new key.
#[tokio::test(start_paused = true)]
async fn keys_are_read_when_they_are_named_and_made_up_names_keep_none_out() {
    let world = World::new().await;
    assert_eq!(world.word(OIDC_DATA, &padded(&world.alb, &header(), &user())).await, "accepted");
    let next = SigningKey::generate(KeyKind::P256).unwrap();
    let new_kid = "99999999-1234-1234-1234-123456789012";
    world.addresses.publish(format!("{ALB_KEYS}/{new_kid}"), Ok(pem(&next)));
    let before = world.addresses.asked_for(ALB_KEYS);
    let mut accepted = None;
    for second in 0..60 {
        for number in 0..20 {
            let kid = format!("made-up-{second}-{number}");
            let token = padded(&next, &but(&header(), "kid", kid.into()), &user());
            assert!(matches!(world.word(OIDC_DATA, &token).await, "key" | "keys_unavailable"));
        }
        for _ in 0..3 {
            let token = padded(&next, &but(&header(), "kid", new_kid.into()), &user());
            match world.word(OIDC_DATA, &token).await {
                "accepted" => accepted = accepted.or(Some(second)),
                word => assert_eq!(word, "keys_unavailable", "not a refusal of the caller"),
            }
        }
        assert_eq!(world.word(OIDC_DATA, &padded(&world.alb, &header(), &user())).await, "accepted");
        sleep(Duration::from_secs(1)).await;
    }
    assert!(accepted.is_some_and(|second| second <= 32), "{accepted:?}");
    let reads = world.addresses.asked_for(ALB_KEYS) - before;
    assert!(reads <= 40, "{reads} in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_read_stays_while_its_address_is_down_but_not_for_ever() {
    let world = World::new().await;
    let token = |word: &str| {
        padded(&world.alb, &but(&header(), "exp", (NOW + 120).into()), &but(&user(), "x", word.into()))
    };
    assert_eq!(world.word(OIDC_DATA, &token("a")).await, "accepted");
    for (answer, word) in [(Err(0), "keys_unavailable"), (Err(404), "key")] {
        world.addresses.publish(format!("{ALB_KEYS}/{KID}"), answer);
        sleep(Duration::from_secs(20 * 3600)).await;
        assert_eq!(world.word(OIDC_DATA, &token("b")).await, "accepted", "{word}");
        assert_eq!(world.identity.unready(), Vec::<String>::new());
        sleep(Duration::from_secs(5 * 3600)).await;
        assert_eq!(world.word(OIDC_DATA, &token("c")).await, word);
        world.addresses.publish(format!("{ALB_KEYS}/{KID}"), Ok(pem(&world.alb)));
        sleep(Duration::from_secs(120)).await;
        assert_eq!(world.word(OIDC_DATA, &token("d")).await, "accepted");
    }
}
