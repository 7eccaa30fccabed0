//! One HLS and one DASH player, and downloads, which reach the replicas in turn and note what goes wrong.

use super::harness::{Answer, Http};
use super::world::World;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const DOWNLOADS: u64 = 20;

/// What players and downloads saw since the last row.
#[derive(Clone, Default)]
pub struct Seen {
    answers: usize,
    downloads: usize,
    failed: Vec<String>,
    back: Vec<String>,
    differing: Vec<String>,
    gap: Duration,
}

impl Seen {
    pub const HEAD: &str = "| What fails | Answers | Downloads | Failed | Back | Differing | Sessions opened | \
                            Throttled | Longest gap |\n|---|---|---|---|---|---|---|---|---|";

    pub fn row(&self, name: &str, sessions: u64, throttled: u64) -> String {
        let [failed, back, differing] = [&self.failed, &self.back, &self.differing].map(Vec::len);
        let (answers, downloads, gap) = (self.answers, self.downloads, self.gap);
        let seen = format!("{answers} | {downloads} | {failed} | {back} | {differing}");
        format!("| {name} | {seen} | {sessions} | {throttled} | {gap:.1?} |")
    }

    pub fn breaches(&self) -> impl Iterator<Item = &String> {
        self.failed.iter().chain(&self.back).chain(&self.differing)
    }
}

/// Players and downloads that go on until the test ends.
pub struct Players {
    seen: Arc<Mutex<Seen>>,
    /// They end with it.
    _running: JoinSet<()>,
}

impl Players {
    pub async fn start(world: &World) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut running = JoinSet::new();
        let alice = world.edge.alice();
        for path in ["/streams/cam-1/live.m3u8", "/streams/cam-2/live.mpd"] {
            let url = world.edge.play(path, &alice).await.replace(&world.edge.url, &world.front);
            let list = if path.ends_with("m3u8") {
                beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1")
            } else {
                url
            };
            assert_eq!(world.edge.http.get(&list, &[]).await.status, 200);
            running.spawn(play(Http::new(), list, seen.clone()));
        }
        for number in 0..DOWNLOADS {
            let url = format!("{}/streams/cam-{}", world.front, 1 + number % 2);
            running.spawn(download(Http::new(), url, number, format!("Bearer {alice}"), seen.clone()));
        }
        Self { seen, _running: running }
    }

    pub fn forget(&self) {
        *self.seen.lock().unwrap() = Seen::default();
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

fn beside(url: &str, uri: &str) -> String {
    format!("{}/{uri}", url.rsplit_once('/').unwrap().0)
}

/// What may only grow in a playlist or manifest, and the fragments that it lists.
fn progress(text: &str) -> (Vec<u64>, Vec<String>) {
    if let Some((_, rest)) = text.split_once("publishTime=\"") {
        let digits = rest.split('"').next().unwrap().chars().filter(char::is_ascii_digit);
        let digits: String = digits.chain("000".chars()).take(17).collect();
        return (vec![digits.parse().unwrap()], Vec::new());
    }
    let number =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0);
    let listed: Vec<String> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect();
    let first = number("#EXT-X-MEDIA-SEQUENCE:");
    (vec![first, first + listed.len() as u64, number("#EXT-X-DISCONTINUITY-SEQUENCE:")], listed)
}

fn failure(what: &str, answer: &Answer) -> Option<String> {
    let whole = answer.status == 200 && !answer.broken;
    let text: String = answer.text().chars().take(120).collect();
    (!whole).then(|| format!("{what}: {}, broken: {} {text}", answer.status, answer.broken))
}

async fn play(http: Http, list: String, seen: Arc<Mutex<Seen>>) {
    let (mut last, mut bodies) = (Vec::new(), BTreeMap::<String, Bytes>::new());
    let mut stepped = Instant::now();
    loop {
        let answer = http.get(&list, &[]).await;
        seen.lock().unwrap().answers += 1;
        if let Some(failure) = failure("list", &answer) {
            seen.lock().unwrap().failed.push(failure);
        } else {
            let (now, listed) = progress(&answer.text());
            if now.iter().zip(&last).any(|(now, before)| now < before) {
                seen.lock().unwrap().back.push(format!("{last:?} then {now:?}"));
            }
            if now > last {
                let mut seen = seen.lock().unwrap();
                seen.gap = seen.gap.max(stepped.elapsed());
                stepped = Instant::now();
            }
            last = now;
            for uri in listed.iter().rev().take(3) {
                let fragment = http.get(&beside(&list, uri), &[]).await;
                let mut seen = seen.lock().unwrap();
                seen.answers += 1;
                seen.failed.extend(failure("fragment", &fragment));
                let first = bodies.entry(uri.clone()).or_insert_with(|| fragment.body.clone());
                if *first != fragment.body && fragment.status == 200 {
                    seen.differing.push(format!("{uri}: {} and {} bytes", first.len(), fragment.body.len()));
                }
            }
            bodies.retain(|uri, _| listed.contains(uri));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Downloads a clip of settled footage again and again: the bytes must be those of the first time.
async fn download(http: Http, url: String, number: u64, bearer: String, seen: Arc<Mutex<Seen>>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = now - 600 - number * 60;
    // Every other one is made by KVS as a whole, and is in S3; the others consist of fragments.
    let source = if number.is_multiple_of(2) { "source=kvs&" } else { "" };
    let url = format!("{url}/clip.mp4?{source}start={}&end={end}", end - 150);
    let mut first = None;
    loop {
        let clip = http.get(&url, &[("authorization", &bearer)]).await;
        {
            let mut seen = seen.lock().unwrap();
            seen.downloads += 1;
            if let Some(failure) = failure("clip", &clip) {
                seen.failed.push(failure);
            } else if *first.get_or_insert_with(|| clip.body.clone()) != clip.body {
                seen.differing.push(format!("clip {number}"));
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
