//! Ordinary users beside the attacks: players, downloads, and newcomers who open something every half second. None of
//! their requests may fail.

use super::client::{Answer, Client};
use super::target::{CAMERAS, Target};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What became of the requests of one kind.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Requests>>);

#[derive(Default)]
struct Requests {
    times: Vec<Duration>,
    failures: Vec<String>,
}

impl Record {
    fn note(&self, what: &str, answer: &Answer) -> bool {
        let mut requests = self.0.lock().unwrap();
        requests.times.push(answer.first_byte);
        let good = answer.is_whole(200) || answer.is_whole(302);
        if !good {
            let text: String = answer.text().chars().take(160).collect();
            let broken = if answer.broken { ", broken" } else { "" };
            requests
                .failures
                .push(format!("{what}: {}{broken} after {:?} {text}", answer.status, answer.first_byte));
        }
        good
    }

    fn fail(&self, what: String) {
        self.0.lock().unwrap().failures.push(what);
    }

    pub fn failures(&self) -> Vec<String> {
        self.0.lock().unwrap().failures.clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().times.len()
    }

    /// The time to the first byte that this share of the requests did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.0.lock().unwrap().times.clone();
        times.sort();
        let at = (times.len() as f64 * share) as usize;
        times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// How many there are of each kind.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub players: usize,
    pub downloads: usize,
}

/// The ordinary users, at work until dropped.
pub struct Bystanders {
    pub players: Record,
    pub downloads: Record,
    pub newcomers: Record,
    _work: JoinSet<()>,
}

impl Bystanders {
    pub fn start(target: &Target, crowd: Crowd) -> Self {
        let (players, downloads, newcomers) = (Record::default(), Record::default(), Record::default());
        let mut work = JoinSet::new();
        let client = target.client(1);
        for n in 0..crowd.players {
            let token = target.user(&format!("viewer-{n}"));
            let (url, client, record) = (target.url.clone(), client.clone(), players.clone());
            work.spawn(async move { play(&client, &url, &token, n % CAMERAS.min(4) + 1, &record).await });
        }
        for n in 0..crowd.downloads {
            let token = target.user(&format!("downloader-{n}"));
            let (url, client, record) = (target.url.clone(), target.client(2), downloads.clone());
            work.spawn(async move { download(&client, &url, &token, n, &record).await });
        }
        let (url, client, record) = (target.url.clone(), target.client(3), newcomers.clone());
        let tokens: Vec<String> = (0..400).map(|n| target.user(&format!("newcomer-{n}"))).collect();
        work.spawn(async move { arrive(&client, &url, &tokens, &record).await });
        Self { players, downloads, newcomers, _work: work }
    }

    pub fn failures(&self) -> Vec<String> {
        let kinds = [("player", &self.players), ("download", &self.downloads), ("newcomer", &self.newcomers)];
        let of = |(kind, record): (&str, &Record)| -> Vec<String> {
            record.failures().into_iter().map(|failure| format!("{kind}: {failure}")).collect()
        };
        kinds.into_iter().flat_map(of).collect()
    }
}

/// Follows a live stream as a player does: a playlist each second, then its newest fragment.
async fn play(client: &Client, url: &str, token: &str, camera: usize, record: &Record) {
    loop {
        let opened = client.get(&format!("{url}/streams/cam-{camera}/live.m3u8"), Some(token)).await;
        if !record.note("live.m3u8", &opened) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let master = absolute(url, opened.header("location"));
        let base = master.rsplit_once('/').unwrap().0.to_owned();
        let variants = client.get(&master, None).await;
        record.note("master playlist", &variants);
        let text = variants.text();
        let Some(media) = text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")) else { continue };
        let mut fetched = HashSet::new();
        for _ in 0..60 {
            let began = Instant::now();
            let playlist = client.get(&format!("{base}/{media}"), None).await;
            if record.note("media playlist", &playlist)
                && let Some(newest) =
                    playlist.text().lines().rfind(|line| line.starts_with("getMP4MediaFragment"))
                && fetched.insert(newest.to_owned())
            {
                let fragment = client.get(&format!("{base}/{newest}"), None).await;
                record.note("media fragment", &fragment);
            }
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
        }
    }
}

/// Downloads minutes of one camera again and again; the bytes are always the same.
async fn download(client: &Client, url: &str, token: &str, n: usize, record: &Record) {
    let end = now() - 300 - 60 * n as u64;
    let path = format!("{url}/streams/cam-{}/clip.mp4?start={}&end={end}", n % 4 + 1, end - 120);
    let mut first: Option<bytes::Bytes> = None;
    loop {
        let clip = client.get(&path, Some(token)).await;
        if record.note("clip", &clip) {
            let same = first.get_or_insert_with(|| clip.body.clone());
            if *same != clip.body {
                record.fail(format!("a clip changed from {} to {} bytes", same.len(), clip.body.len()));
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every half second somebody opens something for the first time.
async fn arrive(client: &Client, url: &str, tokens: &[String], record: &Record) {
    for n in 0.. {
        let (token, camera) = (&tokens[n % tokens.len()], n % 4 + 1);
        let past = now() - 600 - (n as u64 * 37) % 3000;
        let opened = match n % 4 {
            0 => get(client, url, token, &format!("cam-{camera}/live.mpd"), record).await,
            1 => {
                get(
                    client,
                    url,
                    token,
                    &format!("cam-{camera}/vod.m3u8?start={past}&end={}", past + 60),
                    record,
                )
                .await
            }
            2 => get(client, url, token, &format!("cam-{camera}/snapshot.jpg?at={past}"), record).await,
            _ => {
                let answer = open_session(client, url, token, camera, past as f64, past as f64 + 20.0).await;
                record.note("getHLSStreamingSessionURL", &answer);
                session_url(&answer)
            }
        };
        if let Some(address) = opened {
            record.note("playlist of a newcomer", &client.get(&absolute(url, &address), None).await);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A plain GET; gives where it leads.
async fn get(client: &Client, url: &str, token: &str, what: &str, record: &Record) -> Option<String> {
    let answer = client.get(&format!("{url}/streams/{what}"), Some(token)).await;
    record.note(what, &answer);
    (answer.status == 302).then(|| answer.header("location").to_owned())
}

/// Asks for an archive session in MPEG-TS, which only KVS makes.
pub async fn open_session(
    client: &Client,
    url: &str,
    token: &str,
    camera: usize,
    start: f64,
    end: f64,
) -> Answer {
    let range = serde_json::json!({"StartTimestamp": start, "EndTimestamp": end});
    let selector = serde_json::json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let body = serde_json::json!({
        "StreamName": format!("cam-{camera}"), "PlaybackMode": "ON_DEMAND",
        "ContainerFormat": "MPEG_TS", "HLSFragmentSelector": selector,
    });
    client.post(&format!("{url}/getHLSStreamingSessionURL"), token, body.to_string()).await
}

/// The address in the answer of a session call.
pub fn session_url(answer: &Answer) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    json["HLSStreamingSessionURL"].as_str().map(str::to_owned)
}

/// A location as an address.
pub fn absolute(url: &str, location: &str) -> String {
    if location.starts_with("http") { location.to_owned() } else { format!("{url}{location}") }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
