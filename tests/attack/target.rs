//! The attacked: emulator and gateway, each the real binary as a process of its own.

use super::client::{Client, Secrets};
use kvs_edge_emulator::issuer::{Claims, Issuer};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

const ISSUER: &str = "https://login.test/";
/// What KVS's session tokens hold.
const CANARY: &str = "canary-7fd2";
/// What the emulator's answers have planted in them.
pub const PLANTED: &str = "planted-e41b";
/// Cameras of everybody.
pub const CAMERAS: usize = 12;
/// A camera that only attacks use; its answers are faulty.
pub const FAULTY: &str = "cam-9";
pub const CACHE_MIB: u64 = 128;

pub struct Target {
    pub url: String,
    pub address: String,
    pub admin: String,
    pub emulator: String,
    pub secrets: Secrets,
    issuer: Issuer,
    pub gateway: Child,
    kvs: Child,
    /// Where the processes run.
    pub folder: tempfile::TempDir,
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a process of the real binary, run by the program `under` unless that is empty.
fn start(under: &[&str], folder: &Path, log: &str, arguments: &[&str]) -> Child {
    let log = fs::File::create(folder.join(log)).unwrap();
    let words: Vec<&str> = under.iter().chain(&[env!("CARGO_BIN_EXE_kvs-edge")]).copied().collect();
    Command::new(words[0])
        .args(&words[1..])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Target {
    pub async fn start() -> Self {
        Self::start_under(&[]).await
    }

    /// The same with a gateway that another program runs: a profiler and its arguments.
    pub async fn start_under(profiler: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (public, admin, kvs) = (port(), port(), port());
        let issuer = Issuer::generate().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("jwks.json", &issuer.jwks());
        write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
        write("access-key", "AKIDEMULATOR");
        write("secret-key", "emulator-secret");
        write("policies.cedar", POLICIES);
        let cameras: Vec<String> = (1..=CAMERAS).map(|n| format!("\"cam-{n}\"")).collect();
        write("emulator.toml", &format!("streams = [{}]\ncanary = \"{CANARY}\"\n", cameras.join(", ")));
        write("edge.toml", &settings(public, admin, kvs));
        let listen = format!("127.0.0.1:{kvs}");
        let emulator = start(
            &[],
            folder.path(),
            "emulator.log",
            &["emulate", "--listen", &listen, "--config", "emulator.toml", "--allow-faults"],
        );
        let gateway = start(profiler, folder.path(), "gateway.log", &["serve", "--config", "edge.toml"]);
        let target = Self {
            url: format!("http://127.0.0.1:{public}"),
            address: format!("127.0.0.1:{public}"),
            admin: format!("http://127.0.0.1:{admin}"),
            emulator: format!("http://{listen}"),
            secrets: Secrets::new(vec![CANARY.into(), PLANTED.into(), listen]),
            issuer,
            gateway,
            kvs: emulator,
            folder,
        };
        let ready = format!("{}/readyz", target.admin);
        let client = target.observer();
        for _ in 0..600 {
            if client.get(&ready, None).await.status == 200 {
                return target;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the gateway does not become ready:\n{}", target.log());
    }

    /// A client at an address of its own.
    pub fn client(&self, last: u8) -> Client {
        Client::from(Ipv4Addr::new(127, 0, 9, last), &self.secrets)
    }

    /// A client for the operators' listener and the emulator, which hold secrets.
    pub fn observer(&self) -> Client {
        Client::from(Ipv4Addr::LOCALHOST, &Secrets::default())
    }

    pub fn token(&self, subject: &str, groups: &[&str]) -> String {
        let claims = Claims {
            issuer: ISSUER.into(),
            audience: "kvs-edge".into(),
            subject: subject.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ttl: Duration::from_secs(7200),
            now: SystemTime::now(),
        };
        self.issuer.mint(&claims).unwrap()
    }

    /// A user who may view and download all cameras.
    pub fn user(&self, name: &str) -> String {
        self.token(name, &["users"])
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("gateway.log")).unwrap_or_default()
    }

    pub fn audit(&self) -> String {
        fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default()
    }

    /// The gateway's resident memory in MiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    pub async fn metrics(&self) -> String {
        self.observer().get(&format!("{}/metrics", self.admin), None).await.text().into_owned()
    }

    pub async fn fault(&self, plan: serde_json::Value) {
        let url = format!("{}/_emulator/faults", self.emulator);
        let answer = self.observer().post(&url, "", plan.to_string()).await;
        assert!(answer.status < 300, "{plan}: {}", answer.text());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for child in [&mut self.gateway, &mut self.kvs] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const POLICIES: &str = r#"
@id("users") permit (principal in Group::"users", action, resource);
@id("guards") permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby")
when { context.mode == "LIVE" };
"#;

fn settings(public: u16, admin: u16, kvs: u16) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:{public}"
public_url = "http://127.0.0.1:{public}"
[admin]
listen = "127.0.0.1:{admin}"
[[aws]]
name = "main"
region = "eu-west-1"
account = "123456789012"
streams = ["*"]
endpoint_url = "http://127.0.0.1:{kvs}"
access_key_id = "file:access-key"
secret_access_key = "file:secret-key"
[[issuer]]
issuer = "{ISSUER}"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "file:jwks.json"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["policies.cedar"]
stream_sets = {{ lobby = ["cam-1"] }}
[playback]
keys = ["file:playback-key"]
[cache]
memory = "{CACHE_MIB}MiB"
# Gateway, KVS, users and attackers share one machine here: a KVS that is slow for want of a processor is no fault.
[upstream]
first_byte = "40s"
api_deadline = "50s"
playlist_deadline = "50s"
queue_wait = "20s"
breaker_failures = 1000
[sessions]
patience = "40s"
[log]
format = "text"
audit = "file:audit.log"
"#
    )
}
