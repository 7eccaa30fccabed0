//! The edge under test: the library on port 0, with an emulator, an issuer and policies of its own.

use super::client::{Answer, Http};
use kvs_edge::app::{self, Logging, Running};
use kvs_edge::config::ConfigSource;
use kvs_edge_emulator::{self as emulator, Emulator, issuer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub const ISSUER: &str = "https://login.test/";
pub const AUDIENCE: &str = "kvs-edge";

/// What an edge is started with.
pub struct Setup {
    pub emulator: emulator::Config,
    pub policies: String,
    /// Which streams the account of the emulator serves.
    pub streams: String,
    /// TOML after everything else; a table that the harness writes too must not be repeated here.
    pub more: String,
    /// Settings as the environment would give them.
    pub environment: Vec<(String, String)>,
}

/// Investigators may do everything, guards see cam-1 live.
const POLICIES: &str = r#"
@id("investigators") permit (principal in Group::"investigators", action, resource);
@id("guards") permit (principal in Group::"guards", action in [Action::"View", Action::"Describe"], resource in StreamSet::"lobby")
when { context.mode == "LIVE" };
"#;

impl Default for Setup {
    fn default() -> Self {
        let emulator = emulator::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            allow_faults: true,
            clip_creation_time: Some(1_767_225_600_000),
            ..emulator::Config::default()
        };
        let streams = "*".to_owned();
        Self {
            emulator,
            policies: POLICIES.to_owned(),
            streams,
            more: String::new(),
            environment: Vec::new(),
        }
    }
}

impl Setup {
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((format!("KVS_EDGE__{name}"), value.into()));
        self
    }

    /// On a port that is known ahead, so that the public URL can be the one that clients reach.
    pub fn reachable(self) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.setting("SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .setting("SERVER__PUBLIC_URL", format!("http://127.0.0.1:{port}"))
    }

    pub async fn start(self) -> Edge {
        let emulator = emulator::start(self.emulator.clone()).await.expect("the emulator starts");
        let folder = tempfile::tempdir().unwrap();
        let issuer = issuer::Issuer::generate().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("jwks.json", &issuer.jwks());
        write("policies.cedar", &self.policies);
        write("access-key", &self.emulator.access_key);
        write("secret-key", &self.emulator.secret_key);
        write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
        write("edge.toml", &config(&emulator.url(), &self));
        let source =
            ConfigSource::read(&folder.path().join("edge.toml"), self.environment.clone().into_iter())
                .unwrap();
        let running = app::start(source, Logging::Elsewhere).await.expect("the edge starts");
        let url = format!("http://{}", running.addresses[0]);
        let admin = format!("http://{}", running.admin[0]);
        Edge { http: Http::new(), url, admin, emulator, running: Some(running), issuer, folder }
    }
}

fn config(emulator: &str, setup: &Setup) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
public_url = "http://edge.test"
drain_grace = "0s"
drain_timeout = "5s"
[admin]
listen = "127.0.0.1:0"
[[aws]]
name = "main"
region = "{region}"
account = "{account}"
streams = ["{streams}"]
endpoint_url = "{emulator}"
access_key_id = "file:access-key"
secret_access_key = "file:secret-key"
[[issuer]]
issuer = "{ISSUER}"
audience = ["{AUDIENCE}"]
algorithms = ["ES256"]
jwks = "file:jwks.json"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["policies.cedar"]
stream_sets = {{ lobby = ["cam-1"], all = ["*"] }}
[playback]
keys = ["file:playback-key"]
[log]
audit = "file:audit.log"
{more}
"#,
        region = setup.emulator.region,
        account = setup.emulator.account,
        streams = setup.streams,
        more = setup.more,
    )
}

/// A running edge and its world.
pub struct Edge {
    pub http: Http,
    pub url: String,
    pub admin: String,
    pub emulator: Emulator,
    pub running: Option<Running>,
    pub issuer: issuer::Issuer,
    pub folder: tempfile::TempDir,
}

impl Edge {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// A second process of the same settings and keys, or the same one after a restart: it shares nothing else with
    /// this one. Gives its address too.
    pub async fn another(&self) -> (Running, String) {
        let source = ConfigSource::read(&self.path("edge.toml"), std::iter::empty()).unwrap();
        let running = app::start(source, Logging::Elsewhere).await.expect("another edge starts");
        let url = format!("http://{}", running.addresses[0]);
        (running, url)
    }

    /// A token of somebody in these groups.
    pub fn token(&self, subject: &str, groups: &[&str]) -> String {
        let claims = issuer::Claims {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            subject: subject.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ttl: Duration::from_secs(3600),
            now: SystemTime::now(),
        };
        self.issuer.mint(&claims).unwrap()
    }

    /// An investigator.
    pub fn alice(&self) -> String {
        self.token("alice", &["investigators"])
    }

    /// A guard of the lobby.
    pub fn bob(&self) -> String {
        self.token("bob", &["guards"])
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub async fn get(&self, path: &str, token: impl AsRef<str>) -> Answer {
        self.http
            .get(&format!("{}{path}", self.url), &[("authorization", &format!("Bearer {}", token.as_ref()))])
            .await
    }

    /// A call, in KVS's own shape.
    pub async fn call(&self, path: &str, token: impl AsRef<str>, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", token.as_ref());
        self.http.post(&format!("{}{path}", self.url), &[("authorization", &bearer)], body.to_string()).await
    }

    /// The address that a player would be sent to, on the port the test listens on.
    pub async fn play(&self, path: &str, token: impl AsRef<str>) -> String {
        let answer = self.get(path, token).await;
        assert_eq!(answer.status, 302, "{}", answer.text());
        format!("{}{}", self.url, answer.location())
    }

    /// What reached the emulator.
    pub async fn reached(&self) -> Value {
        self.http.get(&format!("{}/_emulator/requests", self.emulator.url()), &[]).await.json()
    }

    /// How many requests of an operation reached the emulator.
    pub async fn reached_by(&self, operation: &str) -> u64 {
        self.reached().await["total"][operation]["requests"].as_u64().unwrap_or(0)
    }

    pub async fn forget_reached(&self) {
        self.http
            .send("DELETE", &format!("{}/_emulator/requests", self.emulator.url()), &[], String::new())
            .await;
    }

    /// Plans a fault.
    pub async fn fault(&self, plan: Value) {
        let url = format!("{}/_emulator/faults", self.emulator.url());
        let answer = self.http.post(&url, &[], plan.to_string()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    /// Removes all faults.
    pub async fn clear_faults(&self) {
        let url = format!("{}/_emulator/faults", self.emulator.url());
        let answer = self.http.send("DELETE", &url, &[], String::new()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    /// All metrics, by series.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.http.get(&format!("{}/metrics", self.admin), &[]).await.text();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// The sum of a family's series that contain all of these labels.
    pub async fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let wanted = |series: &String| {
            series.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        };
        self.metrics().await.into_iter().filter(|(series, _)| wanted(series)).map(|(_, value)| value).sum()
    }

    /// Waits for something to become true.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, mut check: impl FnMut() -> F) {
        for _ in 0..400 {
            if check().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited in vain until {what}");
    }
}
