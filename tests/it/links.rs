//! Links for what takes only a URL: what they open, what they do not, and what ends them.

use crate::harness::{Answer, Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::Value;
use std::fs;

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

/// The link that a token gets, on the port that the test listens on, and its end.
async fn link(edge: &Edge, query: &str, token: impl AsRef<str>) -> (String, u64) {
    let answer = edge.get(&format!("/streams/cam-1/link?{query}"), token).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let got = answer.json();
    let url = got["url"].as_str().unwrap().replacen("http://edge.test", &edge.url, 1);
    (url, Timestamp::parse(got["expires"].as_str().unwrap()).unwrap().millis() / 1000)
}

async fn open(edge: &Edge, url: &str) -> Answer {
    edge.http.get(url, &[]).await
}

#[tokio::test]
async fn a_link_is_its_plain_address_with_ranges_heads_and_entity_tags() {
    let edge = Edge::start().await;
    let end = now() - 120;
    let range = format!("start={}&end={end}", end - 20);
    for (to, query, file, kind) in [
        ("clip", format!("{range}&trim=exact"), "clip.mp4", "video/mp4"),
        ("clip.mp4", format!("{range}&format=plain&clock=producer"), "clip.mp4", "video/mp4"),
        ("clip.mkv", range.clone(), "clip.mkv", "video/x-matroska"),
        ("snapshot", format!("at={end}&width=320&height=180"), "snapshot.jpg", "image/jpeg"),
    ] {
        let (url, _) = link(&edge, &format!("to={to}&{query}"), edge.alice()).await;
        let folder = if to == "snapshot" { "/image/v1/" } else { "/clip/v1/" };
        assert!(url.contains(folder) && url.ends_with(&format!("/{file}")), "{url}");
        let (linked, plain) = (
            open(&edge, &url).await,
            edge.get(&format!("/streams/cam-1/{file}?{query}"), edge.alice()).await,
        );
        assert_eq!((linked.status, linked.header("content-type")), (200, Some(kind)), "{}", linked.text());
        assert_eq!(linked.body, plain.body);
        for name in ["etag", "kvs-edge-range", "kvs-edge-image-time", "content-disposition", "cache-control"]
        {
            assert_eq!(linked.header(name), plain.header(name), "{name}");
        }
        assert_eq!(linked.header("cross-origin-resource-policy"), Some("cross-origin"));
        let head = edge.http.send("HEAD", &url, &[], String::new()).await;
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*plain.body.len().to_string())));
        let part = edge.http.get(&url, &[("range", "bytes=5-14")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &plain.body[5..15]));
        let known = [("if-none-match", plain.header("etag").unwrap())];
        assert_eq!(edge.http.get(&url, &known).await.status, 304);
        // A page may add what breaks its own cache; a token beside it is not looked at.
        let more = edge.http.get(&format!("{url}?_=1"), &[("authorization", "Bearer a.b.c")]).await;
        assert_eq!(more.status, 200);
    }
    for (to, protocol) in [("live", "/hls/v1/"), ("live.mpd", "/dash/v1/")] {
        let (url, _) = link(&edge, &format!("to={to}"), edge.alice()).await;
        assert!(url.contains(protocol), "{url}");
        assert_eq!(open(&edge, &url).await.status, 200);
    }
    let (url, _) = link(&edge, &format!("to=vod&{range}&container=ts"), edge.alice()).await;
    assert_eq!(open(&edge, &url).await.status, 200);
}

#[tokio::test]
async fn a_link_without_an_end_stays_on_its_footage_and_the_newest_picture_stays_the_newest() {
    let edge = Edge::start().await;
    let (clip, _) = link(&edge, &format!("to=clip&start={}", now() - 60), edge.alice()).await;
    // Its last fragments may still be on their way to KVS; after that, time passes and it stays the same.
    let shown = async || {
        let answer = open(&edge, &clip).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("kvs-edge-range").unwrap().to_owned()
    };
    edge.until("it stays on its footage", async || {
        let before = shown().await;
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        before == shown().await
    })
    .await;
    let (picture, _) = link(&edge, "to=snapshot", edge.alice()).await;
    let shown = open(&edge, &picture).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(shown.body.starts_with(&[0xff, 0xd8]));
}

#[tokio::test]
async fn a_link_ends_when_it_is_told_to_and_never_after_the_token_or_the_longest_time() {
    let edge = Setup::default().setting("PLAYBACK__MAX_TTL", "30m").start().await;
    for (query, longest) in [
        ("to=snapshot", 1800),
        ("to=snapshot&expires=43200", 1800),
        ("to=snapshot&expires=60", 60),
        ("to=live&expires=60", 60),
    ] {
        let (_, ends) = link(&edge, query, edge.alice()).await;
        let left = ends - now();
        assert!(left <= longest && left + 5 >= longest, "{query}: {left}");
    }
    let (url, _) = link(&edge, "to=snapshot&expires=1", edge.alice()).await;
    edge.until("it is over", || async { open(&edge, &url).await.status == 403 }).await;
    assert!(open(&edge, &url).await.message().contains("expired"));
    let long = Setup::default().start().await;
    let (_, ends) = link(&long, "to=snapshot&expires=43200", long.alice()).await;
    assert!(ends - now() <= 3600, "the token lives for an hour");
}

#[tokio::test]
async fn a_link_needs_what_it_leads_to_and_words_say_what_is_wrong() {
    let edge = Edge::start().await;
    let end = now() - 120;
    let range = format!("start={}&end={end}", end - 20);
    // Bob may watch cam-1 live, and no more.
    assert_eq!(open(&edge, &link(&edge, "to=live", edge.bob()).await.0).await.status, 200);
    for query in [format!("to=clip&{range}"), format!("to=vod&{range}"), format!("to=snapshot&at={end}")] {
        let refused = edge.get(&format!("/streams/cam-1/link?{query}"), edge.bob()).await;
        assert_eq!((refused.status, refused.kind()), (403, "NotAuthorizedException"), "{query}");
    }
    for (query, name) in [
        ("", "to"),
        ("to=everything", "to"),
        ("to=link", "to"),
        ("to=live&to=live", "to"),
        ("to=clip", "start"),
        ("to=live&expires=0", "expires"),
        ("to=live&expires=43201", "expires"),
        ("to=live&expires=soon", "expires"),
        ("to=clip.mkv&start=5&format=plain", "format"),
    ] {
        let refused = edge.get(&format!("/streams/cam-1/link?{query}"), edge.alice()).await;
        let said = refused.message();
        assert_eq!((refused.status, said.split(' ').next()), (400, Some(name)), "{query}: {said}");
    }
    assert_eq!(edge.get("/streams/none/link?to=snapshot", edge.alice()).await.status, 404);
    assert_eq!(open(&edge, &format!("{}/streams/cam-1/link?to=live", edge.url)).await.status, 401);
    // A link gives no other link.
    let (url, _) = link(&edge, "to=snapshot", edge.alice()).await;
    assert_eq!(open(&edge, &url.replace("snapshot.jpg", "link?to=live")).await.status, 404);
}

#[tokio::test]
async fn a_link_opens_nothing_else_however_it_is_bent() {
    let edge = Edge::start().await;
    let end = now() - 120;
    let range = format!("start={}&end={end}", end - 20);
    let (clip, _) = link(&edge, &format!("to=clip&{range}"), edge.alice()).await;
    let (matroska, _) = link(&edge, &format!("to=clip.mkv&{range}"), edge.alice()).await;
    let (picture, _) = link(&edge, &format!("to=snapshot&at={end}"), edge.alice()).await;
    let (live, _) = link(&edge, "to=live", edge.alice()).await;
    let sealed = |url: &str| url.split("/v1/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let all = [&clip, &matroska, &picture, &live].map(|url| sealed(url));
    let paths = [
        "/clip/v1/{}/clip.mp4",
        "/clip/v1/{}/clip.mkv",
        "/image/v1/{}/snapshot.jpg",
        "/hls/v1/{}/getHLSMasterPlaylist.m3u8",
    ];
    for (own, capability) in all.iter().enumerate() {
        for (at, path) in paths.iter().enumerate() {
            let answer = open(&edge, &format!("{}{}", edge.url, path.replace("{}", capability))).await;
            assert_eq!(
                answer.status,
                if at == own { 200 } else { 404 },
                "{path} with that of {}",
                paths[own]
            );
        }
        let dash = format!("{}/dash/v1/{capability}/getDASHManifest.mpd", edge.url);
        assert_eq!(open(&edge, &dash).await.status, 404);
        // Neither is it a token.
        assert_eq!(edge.get("/streams", capability).await.status, 401);
    }
    for more in
        ["start=5", "end=9", "at=1000000000", "clock=producer", "width=64", "source=kvs", "trim=exact"]
    {
        let answer = open(&edge, &format!("{clip}?{more}")).await;
        assert_eq!(answer.status, 400, "{more}");
        assert!(answer.message().contains("fixed by this link"), "{}", answer.message());
    }
    let capability = &all[0];
    for at in (0..capability.len()).step_by(7) {
        let mut changed = capability.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = clip.replace(capability, std::str::from_utf8(&changed).unwrap());
        let answer = open(&edge, &changed).await;
        assert_eq!((answer.status, answer.kind()), (403, "NotAuthorizedException"), "{at}");
    }
    let halves = clip.replace(capability, &format!("{}{}", &all[0][..40], &all[2][40..]));
    for bent in
        [halves, clip.replace(capability, &capability[..40]), clip.replace(capability, &"A".repeat(9000))]
    {
        assert!(matches!(open(&edge, &bent).await.status, 403 | 414), "{bent:.80}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(edge.http.send(method, &clip, &[], String::new()).await.status, 405);
    }
}

#[tokio::test]
async fn each_use_of_a_link_is_judged_and_written_down() {
    let edge = Edge::start().await;
    let end = now() - 120;
    let (clip, _) = link(&edge, &format!("to=clip&start={}&end={end}", end - 20), edge.alice()).await;
    let (picture, _) = link(&edge, &format!("to=snapshot&at={end}"), edge.alice()).await;
    let uses = |action: &str, decision: &str| {
        let log = fs::read_to_string(edge.path("audit.log")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named = |line: &&Value| line["action"] == action && line.to_string().contains(decision);
        lines.iter().filter(named).count()
    };
    edge.until("the making of the link is written", async || uses("GetClip", "\"permit\"") == 1).await;
    let before = 1;
    for _ in 0..2 {
        assert_eq!(open(&edge, &clip).await.status, 200);
    }
    edge.until("each download is written", async || uses("GetClip", "\"permit\"") == before + 2).await;
    assert_eq!(open(&edge, &picture).await.status, 200);
    let policies = fs::read_to_string(edge.path("policies.cedar")).unwrap();
    let denied = "\nforbid (principal, action == Action::\"GetClip\", resource);\n";
    fs::write(edge.path("policies.cedar"), format!("{policies}{denied}")).unwrap();
    let reload = edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    for (method, headers) in [("GET", &[][..]), ("HEAD", &[]), ("GET", &[("range", "bytes=0-9")])] {
        assert_eq!(edge.http.send(method, &clip, headers, String::new()).await.status, 403, "{method}");
    }
    assert_eq!(open(&edge, &picture).await.status, 200, "the other goes on");
    edge.until("the refusal is written", async || uses("GetClip", "\"deny\"") >= 1).await;
    fs::write(edge.path("policies.cedar"), policies).unwrap();
    edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    assert_eq!(open(&edge, &clip).await.status, 200);
    // As with playback: it ends with its issuer, and with its binding.
    let file = edge.path("edge.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("https://login.test/", "https://other.test/")).unwrap();
    edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    let refused = open(&edge, &clip).await;
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("trusted no more"), "{}", refused.message());
}

#[tokio::test]
async fn a_bound_link_opens_for_its_browser_only() {
    let edge = Setup::default().setting("PLAYBACK__BIND", "cookie").start().await;
    let answer = edge.get("/streams/cam-1/link?to=snapshot", edge.alice()).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    assert!(cookies.iter().any(|cookie| cookie.contains("Path=/image/;")), "{cookies:?}");
    let url = answer.json()["url"].as_str().unwrap().replacen("http://edge.test", &edge.url, 1);
    assert_eq!(open(&edge, &url).await.status, 403);
    let pair = cookies[0].split(';').next().unwrap();
    assert_eq!(edge.http.get(&url, &[("cookie", pair)]).await.status, 200);
}
