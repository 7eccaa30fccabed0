//! A development token issuer: an ES256 key, its JWKS, and the tokens it signs. For the demo and for tests.
//!
//! Only a gateway that is configured with its key accepts its tokens. In production tokens come from an
//! identity provider.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// The private key's file in an issuer's folder.
pub const KEY_FILE: &str = "issuer.pem";
/// The public key's file, as a JSON Web Key Set.
pub const JWKS_FILE: &str = "jwks.json";

/// Errors of an issuer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be made or read, or cannot sign.
    #[error("the issuer's key {0}")]
    Key(String),
    /// A file of the issuer cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// A key that signs tokens.
pub struct Issuer {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    kid: String,
}

/// The claims of a token.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub`.
    pub subject: String,
    /// `groups`.
    pub groups: Vec<String>,
    /// From `iat` to `exp`; whole seconds.
    pub ttl: Duration,
    /// `iat` and `nbf`.
    pub now: SystemTime,
}

impl Issuer {
    /// A new key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| Error::Key("cannot be generated".into()))?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key of a PKCS #8 PEM file with a P-256 key.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let body: Zeroizing<String> =
            Zeroizing::new(pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect());
        let pkcs8 = STANDARD
            .decode(body.as_bytes())
            .map_err(|_| Error::Key("is not PEM: 'BEGIN PRIVATE KEY' and base64 are expected".into()))?;
        Self::from_pkcs8(&Zeroizing::new(pkcs8))
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|e| Error::Key(format!("is not a P-256 key in PKCS #8 form: {e}")))?;
        // The thumbprint of RFC 7638, as in `kvs-edge token --key`, so that the key of the demo can be used
        // there.
        let [x, y] = coordinates(&pair);
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()));
        Ok(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()), kid })
    }

    /// The key in a folder, which is created if it is absent. Its JWKS is written to the same folder.
    ///
    /// # Errors
    /// The folder cannot be written, or its key is invalid.
    pub fn load_or_create(folder: &Path) -> Result<Self, Error> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        std::fs::create_dir_all(folder).map_err(file(folder))?;
        let key = folder.join(KEY_FILE);
        let issuer = match std::fs::read_to_string(&key) {
            Ok(pem) => Self::from_pem(&pem)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let issuer = Self::generate()?;
                write_private(&key, issuer.private_key_pem().as_bytes()).map_err(file(&key))?;
                issuer
            }
            Err(e) => return Err(file(&key)(e)),
        };
        let jwks = folder.join(JWKS_FILE);
        std::fs::write(&jwks, issuer.jwks()).map_err(file(&jwks))?;
        Ok(issuer)
    }

    /// The public key as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> String {
        let [x, y] = coordinates(&self.pair);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": x, "y": y,
        }]})
        .to_string()
    }

    /// The key's identifier in the JWKS and in the header of every token.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private key in PKCS #8 PEM form.
    #[must_use]
    pub fn private_key_pem(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(STANDARD.encode(&*self.pkcs8));
        let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
        for line in body.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).unwrap_or_default());
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }

    /// A signed token.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn mint(&self, claims: &Claims) -> Result<String, Error> {
        let now = claims.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.sign(&json!({
            "iss": claims.issuer, "aud": claims.audience, "sub": claims.subject, "groups": claims.groups,
            "iat": now, "nbf": now, "exp": now + claims.ttl.as_secs(),
        }))
    }

    /// A signed token of any claims.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String, Error> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid}).to_string();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(&header), part(&claims.to_string()));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| Error::Key("cannot sign".into()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// Writes a new file that only its owner can read.
fn write_private(path: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

/// The coordinates of the public key in base64url. The key is the uncompressed point: 04, x, y.
fn coordinates(pair: &EcdsaKeyPair) -> [String; 2] {
    let point = pair.public_key().as_ref();
    [1, 33].map(|at| URL_SAFE_NO_PAD.encode(&point[at..at + 32]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

    fn claims() -> Claims {
        Claims {
            issuer: "http://issuer.test".into(),
            audience: "kvs-edge".into(),
            subject: "alice".into(),
            groups: vec!["guards".into()],
            ttl: Duration::from_secs(600),
            now: SystemTime::now(),
        }
    }

    #[test]
    fn a_token_verifies_against_the_key_set() {
        let issuer = Issuer::generate().unwrap();
        let token = issuer.mint(&claims()).unwrap();
        let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&issuer.jwks()).unwrap();
        let key = DecodingKey::from_jwk(jwks.find(issuer.kid()).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["kvs-edge"]);
        let seen = decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(seen.claims["sub"], "alice");
        assert_eq!(seen.claims["groups"][0], "guards");
        assert_eq!(seen.header.kid.as_deref(), Some(issuer.kid()));
    }

    #[test]
    fn the_key_in_a_folder_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = Issuer::load_or_create(folder.path()).unwrap();
        let second = Issuer::load_or_create(folder.path()).unwrap();
        assert_eq!(first.jwks(), second.jwks());
        let key = folder.path().join(KEY_FILE);
        let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&key, "not a key").unwrap();
        assert!(matches!(Issuer::load_or_create(folder.path()), Err(Error::Key(_))));
    }
}
