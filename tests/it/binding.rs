//! `playback.bind = "cookie"`: a copied URL does not play elsewhere, and a browser's own players all go on.

use crate::harness::{Answer, Edge, Setup};
use serde_json::json;

/// A browser's cookies, kept and sent by their paths (RFC 6265 5.1.4 and 5.4), never by hand.
#[derive(Default)]
struct Jar(Vec<(String, String, String)>);

impl Jar {
    fn take(&mut self, answer: &Answer) {
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let path = line.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap();
            assert!(line.contains("; HttpOnly") && line.contains("; SameSite="), "{line}");
            self.0.retain(|(known, at, _)| known != name || at != path);
            self.0.push((name.to_owned(), path.to_owned(), value.to_owned()));
        }
    }

    fn header(&self, path: &str) -> Option<String> {
        let matches = |at: &str| {
            path.strip_prefix(at)
                .is_some_and(|rest| rest.is_empty() || at.ends_with('/') || rest.starts_with('/'))
        };
        let sent = self.0.iter().filter(|(_, at, _)| matches(at));
        let sent: Vec<_> = sent.map(|(name, _, value)| format!("{name}={value}")).collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    /// What a page does: with its token to the calls, without one to playback.
    async fn fetch(
        &mut self,
        edge: &Edge,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Answer {
        let (cookie, bearer) = (self.header(path), token.map(|token| format!("Bearer {token}")));
        let mut headers = Vec::new();
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let answer = edge.http.send(method, &format!("{}{path}", edge.url), &headers, body).await;
        self.take(&answer);
        answer
    }

    async fn open(&mut self, edge: &Edge, stream: &str, token: &str) -> String {
        let body = json!({"StreamName": stream, "PlaybackMode": "LIVE"}).to_string();
        let answer = self.fetch(edge, "POST", "/getHLSStreamingSessionURL", Some(token), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let url = answer.json()["HLSStreamingSessionURL"].as_str().unwrap().to_owned();
        url.strip_prefix("http://edge.test").unwrap().to_owned()
    }

    async fn plays(&mut self, edge: &Edge, path: &str) -> u16 {
        self.fetch(edge, "GET", path, None, String::new()).await.status
    }
}

#[tokio::test]
async fn a_browsers_players_all_go_on_and_a_copied_url_plays_nowhere_else() {
    let edge = Setup::default().setting("PLAYBACK__BIND", "cookie").start().await;
    let (mut browser, alice) = (Jar::default(), edge.alice());
    let first = browser.open(&edge, "cam-1", &alice).await;
    let second = browser.open(&edge, "cam-2", &alice).await;
    let stable = browser.fetch(&edge, "GET", "/streams/cam-1/live.m3u8", Some(&alice), String::new()).await;
    let third = stable.location();
    for path in [&first, &second, &third] {
        assert_eq!(browser.plays(&edge, path).await, 200, "{path}");
    }
    // A page that opens two players at once, before it has any cookie.
    let mut page = Jar::default();
    let (one, two) =
        (Jar::default().open(&edge, "cam-1", &alice).await, page.open(&edge, "cam-2", &alice).await);
    assert_eq!([page.plays(&edge, &one).await, page.plays(&edge, &two).await], [200, 200]);
    assert_eq!(Jar::default().plays(&edge, &first).await, 403, "a copy in another browser");
    let mut bob = Jar::default();
    bob.open(&edge, "cam-1", &edge.bob()).await;
    assert_eq!(bob.plays(&edge, &first).await, 403, "a copy with another person's cookie");
    assert_eq!(browser.header("/streams"), None);
    assert_eq!(browser.header("/console/me"), None, "no more requests carry it than need it");
}
