//! One credential decides: beside a playback URL nothing else is looked at, and elsewhere `identity.order` may say which of
//! several tokens counts. Ordinary clients carry their header along from the stable address and play.

use crate::harness::{Answer, Edge, Setup, python_with, tool};
use kvs_edge::kvs::Timestamp;
use serde_json::json;

fn folder(url: &str) -> &str {
    url.rsplit_once('/').unwrap().0
}

async fn plays(edge: &Edge, url: &str, headers: &[(&str, &str)]) {
    let master = edge.http.get(url, headers).await;
    assert_eq!(master.status, 200, "{headers:?}: {}", master.text());
    let text = master.text();
    let media = text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")).unwrap();
    let media = edge.http.get(&format!("{}/{media}", folder(url)), headers).await;
    assert_eq!(media.status, 200, "{headers:?}: {}", media.text());
    let text = media.text();
    let segment = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
    let segment = edge.http.get(&format!("{}/{segment}", folder(url)), headers).await;
    assert_eq!(segment.status, 200, "{headers:?}: {}", segment.text());
}

#[tokio::test]
async fn beside_a_playback_url_every_other_credential_is_ignored() {
    let edge = Setup::default()
        .setting("IDENTITY__HEADERS", "[\"X-Access\"]")
        .setting("IDENTITY__COOKIE", "session")
        .start()
        .await;
    let url = edge.play("/streams/cam-1/live.m3u8", edge.bob()).await;
    let (alice, bearer) = (edge.alice(), format!("Bearer {}", edge.alice()));
    let cookie = format!("session={alice}");
    let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/x/aws4_request";
    for headers in [
        &[("authorization", bearer.as_str())][..],
        &[("authorization", "Bearer nonsense")],
        &[("authorization", "Basic eDp5")],
        &[("authorization", signed), ("x-amz-security-token", &alice)],
        &[("authorization", &bearer), ("authorization", &bearer), ("x-access", &alice), ("cookie", &cookie)],
    ] {
        plays(&edge, &url, headers).await;
        let head = edge.http.send("HEAD", &url, headers, String::new()).await;
        assert_eq!(head.status, 200);
        let post = edge.http.post(&url, headers, String::new()).await;
        assert_eq!(post.status, 405, "only reading is by capability");
    }
    // Who may do everything gains nothing by showing it beside what is bob's.
    let tampered = url.replacen("/hls/v1/", "/hls/v1/A", 1);
    assert_eq!(edge.http.get(&tampered, &[("authorization", &bearer)]).await.status, 403);
    let audit = std::fs::read_to_string(edge.path("audit.log")).unwrap();
    assert!(audit.contains("\"bob\"") && !audit.contains("alice"), "{audit}");
}

async fn who(edge: &Edge, headers: &[(&str, &str)]) -> Answer {
    edge.http.get(&format!("{}/streams/cam-2", edge.url), headers).await
}

#[tokio::test]
async fn of_two_tokens_the_first_in_the_order_decides_whatever_the_other_is() {
    let places = |setup: Setup| {
        setup.setting("IDENTITY__HEADERS", "[\"X-Access\"]").setting("IDENTITY__COOKIE", "session")
    };
    let edge = places(Setup::default())
        .setting("IDENTITY__ORDER", r#"["security-token", "bearer", "headers", "cookie"]"#)
        .start()
        .await;
    let (alice, bob) = (edge.alice(), edge.bob());
    let (alices, bobs) = (format!("Bearer {alice}"), format!("Bearer {bob}"));
    let (cookie, signed) =
        (format!("session={alice}"), "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/x/aws4_request");
    // Alice may see cam-2, bob may not.
    for (headers, expected) in [
        (&[("authorization", alices.as_str()), ("x-access", bob.as_str())][..], 200),
        (&[("authorization", &bobs), ("x-access", &alice)], 403),
        (&[("authorization", &bobs), ("cookie", &cookie)], 403),
        (&[("authorization", signed), ("x-amz-security-token", &bob), ("x-access", &alice)], 403),
        (&[("authorization", signed), ("x-amz-security-token", &alice), ("x-access", &bob)], 200),
        // The proxy has replaced an SDK's signature; its token cannot count without one.
        (&[("authorization", &bobs), ("x-amz-security-token", &alice)], 403),
        (&[("x-access", &bob), ("cookie", &cookie)], 403),
        // A bad one decides too: the good one is not tried.
        (&[("authorization", "Bearer a.b.c"), ("x-access", &alice)], 401),
        (&[("authorization", "Bearer"), ("x-access", &alice)], 401),
        (&[("authorization", "Bearer "), ("cookie", &cookie)], 401),
        (&[("authorization", signed), ("x-amz-security-token", "a.b.c"), ("x-access", &alice)], 401),
        (&[("x-access", "a.b.c"), ("cookie", &cookie)], 401),
        // No order says which line of a header decides.
        (&[("authorization", &bobs), ("authorization", &alices)], 400),
        (&[("authorization", signed), ("authorization", &alices), ("x-amz-security-token", &bob)], 400),
        (&[("x-access", &bob), ("x-access", &alice)], 400),
    ] {
        let answer = who(&edge, headers).await;
        assert_eq!(answer.status, expected, "{headers:?}: {}", answer.text());
    }
    let edge = places(Setup::default()).start().await;
    let both = who(&edge, &[("authorization", &format!("Bearer {}", edge.alice())), ("x-access", "x")]).await;
    assert_eq!(both.status, 400, "by default none decides");
    for word in ["Authorization: Bearer", "X-Access", "identity.order"] {
        assert!(both.message().contains(word), "{}", both.message());
    }
}

#[tokio::test]
async fn a_redirect_is_absolute_and_a_client_that_takes_json_gets_the_url_and_its_end() {
    let edge = Setup::default().setting("SERVER__PUBLIC_URL", "https://video.test/kvs").start().await;
    let bearer = format!("Bearer {}", edge.alice());
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 60;
    let vod = format!("vod.mpd?start={}&end={end}", end - 20);
    for page in ["live.m3u8", vod.as_str()] {
        let page = format!("{}/streams/cam-1/{page}", edge.url);
        for method in ["GET", "HEAD"] {
            let answer = edge.http.send(method, &page, &[("authorization", &bearer)], String::new()).await;
            assert_eq!(answer.status, 302, "{}", answer.text());
            assert!(answer.header("location").unwrap().starts_with("https://video.test/kvs/"));
        }
        let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
        let answer = edge.http.get(&page, &headers).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        let got = answer.json();
        assert!(got["url"].as_str().unwrap().starts_with("https://video.test/kvs/"), "{got}");
        let ends = Timestamp::parse(got["expires"].as_str().unwrap()).unwrap();
        // The token's hour is shorter than `playback.max_ttl`.
        let left = ends.millis() / 1000 - end - 60;
        assert!((3500..=3601).contains(&left), "{got}");
        let path = got["url"].as_str().unwrap().replacen("https://video.test/kvs", &edge.url, 1);
        assert_eq!(edge.http.get(&path, &[]).await.status, 200);
    }
    let clip = edge.get(&format!("/streams/cam-1/clip.mp4?start={end}"), edge.alice()).await;
    assert!(clip.header("location").unwrap().starts_with("https://video.test/kvs/streams/cam-1/clip.mp4?"));
}

#[tokio::test]
async fn stable_addresses_take_container_and_clock() {
    let edge = Edge::start().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 60;
    let range = format!("start={}&end={end}", end - 20);
    for (page, segment) in [
        ("live.m3u8?container=ts".to_owned(), "getTSFragment"),
        (format!("vod.m3u8?{range}&container=ts&clock=producer"), "getTSFragment"),
        ("live.m3u8?clock=producer".to_owned(), "getMP4MediaFragment"),
        (format!("vod.m3u8?{range}&clock=producer&container=fmp4"), "v1-"),
    ] {
        let url = edge.play(&format!("/streams/cam-1/{page}"), edge.alice()).await;
        let text = edge.http.get(&url, &[]).await.text();
        let media = text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")).unwrap();
        let text = edge.http.get(&format!("{}/{media}", folder(&url)), &[]).await.text();
        let first = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
        assert!(first.starts_with(segment), "{page}: {text}");
        let media = edge.http.get(&format!("{}/{first}", folder(&url)), &[]).await;
        assert_eq!(media.status, 200, "{page}: {}", media.text());
        if page.contains("=ts") {
            assert_eq!((media.header("content-type"), media.body[0]), (Some("video/mp2t"), 0x47));
        }
    }
    let dash = edge.play(&format!("/streams/cam-1/vod.mpd?{range}&clock=producer"), edge.alice()).await;
    assert_eq!(edge.http.get(&dash, &[]).await.status, 200);
    for (page, name) in [
        ("live.mpd?container=ts", "container"),
        ("live.m3u8?container=webm", "container"),
        ("live.m3u8?container=ts&container=ts", "container"),
        ("live.m3u8?clock=sun", "clock"),
    ] {
        let refused = edge.get(&format!("/streams/cam-1/{page}"), edge.alice()).await;
        assert_eq!((refused.status, refused.message().starts_with(name)), (400, true), "{}", refused.text());
    }
}

#[tokio::test]
async fn pages_of_any_origin_read_what_a_capability_opens_and_nothing_else() {
    let edge =
        Setup::default().setting("SERVER__CORS_ORIGINS", r#"["*", "capacitor://localhost"]"#).start().await;
    let url = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let page = format!("{}/streams", edge.url);
    let bearer = format!("Bearer {}", edge.alice());
    for origin in ["https://any.example", "null"] {
        let answer = edge.http.get(&url, &[("origin", origin)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let answer = edge.http.get(&page, &[("origin", origin), ("authorization", &bearer)]).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    }
    let own = [("origin", "capacitor://localhost"), ("authorization", bearer.as_str())];
    for address in [&url, &page] {
        let answer = edge.http.get(address, &own).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("capacitor://localhost"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    }
    // hls.js with a header of its own asks first.
    let asks = [("origin", "https://any.example"), ("access-control-request-method", "GET")];
    let preflight = edge.http.send("OPTIONS", &url, &asks, String::new()).await;
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("accept-encoding"), "{allowed}");
    assert_eq!(
        edge.http.send("OPTIONS", &page, &asks, String::new()).await.header("access-control-allow-headers"),
        None
    );
}

/// Each sends its header to the stable address and to all that it leads to.
#[tokio::test]
async fn ordinary_clients_play_from_the_stable_address_with_their_header() {
    let edge = Setup::default().reachable().start().await;
    let header = format!("Authorization: Bearer {}", edge.alice());
    let live = format!("{}/streams/cam-1/live.m3u8", edge.url);
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 60;
    let vod = format!("{}/streams/cam-1/vod.m3u8?start={}&end={end}", edge.url, end - 10);
    let shown = tool("curl", &["-sSfL", "-H", &header, &live]).await;
    assert!(shown.contains("#EXTM3U"), "{shown}");
    let lines = format!("{header}\r\n");
    for address in [&live, &vod] {
        let probe =
            ["-v", "error", "-headers", &lines, "-show_entries", "stream=codec_type", "-of", "csv", address];
        assert!(tool("ffprobe", &probe).await.contains("stream,video"));
    }
    let frames = ["-v", "fatal", "-headers", &lines, "-i", &vod, "-t", "2", "-f", "null", "-"];
    assert_eq!(tool("ffmpeg", &frames).await, "");
    let output = python_with("follows_redirects.py", &[&live, &edge.alice()], &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = "const [url, token] = process.argv.slice(-2); \
        const got = await fetch(url, { headers: { Authorization: `Bearer ${token}` } }); \
        console.log(got.status, (await got.text()).slice(0, 7));";
    let shown = tool("node", &["--input-type=module", "-e", script, "--", &live, &edge.alice()]).await;
    assert_eq!(shown.trim(), "200 #EXTM3U");
    let asked = json!({"StreamName": "cam-1"});
    assert_eq!(edge.call("/describeStream", edge.alice(), &asked).await.status, 200);
}
