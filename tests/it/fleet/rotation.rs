//! Playback keys are rotated in a fleet while viewers play: added last everywhere, then moved first. Fault
//! matrix, row 16: replicas have different settings in between.

use crate::harness::redis::Redis;
use crate::harness::{Edge, Setup};
use kvs_edge::app::{self, Logging, Running};
use kvs_edge::config::ConfigSource;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const REPLICAS: usize = 3;
const OLD: &str = "file:playback-key";
const NEW: &str = "file:new-key";

/// Writes the settings of one replica.
fn settings(edge: &Edge, replica: usize, keys: &[&str]) -> std::path::PathBuf {
    let text = fs::read_to_string(edge.path("edge.toml")).unwrap();
    let keys: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    let text = text.replace(&format!("keys = [\"{OLD}\"]"), &format!("keys = [{}]", keys.join(", ")));
    let path = edge.path(&format!("edge-{replica}.toml"));
    fs::write(&path, text).unwrap();
    path
}

async fn start(edge: &Edge, replica: usize) -> Running {
    let source = ConfigSource::read(&settings(edge, replica, &[OLD]), std::iter::empty()).unwrap();
    app::start(source, Logging::Elsewhere).await.expect("a replica starts")
}

struct Viewers {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Players that get their address at one replica and play it at all of them, and again.
fn watch(edge: &Arc<Edge>, urls: &[String]) -> Viewers {
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let tasks = (1..=3).map(|camera| {
        let (edge, urls, stop, answers) = (edge.clone(), urls.to_vec(), stop.clone(), answers.clone());
        tokio::spawn(async move {
            let bearer = format!("Bearer {}", edge.alice());
            for round in 0.. {
                let at = &urls[round % urls.len()];
                let stable = format!("{at}/streams/cam-{camera}/live.m3u8");
                let answer = edge.http.get(&stable, &[("authorization", &bearer)]).await;
                assert_eq!(answer.status, 302, "{}", answer.text());
                let path = answer.location();
                for poll in 0..6 {
                    let url = format!("{}{path}", urls[(round + poll) % urls.len()]);
                    let answer = edge.http.get(&url, &[]).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answers.fetch_add(1, Ordering::SeqCst);
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        })
    });
    let tasks = tasks.collect();
    Viewers { stop, answers, tasks }
}

impl Viewers {
    /// Waits until so many more answers were good.
    async fn go_on(&self, edge: &Edge, more: usize) {
        let before = self.answers.load(Ordering::SeqCst);
        edge.until("viewers go on", async || self.answers.load(Ordering::SeqCst) >= before + more).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_in_a_fleet_while_viewers_play() {
    let redis = Redis::cluster().await;
    let edge = Arc::new(Setup { more: redis.settings(""), ..Setup::default() }.start().await);
    fs::write(edge.path("new-key"), "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=").unwrap();
    let mut replicas = Vec::new();
    for replica in 0..REPLICAS {
        replicas.push(start(&edge, replica).await);
    }
    let urls: Vec<String> = replicas.iter().map(|r| format!("http://{}", r.addresses[0])).collect();
    let admins: Vec<String> = replicas.iter().map(|r| format!("http://{}", r.admin[0])).collect();
    let viewers = watch(&edge, &urls);
    viewers.go_on(&edge, 20).await;
    for keys in [&[OLD, NEW][..], &[NEW, OLD]] {
        for (replica, admin) in admins.iter().enumerate() {
            settings(&edge, replica, keys);
            let reloaded = edge.http.post(&format!("{admin}/reload"), &[], String::new()).await;
            assert_eq!(reloaded.status, 200, "{}", reloaded.text());
            viewers.go_on(&edge, 12).await;
        }
    }
    for admin in &admins {
        let metrics = edge.http.get(&format!("{admin}/metrics"), &[]).await.text();
        let rejected = metrics.lines().filter(|line| line.starts_with("kvs_edge_shared_rejected_total"));
        for line in rejected {
            assert!(line.ends_with(" 0"), "nothing was sealed that another replica cannot open: {line}");
        }
    }
    viewers.stop.store(true, Ordering::SeqCst);
    for task in viewers.tasks {
        task.await.unwrap();
    }
    println!("{} answers, all good", viewers.answers.load(Ordering::SeqCst));
}
