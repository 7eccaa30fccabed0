//! A fleet of three replicas behind HAProxy, with a cluster of six Redis nodes and an S3 server, while one thing
//! after another fails. Players and downloads reach the replicas in turn; a row of the table says what they saw.
//! Fails on a breach.
//!
//! ```text
//! FLEET_SECONDS=12 cargo test --test fleet -- --ignored --nocapture
//! ```

#![allow(clippy::unwrap_used)] // a test that cannot go on says where by panicking
#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn what ends with their runtime, and compare with the clock"
)]

#[path = "../it/harness/mod.rs"]
mod harness;
mod players;
mod world;

use players::{Players, Seen};
use std::time::Duration;
use world::{Fault, World};

/// What fails, in the order of the table. Each is mended before the next row.
const FAULTS: &[(&str, Fault)] = &[
    ("nothing fails", Fault::None),
    ("a replica: SIGKILL, then started again", Fault::ReplicaKilled),
    ("a replica: SIGTERM, SIGKILL while it drains", Fault::ReplicaKilledInDrain),
    ("S3 refuses connections", Fault::S3Refuses),
    ("S3 answers 503", Fault::S3Unavailable),
    ("S3 cuts bodies", Fault::S3Cuts),
    ("a primary of the store: SIGKILL", Fault::PrimaryKilled),
    ("all nodes of the store: SIGKILL, then back empty", Fault::StoreKilled),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make fleet` runs it"]
async fn players_and_downloads_notice_nothing_of_what_fails() {
    let seconds = std::env::var("FLEET_SECONDS").ok().map_or(12, |text| text.parse().expect("seconds"));
    let lasts = Duration::from_secs(seconds);
    let mut world = World::start().await;
    let players = Players::start(&world).await;
    println!("\n{}", Seen::HEAD);
    let mut breaches = Vec::new();
    for (name, fault) in FAULTS {
        let before = world.calls().await;
        players.forget();
        tokio::time::sleep(lasts / 6).await;
        world.break_it(*fault).await;
        tokio::time::sleep(lasts / 2).await;
        world.mend(*fault).await;
        tokio::time::sleep(lasts / 3).await;
        let seen = players.seen();
        let calls = world.calls().await;
        let sessions = calls.sessions - before.sessions;
        // A replica that was started again counts from zero.
        let throttled = calls.throttled.saturating_sub(before.throttled);
        println!("{}", seen.row(name, sessions, throttled));
        // The sessions of the two players were opened before the first row.
        if sessions > 0 {
            breaches.push(format!("{name}: {sessions} sessions opened"));
        }
        if throttled > 0 {
            breaches.push(format!("{name}: {throttled} calls throttled"));
        }
        breaches.extend(seen.breaches().map(|breach| format!("{name}: {breach}")));
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}
