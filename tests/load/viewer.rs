//! Light HLS viewers that follow playlists truly: they load a playlist as RFC 8216 says, fetch what is new, each
//! init segment and fragment once, on every track, and decode nothing. Hundreds fit into one process.

use bytes::Bytes;
use http_body_util::BodyExt;
use kvs_edge::net::client::{Client, Limits, Options};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What viewers have seen, all together.
#[derive(Default)]
pub struct Seen {
    /// Each fragment that was fetched: its address, when it was asked for, how long its first byte took.
    pub fragments: Vec<(String, Instant, Duration)>,
    pub playlists: u64,
    pub bytes: u64,
    /// What went wrong; a viewer goes on, as players do.
    pub failures: Vec<String>,
    /// Milliseconds from a fragment's end by its PROGRAM-DATE-TIME to when its last byte was here.
    pub ages: Vec<i64>,
}

pub type Shared = Arc<Mutex<Seen>>;

#[derive(Clone)]
pub struct Viewer {
    http: Client,
    seen: Shared,
}

impl Viewer {
    pub fn new(seen: Shared) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = Options { allow_http: true, ..Options::default() };
        Self { http: Client::new(options).unwrap(), seen }
    }

    /// Body, and how long its first byte took.
    async fn get(&self, url: &str) -> Result<(Bytes, Duration), String> {
        let limits = Limits {
            first_byte: Duration::from_secs(30),
            between_bytes: Duration::from_secs(30),
            whole: Duration::from_secs(60),
        };
        let asked = Instant::now();
        let short = url.rsplit('/').next().unwrap_or(url).to_owned();
        let failed = |why: String| format!("{short}: {why}");
        let request =
            http::Request::get(url).body(Bytes::new()).map_err(|error| failed(error.to_string()))?;
        // A connection may have been closed as the request went out: players ask once more.
        let answer = match self.http.send(request.clone(), &limits).await {
            Ok(answer) => answer,
            Err(_) => self.http.send(request, &limits).await.map_err(|error| failed(error.to_string()))?,
        };
        let status = answer.status();
        let mut body = answer.into_body();
        let (mut bytes, mut first) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            first.get_or_insert_with(|| asked.elapsed());
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
        if !status.is_success() {
            return Err(failed(status.to_string()));
        }
        Ok((bytes.into(), first.unwrap_or_default()))
    }

    /// The tracks of a master playlist, as addresses.
    async fn tracks(&self, master: &str) -> Result<Vec<String>, String> {
        let (text, _) = self.get(master).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let folder = folder(master);
        let renditions = text.lines().filter_map(|line| line.split("URI=\"").nth(1)?.split('"').next());
        let variants = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Ok(renditions.chain(variants).map(|uri| format!("{folder}/{uri}")).collect())
    }

    /// Follows a live playlist on all tracks until then.
    pub async fn live(self, master: String, until: Instant) {
        let tracks = loop {
            match self.tracks(&master).await {
                Ok(tracks) => break tracks,
                Err(failure) => self.seen.lock().unwrap().failures.push(failure),
            }
            if Instant::now() > until {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let tracks = tracks.into_iter().map(|track| self.clone().follow(track, until));
        futures(tracks.collect()).await;
    }

    async fn follow(self, playlist: String, until: Instant) {
        let (mut done, mut before) = (HashSet::new(), String::new());
        while Instant::now() < until {
            let asked = Instant::now();
            let mut again = Duration::from_secs(1);
            match self.get(&playlist).await {
                Ok((text, _)) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.seen.lock().unwrap().playlists += 1;
                    let target = tag(&text, "#EXT-X-TARGETDURATION:").unwrap_or(2);
                    // RFC 8216 6.3.4: after the target duration, or half of it if nothing was new.
                    again = Duration::from_secs(target) / if text == before { 2 } else { 1 };
                    // A player begins three target durations before the end.
                    let listed = items(&text);
                    let first = if before.is_empty() { listed.len().saturating_sub(3) } else { 0 };
                    let new = listed.into_iter().skip(first).filter(|item| done.insert(item.uri.clone()));
                    for mut item in new.collect::<Vec<_>>() {
                        // What was there before the viewer came has no age worth telling.
                        item.date = item.date.filter(|_| !before.is_empty());
                        self.fetch(&playlist, &item).await;
                    }
                    before = text;
                }
                Err(failure) => self.seen.lock().unwrap().failures.push(failure),
            }
            tokio::time::sleep_until((asked + again).into()).await;
        }
    }

    /// Plays footage from a place between 0 and 1 of it: some fragments at once, then one per fragment's length.
    pub async fn footage(self, master: String, place: f64, until: Instant) {
        let tracks = match self.tracks(&master).await {
            Ok(tracks) => tracks,
            Err(failure) => return self.seen.lock().unwrap().failures.push(failure),
        };
        let play = tracks.into_iter().map(|track| self.clone().play(track, place, until));
        futures(play.collect()).await;
    }

    async fn play(self, playlist: String, place: f64, until: Instant) {
        let text = match self.get(&playlist).await {
            Ok((text, _)) => String::from_utf8_lossy(&text).into_owned(),
            Err(failure) => return self.seen.lock().unwrap().failures.push(failure),
        };
        self.seen.lock().unwrap().playlists += 1;
        let listed = items(&text);
        let first = ((listed.len() as f64) * place) as usize;
        let (begun, mut played) = (Instant::now(), Duration::ZERO);
        for item in listed.into_iter().skip(first) {
            if Instant::now() > until {
                return;
            }
            self.fetch(&playlist, &item).await;
            played += item.length;
            // Three fragments ahead of what is shown.
            let due = begun + played.saturating_sub(item.length * 3);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    async fn fetch(&self, playlist: &str, item: &Item) {
        let url = format!("{}/{}", folder(playlist), item.uri);
        let asked = Instant::now();
        let got = self.get(&url).await;
        let mut seen = self.seen.lock().unwrap();
        match got {
            Ok((bytes, first)) => {
                seen.bytes += bytes.len() as u64;
                if !item.init {
                    seen.fragments.push((item.uri.clone(), asked, first));
                    if let Some(date) = item.date {
                        let now = i64::try_from(
                            kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis(),
                        )
                        .unwrap();
                        seen.ages.push(now - date - i64::try_from(item.length.as_millis()).unwrap());
                    }
                }
            }
            Err(failure) => seen.failures.push(failure),
        }
    }
}

/// A line of a playlist that is fetched.
struct Item {
    uri: String,
    init: bool,
    length: Duration,
    date: Option<i64>,
}

fn items(text: &str) -> Vec<Item> {
    let (mut items, mut length, mut date) = (Vec::new(), Duration::from_secs(2), None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#EXT-X-MAP:") {
            let uri = rest.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next());
            items.extend(uri.map(|uri| Item {
                uri: uri.to_owned(),
                init: true,
                length: Duration::ZERO,
                date: None,
            }));
        } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
            let seconds = rest.split(',').next().and_then(|seconds| seconds.parse().ok());
            length = Duration::from_secs_f64(seconds.unwrap_or(2.0));
        } else if let Some(rest) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            date = kvs_edge::kvs::Timestamp::parse(rest).ok().and_then(|at| i64::try_from(at.millis()).ok());
        } else if !line.is_empty() && !line.starts_with('#') {
            items.push(Item { uri: line.to_owned(), init: false, length, date: date.take() });
        }
    }
    items
}

fn tag(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

fn folder(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(folder, _)| folder)
}

async fn futures(all: Vec<impl Future<Output = ()> + Send + 'static>) {
    let mut set = tokio::task::JoinSet::new();
    for one in all {
        set.spawn(one);
    }
    set.join_all().await;
}

impl Seen {
    /// How much later than for whoever asked first the first byte of a fragment took, at this share of all, from 0
    /// to 1; in milliseconds.
    pub fn behind_first(&self, share: f64) -> f64 {
        let mut first = std::collections::HashMap::new();
        for (uri, asked, took) in &self.fragments {
            let known = first.entry(uri).or_insert((*asked, *took));
            if asked < &known.0 {
                *known = (*asked, *took);
            }
        }
        let behind = self
            .fragments
            .iter()
            .map(|(uri, _, took)| (took.as_secs_f64() - first[uri].1.as_secs_f64()).max(0.0) * 1000.0);
        at(behind.collect(), share)
    }

    /// How long the first byte of a fragment took, at this share of all, in milliseconds.
    pub fn first_byte(&self, share: f64) -> f64 {
        at(self.fragments.iter().map(|(_, _, took)| took.as_secs_f64() * 1000.0).collect(), share)
    }

    /// The age of a fragment when it was here, at this share of all, in milliseconds.
    pub fn age(&self, share: f64) -> f64 {
        at(self.ages.iter().map(|age| *age as f64).collect(), share)
    }
}

fn at(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}
