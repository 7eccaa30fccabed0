//! Hostile tokens for the rules that tell issuers apart: two entries of one `iss`, places, required claims,
//! prefixes, trust domains, Cognito's two kinds of tokens.

use super::mint::{KeyKind, SigningKey};
use super::rotation::metrics;
use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";

/// Two entries of A; B with prefixes and C without; a trust domain; a user pool.
const ISSUERS: &str = r#"
[[issuer]]
issuer = "https://a.example.com"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "https://a.example.com/keys"
places = ["bearer"]
require = { "/token_use" = "access", "/owner" = ["octo-org", "octo-lab"], "/tenant" = 7 }
[[issuer]]
issuer = ["https://a.example.com", "a.example.com"]
audience = ["console"]
algorithms = ["ES256"]
jwks = "https://a.example.com/keys"
places = ["X-Proxy-Jwt"]
group_prefix = "console:"
[[issuer]]
issuer = "https://b.example.com"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "https://b.example.com/keys"
subject_prefix = "b:"
group_prefix = "b:"
[[issuer]]
issuer = "https://c.example.com"
audience = ["kvs-edge"]
audience_claim = ["/client_id", "/azp"]
algorithms = ["ES256"]
jwks = "https://c.example.com/keys"
claims = { mfa = { pointer = "/mfa", type = "bool", required = true } }
[[issuer]]
kind = "spiffe"
issuer = "spiffe://example.org"
audience = ["kvs-edge"]
jwks = "https://spire.example.org/bundle"
[[issuer]]
kind = "cognito"
issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
audience = ["app-1"]
"#;

#[derive(serde::Deserialize)]
struct File {
    issuer: Vec<IssuerConfig>,
}

struct World {
    identity: Arc<Identity>,
    a: SigningKey,
    b: SigningKey,
    spire: SigningKey,
    pool: SigningKey,
    places: TokenPlaces,
}

impl World {
    async fn new() -> Self {
        let key = |kind| SigningKey::generate(kind).unwrap();
        let (a, b, spire, pool) =
            (key(KeyKind::P256), key(KeyKind::P256), key(KeyKind::P256), key(KeyKind::Rsa));
        let mut svid = spire.jwk();
        svid["use"] = "jwt-svid".into();
        let documents = [
            ("https://a.example.com/keys".to_owned(), json!({ "keys": [a.jwk()] })),
            ("https://b.example.com/keys".to_owned(), json!({ "keys": [b.jwk()] })),
            ("https://c.example.com/keys".to_owned(), json!({ "keys": [b.jwk()] })),
            ("https://spire.example.org/bundle".to_owned(), json!({ "keys": [svid] })),
            (
                format!("{POOL}/.well-known/openid-configuration"),
                json!({ "issuer": POOL, "jwks_uri": format!("{POOL}/.well-known/jwks.json") }),
            ),
            (format!("{POOL}/.well-known/jwks.json"), json!({ "keys": [pool.jwk()] })),
        ];
        let fetch: Fetch = Arc::new(move |request: Request<Bytes>| {
            let url = request.uri().to_string();
            let found = documents.iter().find(|(address, _)| *address == url);
            let body = found.unwrap_or_else(|| panic!("{url} was asked")).1.to_string();
            Box::pin(async move { Ok(Response::new(Bytes::from(body))) })
        });
        let mut issuers = toml::from_str::<File>(ISSUERS).unwrap().issuer;
        IssuerConfig::complete(&mut issuers);
        let settings = Config { headers: vec!["X-Proxy-Jwt".into(), "X-Other".into()], ..Config::default() };
        let mut mistakes = Vec::new();
        IssuerConfig::check_all(&issuers, &mut mistakes);
        IssuerConfig::check_places(&issuers, &settings, &mut mistakes);
        assert_eq!(mistakes, []);
        let identity = Identity::start(&issuers, &settings, fetch, metrics()).await.unwrap();
        Self { identity, a, b, spire, pool, places: TokenPlaces::new(&settings) }
    }

    /// What becomes of a token in a header.
    async fn sent(&self, header: &'static str, token: &str) -> Result<Arc<Caller>, Error> {
        let value = if header == "authorization" { format!("Bearer {token}") } else { token.to_owned() };
        let headers = HeaderMap::from_iter([(HeaderName::from_static(header), value.parse().unwrap())]);
        let token = self.places.token(&Method::GET, &headers)?;
        self.identity.verify_sent(token, Timestamp::from_millis(NOW * 1000)).await.map(|(caller, _)| caller)
    }
}

const BEARER: &str = "authorization";
const PROXY: &str = "x-proxy-jwt";

fn of_a() -> Value {
    json!({ "iss": "https://a.example.com", "aud": "kvs-edge", "sub": "ann", "exp": NOW + 600,
            "token_use": "access", "owner": "octo-org", "tenant": 7, "groups": ["guards"] })
}

fn of_b(subject: &str, groups: &[&str]) -> Value {
    json!({ "iss": "https://b.example.com", "aud": "kvs-edge", "sub": subject, "exp": NOW + 600, "groups": groups })
}

fn of_c(change: &Value) -> Value {
    with(
        &json!({ "iss": "https://c.example.com", "client_id": "kvs-edge", "sub": "ann", "exp": NOW + 600, "mfa": true }),
        change,
    )
}

fn svid(change: &Value) -> Value {
    with(
        &json!({ "aud": ["kvs-edge"], "sub": "spiffe://example.org/ns/video/sa/recorder", "exp": NOW + 300 }),
        change,
    )
}

fn of_pool(change: &Value) -> Value {
    with(
        &json!({ "iss": POOL, "client_id": "app-1", "token_use": "access", "sub": "u-1", "exp": NOW + 600,
                 "iat": NOW, "username": "ann", "cognito:groups": ["guards"], "scope": "openid" }),
        change,
    )
}

/// These claims with others; null removes one.
fn with(claims: &Value, change: &Value) -> Value {
    let mut all = claims.clone();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

#[tokio::test]
async fn each_entry_accepts_its_own_tokens_where_they_count() {
    let world = World::new().await;
    let es = |key: &SigningKey, claims: &Value| key.sign(Algorithm::ES256, claims).unwrap();
    let console = json!({ "aud": "console", "token_use": null, "owner": null, "tenant": null });
    let spelled = with(&console, &json!({ "iss": "a.example.com" }));
    let id = json!({ "client_id": null, "aud": "app-1", "token_use": "id" });
    for (what, place, token, subject, groups) in [
        ("A, access", BEARER, es(&world.a, &of_a()), "ann", vec!["guards"]),
        ("A, console", PROXY, es(&world.a, &with(&of_a(), &console)), "ann", vec!["console:guards"]),
        ("A, spelled", PROXY, es(&world.a, &with(&of_a(), &spelled)), "ann", vec!["console:guards"]),
        ("B", "x-other", es(&world.b, &of_b("eve", &["root"])), "b:eve", vec!["b:root"]),
        ("C", BEARER, es(&world.b, &of_c(&json!({}))), "ann", vec![]),
        (
            "C by azp",
            BEARER,
            es(&world.b, &of_c(&json!({ "client_id": null, "azp": "kvs-edge" }))),
            "ann",
            vec![],
        ),
        (
            "SPIFFE",
            BEARER,
            es(&world.spire, &svid(&json!({}))),
            "spiffe://example.org/ns/video/sa/recorder",
            vec![],
        ),
        (
            "SPIFFE with an iss",
            BEARER,
            es(&world.spire, &svid(&json!({ "iss": "https://spire.example.org" }))),
            "spiffe://example.org/ns/video/sa/recorder",
            vec![],
        ),
        (
            "Cognito, access",
            BEARER,
            world.pool.sign(Algorithm::RS256, &of_pool(&json!({}))).unwrap(),
            "u-1",
            vec!["guards"],
        ),
        (
            "Cognito, id",
            BEARER,
            world.pool.sign(Algorithm::RS256, &of_pool(&id)).unwrap(),
            "u-1",
            vec!["guards"],
        ),
    ] {
        for _ in 0..2 {
            let caller = world.sent(place, &token).await.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(&*caller.subject, subject, "{what}");
            assert_eq!(caller.groups.iter().collect::<Vec<_>>(), groups, "{what}");
        }
    }
    let spelled = world.sent(PROXY, &es(&world.a, &with(&of_a(), &spelled))).await.unwrap();
    assert_eq!(&*spelled.issuer, "https://a.example.com", "by whatever spelling, it is one issuer");
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // a table
async fn no_token_passes_by_the_rules_of_another_entry() {
    let world = World::new().await;
    let es = |key: &SigningKey, claims: &Value| key.sign(Algorithm::ES256, claims).unwrap();
    let a = |change: Value| es(&world.a, &with(&of_a(), &change));
    let c = |change: Value| es(&world.b, &of_c(&change));
    let spire = |change: Value| es(&world.spire, &svid(&change));
    let pool = |change: Value| world.pool.sign(Algorithm::RS256, &of_pool(&change)).unwrap();
    let raw = |text: &str| {
        let header = json!({ "alg": "ES256", "kid": world.a.kid() }).to_string();
        world.a.sign_as(Algorithm::ES256, &header, text).unwrap()
    };
    let body = of_a().to_string();
    let twice = |member: &str| raw(&format!("{},{member}}}", &body[..body.len() - 1]));
    let table: Vec<(&str, &'static str, String, &str)> = vec![
        // Required claims.
        ("token_use another", BEARER, a(json!({ "token_use": "id" })), "require"),
        ("token_use absent", BEARER, a(json!({ "token_use": null })), "require"),
        ("token_use in a list", BEARER, a(json!({ "token_use": ["access"] })), "require"),
        ("token_use in two", BEARER, a(json!({ "token_use": ["id", "access"] })), "require"),
        ("token_use an object", BEARER, a(json!({ "token_use": { "access": true } })), "require"),
        ("token_use in capitals", BEARER, a(json!({ "token_use": "Access" })), "require"),
        ("token_use with a NUL", BEARER, a(json!({ "token_use": "access\0" })), "require"),
        ("token_use true", BEARER, a(json!({ "token_use": true })), "require"),
        ("token_use twice", BEARER, twice(r#""token_use":"access""#), "duplicate"),
        ("token_use twice by escape", BEARER, twice(r#""token\u005fuse":"id""#), "duplicate"),
        ("owner in a list", BEARER, a(json!({ "owner": ["octo-org", "evil"] })), "require"),
        ("owner begins alike", BEARER, a(json!({ "owner": "octo-org-evil" })), "require"),
        ("owner a number", BEARER, a(json!({ "owner": 1 })), "require"),
        ("tenant as text", BEARER, a(json!({ "tenant": "7" })), "require"),
        ("tenant with decimals", BEARER, a(json!({ "tenant": 7.5 })), "require"),
        ("tenant in a list", BEARER, a(json!({ "tenant": [7] })), "require"),
        (
            "a member named like the pointer",
            BEARER,
            a(json!({ "token_use": null, "/token_use": "access" })),
            "require",
        ),
        // Two entries of one issuer.
        ("the console's audience as bearer", BEARER, a(json!({ "aud": "console" })), "audience"),
        ("the console's spelling as bearer", BEARER, a(json!({ "iss": "a.example.com" })), "place"),
        ("access in the proxy's header", PROXY, a(json!({})), "audience"),
        ("in a header of neither", "x-other", a(json!({})), "place"),
        (
            "both audiences do not skip require",
            BEARER,
            a(json!({ "aud": ["console", "kvs-edge"], "token_use": "id" })),
            "require",
        ),
        // Prefixes.
        ("a subject in B's name", BEARER, a(json!({ "sub": "b:eve" })), "subject"),
        ("a subject in B's name, of C", BEARER, c(json!({ "sub": "b:eve" })), "subject"),
        ("nothing behind the prefix", BEARER, c(json!({ "sub": "b:" })), "subject"),
        ("B's subject empty", BEARER, es(&world.b, &of_b("", &[])), "subject"),
        ("B's subject with a line break", BEARER, es(&world.b, &of_b("\neve", &[])), "subject"),
        // The audience claim.
        ("C's audience in aud", BEARER, c(json!({ "client_id": null, "aud": "kvs-edge" })), "audience"),
        (
            "C's azp behind another client_id",
            BEARER,
            c(json!({ "client_id": "evil", "azp": "kvs-edge" })),
            "audience",
        ),
        (
            "C's client_id an object",
            BEARER,
            c(json!({ "client_id": { "kvs-edge": 1 }, "azp": "kvs-edge" })),
            "audience",
        ),
        ("a required claim absent", BEARER, c(json!({ "mfa": null })), "claim"),
        ("a required claim as text", BEARER, c(json!({ "mfa": "true" })), "claim"),
        // SPIFFE.
        ("another trust domain", BEARER, spire(json!({ "sub": "spiffe://evil.org/ns/video" })), "issuer"),
        (
            "a domain that begins alike",
            BEARER,
            spire(json!({ "sub": "spiffe://example.org.evil.org/a" })),
            "issuer",
        ),
        ("the trust domain itself", BEARER, spire(json!({ "sub": "spiffe://example.org" })), "issuer"),
        ("no path", BEARER, spire(json!({ "sub": "spiffe://example.org/" })), "issuer"),
        (
            "the domain as iss only",
            BEARER,
            spire(json!({ "sub": "ann", "iss": "spiffe://example.org" })),
            "issuer",
        ),
        ("a subject in a list", BEARER, spire(json!({ "sub": ["spiffe://example.org/a"] })), "issuer"),
        ("in capitals", BEARER, spire(json!({ "sub": "SPIFFE://example.org/a" })), "issuer"),
        ("SPIFFE without aud", BEARER, spire(json!({ "aud": null })), "audience"),
        ("A signs for the trust domain", BEARER, es(&world.a, &svid(&json!({}))), "key"),
        ("SPIRE signs as A", BEARER, es(&world.spire, &of_a()), "key"),
        // Cognito.
        ("an ID token with client_id", BEARER, pool(json!({ "token_use": "id" })), "audience"),
        ("an access token with aud", BEARER, pool(json!({ "client_id": null, "aud": "app-1" })), "audience"),
        ("token_use absent, Cognito", BEARER, pool(json!({ "token_use": null })), "audience"),
        ("token_use refresh", BEARER, pool(json!({ "token_use": "refresh" })), "audience"),
        (
            "token_use both",
            BEARER,
            pool(json!({ "token_use": ["id", "access"], "aud": "app-1" })),
            "audience",
        ),
        ("another client", BEARER, pool(json!({ "client_id": "app-2" })), "audience"),
        ("another pool", BEARER, pool(json!({ "iss": format!("{POOL}x") })), "issuer"),
        // No load balancer is configured, so a signer means nothing.
        (
            "a signer's header",
            BEARER,
            {
                let header = json!({ "alg": "ES256", "kid": world.b.kid(), "signer": "arn:aws:x", "iss": "https://c.example.com" });
                world.b.sign_as(Algorithm::ES256, &header.to_string(), r#"{"sub":"ann"}"#).unwrap()
            },
            "issuer",
        ),
    ];
    assert!(table.len() >= 45, "{}", table.len());
    for (what, place, token, reason) in &table {
        for _ in 0..2 {
            let word = world.sent(place, token).await.map_or_else(|e| e.as_str(), |_| "accepted");
            assert_eq!(word, *reason, "{what}");
        }
    }
}

/// A token that was verified in one place is not thereby good in another.
#[tokio::test]
async fn what_was_verified_counts_only_where_it_was() {
    let world = World::new().await;
    let token = world.a.sign(Algorithm::ES256, &of_a()).unwrap();
    for _ in 0..3 {
        assert!(world.sent(BEARER, &token).await.is_ok());
        assert_eq!(world.sent("x-other", &token).await.unwrap_err().as_str(), "place");
        assert_eq!(world.sent(PROXY, &token).await.unwrap_err().as_str(), "audience");
        assert!(
            world.identity.verify(&token, Timestamp::from_millis(NOW * 1000)).await.is_ok(),
            "to explain it"
        );
    }
}

/// A group that another issuer's prefix would make is left out, and the caller goes on without it.
#[tokio::test]
async fn no_group_is_in_another_issuers_name() {
    let world = World::new().await;
    let claims = of_c(&json!({ "groups": ["guards", "b:root", "console:root", "b", "B:root"] }));
    let caller = world.sent(BEARER, &world.b.sign(Algorithm::ES256, &claims).unwrap()).await.unwrap();
    assert_eq!(caller.groups.iter().collect::<Vec<_>>(), ["B:root", "b", "guards"]);
}
