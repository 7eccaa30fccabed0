//! Which key verifies a token, and what of a key document is read.

use super::*;
use crate::identity::mint::{KeyKind, SigningKey};
use proptest::prelude::*;
use serde_json::json;

const ALL: &[Algorithm] = &Algorithm::ALL;

fn set(keys: Vec<Value>) -> Result<KeySet, String> {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes(), ALL, "sig")
}

#[test]
fn every_kind_of_key_verifies_its_own_and_nothing_else() {
    let keys: Vec<_> = KeyKind::ALL.into_iter().map(|kind| SigningKey::generate(kind).unwrap()).collect();
    let all = set(keys.iter().map(SigningKey::jwk).collect()).unwrap();
    for key in &keys {
        for &algorithm in key.algorithms() {
            let signature = key.signature(algorithm, b"message").unwrap();
            let kid = key.kid();
            assert!(all.signer(Some(kid), algorithm, false, b"message", &signature).is_some(), "{algorithm}");
            assert!(all.signer(Some(kid), algorithm, false, b"massage", &signature).is_none());
            assert!(all.signer(Some("other"), algorithm, false, b"message", &signature).is_none());
            assert!(all.signer(None, algorithm, false, b"message", &signature).is_none());
            for other in ALL.iter().filter(|a| **a != algorithm) {
                assert!(
                    all.signer(Some(kid), *other, false, b"message", &signature).is_none(),
                    "{algorithm} as {other}"
                );
            }
        }
    }
}

#[test]
fn a_key_that_names_its_algorithm_serves_no_other() {
    let key = SigningKey::generate(KeyKind::Rsa).unwrap();
    let mut jwk = key.jwk();
    jwk["alg"] = "PS256".into();
    let set = set(vec![jwk]).unwrap();
    assert!(set.has(Some(key.kid()), Algorithm::PS256, false));
    assert!(!set.has(Some(key.kid()), Algorithm::RS256, false));
}

#[test]
fn without_kid_only_a_key_without_rival_and_only_if_allowed() {
    let (one, two) =
        (SigningKey::generate(KeyKind::P256).unwrap(), SigningKey::generate(KeyKind::P256).unwrap());
    let alone = set(vec![one.jwk()]).unwrap();
    assert!(!alone.has(None, Algorithm::ES256, false));
    assert!(alone.has(None, Algorithm::ES256, true));
    let both = set(vec![one.jwk(), two.jwk()]).unwrap();
    assert!(!both.has(None, Algorithm::ES256, true));
}

#[test]
fn documents_without_a_usable_key_are_refused_with_the_reason() {
    let good = SigningKey::generate(KeyKind::P256).unwrap().jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk[name] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    for (document, why) in [
        ("{}".into(), "no `keys`"),
        (r#"{"keys":[]}"#.into(), "empty"),
        (r#"{"keys":{}}"#.into(), "no `keys`"),
        ("<html>".into(), "not JSON"),
        ("[[]]".into(), "no object"),
        (r#"{"keys":[]} {}"#.into(), "not JSON"),
        (json!({ "keys": null }).to_string(), "no `keys`"),
        (with("kid", 7.into()), "`kid` is not text"),
        (with("use", "jwt-svid".into()), "not for signatures"),
        (String::new(), "not JSON"),
        (format!(r#"{{"keys":[],"keys":[{good}]}}"#), "twice"),
        (json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "x" }] }).to_string(), "private half"),
        (with("use", "enc".into()), "not for signatures"),
        (with("key_ops", json!(["encrypt"])), "not for verifying"),
        (with("alg", "ES384".into()), "fits none"),
        (with("alg", "ECDH-ES".into()), "not known"),
        (with("crv", "P-384".into()), "bytes long"),
        (with("crv", "secp256k1".into()), "fits none"),
        (with("kty", "RSA".into()), "no `n`"),
        (with("x", "AAAA".into()), "32 bytes"),
        (with("y", good["x"].clone()), "no key"),
        (with("d", "AAAA".into()), "private half"),
    ] {
        let error = KeySet::from_jwks(document.as_bytes(), ALL, "sig").err().unwrap_or_default();
        assert!(error.contains(why), "{document}: {error}");
    }
    let huge = format!(r#"{{"keys":[{good}],"x":"{}"}}"#, "x".repeat(LONGEST));
    assert!(KeySet::from_jwks(huge.as_bytes(), ALL, "sig").is_err());
}

#[test]
fn short_rsa_keys_are_passed_over_and_good_ones_beside_them_used() {
    let n = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let short = json!({ "kty": "RSA", "kid": "short", "n": n, "e": "AQAB" });
    let good = SigningKey::generate(KeyKind::P256).unwrap();
    let set = set(vec![short, json!({ "kty": "new", "kid": "n" }), json!(7), good.jwk()]).unwrap();
    assert!(set.has(Some(good.kid()), Algorithm::ES256, false));
    assert!(!set.has(Some("short"), Algorithm::RS256, false));
}

#[test]
fn one_odd_key_spoils_no_other() {
    let good = SigningKey::generate(KeyKind::P256).unwrap();
    let mut nulls = good.jwk();
    for name in ["alg", "use", "key_ops", "x5c", "x5t", "d", "k"] {
        nulls[name] = Value::Null;
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
    for odd in [
        r#"{"kty":"EC","kty":"RSA"}"#.to_owned(),
        deep,
        "null".into(),
        "7".into(),
        "[]".into(),
        json!({ "kty": "EC", "crv": "P-256", "kid": ["a"], "x": 1, "y": null }).to_string(),
        json!({ "kty": "RSA", "n": "!!", "e": "AQAB" }).to_string(),
        json!({ "kty": null }).to_string(),
    ] {
        let document = format!("\u{feff}{{\"keys\":[{odd},{nulls}],\"extra\":[[]]}}");
        let set = KeySet::from_jwks(document.as_bytes(), ALL, "sig").unwrap();
        assert!(set.has(Some(good.kid()), Algorithm::ES256, false), "{odd}");
        assert!(!set.has(None, Algorithm::ES256, false));
    }
}

#[test]
fn a_bundle_serves_the_keys_for_tokens_only() {
    let (svid, x509) =
        (SigningKey::generate(KeyKind::P256).unwrap(), SigningKey::generate(KeyKind::P256).unwrap());
    let used = |key: &SigningKey, name: Option<&str>| {
        let mut jwk = key.jwk();
        jwk["use"] = name.into();
        jwk
    };
    let unsaid = SigningKey::generate(KeyKind::P256).unwrap();
    let keys = [used(&svid, Some("jwt-svid")), used(&x509, Some("x509-svid")), used(&unsaid, None)];
    let bundle = json!({ "keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300 }).to_string();
    let set = KeySet::from_jwks(bundle.as_bytes(), ALL, "jwt-svid").unwrap();
    assert!(set.has(Some(svid.kid()), Algorithm::ES256, false));
    assert!(!set.has(Some(x509.kid()), Algorithm::ES256, false));
    assert!(!set.has(Some(unsaid.kid()), Algorithm::ES256, false));
}

#[test]
fn secrets_have_a_least_length() {
    let secret = |n| Secret::new(vec![7; n]);
    assert!(KeySet::from_secret(&secret(31), &[Algorithm::HS256]).is_err());
    assert!(KeySet::from_secret(&secret(63), &[Algorithm::HS256, Algorithm::HS512]).is_err());
    assert!(KeySet::from_secret(&secret(64), &[Algorithm::HS256, Algorithm::HS512]).is_ok());
}

proptest! {
    #[test]
    fn any_document_is_read_or_refused_without_panic(
        kty in "(RSA|EC|OKP|oct)", crv in "(P-256|P-384|P-521|Ed25519)", n in "[A-Za-z0-9_-]{0,360}", x in "[A-Za-z0-9_-]{43}",
    ) {
        let jwk = json!({ "kty": kty, "crv": crv, "kid": "k", "n": n, "e": "AQAB", "x": x, "y": x });
        let _ = set(vec![jwk]);
    }
}
