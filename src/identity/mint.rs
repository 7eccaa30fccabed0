//! Signs tokens, for development and tests: `kvs-edge token`, and what checks the verifier.
//!
//! A private key is PEM (PKCS #8, or the older PKCS #1 and SEC 1); its kind decides which algorithms it can sign with.

use super::algorithm::Algorithm;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// A kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA, 2048 bits.
    Rsa,
    /// The curve P-256.
    P256,
    /// The curve P-384.
    P384,
    /// The curve P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];
}

/// A private key that signs tokens. Has no `Debug`.
pub struct SigningKey {
    pair: Pair,
    kid: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(Algorithm, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a key cannot be used, or cannot sign so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text holds no PEM private key.
    #[error("no private key found; write PEM, `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A key, but of no kind that signs tokens here.
    #[error("an unsupported key; use RSA (2048 to 8192 bits), EC on P-256, P-384 or P-521, or Ed25519")]
    Unsupported,
    /// The key is of another kind than the algorithm.
    #[error("this key cannot sign with {0}; it can with {1}")]
    Unfit(Algorithm, String),
    /// The crypto library failed.
    #[error("the crypto library could not {0}")]
    Failed(&'static str),
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn generate(kind: Kind) -> Result<Self, Error> {
        let failed = |_| Error::Failed("make a key");
        let ec =
            |algorithm| Ok(Pair::Ec(algorithm, EcdsaKeyPair::generate(curve(algorithm)).map_err(failed)?));
        Ok(Self::named(match kind {
            Kind::Rsa => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?),
            Kind::P256 => ec(Algorithm::ES256)?,
            Kind::P384 => ec(Algorithm::ES384)?,
            Kind::P521 => ec(Algorithm::ES512)?,
            Kind::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        }))
    }

    /// Reads a private key from PEM.
    ///
    /// # Errors
    /// `NotPem` or `Unsupported`.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| Error::NotPem)?;
        let der = key.secret_der();
        let ec = |algorithm| {
            EcdsaKeyPair::from_private_key_der(curve(algorithm), der).ok().map(|p| Pair::Ec(algorithm, p))
        };
        let pair = match &key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok().map(Pair::Rsa),
            _ => None,
        }
        .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))
        .or_else(|| ec(Algorithm::ES256))
        .or_else(|| ec(Algorithm::ES384))
        .or_else(|| ec(Algorithm::ES512))
        .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::Ed25519));
        pair.map(Self::named).ok_or(Error::Unsupported)
    }

    /// The private key as PEM (PKCS #8).
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, Error> {
        let failed = |_| Error::Failed("write the key");
        let der = Zeroizing::new(match &self.pair {
            Pair::Rsa(pair) => pair.as_der().map_err(failed)?.as_ref().to_vec(),
            Pair::Ec(_, pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
        });
        let text = Zeroizing::new(STANDARD.encode(&*der));
        let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
        for line in text.as_bytes().chunks(64) {
            // Base64 is ASCII.
            pem.extend(line.iter().map(|b| char::from(*b)));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// The key id: its RFC 7638 thumbprint, unless renamed.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The same key under another id.
    #[must_use]
    pub fn with_kid(mut self, kid: String) -> Self {
        self.kid = kid;
        self
    }

    /// What it can sign with; the first is the usual choice.
    #[must_use]
    pub fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm::*;
        match &self.pair {
            Pair::Rsa(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Pair::Ec(ES384, _) => &[ES384],
            Pair::Ec(ES512, _) => &[ES512],
            Pair::Ec(..) => &[ES256],
            Pair::Ed25519(_) => &[EdDSA],
        }
    }

    /// The public half as a JWK, with `kid` and `use`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public();
        jwk.insert("kid".into(), self.kid.clone().into());
        jwk.insert("use".into(), "sig".into());
        if let [only] = self.algorithms() {
            jwk.insert("alg".into(), only.as_str().into());
        }
        Value::Object(jwk)
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// `Unfit` if the key is of another kind.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String, Error> {
        let header = json!({ "alg": algorithm.as_str(), "typ": "JWT", "kid": self.kid });
        self.sign_as(algorithm, &header.to_string(), &claims.to_string())
    }

    /// A signed token with exactly this header and payload, right or wrong.
    pub(super) fn sign_as(&self, algorithm: Algorithm, header: &str, payload: &str) -> Result<String, Error> {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.sign_bytes(algorithm, signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    pub(super) fn sign_bytes(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        if !self.algorithms().contains(&algorithm) {
            let able: Vec<_> = self.algorithms().iter().map(|a| a.as_str()).collect();
            return Err(Error::Unfit(algorithm, able.join(", ")));
        }
        let failed = |_| Error::Failed("sign");
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS384 => &sig::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &sig::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &sig::RSA_PSS_SHA256,
                    Algorithm::PS384 => &sig::RSA_PSS_SHA384,
                    Algorithm::PS512 => &sig::RSA_PSS_SHA512,
                    _ => &sig::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(_, pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn named(pair: Pair) -> Self {
        let mut key = Self { pair, kid: String::new() };
        key.kid = thumbprint(&key.public());
        key
    }

    /// Exactly the members that RFC 7638 hashes, in its order.
    fn public(&self) -> Map<String, Value> {
        let b64 = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
        let members: Vec<(&str, Value)> = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref());
                vec![("e", b64(e)), ("kty", "RSA".into()), ("n", b64(n))]
            }
            Pair::Ec(algorithm, pair) => {
                let name = match algorithm {
                    Algorithm::ES384 => "P-384",
                    Algorithm::ES512 => "P-521",
                    _ => "P-256",
                };
                // An uncompressed point: 4, x, y.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                vec![("crv", name.into()), ("kty", "EC".into()), ("x", b64(x)), ("y", b64(y))]
            }
            Pair::Ed25519(pair) => {
                let x = b64(pair.public_key().as_ref());
                vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", x)]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn curve(algorithm: Algorithm) -> &'static sig::EcdsaSigningAlgorithm {
    match algorithm {
        Algorithm::ES384 => &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::ES512 => &sig::ECDSA_P521_SHA512_FIXED_SIGNING,
        _ => &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
    }
}

/// RFC 7638: the hash of the required members in alphabetical order, without spaces.
fn thumbprint(public: &Map<String, Value>) -> String {
    let mut members: Vec<String> =
        public.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    members.sort_unstable();
    let text = format!("{{{}}}", members.join(","));
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// The two numbers of an `RSAPublicKey` (RFC 8017 A.1.1), which the crypto library wrote: a SEQUENCE of INTEGERs.
fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, header) = match der {
            [_, length @ ..=0x7f, ..] => (usize::from(*length), 2),
            [_, 0x81, a, ..] => (usize::from(*a), 3),
            [_, 0x82, a, b, ..] => (usize::from(*a) << 8 | usize::from(*b), 4),
            _ => (0, der.len()),
        };
        der[header..].split_at_checked(length).unwrap_or_default()
    }
    let unsigned = |number: &'_ [u8]| number.iter().take_while(|b| **b == 0).count();
    let (n, rest) = element(element(der).0);
    let (e, _) = element(rest);
    (&n[unsigned(n)..], &e[unsigned(e)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_and_read() {
        for kind in Kind::ALL {
            let key = SigningKey::generate(kind).unwrap();
            let again = SigningKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!(again.jwk(), key.jwk(), "{kind:?}");
            assert_eq!(key.kid().len(), 43);
        }
    }

    #[test]
    fn an_independent_library_accepts_what_is_signed_and_agrees_on_the_thumbprint() {
        use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
        for kind in [Kind::Rsa, Kind::P256, Kind::P384, Kind::Ed25519] {
            let key = SigningKey::generate(kind).unwrap();
            let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
            assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), key.kid());
            for &algorithm in key.algorithms() {
                let token = key.sign(algorithm, &json!({ "exp": 4_000_000_000_u64 })).unwrap();
                let mut rules = jsonwebtoken::Validation::new(algorithm.as_str().parse().unwrap());
                rules.validate_aud = false;
                let public = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
                jsonwebtoken::decode::<Value>(&token, &public, &rules).unwrap();
            }
        }
    }

    #[test]
    fn a_key_signs_only_with_algorithms_of_its_kind() {
        let key = SigningKey::generate(Kind::P256).unwrap();
        assert!(matches!(key.sign(Algorithm::RS256, &json!({})), Err(Error::Unfit(..))));
        assert!(matches!(key.sign(Algorithm::HS256, &json!({})), Err(Error::Unfit(..))));
        assert!(matches!(SigningKey::from_pem(b"hello"), Err(Error::NotPem)));
    }
}
