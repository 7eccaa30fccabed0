//! What KVS and the network do wrong, and what becomes of it.

use super::*;
use crate::net::body::Broken;
use http_body_util::BodyExt;
use std::time::SystemTime;

#[tokio::test]
async fn the_90_byte_success_resolves_once_more_and_tries_once_more() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    kvs.then("/listFragments", [wrong_host()]);
    assert!(listed(&upstream).await.unwrap().starts_with(b"{\"Fragments\""));
    assert_eq!((kvs.seen("/getDataEndpoint").len(), kvs.seen("/listFragments").len()), (2, 2));
    kvs.usually("/listFragments", wrong_host());
    assert!(matches!(listed(&upstream).await, Err(Error::BrokenAnswer(_))));
    assert_eq!(kvs.seen("/listFragments").len(), 4, "never for ever");
}

#[tokio::test]
async fn a_moved_endpoint_is_followed() {
    let (old, new) = (Kvs::start().await, Kvs::start().await);
    let upstream = upstream(&old).await;
    listed(&upstream).await.unwrap();
    old.usually("/getDataEndpoint", ok(format!(r#"{{"DataEndpoint":"{}"}}"#, new.url)));
    for sign in [fault(403, "AccessDeniedException"), fault(404, "ResourceNotFoundException"), wrong_host()] {
        let before = new.seen("/listFragments").len();
        old.usually("/getDataEndpoint", ok(format!(r#"{{"DataEndpoint":"{}"}}"#, old.url)));
        upstream.forget(&upstream.locate(&stream("cam-1")).unwrap());
        listed(&upstream).await.unwrap();
        old.usually("/getDataEndpoint", ok(format!(r#"{{"DataEndpoint":"{}"}}"#, new.url)));
        old.then("/listFragments", [sign]);
        listed(&upstream).await.unwrap();
        assert_eq!(new.seen("/listFragments").len(), before + 1);
    }
}

#[tokio::test]
async fn a_host_that_kvs_may_not_name_is_refused() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    for bad in
        ["http://169.254.169.254", "https://evil.example", "http://localhost.evil.example", "nonsense", ""]
    {
        kvs.then("/getDataEndpoint", [ok(format!(r#"{{"DataEndpoint":"{bad}"}}"#))]);
        let error = listed(&upstream).await.unwrap_err();
        assert!(matches!(error, Error::BrokenAnswer(_)), "{bad}: {error}");
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
    kvs.then(
        "/getDataEndpoint",
        [Reply::Raw("HTTP/1.1 302 X\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n")],
    );
    assert!(matches!(listed(&upstream).await, Err(Error::BrokenAnswer(_))));
}

#[tokio::test]
async fn throttles_and_trouble_are_absorbed() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    kvs.then("/getDataEndpoint", [fault(400, "ClientLimitExceededException")]);
    kvs.then(
        "/listFragments",
        [
            fault(400, "ClientLimitExceededException"),
            fault(400, "ConnectionLimitExceededException"),
            fault(503, "ServiceUnavailable"),
            Reply::Raw(""),
            Reply::Is { status: 200, headers: "content-type: application/json\r\n", body: b"{}".to_vec() },
        ],
    );
    assert_eq!(listed(&upstream).await.unwrap(), "{}");
    assert_eq!(kvs.seen("/listFragments").len(), 5);
}

#[tokio::test]
async fn a_small_answer_that_was_cut_is_asked_for_again_unseen() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    kvs.then("/listFragments", [Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"Frag")]);
    assert!(listed(&upstream).await.unwrap().ends_with(b"}"));
}

#[tokio::test]
async fn what_outlasts_every_try_has_its_own_error() {
    let kvs = Kvs::start().await;
    let upstream =
        upstream_with(&kvs, Config { throttle_retries: 1, breaker_failures: 100, ..quick() }).await;
    let after = async |reply: Reply| {
        kvs.usually("/listFragments", reply);
        listed(&upstream).await.unwrap_err()
    };
    assert!(matches!(after(fault(400, "ClientLimitExceededException")).await, Error::Throttled { .. }));
    assert!(matches!(after(fault(500, "InternalFailure")).await, Error::Kvs(fault) if fault.status == 500));
    let invalid = after(fault(400, "InvalidArgumentException")).await;
    assert!(matches!(invalid, Error::Kvs(fault) if fault.said == "so says the script"));
    assert!(matches!(after(Reply::Hang).await, Error::Timeout(_)));
    assert!(matches!(after(Reply::Raw("")).await, Error::Unreachable(_)));
    assert!(matches!(after(Reply::Raw("junk\r\n\r\n")).await, Error::BrokenAnswer(_)));
    assert!(matches!(after(ok("<html>")).await, Error::BrokenAnswer(_)));
    let redirect = Reply::Is { status: 307, headers: "location: http://127.0.0.1:1/\r\n", body: vec![] };
    assert!(matches!(after(redirect).await, Error::BrokenAnswer(_)));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_is_asked_for_again() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    kvs.then("/getDataEndpoint", [ok(format!(r#"{{"DataEndpoint":"http://{closed}"}}"#))]);
    listed(&upstream).await.unwrap();
    assert_eq!(kvs.seen("/getDataEndpoint").len(), 2);
}

#[tokio::test]
async fn the_data_plane_works_on_while_the_control_plane_is_down() {
    let kvs = Kvs::start().await;
    let upstream =
        upstream_with(&kvs, Config { endpoint_ttl: Span(Duration::from_millis(1)), ..quick() }).await;
    listed(&upstream).await.unwrap();
    kvs.usually("/getDataEndpoint", Reply::Raw(""));
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        listed(&upstream).await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_left_alone_and_found_again() {
    let kvs = Kvs::start().await;
    let pause = Span(Duration::from_millis(200));
    let config = Config { breaker_failures: 3, breaker_pause: pause, ..quick() };
    let upstream = upstream_with(&kvs, config).await;
    kvs.usually("/listFragments", fault(503, "ServiceUnavailable"));
    assert!(listed(&upstream).await.is_err());
    let asked = kvs.seen("/listFragments").len();
    assert!(matches!(listed(&upstream).await, Err(Error::CircuitOpen { .. })));
    assert_eq!(kvs.seen("/listFragments").len(), asked);
    kvs.usually("/listFragments", ok("{}"));
    while listed(&upstream).await.is_err() {
        tokio::time::sleep(pause.0 / 4).await;
    }
}

#[tokio::test]
async fn expired_credentials_are_renewed_and_a_wrong_clock_is_set() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    kvs.then("/listFragments", [fault(403, "ExpiredTokenException")]);
    listed(&upstream).await.unwrap();
    let late = Reply::Is {
        status: 403,
        headers: "x-amzn-ErrorType: InvalidSignatureException\r\ndate: Fri, 01 Jan 2100 12:00:00 GMT\r\n",
        body: br#"{"message":"Signature expired"}"#.to_vec(),
    };
    kvs.then("/listFragments", [late]);
    listed(&upstream).await.unwrap();
    assert!(
        kvs.seen("/listFragments").last().unwrap().head.contains("/21000101/"),
        "signed with KVS's clock"
    );
}

#[tokio::test]
async fn a_mended_clock_is_a_permanent_outage() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    let refused = |date: &str| {
        let headers = format!("x-amzn-ErrorType: InvalidSignatureException\r\ndate: {date}\r\n");
        let body = br#"{"message":"Signature expired"}"#.to_vec();
        Reply::Is { status: 403, headers: Box::leak(headers.into_boxed_str()), body }
    };
    // Our clock is 74 years behind KVS's, so an offset is learned.
    kvs.then("/listFragments", [refused("Fri, 01 Jan 2100 12:00:00 GMT")]);
    listed(&upstream).await.unwrap();
    assert!(kvs.seen("/listFragments").last().unwrap().head.contains("/21000101/"));
    // It is put right. KVS refuses the next signature, which is of 2100, and shows the same time as our
    // clock.
    let now = SystemTime::now();
    kvs.then("/listFragments", [refused(&httpdate::fmt_http_date(now))]);
    listed(&upstream).await.unwrap();
    let requests = kvs.seen("/listFragments");
    assert_eq!(requests.len(), 4, "one refusal, one repetition");
    assert!(!requests[3].head.contains("/2100"), "{}", requests[3].head);
}

#[tokio::test]
async fn a_cut_download_is_broken_and_not_tried_again() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    kvs.usually(
        "/getClip",
        Reply::Raw("HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncontent-length: 9000\r\n\r\n\0\0\0\x18ftypisom and half"),
    );
    let range = r#"{"StartTimestamp":1700000000,"EndTimestamp":1700000060}"#;
    let selector = format!(r#"{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{range}}}"#);
    let clip =
        call(Operation::GetClip, &format!(r#"{{"StreamName":"cam-1","ClipFragmentSelector":{selector}}}"#));
    let located = upstream.locate(&stream("cam-1")).unwrap();
    let answer = upstream.call(&located, &clip, &OnBehalfOf::all_callers("alice")).await.unwrap();
    assert_eq!(answer.length, Some(9000));
    assert!(matches!(answer.body.collect().await, Err(Broken::Cut(_))));
    assert_eq!(kvs.seen("/getClip").len(), 1);
    kvs.usually("/getClip", ok(r#"{"surprise":1}"#));
    assert!(matches!(
        upstream.call(&located, &clip, &OnBehalfOf::all_callers("alice")).await,
        Err(Error::BrokenAnswer(_))
    ));
    kvs.usually("/getClip", wrong_host());
    assert!(matches!(
        upstream.call(&located, &clip, &OnBehalfOf::all_callers("alice")).await,
        Err(Error::BrokenAnswer(_))
    ));
    for (content_type, body) in [
        ("video/mp4", "hi"),
        ("video/mp4", "<!DOCTYPE html><script>alert(1)</script>"),
        ("video/mp4", ""),
        ("text/html", "hi"),
    ] {
        let headers = Box::leak(format!("content-type: {content_type}\r\n").into_boxed_str());
        kvs.usually("/getClip", Reply::Is { status: 200, headers, body: body.into() });
        let answer = upstream.call(&located, &clip, &OnBehalfOf::all_callers("alice")).await;
        assert!(matches!(answer, Err(Error::BrokenAnswer(_))), "{content_type} {body}");
    }
}

#[tokio::test]
async fn whoever_leaves_takes_his_request_along() {
    let kvs = Kvs::start().await;
    let upstream = upstream(&kvs).await;
    listed(&upstream).await.unwrap();
    kvs.then("/listFragments", [Reply::Hang]);
    let asking = {
        let upstream = upstream.clone();
        tokio::spawn(async move { listed(&upstream).await })
    };
    while kvs.seen("/listFragments").len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    listed(&upstream).await.unwrap();
}
