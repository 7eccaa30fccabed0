//! Credentials from each place that AWS's default chain knows, and what happens when they run out.
//!
//! The chain reads the environment, which a test cannot change for itself. So these tests run the test
//! program once more, as a child with an environment of its own, for the one ignored test that makes a
//! call.

use super::*;
use std::process::Command;

/// Describes a stream with whatever the environment gives; run only as a child.
#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child() {
    let url = std::env::var("TEST_KVS").unwrap();
    let entry = EntryConfig { endpoint_url: Some(url), ..EntryConfig::new("main", "eu-west-1") };
    let upstream = upstream(entry, Config::default()).await;
    let located = upstream.locate(&camera()).unwrap();
    match upstream.describe(&located, || "test".into()).await {
        Ok(description) => println!("described {}", description.arn.name()),
        Err(error) => println!("failed: {error}; {:?}", upstream.problems()),
    }
}

fn run_child(kvs: &Emulator, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "upstream::credentials::child", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("TEST_KVS", kvs.url()).env("AWS_CONFIG_FILE", "/nowhere").env("HOME", "/nowhere");
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere").env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(environment.iter().copied());
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_chain_finds_them_everywhere() {
    let kvs = kvs(|_| {}).await;
    let url = kvs.url();
    let token = std::env::temp_dir().join(format!("kvs-edge-test-{}-web", std::process::id()));
    std::fs::write(&token, "a.b.c").unwrap();
    let token = token.to_str().unwrap();
    let container = format!("{url}/_emulator/credentials");
    let role = "arn:aws:iam::123456789012:role/kvs-edge";
    for (from, environment) in [
        (
            "the environment",
            vec![("AWS_ACCESS_KEY_ID", "AKIDEMULATOR"), ("AWS_SECRET_ACCESS_KEY", "emulator-secret")],
        ),
        ("a container", vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str())]),
        (
            "instance metadata",
            vec![("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())],
        ),
        (
            "a web identity",
            vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", role),
                ("AWS_ENDPOINT_URL_STS", url.as_str()),
            ],
        ),
    ] {
        let said = run_child(&kvs, &environment);
        assert!(said.contains("described cam-1"), "credentials from {from}: {said}");
    }
    let said = run_child(&kvs, &[]);
    assert!(
        said.contains("failed: no AWS credentials") && said.contains("aws main: no credentials"),
        "{said}"
    );
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_renewed_when_it_has_expired() {
    let kvs = kvs(|config| config.external_id = Some("secret handshake".into())).await;
    let role = EntryConfig {
        role_arn: Some("arn:aws:iam::123456789012:role/kvs-edge".into()),
        external_id: Some("secret handshake".into()),
        session_name: Some("tests".into()),
        sts_endpoint_url: Some(kvs.url()),
        ..entry(&kvs.url())
    };
    let assumed = upstream(role.clone(), quick()).await;
    let list = &calls()[1];
    for _ in 0..3 {
        asked(&assumed, list).await.unwrap();
    }
    assert_eq!(count(&kvs, "AssumeRole").await.0, 1, "kept, not asked for each time");
    operator(&kvs, "DELETE", "credentials", "").await;
    tokio::time::sleep(Duration::from_secs(11)).await; // a set that is ten seconds old may be thrown away
    asked(&assumed, list).await.expect("renewed");
    assert_eq!(count(&kvs, "AssumeRole").await.0, 2);
    let stranger = upstream(EntryConfig { external_id: None, ..role }, quick()).await;
    assert_eq!(asked(&stranger, list).await.unwrap_err(), "Credentials");
    assert!(stranger.problems()[0].contains("no credentials"), "{:?}", stranger.problems());
}

#[tokio::test]
async fn short_lived_credentials_are_renewed_ahead_of_their_end() {
    let kvs = kvs(|config| config.max_credential_seconds = Some(3)).await;
    let role = EntryConfig {
        role_arn: Some("arn:aws:iam::123456789012:role/kvs-edge".into()),
        sts_endpoint_url: Some(kvs.url()),
        ..entry(&kvs.url())
    };
    let upstream = upstream(role, quick()).await;
    let list = &calls()[1];
    let end = std::time::Instant::now() + Duration::from_secs(7);
    while std::time::Instant::now() < end {
        asked(&upstream, list).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(count(&kvs, "AssumeRole").await.0 > 1);
}
