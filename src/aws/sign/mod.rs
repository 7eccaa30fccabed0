//! SigV4 on a request (AWS, IAM User Guide: "Create a signed AWS API request").
//!
//! Signed are `host`, `content-type`, every `x-amz-*` header that is already there, and what the signer
//! adds: nothing that a hop may rewrite. This is the set that botocore signs for KVS (docs/KVS.md 3.3). The
//! body's real hash is part of the signature; `x-amz-content-sha256` is sent only where S3 wants it.
//!
//! Every uncached answer costs a signature or two, so this is written for speed: the signing key is kept for
//! its day, and hashes are those of aws-lc. The reference is AWS's own crate: the tests compare with it.

mod canonical;
mod error;
mod signing_key;

pub use error::Error;

use crate::base::hex;
use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use canonical::{Canonical, PathStyle};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};
use signing_key::SigningKeys;
use std::time::SystemTime;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Signs requests to one service in one region.
#[derive(Debug)]
pub struct Signer {
    region: String,
    service: &'static str,
    keys: SigningKeys,
}

impl Signer {
    /// `service`: `kinesisvideo` for every plane of KVS; `s3` has rules of its own for paths, and wants the
    /// hash of the body as a header.
    #[must_use]
    pub fn new(region: &str, service: &'static str) -> Self {
        Self { region: region.to_owned(), service, keys: SigningKeys::default() }
    }

    fn is_s3(&self) -> bool {
        self.service == "s3"
    }

    /// Signs `request`, whose body is `body`, as of `now`. Signature headers that it already has are
    /// replaced.
    ///
    /// # Errors
    /// As [`Error`] says; the request is then unsigned.
    pub fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        keys: &Credentials,
        now: SystemTime,
    ) -> Result<(), Error> {
        let time = canonical::time(now).ok_or(Error::Clock)?;
        let hash = hex::encode(digest(&SHA256, body).as_ref());
        let headers = request.headers_mut();
        for name in [AUTHORIZATION, DATE, TOKEN, CONTENT_HASH] {
            headers.remove(name); // else it would be signed next to the real one
        }
        headers.insert(DATE, HeaderValue::try_from(time.as_str()).map_err(|_| Error::Clock)?);
        if let Some(token) = keys.session_token() {
            headers.insert(TOKEN, sensitive(token).map_err(|_| Error::Header(TOKEN))?);
        }
        if self.is_s3() {
            headers
                .insert(CONTENT_HASH, HeaderValue::try_from(&hash).map_err(|_| Error::Header(CONTENT_HASH))?);
        }
        let value = self.authorization(request, &hash, keys, &time)?;
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    fn authorization<B>(
        &self,
        request: &Request<B>,
        hash: &str,
        keys: &Credentials,
        time: &str,
    ) -> Result<HeaderValue, Error> {
        let style = if self.is_s3() { PathStyle::AsItIs } else { PathStyle::Normalised };
        let Canonical { text, signed } = Canonical::of(request, hash, style)?;
        let day = &time[..canonical::DAY];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hashed = hex::encode(digest(&SHA256, text.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let key = self.keys.get(keys, day, &self.region, self.service);
        let signature = hex::encode(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let id = keys.access_key_id();
        sensitive(&format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        ))
        .map_err(|_| Error::Header(AUTHORIZATION))
    }
}

/// A value that no `Debug` output shows.
fn sensitive(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[path = "../tests/sign.rs"]
mod tests;
