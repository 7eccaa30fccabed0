//! Issuers beside each other in a running edge: one that is dead from the start costs its own callers only, a
//! load balancer's tokens count in their header, groups that Entra withholds are named.

use crate::harness::edge::{AUDIENCE, ISSUER};
use crate::harness::{Edge, Setup};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use kvs_edge::identity::Algorithm;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEAD: &str = "https://dead.test/";
const SIGNER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/edge/50dc6c495c0c9188";

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

/// An issuer that nothing answers for.
fn dead(more: &str) -> String {
    format!(
        "[[issuer]]\nissuer = \"{DEAD}\"\naudience = [\"{AUDIENCE}\"]\nalgorithms = [\"ES256\"]\n\
         jwks = \"http://127.0.0.1:1/keys\"\ngroup_prefix = \"dead:\"\n{more}\n"
    )
}

#[tokio::test]
async fn an_issuer_that_is_dead_from_the_start_costs_its_own_callers_only() {
    let edge = Setup { more: dead(""), ..Setup::default() }.start().await;
    let ready = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(ready.json()["notes"].to_string().contains(DEAD), "{}", ready.text());
    assert_eq!(edge.get("/streams", edge.alice()).await.status, 200);
    let key = SigningKey::generate(KeyKind::P256).unwrap();
    let claims = json!({"iss": DEAD, "aud": AUDIENCE, "sub": "ann", "exp": now() + 600});
    let token = key.sign(Algorithm::ES256, &claims).unwrap();
    let answer = edge.get("/streams", &token).await;
    assert_eq!((answer.status, answer.kind()), (503, "ServiceUnavailableException"), "{}", answer.text());
    let available = async |issuer: &str| {
        edge.metric("kvs_edge_issuer_keys_available", &[&format!(r#"issuer="{issuer}""#)]).await
    };
    assert_eq!((available(DEAD).await, available(ISSUER).await), (0.0, 1.0));
}

#[tokio::test]
async fn a_required_issuer_without_keys_makes_the_replica_unready() {
    let edge = Setup { more: dead("required = true"), ..Setup::default() }.start().await;
    let ready = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.json()["problems"].to_string().contains(DEAD), "{}", ready.text());
    assert_eq!(ready.json()["notes"], json!([]));
    assert_eq!(edge.get("/streams", edge.alice()).await.status, 200, "others are served");
}

/// The same for the other end: an AWS entry without credentials beside one that has some.
#[tokio::test]
async fn an_aws_entry_without_credentials_costs_its_own_streams_only() {
    let more = "[[aws]]\nname = \"dead\"\nregion = \"us-east-1\"\nstreams = [\"dead-*\"]\nprofile = \"no-such-profile\"\n";
    let edge = Setup { streams: "cam-*".into(), more: more.into(), ..Setup::default() }.start().await;
    let ready = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(ready.json()["notes"].to_string().contains("aws dead: no credentials"), "{}", ready.text());
    let describe = async |name: &str| {
        edge.call("/describeStream", edge.alice(), &json!({"StreamName": name})).await.status
    };
    assert_eq!(describe("cam-1").await, 200);
    assert!(matches!(describe("dead-1").await, 500..=504));
}

/// The server of a region's keys; remembers what it was asked for.
async fn key_server(pem: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = socket.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) =
                if path == "/key-1" { ("200 OK", pem.as_str()) } else { ("403 Forbidden", "") };
            seen.lock().unwrap().push(path);
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = socket.write_all((head + body).as_bytes()).await;
        }
    });
    (url, asked)
}

fn pem(key: &SigningKey) -> String {
    let jwk = key.jwk();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let prefix: &[u8] =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    let der = STANDARD.encode([prefix, &number("x"), &number("y")].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

/// As a load balancer writes it, segments padded.
fn padded(key: &SigningKey, signer: &str, kid: &str) -> String {
    let header = json!({"alg": "ES256", "kid": kid, "typ": "JWT", "iss": ISSUER, "client": "client-1",
                        "signer": signer, "exp": now() + 120});
    let claims = json!({"sub": "ann", "groups": ["investigators"], "exp": now() + 120, "iss": ISSUER});
    let segment = |value: &Value| URL_SAFE.encode(value.to_string());
    let message = format!("{}.{}", segment(&header), segment(&claims));
    let signature = key.sign_bytes(Algorithm::ES256, message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE.encode(signature))
}

#[tokio::test]
async fn a_load_balancers_tokens_count_in_its_header_and_only_if_it_is_ours() {
    let key = SigningKey::generate(KeyKind::P256).unwrap();
    let (url, asked) = key_server(pem(&key)).await;
    let more = format!(
        "[[issuer]]\nkind = \"alb\"\nissuer = \"{ISSUER}\"\naudience = [\"client-1\"]\nsigner = \"{SIGNER}\"\n\
         key_url = \"{url}\"\n"
    );
    let setup = Setup { more, ..Setup::default() };
    let edge = setup.setting("IDENTITY__HEADERS", "[\"X-Amzn-Oidc-Data\"]").start().await;
    let streams = format!("{}/streams", edge.url);
    let sent = async |token: &str| edge.http.get(&streams, &[("x-amzn-oidc-data", token)]).await;
    let good = padded(&key, SIGNER, "key-1");
    assert_eq!(sent(&good).await.status, 200);
    assert_eq!(sent(&good).await.status, 200);
    assert_eq!(*asked.lock().unwrap(), ["/key-1"], "read once, when it was needed");
    for (what, token) in [
        ("another account", padded(&key, &SIGNER.replace("111122223333", "999999999999"), "key-1")),
        ("another key", padded(&SigningKey::generate(KeyKind::P256).unwrap(), SIGNER, "key-1")),
        ("a key that is a path", padded(&key, SIGNER, "../key-1")),
        ("no padding", good.replace('=', "")),
    ] {
        assert_eq!(sent(&token).await.status, 401, "{what}");
    }
    let answer = edge.get("/streams", &good).await;
    assert_eq!(answer.status, 401, "as a bearer token: {}", answer.text());
    assert_eq!(
        edge.get("/streams", edge.alice()).await.status,
        200,
        "the provider's own tokens count beside it"
    );
    let ready = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert_eq!((ready.status, ready.json()["notes"].clone()), (200, json!([])));
}

#[tokio::test]
async fn groups_that_the_issuer_withholds_are_named_in_the_refusal() {
    let edge = Edge::start().await;
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": now() + 600,
                            "_claim_names": {"groups": "src1"}});
    let call = async |claims: &Value| {
        let token = edge.issuer.sign(claims).unwrap();
        edge.call("/describeStream", token, &json!({"StreamName": "cam-1"})).await
    };
    let answer = call(&claims).await;
    assert_eq!(answer.status, 403);
    assert!(answer.message().contains("you are in too many"), "{}", answer.message());
    claims["_claim_names"] = Value::Null;
    let answer = call(&claims).await;
    assert!(answer.status == 403 && !answer.message().contains("too many"), "{}", answer.message());
}

/// Listeners bear the longest token, in both places that clients use.
#[tokio::test]
async fn a_token_of_16_kib_is_accepted() {
    let edge = Edge::start().await;
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now() + 600, "x": ""});
    let bare = edge.issuer.sign(&claims).unwrap().len();
    claims["x"] = "x".repeat((16_384 - bare) / 4 * 3 - 3).into();
    let token = edge.issuer.sign(&claims).unwrap();
    assert!((16_370..=16_384).contains(&token.len()), "{}", token.len());
    assert_eq!(edge.get("/streams", &token).await.status, 200);
    let aws = "AWS4-HMAC-SHA256 Credential=kvsedge/20260101/eu-west-1/kinesisvideo/aws4_request";
    let headers = [("authorization", aws), ("x-amz-security-token", token.as_str())];
    assert_eq!(edge.http.get(&format!("{}/streams", edge.url), &headers).await.status, 200);
}

/// An API server in the manner of Kubernetes: a certificate of its own root, and nothing without a token.
async fn api_server(folder: &std::path::Path, key: &SigningKey) -> String {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.crt"), certified.cert.pem()).unwrap();
    std::fs::write(folder.join("token"), "pod-token\n").unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certified.cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/openid/v1/jwks")}).to_string();
    let keys = json!({"keys": [key.jwk()]}).to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut head = vec![0; 4096];
            let length = socket.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            let (status, body) = match head.split(' ').nth(1).unwrap_or_default() {
                _ if !head.contains("authorization: bearer pod-token\r\n") => ("401 Unauthorized", ""),
                "/.well-known/openid-configuration" => ("200 OK", discovery.as_str()),
                "/openid/v1/jwks" => ("200 OK", keys.as_str()),
                _ => ("404 Not Found", ""),
            };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = socket.write_all((head + body).as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    url
}

#[tokio::test]
async fn keys_behind_a_private_root_are_read_with_its_certificate_and_a_token() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(KeyKind::P256).unwrap());
    let url = api_server(folder.path(), &key).await;
    let issuer = |audience: &str, more: &str| {
        format!(
            "[[issuer]]\nissuer = \"{url}\"\naudience = [\"{audience}\"]\nalgorithms = [\"ES256\"]\ndiscovery = true\n\
             group_prefix = \"k8s:\"\n{more}\n"
        )
    };
    let path = folder.path().display();
    let both = format!("ca = \"file:{path}/ca.crt\"\nbearer = \"file:{path}/token\"");
    let (only_ca, none) = (format!("ca = \"file:{path}/ca.crt\""), "");
    let more = issuer("kvs-edge", &both) + &issuer("without-token", &only_ca) + &issuer("without-root", none);
    let edge = Setup { more, ..Setup::default() }.start().await;
    let status = async |audience: &str| {
        let claims =
            json!({"iss": url, "aud": audience, "sub": "system:serviceaccount:a:b", "exp": now() + 600});
        edge.get("/streams", key.sign(Algorithm::ES256, &claims).unwrap()).await.status
    };
    assert_eq!(status("kvs-edge").await, 200);
    assert_eq!(status("without-token").await, 503);
    assert_eq!(status("without-root").await, 503);
    let notes = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await.json()["notes"].to_string();
    assert!(notes.contains("401 Unauthorized") && notes.contains("ertificate"), "{notes}");
    assert!(!notes.contains("pod-token"), "{notes}");
}
