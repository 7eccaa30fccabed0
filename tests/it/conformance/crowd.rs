//! A crowd asks for the same and for different things, all nine calls, playback and plain GETs mixed: KVS never has to
//! throttle, and nobody sees an error that is not ours.
//!
//! Short by default. The crowd that `docs/KVS-CONFORMANCE.md` tells of, against a measured build in processes of its own:
//!
//! ```sh
//! KVS_EDGE_CROWD=300x60 KVS_EDGE_PROGRAM=target/perf/kvs-edge \
//!   cargo nextest run --test it --no-capture conformance::crowd
//! ```

use super::{body, path};
use crate::harness::{Answer, Edge, Http, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Cameras; the first is the one that everybody looks at.
const CAMERAS: u64 = 8;

/// Where the crowd goes, and what must live meanwhile.
struct World {
    edge: Edge,
    url: String,
    emulator: String,
    _programs: Vec<Child>,
}

impl World {
    async fn start(program: Option<String>) -> Self {
        // All come from one address here.
        let mut setup = Setup::default().reachable().setting("LIMITS__CONNECTIONS_PER_ADDRESS", "1000");
        setup.emulator.streams = (1..=CAMERAS).map(|number| format!("cam-{number}")).collect();
        let cameras = setup.emulator.streams.clone();
        let environment = setup.environment.clone();
        let mut edge = setup.start().await;
        let Some(program) = program else {
            let (url, emulator) = (edge.url.clone(), edge.emulator.url());
            return Self { edge, url, emulator, _programs: Vec::new() };
        };
        // The edge of the test lends its folder and its issuer to the programs, and stops.
        if let Some(running) = edge.running.take() {
            running.drain().await;
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = edge.path("emulator.toml");
        std::fs::write(&settings, format!("streams = {}\n", json!(cameras))).unwrap();
        let mut emulate = Command::new(&program);
        emulate.args(["emulate", "--listen", &free.to_string(), "--config"]).arg(&settings);
        let toml = std::fs::read_to_string(edge.path("edge.toml")).unwrap();
        let emulator = format!("http://{free}");
        std::fs::write(edge.path("edge.toml"), toml.replace(&edge.emulator.url(), &emulator)).unwrap();
        let mut serve = Command::new(&program);
        serve.arg("serve").arg("--config").arg(edge.path("edge.toml")).envs(environment);
        let silent = |command: &mut Command| {
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        };
        let programs = vec![silent(&mut emulate), silent(&mut serve)];
        for address in [free.to_string(), edge.url.replace("http://", "")] {
            let patience = Instant::now();
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                assert!(
                    patience.elapsed() < Duration::from_secs(30),
                    "{program} does not listen on {address}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Self { url: edge.url.clone(), edge, emulator, _programs: programs }
    }
}

/// What the crowd got: by what was asked, then by what came, how often; and how long each took.
#[derive(Default)]
struct Tally {
    answers: BTreeMap<&'static str, BTreeMap<String, u64>>,
    millis: BTreeMap<&'static str, Vec<u64>>,
    foreign: Vec<String>,
}

struct Viewer {
    number: u64,
    http: Http,
    url: String,
    token: String,
    tally: Arc<Mutex<Tally>>,
    /// A playback session: the master playlist's folder, and resources to ask for.
    playing: Option<Vec<String>>,
    dice: u64,
}

impl Viewer {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    async fn get(&self, what: &'static str, path: &str) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let bearer = format!("Bearer {}", self.token);
        let headers: &[(&str, &str)] =
            if path.contains("/v1/") { &[] } else { &[("authorization", &bearer)] };
        let started = Instant::now();
        let answer = self.http.get(&url, headers).await;
        self.note(what, &answer, started).await;
        answer
    }

    async fn call(&self, operation: &'static str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{}", self.url, path(operation));
        let started = Instant::now();
        let answer = self.http.post(&url, &[("authorization", &bearer)], body.to_string()).await;
        self.note(operation, &answer, started).await;
        answer
    }

    /// Ours are: 429 in the words that every SDK understands, and, where a machine is too slow for its crowd, our own
    /// "not in time". Anything else that is not success is KVS's.
    async fn note(&self, what: &'static str, answer: &Answer, started: Instant) {
        let took = u64::try_from(started.elapsed().as_millis()).unwrap();
        let busy = answer.kind() == "ThrottlingException" && answer.header("retry-after").is_some();
        let ours = match answer.status {
            429 => busy,
            504 => {
                std::env::var_os("KVS_EDGE_PROGRAM").is_none()
                    && answer.kind() == "ServiceUnavailableException"
            }
            _ => false,
        };
        {
            let mut tally = self.tally.lock().unwrap();
            let came = if answer.broken { "aborted".into() } else { answer.status.to_string() };
            *tally.answers.entry(what).or_default().entry(came).or_default() += 1;
            tally.millis.entry(what).or_default().push(took);
            let fine = matches!(answer.status, 200 | 302) && !answer.broken;
            if !fine && !ours {
                let told = format!("{what}: {} {} {}", answer.status, answer.kind(), answer.text());
                tally.foreign.push(told);
            }
        }
        if busy {
            let millis: u64 = answer.header("x-amz-retry-after").unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_millis(millis.min(3000))).await;
        }
    }

    /// Half of the time the same as everybody, else something of his own.
    async fn one(&mut self) {
        let same = self.roll(2) == 0;
        let camera = if same { 1 } else { 1 + self.roll(CAMERAS) };
        let stream = format!("cam-{camera}");
        // The same minute for everybody, or one of a thousand others.
        let back = if same {
            60 + Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 % 60
        } else {
            120 + self.roll(3600)
        };
        match self.roll(16) {
            0 => drop(self.call("GetDataEndpoint", &body("GetDataEndpoint", &stream, back, &[])).await),
            1 => drop(self.call("DescribeStream", &body("DescribeStream", &stream, back, &[])).await),
            2 => drop(self.call("ListStreams", &json!({})).await),
            3 => drop(self.call("ListFragments", &body("ListFragments", &stream, back, &[])).await),
            4 => {
                let listed = self.get("fragments", &self.page(&stream, "fragments", back, 10)).await;
                if listed.status == 200 {
                    let rows = listed.json()["fragments"].as_array().cloned().unwrap_or_default();
                    let numbers: Vec<String> =
                        rows.iter().take(3).map(|row| row["number"].as_str().unwrap().to_owned()).collect();
                    let wanted = body("GetMediaForFragmentList", &stream, back, &numbers);
                    self.call("GetMediaForFragmentList", &wanted).await;
                }
            }
            5 => drop(self.call("GetClip", &body("GetClip", &stream, back, &[])).await),
            6 => drop(self.call("GetImages", &body("GetImages", &stream, back, &[])).await),
            7 => drop(
                self.call(
                    "GetHLSStreamingSessionURL",
                    &body("GetHLSStreamingSessionURL", &stream, back, &[]),
                )
                .await,
            ),
            8 => drop(
                self.call(
                    "GetDASHStreamingSessionURL",
                    &body("GetDASHStreamingSessionURL", &stream, back, &[]),
                )
                .await,
            ),
            9 => drop(self.get("streams", "/streams").await),
            10 => drop(self.get("clip.mp4", &self.page(&stream, "clip.mp4", back, 8)).await),
            11 => drop(self.get("snapshot.jpg", &format!("/streams/{stream}/snapshot.jpg")).await),
            _ => self.play(&stream, same, back).await,
        }
    }

    fn page(&self, stream: &str, page: &str, back: u64, length: u64) -> String {
        let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - back;
        format!("/streams/{stream}/{page}?start={}&end={end}", end - length)
    }

    /// Goes on with what he plays, or begins: live with everybody, or a range of his own.
    async fn play(&mut self, stream: &str, live: bool, back: u64) {
        if let Some(resource) = self.playing.as_mut().and_then(Vec::pop) {
            self.get("media", &resource).await;
            return;
        }
        let page = if live {
            format!("/streams/{stream}/live.m3u8")
        } else {
            self.page(stream, "vod.m3u8", back, 20)
        };
        let sent = self.get("play", &page).await;
        if sent.status != 302 {
            return;
        }
        let to = sent.location();
        let master = self.get("master", &to).await;
        let folder = to.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap();
        let lines = |text: &str| -> Vec<String> {
            let uris = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            uris.map(|uri| format!("{folder}/{uri}")).collect()
        };
        let Some(media) = lines(&master.text()).into_iter().next().filter(|_| master.status == 200) else {
            return;
        };
        let playlist = self.get("playlist", &media).await;
        if playlist.status == 200 {
            self.playing = Some(lines(&playlist.text()));
        }
    }
}

/// `300x60`: so many viewers for so many seconds.
fn size() -> (u64, Duration) {
    let told = std::env::var("KVS_EDGE_CROWD").unwrap_or_else(|_| "40x5".into());
    let (viewers, seconds) = told.split_once('x').expect("KVS_EDGE_CROWD is like 300x60");
    (viewers.parse().unwrap(), Duration::from_secs(seconds.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn kvs_never_throttles_and_nobody_sees_an_error_that_is_not_ours() {
    let (viewers, long) = size();
    let world = World::start(std::env::var("KVS_EDGE_PROGRAM").ok()).await;
    let tally: Arc<Mutex<Tally>> = Arc::default();
    let (started, end) = (Instant::now(), Instant::now() + long);
    let crowd: Vec<_> = (0..viewers)
        .map(|number| {
            let token = world.edge.token(&format!("viewer-{number}"), &["investigators"]);
            let (http, url, tally) = (world.edge.http.clone(), world.url.clone(), tally.clone());
            let mut viewer = Viewer { number, http, url, token, tally, playing: None, dice: number + 1 };
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(viewer.number * 7 % 1000)).await;
                while Instant::now() < end {
                    viewer.one().await;
                    let think = 250 + viewer.roll(500);
                    tokio::time::sleep(Duration::from_millis(think)).await;
                }
            })
        })
        .collect();
    for viewer in crowd {
        viewer.await.unwrap();
    }
    let took = started.elapsed();
    let reached = world.edge.http.get(&format!("{}/_emulator/requests", world.emulator), &[]).await.json();
    let tally = tally.lock().unwrap();
    let asked = show(&tally, took);
    println!("\n| KVS saw | requests | throttled | failed |\n|---|---|---|---|");
    let (mut throttled, mut reached_kvs) = (0, 0);
    for (operation, count) in reached["total"].as_object().unwrap() {
        println!("| {operation} | {} | {} | {} |", count["requests"], count["throttled"], count["failed"]);
        throttled += count["throttled"].as_u64().unwrap();
        reached_kvs += count["requests"].as_u64().unwrap();
    }
    println!(
        "{viewers} viewers, {took:?}: {asked} requests, {reached_kvs} reached KVS, {throttled} throttled"
    );
    assert!(tally.foreign.is_empty(), "{}", tally.foreign.join("\n"));
    assert_eq!(throttled, 0, "KVS had to throttle");
    assert!(tally.answers.len() >= 14, "something was never asked: {:?}", tally.answers.keys());
}

fn show(tally: &Tally, took: Duration) -> u64 {
    println!("| Asked for | answers | p50 ms | p99 ms |\n|---|---|---|---|");
    let mut all = 0;
    for (what, answers) in &tally.answers {
        let mut millis = tally.millis[what].clone();
        millis.sort_unstable();
        let at = |share: usize| millis[(millis.len() - 1) * share / 100];
        let told: Vec<_> = answers.iter().map(|(came, count)| format!("{count} × {came}")).collect();
        println!("| {what} | {} | {} | {} |", told.join(", "), at(50), at(99));
        all += answers.values().sum::<u64>();
    }
    println!("{:.0} requests a second", all as f64 / took.as_secs_f64());
    all
}
