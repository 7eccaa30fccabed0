//! A gateway under attack: hostile clients of every kind for a bounded time, beside ordinary users for whom nothing
//! may fail. Prints a table and fails on a breach.
//!
//! `make test` runs each attack for a few seconds, all at once. `make attack` runs them one after the other, then all
//! at once for ten minutes beside 50 players and 10 downloads:
//!
//! ```text
//! ATTACK_SECONDS=20 ATTACK_TOGETHER=600 cargo test --test attack -- --nocapture
//! ```

#![allow(clippy::unwrap_used)] // a test that cannot go on says where by panicking
#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn what ends with their runtime, and compare with the clock"
)]

mod bystanders;
mod canaries;
mod capabilities;
mod client;
mod exhaustion;
mod floods;
mod slow;
mod smuggling;
mod target;

use bystanders::{Bystanders, Crowd};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::{CACHE_MIB, Target};
use tokio::task::JoinSet;

/// What the gateway may take beside its cache, in MiB: a development build with 1,000 connections.
const BESIDE_THE_CACHE: u64 = 512;

/// When an attack ends.
#[derive(Clone, Copy)]
struct Until(Instant);

impl Until {
    fn after(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// What came of an attack.
#[derive(Default)]
struct Finding {
    answers: BTreeMap<String, usize>,
    breaches: Vec<String>,
}

impl Finding {
    fn answered(&mut self, answer: &client::Answer) {
        self.note(&answer.status.to_string());
    }

    fn note(&mut self, what: &str) {
        self.note_many(what, 1);
    }

    fn note_many(&mut self, what: &str, times: usize) {
        *self.answers.entry(what.to_owned()).or_default() += times;
    }

    fn count(&self, status: u16) -> usize {
        self.answers.get(&status.to_string()).copied().unwrap_or(0)
    }

    fn breach(&mut self, what: String) {
        self.breaches.push(what);
    }

    fn breach_if(&mut self, is_breach: bool, what: impl FnOnce() -> String) {
        if is_breach {
            self.breach(what());
        }
    }

    fn join(&mut self, other: Self) {
        for (what, times) in other.answers {
            self.note_many(&what, times);
        }
        self.breaches.extend(other.breaches);
    }

    fn answers(&self) -> String {
        let each: Vec<String> = self.answers.iter().map(|(what, times)| format!("{what}: {times}")).collect();
        each.join(", ")
    }
}

type Running = Pin<Box<dyn Future<Output = Finding> + Send>>;

struct Attack {
    name: &'static str,
    run: fn(Arc<Target>, Until) -> Running,
}

macro_rules! attacks {
    ($($name:literal => $run:path,)*) => {
        &[$(Attack { name: $name, run: |target, until| Box::pin($run(target, until)) },)*]
    };
}

const ATTACKS: &[Attack] = attacks! {
    "session keys" => exhaustion::session_keys,
    "session opens" => exhaustion::session_opens,
    "long playlists" => exhaustion::long_playlists,
    "fragment lists" => exhaustion::fragment_lists,
    "pictures" => exhaustion::pictures,
    "made-up names" => exhaustion::labels,
    "large tokens" => exhaustion::large_tokens,
    "smuggling" => smuggling::requests,
    "HTTP/2 floods" => floods::http2,
    "slow heads" => slow::heads,
    "slow bodies" => slow::bodies,
    "readers that stop" => slow::readers,
    "changed capabilities" => capabilities::tampered,
    "planted secrets" => canaries::planted,
};

fn seconds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |value| value.parse().expect("a number of seconds"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_for_others_and_nothing_leaks() {
    let (each, together) = (seconds("ATTACK_SECONDS", 0), seconds("ATTACK_TOGETHER", 15));
    let crowd =
        if each > 0 { Crowd { players: 50, downloads: 10 } } else { Crowd { players: 8, downloads: 2 } };
    let only = std::env::var("ATTACK_ONLY").ok();
    let wanted = |attack: &&Attack| only.as_ref().is_none_or(|only| attack.name.contains(only.as_str()));
    let target = Arc::new(Target::start().await);
    let bystanders = Bystanders::start(&target, crowd);
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("\n| Attack | Answers | Failed for others | Memory before, peak (MiB) |\n|---|---|---|---|");
    let mut breaches = Vec::new();
    if each > 0 {
        for attack in ATTACKS.iter().filter(wanted) {
            breaches.extend(run(&target, &bystanders, &[attack], each).await);
        }
    }
    let all: Vec<&Attack> = ATTACKS.iter().filter(wanted).collect();
    breaches.extend(run(&target, &bystanders, &all, together).await);
    breaches.extend(bystanders.failures());
    breaches.extend(target.secrets.seen());
    if target.log().contains("panicked") {
        breaches.push(format!("the gateway panicked:\n{}", target.log()));
    }
    for (kind, record) in [
        ("players", &bystanders.players),
        ("downloads", &bystanders.downloads),
        ("newcomers", &bystanders.newcomers),
    ] {
        println!(
            "{kind}: {} requests, {} failed, first byte p50 {:?}, p99 {:?}",
            record.count(),
            record.failures().len(),
            record.quantile(0.5),
            record.quantile(0.99)
        );
        if record.count() == 0 {
            breaches.push(format!("no request of the {kind}"));
        }
    }
    let shown: Vec<&str> = breaches.iter().take(40).map(String::as_str).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), shown.join("\n"));
}

/// Runs attacks at the same time and prints a row for each; gives the breaches.
async fn run(
    target: &Arc<Target>,
    bystanders: &Bystanders,
    attacks: &[&Attack],
    seconds: u64,
) -> Vec<String> {
    let (before, failed) = (target.resident(), bystanders.failures().len());
    let until = Until::after(seconds);
    let mut under_way = JoinSet::new();
    for attack in attacks {
        let (name, running) = (attack.name, (attack.run)(target.clone(), until));
        under_way.spawn(async move { (name, running.await) });
    }
    let (mut peak, mut findings) = (before, Vec::new());
    while !under_way.is_empty() {
        tokio::select! {
            Some(done) = under_way.join_next() => findings.push(done.unwrap()),
            () = tokio::time::sleep(Duration::from_millis(100)) => peak = peak.max(target.resident()),
        }
    }
    let failed = bystanders.failures().len() - failed;
    let mut breaches = Vec::new();
    for (name, finding) in &findings {
        println!("| {name} | {} | {failed} | {before}, {peak} |", finding.answers());
        breaches.extend(finding.breaches.iter().map(|breach| format!("{name}: {breach}")));
        if finding.answers.is_empty() {
            breaches.push(format!("{name}: it did nothing"));
        }
    }
    let most = CACHE_MIB + BESIDE_THE_CACHE;
    if peak > most {
        let names: Vec<&str> = attacks.iter().map(|attack| attack.name).collect();
        breaches.push(format!("{}: {peak} MiB of memory, {most} allowed", names.join(", ")));
    }
    breaches
}
