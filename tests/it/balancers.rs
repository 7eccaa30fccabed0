//! Camera affinity: the configurations of `deploy/balancer/` in real HAProxy, nginx and Envoy before three
//! real processes. Each camera is served by one replica; when that one is killed, the camera moves and playing
//! goes on.

use crate::harness::{Edge, Replica, Setup, free_port};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const CAMERAS: usize = 9;

/// A balancer before three replicas, started from a file of `deploy/balancer/` in which only addresses
/// differ.
struct Balancer {
    child: Child,
    url: String,
}

impl Balancer {
    fn shipped(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/balancer").join(file);
        std::fs::read_to_string(path).unwrap()
    }

    async fn start(program: &str, arguments: &[&str], port: u16, edge: &Edge) -> Self {
        let log = std::fs::File::create(edge.path("balancer.log")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs what the tests need"));
        let balancer = Self { child, url: format!("http://127.0.0.1:{port}") };
        // It answers, and knows that a replica is well.
        for _ in 0..400 {
            if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let request =
                    format!("GET /streams HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
                let mut answer = Vec::new();
                if stream.write_all(request.as_bytes()).await.is_ok()
                    && stream.read_to_end(&mut answer).await.is_ok()
                    && answer.starts_with(b"HTTP/1.1 401")
                {
                    // The other replicas are checked within half a second.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return balancer;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{program} does not answer: {}", std::fs::read_to_string(edge.path("balancer.log")).unwrap());
    }

    async fn haproxy(edge: &Edge, replicas: &[Replica], port: u16) -> Self {
        let mut text = Self::shipped("haproxy.cfg").replace("bind :8080", &format!("bind 127.0.0.1:{port}"));
        for (at, replica) in (1..).zip(replicas) {
            text = replaced(
                &text,
                &format!("edge-{at}:8080 port 9090"),
                &format!("127.0.0.1:{} port {}", replica.listen, replica.admin),
            );
        }
        std::fs::write(edge.path("haproxy.cfg"), text).unwrap();
        Self::start("haproxy", &["-db", "-f", edge.path("haproxy.cfg").to_str().unwrap()], port, edge).await
    }

    async fn nginx(edge: &Edge, replicas: &[Replica], port: u16) -> Self {
        let mut text =
            Self::shipped("nginx.conf").replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
        for (at, replica) in (1..).zip(replicas) {
            text = replaced(&text, &format!("edge-{at}:8080"), &format!("127.0.0.1:{}", replica.listen));
        }
        let folder = edge.folder.path().display();
        std::fs::write(edge.path("kvs-edge.conf"), text).unwrap();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String =
            kinds.iter().map(|kind| format!("{kind}_temp_path {folder}/nginx-{kind};\n")).collect();
        let main = format!(
            "daemon off;\npid {folder}/nginx.pid;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
             {temporary}include {folder}/kvs-edge.conf;\n}}\n"
        );
        std::fs::write(edge.path("nginx.conf"), main).unwrap();
        let (prefix, file) = (folder.to_string(), edge.path("nginx.conf"));
        let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let arguments = ["-p", &prefix, "-e", "stderr", "-c", file.to_str().unwrap()];
        Self::start(program, &arguments, port, edge).await
    }

    async fn envoy(edge: &Edge, replicas: &[Replica], port: u16) -> Self {
        let mut text = Self::shipped("envoy.yaml").replace(
            "address: 0.0.0.0, port_value: 8080",
            &format!("address: 127.0.0.1, port_value: {port}"),
        );
        for (at, replica) in (1..).zip(replicas) {
            text = replaced(
                &text,
                &format!(
                    "address: edge-{at}, port_value: 8080 }} }}, health_check_config: {{ port_value: 9090 }}"
                ),
                &format!(
                    "address: 127.0.0.1, port_value: {} }} }}, health_check_config: {{ port_value: {} }}",
                    replica.listen, replica.admin
                ),
            );
        }
        std::fs::write(edge.path("envoy.yaml"), text).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/envoy");
        let file = edge.path("envoy.yaml");
        let arguments =
            ["-c", file.to_str().unwrap(), "--concurrency", "1", "-l", "warning", "--disable-hot-restart"];
        Self::start(program.to_str().unwrap(), &arguments, port, edge).await
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // nginx and Envoy's launcher have children, which end with the signal that these understand.
        if let Some(id) = self.child.id() {
            let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the file of deploy/balancer/");
    text.replace(from, to)
}

/// A player of one camera, which reads each new fragment once.
struct Player {
    camera: String,
    folder: String,
    media: String,
    sequence: u64,
    seen: BTreeSet<String>,
}

impl Player {
    async fn open(edge: &Edge, front: &str, camera: &str) -> Self {
        let bearer = format!("Bearer {}", edge.alice());
        let stable = format!("{front}/streams/{camera}/live.m3u8");
        let answer = edge.http.get(&stable, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, 302, "{camera}: {}", answer.text());
        let path = answer.location();
        assert_eq!(path.split('/').nth(3).unwrap().find('.'), Some(6), "{path}");
        let master = format!("{front}{path}");
        let folder = master.rsplit_once('/').unwrap().0.to_owned();
        let answer = edge.http.get(&master, &[]).await;
        assert_eq!(answer.status, 200, "{camera}: {}", answer.text());
        let text = answer.text();
        let media = text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")).unwrap();
        let media = format!("{folder}/{media}");
        Self { camera: camera.to_owned(), folder, media, sequence: 0, seen: BTreeSet::new() }
    }

    /// One poll, and what is new in it.
    async fn poll(&mut self, edge: &Edge) {
        let answer = edge.http.get(&self.media, &[]).await;
        assert_eq!((answer.status, answer.broken), (200, false), "{}: {}", self.camera, answer.text());
        let text = answer.text();
        let sequence = text
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))
            .and_then(|number| number.parse().ok())
            .unwrap();
        assert!(sequence >= self.sequence, "{}: from {} back to {sequence}", self.camera, self.sequence);
        self.sequence = sequence;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if self.seen.insert(line.to_owned()) {
                let answer = edge.http.get(&format!("{}/{line}", self.folder), &[]).await;
                assert_eq!((answer.status, answer.broken), (200, false), "{}: {line}", self.camera);
            }
        }
    }
}

/// Bytes of playback that each replica has sent, by camera. None of a replica that does not run.
async fn sent(edge: &Edge, replicas: &mut [Replica]) -> BTreeMap<String, Vec<u64>> {
    let mut by_camera: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let count = replicas.len();
    for (at, replica) in replicas.iter_mut().enumerate() {
        if !replica.is_running() {
            continue;
        }
        let url = format!("http://127.0.0.1:{}/metrics", replica.admin);
        for line in edge.http.get(&url, &[]).await.text().lines() {
            let of_playback = ["GetHLS", "GetMP4", "GetDASHManifest", "GetImages"]
                .iter()
                .any(|api| line.contains(&format!("api=\"{api}")))
                && !line.contains("StreamingSessionURL");
            // The address of a picture counts as its API too: the picture itself is larger.
            let bytes = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
            let is_address = line.contains("api=\"GetImages") && bytes.is_some_and(|bytes| bytes < 2000.0);
            if let Some(rest) = line.strip_prefix("kvs_edge_outgoing_bytes_total{")
                && !is_address
                && of_playback
                && let Some((_, rest)) = rest.split_once("stream=\"")
                && let Some((camera, _)) = rest.split_once('"')
            {
                by_camera.entry(camera.to_owned()).or_insert_with(|| vec![0; count])[at] +=
                    bytes.unwrap() as u64;
            }
        }
    }
    by_camera
}

/// The replica that serves a camera, which must be one.
fn home(sent: &BTreeMap<String, Vec<u64>>, camera: &str) -> usize {
    let by: Vec<_> = (0..).zip(&sent[camera]).filter(|(_, bytes)| **bytes > 0).map(|(at, _)| at).collect();
    assert_eq!(by.len(), 1, "{camera} is served by one replica: {:?}", sent[camera]);
    by[0]
}

async fn edge() -> Edge {
    let mut setup = Setup::default();
    setup.emulator.streams = (1..=CAMERAS).map(|number| format!("cam-{number}")).collect();
    setup.start().await
}

async fn a_camera_has_a_home(edge: &Edge, mut replicas: Vec<Replica>, balancer: Balancer) {
    let front = &balancer.url;
    let mut players = Vec::new();
    for number in 1..=CAMERAS {
        players.push(Player::open(edge, front, &format!("cam-{number}")).await);
    }
    // One request at a time, so that no bound on a replica's load moves a camera.
    for _ in 0..8 {
        for player in &mut players {
            player.poll(edge).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // DASH, clips and pictures of a camera have the same tag.
    for to in ["live.mpd", "snapshot"] {
        let bearer = format!("Bearer {}", edge.alice());
        let link = format!("{front}/streams/cam-1/link?to={to}");
        let link = edge.http.get(&link, &[("authorization", &bearer)]).await.json()["url"].clone();
        let opened = link.as_str().unwrap().replacen("http://edge.test", front, 1);
        assert_eq!(edge.http.get(&opened, &[]).await.status, 200, "{opened}");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = sent(edge, &mut replicas).await;
    let homes: Vec<usize> = players.iter().map(|player| home(&before, &player.camera)).collect();
    assert!(homes.iter().collect::<BTreeSet<_>>().len() > 1, "cameras are spread: {homes:?}");

    let killed = homes[0];
    replicas[killed].kill().await;
    let passed: Vec<u64> = players.iter().map(|player| player.sequence).collect();
    let mut rounds = 0;
    while players.iter().zip(&passed).any(|(player, passed)| player.sequence < passed + 4) {
        rounds += 1;
        assert!(rounds < 300, "playing goes on");
        for player in &mut players {
            player.poll(edge).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = sent(edge, &mut replicas).await;
    for (player, home) in players.iter().zip(&homes) {
        let moved: Vec<u64> = (0..replicas.len())
            .map(|at| after[&player.camera][at].saturating_sub(before[&player.camera][at]))
            .collect();
        let by = moved.iter().filter(|bytes| **bytes > 0).count();
        assert_eq!(by, 1, "{} is served by one replica: {moved:?}", player.camera);
        assert!(*home == killed || moved[*home] > 0, "{} stays where it was: {moved:?}", player.camera);
    }
    println!("homes {homes:?}, killed {killed}; {rounds} rounds until all had four more fragments");
}

async fn three() -> (Edge, Vec<Replica>, u16) {
    let (edge, port) = (edge().await, free_port());
    let replicas = edge.replicas(3, &[]).await;
    (edge, replicas, port)
}

#[tokio::test]
async fn behind_haproxy_a_camera_is_served_by_one_replica_and_moves_when_it_is_killed() {
    let (edge, replicas, port) = three().await;
    let balancer = Balancer::haproxy(&edge, &replicas, port).await;
    a_camera_has_a_home(&edge, replicas, balancer).await;
}

#[tokio::test]
async fn behind_nginx_a_camera_is_served_by_one_replica_and_moves_when_it_is_killed() {
    let (edge, replicas, port) = three().await;
    let balancer = Balancer::nginx(&edge, &replicas, port).await;
    a_camera_has_a_home(&edge, replicas, balancer).await;
}

#[tokio::test]
async fn behind_envoy_a_camera_is_served_by_one_replica_and_moves_when_it_is_killed() {
    let (edge, replicas, port) = three().await;
    let balancer = Balancer::envoy(&edge, &replicas, port).await;
    a_camera_has_a_home(&edge, replicas, balancer).await;
}
