//! Playback sessions: opened, fetched from, expired.

use super::*;
use crate::base::clock;
use crate::kvs::{FragmentNumber, Resource};

async fn opened(kvs: &Kvs) -> (Upstream, Located, SessionUrl) {
    let url = format!("{}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=CiTOKEN_-~", kvs.url);
    kvs.usually("/getHLSStreamingSessionURL", ok(format!(r#"{{"HLSStreamingSessionURL":"{url}"}}"#)));
    let upstream = upstream(kvs).await;
    let located = upstream.locate(&stream("cam-1")).unwrap();
    let live = call(Operation::GetHlsStreamingSessionUrl, r#"{"StreamName":"cam-1"}"#);
    let parameters = live.session().unwrap();
    let session = upstream
        .open_session(&located, parameters, Duration::from_secs(43_200), &"alice".into())
        .await
        .unwrap();
    (upstream, located, session)
}

#[tokio::test]
async fn a_session_is_opened_and_its_resources_fetched_unsigned() {
    let kvs = Kvs::start().await;
    let (upstream, located, session) = opened(&kvs).await;
    assert!(kvs.seen("/getHLSStreamingSessionURL")[0].body.contains(r#""Expires":43200"#));
    assert!(session.expires > Timestamp::from(clock::now()).plus(Duration::from_secs(43_000)));
    let path = "/hls/v1/getMP4MediaFragment.mp4";
    kvs.usually(
        path,
        Reply::Is {
            status: 200,
            headers: "content-type: video/mp4\r\n",
            body: b"\0\0\0\x10moof and more".to_vec(),
        },
    );
    let number = FragmentNumber::parse("91343852333185057105875891022195998207386831087").unwrap();
    let resource = Resource::Mp4Fragment { protocol: crate::kvs::Protocol::Hls, number, track: 1 };
    let answer = upstream.fetch(&located, &session, &resource, 5, &"alice".into()).await.unwrap();
    assert_eq!(answer.bytes(100).await.unwrap(), "\0\0\0\x10moof and more");
    let seen = kvs.seen(path).remove(0);
    assert!(seen.path.contains("&SessionToken=CiTOKEN_-~&TrackNumber=1"), "{}", seen.path);
    assert!(!seen.head.to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn an_expired_session_and_an_empty_one_are_told_apart() {
    let kvs = Kvs::start().await;
    let (upstream, located, session) = opened(&kvs).await;
    let path = "/hls/v1/getHLSMasterPlaylist.m3u8";
    kvs.then(
        path,
        [
            fault(403, "NotAuthorizedException"),
            fault(404, "ResourceNotFoundException"),
            wrong_host(),
            wrong_host(),
            wrong_host(),
        ],
    );
    let alice = "alice".into();
    let fetch = || upstream.fetch(&located, &session, &Resource::MasterPlaylist, 5, &alice);
    assert!(matches!(fetch().await, Err(Error::SessionExpired)));
    assert!(matches!(fetch().await, Err(Error::NoData(_))));
    assert!(matches!(fetch().await, Err(Error::BrokenAnswer(_))));
    assert_eq!(kvs.seen("/getDataEndpoint").len(), 1, "a session's host is not looked up");
}

#[tokio::test]
async fn a_session_on_a_forbidden_host_is_refused() {
    let kvs = Kvs::start().await;
    let (upstream, located, _) = opened(&kvs).await;
    let url = "https://evil.example/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=a";
    kvs.usually("/getHLSStreamingSessionURL", ok(format!(r#"{{"HLSStreamingSessionURL":"{url}"}}"#)));
    let live = call(Operation::GetHlsStreamingSessionUrl, r#"{"StreamName":"cam-1"}"#);
    let opened = upstream
        .open_session(&located, live.session().unwrap(), Duration::from_secs(1), &"alice".into())
        .await;
    assert!(matches!(opened, Err(Error::BrokenAnswer(_))));
}
