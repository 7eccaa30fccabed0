//! Credentials and accounts as an AWS SDK's credential chain uses them; endpoints that move.

use super::client::{Kvs, ago};
use super::*;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn two_accounts(config: &mut Config) {
    config.quotas = false;
    config.external_id = Some("secret-handshake".into());
    config.accounts = vec![Account {
        account: "210987654321".into(),
        region: Some("us-east-1".into()),
        access_key: "AKIDOTHER".into(),
        secret_key: "other-secret".into(),
        streams: vec!["cam-1".into(), "dock-9".into()],
    }];
}

#[tokio::test]
async fn a_role_of_another_account_is_assumed_and_sees_its_streams_only() {
    let mut kvs = Kvs::start(two_accounts).await;
    kvs.service = "sts".into();
    kvs.content_type = "application/x-www-form-urlencoded";
    let assume = async |external: &str| {
        let form = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fviewer\
             &RoleSessionName=edge&ExternalId={external}"
        );
        kvs.try_send(kvs.signed(&kvs.emulator.url(), "/", form)).await.unwrap()
    };
    let denied = assume("wrong").await;
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("<Code>AccessDenied</Code>"), "{}", denied.text());
    let xml = assume("secret-handshake").await.text();
    let value = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    kvs.access_key = value("AccessKeyId");
    kvs.secret_key = value("SecretAccessKey");
    kvs.token = Some(value("SessionToken"));
    kvs.region = "us-east-1".into();
    kvs.service = "kinesisvideo".into();
    kvs.content_type = "application/json";
    let listed = kvs.call("/listStreams", json!({})).await.json();
    let names: Vec<&Value> =
        listed["StreamInfoList"].as_array().unwrap().iter().map(|info| &info["StreamName"]).collect();
    assert_eq!(names, ["cam-1", "dock-9"]);
    assert!(listed["StreamInfoList"][0]["StreamARN"].as_str().unwrap().contains(":us-east-1:210987654321:"));
    kvs.admin(Method::DELETE, "credentials", Value::Null).await;
    let late = kvs.call("/listStreams", json!({})).await;
    assert_eq!((late.status.as_u16(), late.kind().as_str()), (403, "ExpiredTokenException"));
    kvs.token = None;
    assert_eq!(kvs.call("/listStreams", json!({})).await.status, 403, "a temporary key needs its token");
}

#[tokio::test]
async fn containers_and_machines_get_credentials_that_sign() {
    let mut kvs = Kvs::start(|config| config.quotas = false).await;
    let url = kvs.emulator.url();
    let container = kvs.get(&format!("{url}/_emulator/credentials")).await.json();
    let role = kvs.get(&format!("{url}/latest/meta-data/iam/security-credentials/")).await.text();
    let machine = kvs.get(&format!("{url}/latest/meta-data/iam/security-credentials/{role}")).await.json();
    for issued in [container, machine] {
        kvs.access_key = issued["AccessKeyId"].as_str().unwrap().into();
        kvs.secret_key = issued["SecretAccessKey"].as_str().unwrap().into();
        kvs.token = issued["Token"].as_str().map(str::to_owned);
        assert_eq!(kvs.call("/listStreams", json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn the_data_plane_moves_and_its_old_address_is_dead() {
    let kvs = Kvs::start(|config| {
        config.quotas = false;
        config.separate_data_plane = true;
    })
    .await;
    let endpoint = async || {
        let body = json!({"StreamName": "cam-1", "APIName": "LIST_FRAGMENTS"});
        kvs.call("/getDataEndpoint", body).await.json()["DataEndpoint"].as_str().unwrap().to_owned()
    };
    let before = endpoint().await;
    assert_eq!(kvs.admin(Method::POST, "endpoint", json!({})).await.status, 200);
    let after = endpoint().await;
    assert_ne!(before, after);
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(10.0)});
    let list = json!({"StreamName": "cam-1", "FragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}});
    assert_eq!(kvs.call_at(&after, "/listFragments", list).await.status, 200);
    let old = before.strip_prefix("http://").unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::net::TcpStream::connect(old).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the old port must close");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kvs.admin(Method::POST, "endpoint", json!({"url": "http://nowhere.invalid"})).await;
    assert_eq!(endpoint().await, "http://nowhere.invalid");
}

#[tokio::test]
async fn a_camera_pauses_comes_back_and_delivers_what_it_missed() {
    let kvs = Kvs::start(|config| config.quotas = false).await;
    let url = kvs.open(json!({"StreamName": "cam-1"})).await;
    kvs.admin(Method::POST, "streams/cam-1", json!({"gap": {"from": ago(120.0), "to": ago(-3600.0)}})).await;
    let dead = kvs.get(&url).await;
    assert_eq!((dead.status.as_u16(), dead.kind().as_str()), (404, "ResourceNotFoundException"));
    let live = kvs.call("/getHLSStreamingSessionURL", json!({"StreamName": "cam-1"})).await;
    assert!(live.text().contains("No fragments found in the stream for the streaming request."));
    let count = async || {
        let range = json!({"StartTimestamp": ago(100.0), "EndTimestamp": ago(40.0)});
        let list = json!({"StreamName": "cam-1", "FragmentSelector":
            {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range}});
        kvs.call("/listFragments", list).await.json()["Fragments"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 0);
    let late = json!({"backfill": {"from": ago(120.0), "to": ago(20.0), "at": ago(15.0)}});
    assert_eq!(kvs.admin(Method::POST, "streams/cam-1", late).await.status, 200);
    assert!(count().await > 25);
    kvs.admin(Method::POST, "streams/cam-1", json!({"retention_hours": 0})).await;
    let none = kvs.call("/getHLSStreamingSessionURL", json!({"StreamName": "cam-1"})).await;
    assert_eq!(none.kind(), "NoDataRetentionException");
    kvs.admin(Method::POST, "streams/cam-1", json!({"state": "deleted"})).await;
    assert_eq!(kvs.call("/describeStream", json!({"StreamName": "cam-1"})).await.status, 404);
    kvs.admin(Method::POST, "streams/cam-1", json!({"state": "running"})).await;
    assert_eq!(kvs.call("/describeStream", json!({"StreamName": "cam-1"})).await.status, 200);
}
