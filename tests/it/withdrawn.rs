//! What ends a playback URL ahead of its time, and that none is given out which is over at once.

use crate::harness::edge::{AUDIENCE, ISSUER};
use crate::harness::{Edge, Setup};
use kvs_edge_emulator::issuer;
use std::fs;
use std::time::{Duration, SystemTime};

/// Puts changed settings in force.
async fn reload(edge: &Edge, from: &str, to: &str) {
    let file = edge.path("edge.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
    let answer = edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_binding_that_is_turned_on_ends_the_urls_that_have_none() {
    let edge = Edge::start().await;
    let before = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    assert_eq!(edge.http.get(&before, &[]).await.status, 200);
    let keys = "keys = [\"file:playback-key\"]";
    reload(&edge, keys, &format!("{keys}\nbind = \"address\"")).await;
    let refused = edge.http.get(&before, &[]).await;
    assert_eq!((refused.status, refused.kind()), (403, "NotAuthorizedException"), "{}", refused.text());
    let after = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let answer = edge.http.get(&after, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Its address alone opens nothing, so no browser answers by itself for somebody else.
    let folder = after.rsplit_once('/').unwrap().0;
    let init = edge.http.get(&format!("{folder}/getMP4InitFragment.mp4?TrackNumber=1"), &[]).await;
    if init.status == 200 {
        assert_eq!(init.header("cache-control"), Some("private, no-cache"));
    }
}

#[tokio::test]
async fn an_issuer_that_is_removed_takes_its_urls_along() {
    let edge = Edge::start().await;
    let url = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    assert_eq!(edge.http.get(&url, &[]).await.status, 200);
    reload(&edge, ISSUER, "https://other.test/").await;
    let refused = edge.http.get(&url, &[]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("trusted no more"), "{}", refused.text());
    reload(&edge, "https://other.test/", ISSUER).await;
    assert_eq!(edge.http.get(&url, &[]).await.status, 200, "until its time is over");
}

#[tokio::test]
async fn a_signing_key_that_is_removed_takes_its_urls_along_and_a_new_one_beside_it_does_not() {
    let edge = Edge::start().await;
    let url = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let other = issuer::Issuer::generate().unwrap();
    let keys = |jwks: &str| {
        let json: serde_json::Value = serde_json::from_str(jwks).unwrap();
        json["keys"].as_array().unwrap().clone()
    };
    let (old, new) = (keys(&edge.issuer.jwks()), keys(&other.jwks()));
    let write = |keys: &[serde_json::Value]| {
        fs::write(edge.path("jwks.json"), serde_json::json!({ "keys": keys }).to_string()).unwrap();
    };
    let claims = issuer::Claims {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        subject: "alice".into(),
        groups: vec!["investigators".into()],
        ttl: Duration::from_secs(3600),
        now: SystemTime::now(),
    };
    let token = other.mint(&claims).unwrap();
    write(&[old, new.clone()].concat());
    edge.until("the new key counts", || async { edge.get("/streams", &token).await.status == 200 }).await;
    assert_eq!(edge.http.get(&url, &[]).await.status, 200, "the old one does too");
    write(&new);
    edge.until("the old key is gone", || async { edge.http.get(&url, &[]).await.status == 403 }).await;
    let newer = edge.play("/streams/cam-1/live.m3u8", &token).await;
    assert_eq!(edge.http.get(&newer, &[]).await.status, 200);
}

#[tokio::test]
async fn a_url_that_would_be_over_at_once_is_refused_in_words() {
    let edge = Setup::default().start().await;
    // Clocks differ: a token counts for a moment beyond its end, but what is made with it would not.
    let claims = issuer::Claims {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        subject: "alice".into(),
        groups: vec!["investigators".into()],
        ttl: Duration::from_secs(100),
        now: SystemTime::now() - Duration::from_secs(105),
    };
    let token = edge.issuer.mint(&claims).unwrap();
    assert_eq!(edge.get("/streams/cam-1", &token).await.status, 200, "it still counts");
    for page in ["live.m3u8", "live.mpd"] {
        let answer = edge.get(&format!("/streams/cam-1/{page}"), &token).await;
        assert_eq!((answer.status, answer.kind()), (401, "NotAuthorizedException"), "{}", answer.text());
        assert!(answer.message().contains("send a token that is valid for longer"), "{}", answer.text());
    }
    assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, 0, "nothing is opened for it");
}
