//! An issuer's keys, ready to verify with: a JWKS document read strictly, or a shared secret.
//!
//! A key serves only algorithms of its own kind (RSA, the curve, Ed25519) that the issuer's settings allow,
//! and only the one that it names in `alg` if it names one. Symmetric keys in a public document are never
//! used, nor keys marked for another use. Keys of a kind that is unknown here are passed over; a document
//! without one usable key is refused, so that it never replaces good keys.
//!
//! The rules are ours. What they let through is read and verified with by jsonwebtoken; only P-521, which it
//! does not have, is verified with aws-lc directly.

use super::algorithm::{Algorithm, Family};
use crate::caller::SigningKey;
use crate::kvs::strict;
use crate::setting::Secret;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The longest key document that is read.
pub(super) const LONGEST: usize = 1 << 20;
/// The most keys in one; providers publish two to ten.
const MOST: usize = 200;

/// The usable keys of one issuer.
pub(crate) struct KeySet {
    /// By exact `kid`; keys without one under `None`.
    by_kid: HashMap<Option<String>, Vec<VerificationKey>>,
    /// Equal for sets with the same keys.
    digest: [u8; 32],
}

struct VerificationKey {
    algorithm: Algorithm,
    check: Check,
    name: SigningKey,
}

enum Check {
    /// By jsonwebtoken, with its name of the algorithm.
    Library(jsonwebtoken::Algorithm, DecodingKey),
    /// ES512.
    P521(ParsedPublicKey),
}

impl KeySet {
    /// Reads a JWKS document (RFC 7517 5) for keys whose `use` is this one, or `sig` where it says nothing. A
    /// key that cannot be read, for whatever reason, is passed over.
    ///
    /// # Errors
    /// Says why it holds no usable key.
    pub fn from_jwks(document: &[u8], allowed: &[Algorithm], key_use: &str) -> Result<Self, String> {
        if document.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        let list = raw_keys(document)?;
        if list.len() > MOST {
            return Err(format!("more than {MOST} keys"));
        }
        let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
        for (index, raw) in list.iter().enumerate() {
            let read = strict::object(raw.get().as_bytes())
                .map_err(|fault| fault.plain().to_owned())
                .and_then(|jwk| Ok((read_kid(&jwk)?, read_key(&jwk, allowed, key_use)?, jwk)));
            match read {
                Ok(read) => keys.push(read),
                Err(why) => passed_over.push(format!("key {}: {why}", index + 1)),
            }
        }
        if keys.is_empty() {
            let why = if passed_over.is_empty() { "`keys` is empty".into() } else { passed_over.join("; ") };
            return Err(format!("no usable key ({why})"));
        }
        for why in passed_over {
            tracing::debug!("passed over in a JWKS: {why}");
        }
        Ok(Self::of(keys))
    }

    /// Keys that are published one by one as PEM, by their `kid`. May be empty.
    pub fn from_public_keys(keys: &[(String, Value)], allowed: &[Algorithm]) -> Self {
        let read = |(kid, jwk): &(String, Value)| {
            let jwk = jwk.as_object()?;
            Some((Some(kid.clone()), read_key(jwk, allowed, "sig").ok()?, jwk.clone()))
        };
        Self::of(keys.iter().filter_map(read).collect())
    }

    fn of(keys: Vec<(Option<String>, Vec<VerificationKey>, Map<String, Value>)>) -> Self {
        let mut lines: Vec<String> =
            keys.iter().map(|(kid, _, jwk)| format!("{kid:?} {}", Value::Object(jwk.clone()))).collect();
        lines.sort_unstable();
        let mut by_kid: HashMap<Option<String>, Vec<VerificationKey>> = HashMap::new();
        for (kid, read, _) in keys {
            by_kid.entry(kid).or_default().extend(read);
        }
        // Whatever its order and formatting, so that only another key is a rotation.
        Self { by_kid, digest: sha256(lines.join("\n").as_bytes()) }
    }

    /// A set of one key, the shared secret. Any `kid` fits it.
    ///
    /// # Errors
    /// Says how long the secret must be.
    pub fn from_secret(secret: &Secret, allowed: &[Algorithm]) -> Result<Self, String> {
        let mut keys = Vec::new();
        for &algorithm in allowed {
            let least = algorithm.secret_bytes();
            if secret.expose().len() < least {
                return Err(format!("the secret is shorter than the {least} bytes that {algorithm} needs"));
            }
            let (true, Some(name)) = (algorithm.is_shared_secret(), algorithm.in_jsonwebtoken()) else {
                continue;
            };
            let check = Check::Library(name, DecodingKey::from_secret(secret.expose()));
            keys.push(VerificationKey { algorithm, check, name: name_of(&[secret.expose()]) });
        }
        Ok(Self { by_kid: HashMap::from([(None, keys)]), digest: sha256(secret.expose()) })
    }

    /// Whether a key fits both `kid`, exactly, and the algorithm.
    pub fn has(&self, kid: Option<&str>, algorithm: Algorithm, missing_kid: bool) -> bool {
        self.fitting(kid, algorithm, missing_kid).next().is_some()
    }

    /// The fitting key that made this signature, which is base64url without padding.
    pub fn signer(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        missing_kid: bool,
        signed: &[u8],
        signature: &str,
    ) -> Option<SigningKey> {
        let mut fitting = self.fitting(kid, algorithm, missing_kid);
        let signer = fitting.find(|key| match &key.check {
            Check::Library(name, key) => {
                jsonwebtoken::crypto::verify(signature, signed, key, *name).unwrap_or(false)
            }
            Check::P521(public) => {
                let signature = URL_SAFE_NO_PAD.decode(signature);
                signature.is_ok_and(|signature| public.verify_sig(signed, &signature).is_ok())
            }
        });
        signer.map(|key| key.name)
    }

    /// Whether this key is one of them.
    pub fn holds(&self, name: SigningKey) -> bool {
        self.by_kid.values().flatten().any(|key| key.name == name)
    }

    /// Whether the other set has the same keys.
    pub fn same_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    fn fitting(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        missing_kid: bool,
    ) -> impl Iterator<Item = &VerificationKey> {
        let named = match kid {
            _ if algorithm.is_shared_secret() => self.by_kid.get(&None),
            Some(kid) => self.by_kid.get(&Some(kid.to_owned())),
            None => None,
        };
        let fits = move |key: &&VerificationKey| key.algorithm == algorithm;
        let mut any = self.by_kid.values().flatten().filter(fits);
        // Without `kid`, only a key that has no rival: trying several would let the token choose.
        let only = match (kid, any.next(), any.next()) {
            (None, Some(key), None) if missing_kid && named.is_none() => Some(key),
            _ => None,
        };
        named.into_iter().flatten().filter(fits).chain(only)
    }
}

/// The keys of a document as they are written, so that one that is odd spoils no other. A byte order mark is
/// skipped.
fn raw_keys(document: &[u8]) -> Result<Vec<&RawValue>, String> {
    #[derive(Deserialize)]
    struct JwksDocument<'a> {
        #[serde(borrow)]
        keys: Option<&'a RawValue>,
    }
    let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    if document.trim_ascii_start().first() != Some(&b'{') {
        return Err("not JSON, or no object".into());
    }
    // serde's messages may quote the document.
    let read: JwksDocument<'_> = serde_json::from_slice(document).map_err(|error| {
        let twice = error.is_data() && error.to_string().starts_with("duplicate field");
        if twice { "`keys` occurs twice" } else { "not JSON" }
    })?;
    let keys = read.keys.and_then(|keys| serde_json::from_str(keys.get()).ok());
    keys.ok_or_else(|| "no `keys` array: not a JWKS".into())
}

/// RFC 8259 8.1: not to be written, and may be ignored.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The name of a key with these numbers.
fn name_of(numbers: &[&[u8]]) -> SigningKey {
    let mut name = [0; 8];
    name.copy_from_slice(&sha256(&numbers.concat())[..8]);
    SigningKey(name)
}

fn sha256(text: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, text);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.as_ref());
    bytes
}

/// A member that is there and not null.
fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    jwk.get(name).filter(|value| !value.is_null())
}

fn read_kid(jwk: &Map<String, Value>) -> Result<Option<String>, &'static str> {
    match member(jwk, "kid") {
        None => Ok(None),
        Some(Value::String(kid)) => Ok(Some(kid.clone())),
        Some(_) => Err("its `kid` is not text"),
    }
}

/// One JWK, once for each allowed algorithm that it serves.
fn read_key(
    jwk: &Map<String, Value>,
    allowed: &[Algorithm],
    key_use: &str,
) -> Result<Vec<VerificationKey>, String> {
    if member(jwk, "d").or_else(|| member(jwk, "k")).is_some() {
        return Err("it is published with its private half, so anybody can sign with it".into());
    }
    // Only SPIFFE demands that a key says what it is for.
    let its_use = member(jwk, "use").map_or(Some("sig"), Value::as_str);
    if its_use != Some(key_use) {
        return Err("it is not for signatures of tokens".into());
    }
    if let Some(operations) = member(jwk, "key_ops")
        && !operations.as_array().is_some_and(|list| list.iter().any(|it| it == "verify"))
    {
        return Err("it is not for verifying".into());
    }
    let named = match member(jwk, "alg") {
        None => None,
        Some(Value::String(name)) => Some(Algorithm::parse(name).ok_or("its algorithm is not known here")?),
        Some(_) => return Err("its `alg` is not text".into()),
    };
    let candidates = allowed.iter().copied().filter(|a| named.is_none_or(|named| named == *a));
    let mut keys = Vec::new();
    for algorithm in candidates {
        if let Some((check, name)) = read_public(jwk, algorithm)? {
            keys.push(VerificationKey { algorithm, check, name });
        }
    }
    if keys.is_empty() { Err("it fits none of the issuer's `algorithms`".into()) } else { Ok(keys) }
}

/// The public key if it is of the algorithm's kind. Its numbers are checked here, since jsonwebtoken looks at
/// them only when it verifies.
fn read_public(
    jwk: &Map<String, Value>,
    algorithm: Algorithm,
) -> Result<Option<(Check, SigningKey)>, String> {
    let number = |name: &str| -> Result<Vec<u8>, String> {
        let text = jwk.get(name).and_then(Value::as_str).ok_or_else(|| format!("no `{name}`"))?;
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("`{name}` is not base64url"))
    };
    let parse = |how: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
        ParsedPublicKey::new(how, bytes).map_err(|_| "its numbers are no key".to_owned())
    };
    let kind = jwk.get("kty").and_then(Value::as_str);
    let curve = jwk.get("crv").and_then(Value::as_str);
    let members: Vec<(&str, Vec<u8>)> = match (kind, algorithm.family()) {
        (Some("RSA"), Family::Rsa) => {
            let unsigned = |bytes: Vec<u8>| bytes[bytes.iter().take_while(|b| **b == 0).count()..].to_vec();
            let (n, e) = (unsigned(number("n")?), unsigned(number("e")?));
            // aws-lc would refuse such a key at each signature; it is reported once instead.
            let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
            if !(2048..=8192).contains(&bits) {
                return Err(format!("an RSA key of {bits} bits; 2048 to 8192 are accepted"));
            }
            let parts = RsaPublicKeyComponents { n: &n, e: &e };
            // The hash does not matter to the key.
            parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| "its numbers are no key")?;
            vec![("n", n), ("e", e)]
        }
        (Some("EC"), Family::Ec) => {
            let (name, bytes, how): (_, _, &'static dyn VerificationAlgorithm) = match algorithm {
                Algorithm::ES256 => ("P-256", 32, &ECDSA_P256_SHA256_FIXED),
                Algorithm::ES384 => ("P-384", 48, &ECDSA_P384_SHA384_FIXED),
                _ => ("P-521", 66, &ECDSA_P521_SHA512_FIXED),
            };
            if curve != Some(name) {
                return Ok(None);
            }
            let (x, y) = (number("x")?, number("y")?);
            if x.len() != bytes || y.len() != bytes {
                return Err(format!("`x` and `y` are not {bytes} bytes long"));
            }
            let point = parse(how, &[&[4], &x[..], &y[..]].concat())?;
            if algorithm.in_jsonwebtoken().is_none() {
                return Ok(Some((Check::P521(point), name_of(&[&x, &y]))));
            }
            vec![("x", x), ("y", y)]
        }
        (Some("OKP"), Family::Ed25519) if curve == Some("Ed25519") => {
            let x = number("x")?;
            parse(&ED25519, &x)?;
            vec![("x", x)]
        }
        _ => return Ok(None),
    };
    let Some(name) = algorithm.in_jsonwebtoken() else { return Ok(None) };
    let key = of_jwk(jwk, &members).map_err(|_| "its numbers are no key")?;
    let numbers: Vec<&[u8]> = members.iter().map(|(_, number)| number.as_slice()).collect();
    Ok(Some((Check::Library(name, key), name_of(&numbers))))
}

/// Puts the kind, the curve and the numbers that were checked into jsonwebtoken's hands, and no other member.
fn of_jwk(
    jwk: &Map<String, Value>,
    numbers: &[(&str, Vec<u8>)],
) -> Result<DecodingKey, jsonwebtoken::errors::Error> {
    let names = ["kty", "crv"].into_iter().filter_map(|name| Some((name, jwk.get(name)?.clone())));
    let numbers = numbers.iter().map(|(name, bytes)| (*name, URL_SAFE_NO_PAD.encode(bytes).into()));
    let clean: Map<String, Value> =
        names.chain(numbers).map(|(name, value)| (name.to_owned(), value)).collect();
    DecodingKey::from_jwk(&serde_json::from_value(Value::Object(clean))?)
}

#[cfg(test)]
#[path = "tests/keys.rs"]
mod tests;
