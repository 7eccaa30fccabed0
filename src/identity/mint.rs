//! Signs tokens, for development and tests: `kvs-edge token`, and what checks the verifier.
//!
//! A private key is PEM (PKCS #8, or the older PKCS #1 and SEC 1); its kind decides which algorithms it can
//! sign with. aws-lc makes and reads keys, jsonwebtoken signs with them and describes their public half.
//! P-521, which jsonwebtoken does not have, is left to aws-lc.

use super::algorithm::Algorithm;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk, PublicKeyUse,
    ThumbprintHash,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// A kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
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

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    const fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::*;
        match self {
            Self::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256 => &[ES256],
            Self::P384 => &[ES384],
            Self::P521 => &[ES512],
            Self::Ed25519 => &[EdDSA],
        }
    }
}

/// A private key that signs tokens. Has no `Debug`.
pub struct SigningKey {
    kind: KeyKind,
    /// PKCS #8.
    der: Zeroizing<Vec<u8>>,
    key: PrivateKey,
    /// The public half, with `use`, `kid`, and `alg` if jsonwebtoken has it and there is but one.
    jwk: Jwk,
    kid: String,
}

enum PrivateKey {
    Library(EncodingKey),
    P521(EcdsaKeyPair),
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
    pub fn generate(kind: KeyKind) -> Result<Self, Error> {
        let failed = |_| Error::Failed("make a key");
        let ec = |curve| written(EcdsaKeyPair::generate(curve).map_err(failed)?.to_pkcs8v1());
        let der = match kind {
            KeyKind::Rsa => rsa_der(&RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?)?,
            KeyKind::P256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            KeyKind::P384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            KeyKind::P521 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING)?,
            KeyKind::Ed25519 => written(Ed25519KeyPair::generate().map_err(failed)?.to_pkcs8v1())?,
        };
        Self::of(kind, der)
    }

    /// Reads a private key from PEM.
    ///
    /// # Errors
    /// `NotPem` or `Unsupported`.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| Error::NotPem)?;
        let der = key.secret_der();
        let rsa = match &key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok(),
            _ => RsaKeyPair::from_pkcs8(der).ok(),
        };
        if let Some(pair) = rsa {
            return Self::of(KeyKind::Rsa, rsa_der(&pair)?);
        }
        for (kind, curve) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
                return Self::of(kind, written(pair.to_pkcs8v1())?);
            }
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| Error::Unsupported)?;
        Self::of(KeyKind::Ed25519, written(pair.to_pkcs8v1())?)
    }

    fn of(kind: KeyKind, der: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let library = |key: EncodingKey| {
            let algorithm = kind.algorithms()[0].in_jsonwebtoken().ok_or(Error::Unsupported)?;
            let jwk = Jwk::from_encoding_key(&key, algorithm).map_err(|_| Error::Unsupported)?;
            Ok((PrivateKey::Library(key), jwk))
        };
        let (key, mut jwk) = match kind {
            KeyKind::Rsa => {
                let key = EncodingKey::from_rsa_pem(pem(&der).as_bytes()).map_err(|_| Error::Unsupported)?;
                library(key)?
            }
            KeyKind::P256 | KeyKind::P384 => library(EncodingKey::from_ec_der(&der))?,
            KeyKind::Ed25519 => library(EncodingKey::from_ed_der(&der))?,
            KeyKind::P521 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P521_SHA512_FIXED_SIGNING, &der);
                let pair = pair.map_err(|_| Error::Unsupported)?;
                let jwk = p521(&pair);
                (PrivateKey::P521(pair), jwk)
            }
        };
        if kind.algorithms().len() > 1 {
            jwk.common.key_algorithm = None;
        }
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| Error::Failed("name the key"))?;
        Ok(Self { kind, der, key, jwk, kid })
    }

    /// The private key as PEM (PKCS #8).
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem(&self.der)
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
        self.kind.algorithms()
    }

    /// The public half as a JWK, with `kid` and `use`, and with `alg` if there is but one.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // A struct of texts always becomes JSON.
        let mut jwk = serde_json::to_value(&self.jwk).unwrap_or_default();
        jwk["kid"] = self.kid.as_str().into();
        if self.kind == KeyKind::P521 {
            jwk["alg"] = Algorithm::ES512.as_str().into();
        }
        jwk
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// `Unfit` if the key is of another kind.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String, Error> {
        let header = json!({ "alg": algorithm.as_str(), "typ": "JWT", "kid": self.kid });
        self.sign_as(algorithm, &header.to_string(), &claims.to_string())
    }

    /// The signature of any message, in the form of RFC 7518.
    ///
    /// # Errors
    /// `Unfit` if the key is of another kind.
    pub fn sign_bytes(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.signature(algorithm, message)?;
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| Error::Failed("sign"))
    }

    /// A signed token with exactly this header and payload, right or wrong.
    pub(super) fn sign_as(&self, algorithm: Algorithm, header: &str, payload: &str) -> Result<String, Error> {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(algorithm, signed.as_bytes())?;
        Ok(format!("{signed}.{signature}"))
    }

    /// The signature of a message, in base64url without padding.
    pub(super) fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Result<String, Error> {
        if !self.algorithms().contains(&algorithm) {
            let able: Vec<_> = self.algorithms().iter().map(|a| a.as_str()).collect();
            return Err(Error::Unfit(algorithm, able.join(", ")));
        }
        match (&self.key, algorithm.in_jsonwebtoken()) {
            (PrivateKey::Library(key), Some(name)) => {
                jsonwebtoken::crypto::sign(message, key, name).map_err(|_| Error::Failed("sign"))
            }
            (PrivateKey::P521(pair), _) => {
                let signature =
                    pair.sign(&SystemRandom::new(), message).map_err(|_| Error::Failed("sign"))?;
                Ok(URL_SAFE_NO_PAD.encode(signature))
            }
            (PrivateKey::Library(_), None) => Err(Error::Failed("sign")),
        }
    }
}

const CURVES: [(KeyKind, &EcdsaSigningAlgorithm); 3] = [
    (KeyKind::P256, &ECDSA_P256_SHA256_FIXED_SIGNING),
    (KeyKind::P384, &ECDSA_P384_SHA384_FIXED_SIGNING),
    (KeyKind::P521, &ECDSA_P521_SHA512_FIXED_SIGNING),
];

/// Keeps a private key that the crypto library wrote.
fn written(der: Result<impl AsRef<[u8]>, Unspecified>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let der = der.map_err(|_| Error::Failed("write the key"))?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn rsa_der(pair: &RsaKeyPair) -> Result<Zeroizing<Vec<u8>>, Error> {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(|_| Error::Failed("write the key"))?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        pem.extend(line.iter().map(|b| char::from(*b)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

fn p521(pair: &EcdsaKeyPair) -> Jwk {
    // An uncompressed point: 4, x, y.
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let parameters = EllipticCurveKeyParameters {
        key_type: EllipticCurveKeyType::EC,
        curve: EllipticCurve::P521,
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
    };
    Jwk { common: Default::default(), algorithm: AlgorithmParameters::EllipticCurve(parameters) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_and_read() {
        for kind in KeyKind::ALL {
            let key = SigningKey::generate(kind).unwrap();
            let again = SigningKey::from_pem(key.to_pem().as_bytes()).unwrap();
            assert_eq!(again.jwk(), key.jwk(), "{kind:?}");
            assert_eq!(key.kid().len(), 43);
        }
    }

    #[test]
    fn an_independent_library_accepts_what_is_signed_and_agrees_on_the_thumbprint() {
        use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
        for kind in [KeyKind::Rsa, KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
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
        let key = SigningKey::generate(KeyKind::P256).unwrap();
        assert!(matches!(key.sign(Algorithm::RS256, &json!({})), Err(Error::Unfit(..))));
        assert!(matches!(key.sign(Algorithm::HS256, &json!({})), Err(Error::Unfit(..))));
        assert!(matches!(SigningKey::from_pem(b"hello"), Err(Error::NotPem)));
    }
}
