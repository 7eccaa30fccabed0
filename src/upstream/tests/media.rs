//! Fragments, and the quotas that fetching them has to keep.

use super::*;
use crate::kvs::operations::GetMediaForFragmentList;
use crate::net::body::Broken;
use crate::upstream::mkv::tests::{failed, fragment};
use http_body_util::BodyExt;

const PATH: &str = "/getMediaForFragmentList";

fn fragments(numbers: &str) -> GetMediaForFragmentList {
    let body = format!(r#"{{"StreamName":"cam-1","Fragments":[{numbers}]}}"#);
    match call(Operation::GetMediaForFragmentList, &body) {
        Call::GetMediaForFragmentList(list) => list,
        other => panic!("{other:?}"),
    }
}

fn webm(body: Vec<u8>) -> Reply {
    Reply::Is { status: 200, headers: "content-type: video/webm\r\n", body }
}

#[tokio::test]
async fn a_fragment_that_is_only_just_arriving_is_asked_for_again() {
    let kvs = Kvs::start().await;
    kvs.then(PATH, [webm(failed("7", "FRAGMENT_NOT_FOUND", "3000"))]);
    kvs.usually(PATH, webm(fragment("7", 100)));
    let upstream = upstream(&kvs).await;
    let located = upstream.locate(&stream("cam-1")).unwrap();
    let list = fragments(r#""7""#);
    let answer = upstream
        .call(&located, &Call::GetMediaForFragmentList(list), &OnBehalfOf::all_callers("alice"))
        .await
        .unwrap();
    assert_eq!(answer.attempts, 2);
    assert_eq!(answer.bytes(1 << 20).await.unwrap(), fragment("7", 100));
}

#[tokio::test]
async fn an_error_chunk_breaks_a_list_but_single_fragments_are_told_apart() {
    let kvs = Kvs::start().await;
    let bytes = [fragment("1", 50), failed("2", "FRAGMENT_NOT_FOUND", "3000"), fragment("3", 50)].concat();
    kvs.usually(PATH, webm(bytes));
    let upstream = upstream(&kvs).await;
    let located = upstream.locate(&stream("cam-1")).unwrap();
    let list = fragments(r#""1","2","3""#);
    let answer = upstream
        .call(&located, &Call::GetMediaForFragmentList(list.clone()), &OnBehalfOf::all_callers("alice"))
        .await;
    match answer {
        Ok(answer) => assert!(matches!(answer.body.collect().await, Err(Broken::Refused(_)))),
        Err(error) => assert!(matches!(error, Error::Kvs(fault) if fault.message.contains("Fragment 2"))),
    }
    let mut chunks = upstream.media(&located, &list, &OnBehalfOf::all_callers("alice")).await;
    if let Ok(chunks) = &mut chunks {
        let mut numbers = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap();
            numbers.push((chunk.number.unwrap().to_string(), chunk.error.is_some()));
        }
        assert_eq!(numbers, [("1".into(), false), ("2".into(), true), ("3".into(), false)]);
    } else {
        panic!("{:?}", chunks.err());
    }
}

#[tokio::test]
async fn no_more_than_five_connections_are_open_at_a_time() {
    let kvs = Kvs::start().await;
    kvs.usually(
        PATH,
        Reply::Raw("HTTP/1.1 200 OK\r\ncontent-type: video/webm\r\ntransfer-encoding: chunked\r\n\r\n"),
    );
    let long = [fragment("1", 100), fragment("2", 100)].concat();
    kvs.usually(PATH, webm(long));
    let wait = Span(Duration::from_millis(200));
    let upstream = upstream_with(&kvs, Config { queue_wait: wait, ..Config::default() }).await;
    let located = upstream.locate(&stream("cam-1")).unwrap();
    let list = Call::GetMediaForFragmentList(fragments(r#""1""#));
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(upstream.call(&located, &list, &OnBehalfOf::all_callers("alice")).await.unwrap());
    }
    let busy = upstream.call(&located, &list, &OnBehalfOf::all_callers("bob")).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    open.pop().unwrap().bytes(1 << 20).await.unwrap();
    assert!(upstream.call(&located, &list, &OnBehalfOf::all_callers("bob")).await.is_ok());
}

#[tokio::test]
async fn points_are_waited_for_and_counted() {
    let kvs = Kvs::start().await;
    let registry = prometheus::Registry::new();
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = keys(folder.path());
    let entry = EntryConfig {
        endpoint_url: Some(kvs.url.clone()),
        access_key_id: Some(id),
        secret_access_key: Some(secret),
        quotas: Quotas { metadata_points: 100, ..Quotas::default() },
        ..EntryConfig::new("main", "eu-west-1")
    };
    let config = Config { queue_wait: Span(Duration::from_millis(500)), ..Config::default() };
    let upstream = Upstream::start(&[entry], &config, None, crate::upstream::metrics::for_tests(&registry))
        .await
        .unwrap();
    listed(&upstream).await.unwrap(); // takes all hundred
    assert!(matches!(listed(&upstream).await, Err(Error::Busy { what: "metadata points", .. })));
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        r#"kvs_edge_quota_points_total{kind="metadata",stream="cam-1"} 100"#,
        r#"kvs_edge_upstream_requests_total{api="ListFragments",code="200"} 1"#,
        r#"kvs_edge_upstream_bytes_total{api="ListFragments",stream="cam-1"} 33"#,
        r#"kvs_edge_endpoint_lookups_total{result="miss"} 1"#,
        r#"kvs_edge_upstream_retries_total{reason="throttled"} 0"#,
        r#"kvs_edge_credentials_expiry_timestamp_seconds{aws="main"} inf"#,
        r#"kvs_edge_quota_utilization_ratio{kind="metadata",stream="cam-1"} "#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
