//! People sign in through the gateway: the cookies, whom they sign in where, and who may renew or end a session. The
//! ways that providers differ are in `src/sign_in/tests/`; a browser goes all the way in `tests/console/e2e/oidc.mjs`.

use crate::harness::{Answer, Edge, Setup};
use kvs_edge::identity::Algorithm;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HOME: &str = "https://edge.test";

/// A provider on loopback. Every code is good once, every refresh token always.
struct Provider {
    issuer: String,
    key: SigningKey,
    nonces: Mutex<BTreeMap<String, String>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/realms/main", listener.local_addr().unwrap());
        let key = SigningKey::generate(KeyKind::P256).unwrap();
        let provider = Arc::new(Self { issuer, key, nonces: Mutex::default() });
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        provider
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                    let path = text.split(' ').nth(1).unwrap().to_owned();
                    let answer = self.answer(&path, body).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        answer.len()
                    );
                    let _ = socket.write_all(format!("{head}{answer}").as_bytes()).await;
                    return;
                }
            }
            match socket.read(&mut chunk).await {
                Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        }
    }

    fn answer(&self, path: &str, form: &str) -> Value {
        let base = &self.issuer;
        match path.rsplit('/').next().unwrap() {
            "openid-configuration" => json!({
                "issuer": base, "jwks_uri": format!("{base}/keys"), "token_endpoint": format!("{base}/token"),
                "authorization_endpoint": format!("{base}/auth"), "end_session_endpoint": format!("{base}/logout"),
            }),
            "keys" => json!({ "keys": [self.key.jwk()] }),
            "token" => {
                let code = form.split('&').find_map(|pair| pair.strip_prefix("code="));
                let nonce = code.map(|code| self.nonces.lock().unwrap().remove(code).unwrap_or_default());
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let token = |aud: &str| {
                    let claims = json!({
                        "iss": base, "sub": "carol", "groups": ["investigators"], "aud": aud, "nonce": nonce,
                        "iat": now.as_secs(), "exp": now.as_secs() + 600, "jti": now.as_nanos().to_string(),
                    });
                    self.key.sign(Algorithm::ES256, &claims).unwrap()
                };
                let (access_token, id_token) = (token("kvs-edge"), token("web"));
                json!({ "token_type": "Bearer", "access_token": access_token, "id_token": id_token, "refresh_token": "again" })
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    async fn edge(&self) -> Edge {
        self.edge_of(Setup::default()).await
    }

    async fn edge_of(&self, setup: Setup) -> Edge {
        let issuer = &self.issuer;
        let more = format!(
            "[[issuer]]\nissuer = '{issuer}'\naudience = ['kvs-edge']\nalgorithms = ['ES256']\ndiscovery = true\n\
             client_id = 'web'\nclaims = {{ subject = '/sub', groups = '/groups' }}\n"
        );
        let setup = Setup { more, ..setup };
        let edge = setup.setting("SERVER__PUBLIC_URL", HOME).start().await;
        // Other replicas have the file alone.
        let file = std::fs::read_to_string(edge.path("edge.toml")).unwrap();
        std::fs::write(edge.path("edge.toml"), file.replace("http://edge.test", HOME)).unwrap();
        edge
    }
}

/// A browser's cookies.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
            assert!(cookie.starts_with("__Host-kvs-edge-") && cookie.len() <= 4096, "{cookie}");
            let (name, rest) = cookie.split_once('=').unwrap();
            match rest.contains("Max-Age=0") {
                true => drop(self.0.remove(name)),
                false => drop(self.0.insert(name.into(), rest.split(';').next().unwrap().into())),
            }
        }
    }

    async fn send(&mut self, edge: &Edge, method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all = vec![("cookie", cookies.as_str())];
        all.extend_from_slice(headers);
        let answer = edge.http.send(method, url, &all, "{}".into()).await;
        self.keep(&answer);
        answer
    }

    async fn get(&mut self, edge: &Edge, path: &str) -> Answer {
        let url = format!("{}{path}", edge.url);
        self.send(edge, "GET", &url, &[]).await
    }

    async fn post(&mut self, edge: &Edge, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", edge.url);
        self.send(edge, "POST", &url, headers).await
    }

    /// To the provider; gives the query that it sends the browser back with.
    async fn begin(&mut self, edge: &Edge, provider: &Provider) -> String {
        // The address of the test is not the public one, so the browser is sent there first.
        let moved = self.get(edge, "/console/sign-in?return=%23%2Fcamera%2Fcam-1").await;
        assert_eq!((moved.status, self.0.len()), (303, 0));
        assert!(moved.header("location").unwrap().starts_with(&format!("{HOME}/console/sign-in?")));
        let begun = self.get(edge, &moved.location()).await;
        let address = begun.header("location").unwrap();
        assert!(address.starts_with(&format!("{}/auth?", provider.issuer)), "{address}");
        let value =
            |name: &str| address.split(&format!("&{name}=")).nth(1).unwrap().split('&').next().unwrap();
        provider.nonces.lock().unwrap().insert("a-code".into(), value("nonce").into());
        format!("code=a-code&state={}", value("state"))
    }

    async fn signed_in(edge: &Edge, provider: &Provider) -> Self {
        let mut browser = Self::default();
        let back = browser.begin(edge, provider).await;
        let arrived = browser.get(edge, &format!("/console/sign-in/callback?{back}")).await;
        assert_eq!(arrived.header("location"), Some(&*format!("{HOME}/#/camera/cam-1")));
        assert_eq!(arrived.header("cache-control"), Some("no-store"));
        browser
    }
}

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_counts_at_every_replica_as_its_token_does_and_nowhere_else() {
    let provider = Provider::start().await;
    let edge = provider.edge().await;
    let mut browser = Browser::signed_in(&edge, &provider).await;
    let me = browser.get(&edge, "/console/me").await.json();
    assert_eq!(browser.get(&edge, "/console/session").await.json(), me);
    assert_eq!((&me["subject"], &me["signed_in"]["renews"]), (&json!("carol"), &json!(true)));
    assert_eq!(browser.get(&edge, "/streams").await.status, 200);
    let (_running, other) = edge.another().await;
    let there = browser.send(&edge, "GET", &format!("{other}/console/me"), &[]).await;
    assert_eq!(there.json()["subject"], "carol");

    // As any cookie: nothing that another page makes a browser send.
    assert_eq!(browser.post(&edge, "/listStreams", &[]).await.status, 401);
    assert_eq!(browser.post(&edge, "/listStreams", &[("sec-fetch-site", "same-site")]).await.status, 401);
    assert_eq!(browser.post(&edge, "/listStreams", &[OWN]).await.status, 200);
    let url = format!("{}/streams", edge.url);
    let both =
        browser.send(&edge, "GET", &url, &[("authorization", &format!("Bearer {}", edge.alice()))]).await;
    assert_eq!(both.status, 400);
    assert!(both.message().contains("the cookie of a sign-in"), "{}", both.message());

    let mut changed = browser.clone();
    for value in changed.0.values_mut() {
        let at = value.len() - 30;
        let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
        value.replace_range(at..=at, other);
    }
    let refused = changed.get(&edge, "/streams").await;
    assert_eq!(refused.status, 401);
    assert!(refused.message().contains("sign in again"), "{}", refused.message());
    let by_token =
        changed.send(&edge, "GET", &url, &[("authorization", &format!("Bearer {}", edge.alice()))]).await;
    assert_eq!(by_token.status, 200, "what does not open is no second credential");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_console_renews_and_ends_a_session() {
    let provider = Provider::start().await;
    let edge = provider.edge().await;
    let mut browser = Browser::signed_in(&edge, &provider).await;
    for path in ["/console/renew", "/console/sign-out"] {
        for headers in
            [vec![], vec![("origin", "https://evil.example")], vec![("sec-fetch-site", "cross-site")]]
        {
            let before = browser.0.clone();
            assert_eq!(browser.post(&edge, path, &headers).await.status, 403, "{path} {headers:?}");
            assert_eq!(browser.0, before);
        }
        assert_eq!(browser.get(&edge, path).await.status, 405);
    }
    let before = browser.0.clone();
    assert_eq!(browser.post(&edge, "/console/renew", &[OWN]).await.json(), json!({ "renewed": true }));
    assert_ne!(browser.0, before);
    assert_eq!(browser.get(&edge, "/streams").await.status, 200);
    let left = browser.post(&edge, "/console/sign-out", &[("origin", HOME)]).await.json();
    let address = left["location"].as_str().unwrap();
    assert!(
        address.starts_with(&format!("{}/logout?client_id=web&post_logout_redirect_uri=", provider.issuer))
    );
    assert!(browser.0.is_empty(), "{:?}", browser.0.keys());
    assert_eq!(browser.get(&edge, "/console/me").await.status, 401);
    assert_eq!(browser.get(&edge, "/console/session").await.json(), json!(null));
    assert_eq!(browser.post(&edge, "/console/renew", &[OWN]).await.status, 401);
    assert_eq!(browser.post(&edge, "/console/sign-out", &[OWN]).await.json(), json!({ "location": null }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_in_the_browser_that_began_once_and_leaves_no_trace_in_logs() {
    let provider = Provider::start().await;
    let edge = provider.edge().await;
    let mut browser = Browser::default();
    let back = browser.begin(&edge, &provider).await;
    let callback = format!("/console/sign-in/callback?{back}");
    let mut stranger = Browser::default();
    let refused = stranger.get(&edge, &callback).await;
    assert_eq!(refused.header("location"), Some(&*format!("{HOME}/?sign_in_problem=state")));
    assert!(stranger.0.is_empty());
    let mut copy = browser.clone();
    assert!(browser.get(&edge, &callback).await.header("location").unwrap().ends_with("/#/camera/cam-1"));
    let again = copy.get(&edge, &callback).await;
    assert_eq!(again.header("location"), Some(&*format!("{HOME}/?sign_in_problem=state")));
    assert!(copy.0.keys().all(|name| !name.contains("session")));
    assert_eq!(browser.post(&edge, "/console/sign-in/callback", &[OWN]).await.status, 405);
    let audit = std::fs::read_to_string(edge.path("audit.log")).unwrap_or_default();
    assert!(!audit.contains("a-code") && !audit.contains("eyJ"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_signing_in_are_bounded_by_address() {
    let provider = Provider::start().await;
    let setup = Setup::default().setting("RATES__ANONYMOUS_REQUESTS", "1").setting("RATES__BURST", "\"5s\"");
    let edge = provider.edge_of(setup).await;
    let url = format!("{}/console/sign-in/callback?code=a&state=b", edge.url);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let answer = edge.http.get(&url, &[]).await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..5], [303; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(edge.get("/streams", edge.alice()).await.status, 200, "whoever is known goes on");
}
