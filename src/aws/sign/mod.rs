//! SigV4 on a request: a thin layer over AWS's own signer that fixes what this program signs.
//!
//! Signed are `host`, `content-type`, every `x-amz-*` header that is already there, and what the signer
//! adds: nothing that a hop may rewrite. This is the set that botocore signs for KVS (docs/KVS.md 3.3). The
//! body's real hash is part of the signature; `x-amz-content-sha256` is sent only where S3 wants it.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign as calculate,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::{HeaderName, Request, header};
use std::time::SystemTime;

/// Where a signature holds, and which service's dialect it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope<'a> {
    /// The region of the endpoint.
    pub region: &'a str,
    /// `kinesisvideo` for every plane of KVS; `s3` and others have quirks of their own.
    pub service: &'a str,
}

/// Why a request cannot be signed. None of these depends on what a caller sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URI has no host.
    #[error("only requests to an absolute address can be signed")]
    NoHost,
    /// A header to be signed holds bytes that are not text.
    #[error("header {0} is not text and cannot be signed")]
    Header(HeaderName),
    /// The signer refused.
    #[error("signing: {0}")]
    Signer(String),
}

/// Signs `request`, whose body is `body`, as of `now`. Signature headers that it already has are replaced.
///
/// # Errors
/// As [`Error`] says; the request is then unsigned.
pub fn sign<B>(
    request: &mut Request<B>,
    body: &[u8],
    keys: &Credentials,
    scope: Scope<'_>,
    now: SystemTime,
) -> Result<(), Error> {
    if request.uri().authority().is_none() {
        return Err(Error::NoHost); // the signer would panic
    }
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
        request.headers_mut().remove(name); // else it would be signed next to the real one
    }
    let identity: Identity = keys.clone().into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(settings(scope.service))
        .build()
        .map_err(|e| Error::Signer(e.to_string()))?
        .into();
    let uri = request.uri().to_string();
    let signable =
        SignableRequest::new(request.method().as_str(), uri, signed(request)?, SignableBody::Bytes(body))
            .map_err(|e| Error::Signer(e.to_string()))?;
    let (instructions, _signature) =
        calculate(signable, &params).map_err(|e| Error::Signer(e.to_string()))?.into_parts();
    instructions.apply_to_request_http1x(request);
    for name in ["authorization", "x-amz-security-token"] {
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true); // no Debug output shows it
        }
    }
    Ok(())
}

/// Most services escape a path twice and normalise it; S3 does neither and wants the hash as a header.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    if service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

/// The headers to sign beside `host`, which the signer takes from the URI.
fn signed<B>(request: &Request<B>) -> Result<std::vec::IntoIter<(&str, &str)>, Error> {
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        if *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            headers.push((name.as_str(), value.to_str().map_err(|_| Error::Header(name.clone()))?));
        }
    }
    Ok(headers.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// One case of AWS's published suite: the request as it is given, and the `Authorization` that it must
    /// get.
    fn vector(name: &str) -> (Request<()>, Vec<u8>, String, Option<String>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sigv4").join(name);
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let text = read("request.txt");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let target = rest.rsplit_once(' ').unwrap().0;
        let mut request =
            Request::builder().method(method).uri(format!("https://example.amazonaws.com{target}"));
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if !name.eq_ignore_ascii_case("host") {
                request = request.header(name, value);
            }
        }
        let signed = read("header-signed-request.txt");
        let wanted =
            signed.lines().find_map(|line| line.strip_prefix("Authorization:")).unwrap().trim().to_owned();
        let context: serde_json::Value = serde_json::from_str(&read("context.json")).unwrap();
        let token = context["credentials"]["token"].as_str().map(str::to_owned);
        (request.body(()).unwrap(), body.as_bytes().to_vec(), wanted, token)
    }

    #[test]
    fn signatures_are_those_of_awss_published_vectors() {
        // 2015-08-30T12:36:00Z, as every vector's context says.
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        for name in
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sigv4")).unwrap()
        {
            let name = name.unwrap();
            if !name.path().is_dir() {
                continue;
            }
            let name = name.file_name().into_string().unwrap();
            let (mut request, body, wanted, token) = vector(&name);
            let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, token);
            let scope = Scope { region: "us-east-1", service: "service" };
            sign(&mut request, &body, &keys, scope, now).unwrap();
            assert_eq!(request.headers()["authorization"], wanted, "vector {name}");
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        }
    }

    #[test]
    fn what_a_caller_smuggles_in_is_replaced_not_signed_beside() {
        let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, Some("real".into()));
        let mut request = Request::post("https://h.example/getClip")
            .header("x-amz-security-token", "planted")
            .header("authorization", "planted")
            .header("cookie", "planted")
            .body(())
            .unwrap();
        let scope = Scope { region: "eu-west-1", service: "kinesisvideo" };
        sign(&mut request, b"{}", &keys, scope, UNIX_EPOCH).unwrap();
        assert_eq!(request.headers().get_all("x-amz-security-token").iter().count(), 1);
        assert_eq!(request.headers()["x-amz-security-token"], "real");
        let shown = request.headers()["authorization"].to_str().unwrap();
        assert!(shown.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"), "{shown}");
        assert!(!format!("{:?}", request.headers()).contains("Signature="));
    }

    #[test]
    fn s3_gets_the_hash_as_a_header_and_a_path_as_it_is() {
        let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, None);
        let mut request = Request::get("https://b.s3.eu-west-1.amazonaws.com/a//b%20c").body(()).unwrap();
        sign(&mut request, b"", &keys, Scope { region: "eu-west-1", service: "s3" }, UNIX_EPOCH).unwrap();
        assert!(request.headers().contains_key("x-amz-content-sha256"));
    }

    proptest! {
        #[test]
        fn any_body_and_path_sign_without_panic(
            body: Vec<u8>, path in "/[a-zA-Z0-9._~%-]{0,20}", value in "\\PC{0,20}"
        ) {
            let uri = format!("https://h.example{path}");
            let request = Request::post(uri).header("content-type", value).body(());
            let Ok(request) = request else { return Ok(()) };
            let mut request = request;
            let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, None);
            let scope = Scope { region: "eu-west-1", service: "kinesisvideo" };
            let _ = sign(&mut request, &body, &keys, scope, UNIX_EPOCH);
        }
    }

    #[test]
    fn a_relative_request_is_refused() {
        let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, None);
        let mut request = Request::post("/getClip").body(()).unwrap();
        let scope = Scope { region: "eu-west-1", service: "kinesisvideo" };
        assert!(matches!(sign(&mut request, b"", &keys, scope, UNIX_EPOCH), Err(Error::NoHost)));
    }
}
