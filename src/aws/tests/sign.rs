//! Signatures, compared with AWS's published vectors and with AWS's own crate.

use super::*;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
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
    let mut request = Request::builder().method(method).uri(format!("https://example.amazonaws.com{target}"));
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
    for name in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sigv4")).unwrap()
    {
        let name = name.unwrap();
        if !name.path().is_dir() {
            continue;
        }
        let name = name.file_name().into_string().unwrap();
        let (mut request, body, wanted, token) = vector(&name);
        let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, token);
        Signer::new("us-east-1", "service").sign(&mut request, &body, &keys, now).unwrap();
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
    Signer::new("eu-west-1", "kinesisvideo").sign(&mut request, b"{}", &keys, UNIX_EPOCH).unwrap();
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
    Signer::new("eu-west-1", "s3").sign(&mut request, b"", &keys, UNIX_EPOCH).unwrap();
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
        let _ = Signer::new("eu-west-1", "kinesisvideo").sign(&mut request, &body, &keys, UNIX_EPOCH);
    }
}

#[test]
fn a_relative_request_is_refused() {
    let keys = Credentials::from_keys("AKIDEXAMPLE", SECRET, None);
    let mut request = Request::post("/getClip").body(()).unwrap();
    let signed = Signer::new("eu-west-1", "kinesisvideo").sign(&mut request, b"", &keys, UNIX_EPOCH);
    assert!(matches!(signed, Err(Error::NoHost)));
}

/// The same request as AWS's crate signs it.
fn reference(
    mut request: Request<()>,
    body: &[u8],
    keys: &Credentials,
    service: &str,
    now: SystemTime,
) -> Request<()> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    if service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let identity = keys.clone().into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name(service)
        .time(now)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let (uri, method) = (request.uri().to_string(), request.method().clone());
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name == http::header::CONTENT_TYPE || name.as_str().starts_with("x-amz-"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new(method.as_str(), uri, headers, SignableBody::Bytes(body)).unwrap();
    let signed = aws_sigv4::http_request::sign(signable, &params).unwrap();
    signed.into_parts().0.apply_to_request_http1x(&mut request);
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// One signer for all: a key of another day or of another secret must not be used again.
    #[test]
    fn every_request_is_signed_as_awss_own_crate_signs_it(
        post: bool, is_s3: bool,
        port in prop::sample::select(vec!["", ":443", ":80", ":8080"]),
        path in "/([a-zA-Z0-9._~%+ü!$&'()*,;=:@-]{0,6}/?){0,4}",
        query in "(\\?([a-z]{0,3}(=(%[0-7][0-9A-F]|[a-zA-Z0-9+~_.:/-]){0,6})?&?){0,4})?",
        headers in prop::collection::vec(("x-amz-[a-c]|content-type|accept", "[ -~]{0,12}"), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..80),
        secret in prop::sample::select(vec![SECRET, "another"]),
        token in prop::option::of("[A-Za-z0-9/+=]{1,20}"),
        seconds in 1_700_000_000_u64..1_700_400_000,
    ) {
        static SIGNERS: std::sync::LazyLock<[Signer; 2]> =
            std::sync::LazyLock::new(|| ["kinesisvideo", "s3"].map(|name| Signer::new("eu-west-1", name)));
        let method = if post { "POST" } else { "GET" };
        let uri = format!("https://h.example{port}{path}{query}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(()) else { return Ok(()) };
        let keys = Credentials::from_keys("AKIDEXAMPLE", secret, token);
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        let service = if is_s3 { "s3" } else { "kinesisvideo" };
        let expected = reference(request.clone(), &body, &keys, service, now);
        let mut signed = request;
        SIGNERS[usize::from(is_s3)].sign(&mut signed, &body, &keys, now).unwrap();
        prop_assert_eq!(signed.headers(), expected.headers());
    }
}
