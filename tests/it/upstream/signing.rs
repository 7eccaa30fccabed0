//! Our signatures are botocore's, on a thousand random requests.

use crate::harness::python;
use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kvs_edge::aws::sign::Signer;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

type Case = (bool, String, String, String, Option<String>, usize, u64, bool);

fn any_case() -> impl Strategy<Value = Case> {
    let path = prop_oneof![
        "/(getClip|listFragments|getHLSStreamingSessionURL|describeStream)",
        // No segment of dots alone: the two disagree on a path that ends in one, and we send none.
        "/[a-zA-Z0-9][a-zA-Z0-9._~-]{0,20}(/[a-zA-Z0-9][a-zA-Z0-9._~-]{0,8}){0,3}",
        "/[a-z]{1,5}(%20|%2F|%7E|%C3%A9){1,3}[a-z]{0,5}",
    ];
    let query = prop_oneof![3 => Just(String::new()), 1 => "\\?[a-zA-Z]{1,6}=[a-zA-Z0-9_~.-]{0,9}(&[a-zA-Z]{1,6}=[0-9]{0,5}){0,3}"];
    (
        any::<bool>(),
        (path, query).prop_map(|(path, query)| path + &query),
        "\\PC{0,200}",
        "[A-Za-z0-9/+]{40}",
        proptest::option::of("[A-Za-z0-9/+=]{20,400}"),
        0..6_usize,
        1_000_000_000..4_000_000_000_u64,
        any::<bool>(),
    )
}

const REGIONS: [&str; 6] =
    ["eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1", "ap-southeast-5", "eusc-de-east-1"];

fn line((post, target, body, secret, token, region, seconds, typed): Case) -> String {
    let region = REGIONS[region];
    let method = if post { "POST" } else { "GET" };
    let body = if post { body } else { String::new() };
    let url = format!("https://b-0123abcd.kinesisvideo.{region}.amazonaws.com{target}");
    let mut request = http::Request::builder().method(method).uri(&url).body(()).unwrap();
    let content_type = typed.then_some("application/json");
    if let Some(content_type) = content_type {
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
    }
    let keys = Credentials::from_keys("AKIDEXAMPLE", secret.clone(), token.clone());
    let signer = Signer::new(region, "kinesisvideo");
    signer.sign(&mut request, body.as_bytes(), &keys, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    serde_json::json!({
        "method": method, "url": url, "content_type": content_type, "body": STANDARD.encode(&body),
        "key": "AKIDEXAMPLE", "secret": secret, "token": token, "region": region, "seconds": seconds,
        "authorization": request.headers()["authorization"].to_str().unwrap(),
    })
    .to_string()
}

#[tokio::test]
async fn a_thousand_signatures_are_botocores() {
    let mut runner = TestRunner::default();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for _ in 0..1000 {
        let case = any_case().new_tree(&mut runner).unwrap().current();
        writeln!(file, "{}", line(case)).unwrap();
    }
    file.flush().unwrap();
    let output = python("signing_oracle.py", &[("REQUESTS", file.path().to_str().unwrap())]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1000 requests, 0 differ"), "{said}");
}
