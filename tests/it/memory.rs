//! What is long is sent while it is made, and what is held is counted.

use crate::harness::{Answer, Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};

const HOUR: u64 = 3_600_000;

/// A camera of two days behind a cache of 4 MiB, which holds the lists of hours but no list of a day.
async fn small_cache() -> Edge {
    let mut setup = Setup::default();
    setup.emulator.history_hours = 48;
    setup.emulator.retention_hours = 48;
    setup.emulator.quotas = false;
    setup.setting("CACHE__MEMORY", "4MiB").start().await
}

/// The last instant of the hour before the one before.
fn end() -> u64 {
    (Timestamp::from(kvs_edge::base::clock::now()).millis() / HOUR - 1) * HOUR - 1
}

async fn list(edge: &Edge, start: u64, end: u64, more: &str) -> Answer {
    let [start, end] = [start, end].map(Timestamp::from_millis);
    edge.get(&format!("/streams/cam-1/fragments?start={start}&end={end}{more}"), edge.alice()).await
}

fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
    answer.json()["fragments"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_list_of_many_hours_is_the_lists_of_its_hours_and_costs_kvs_once() {
    let edge = small_cache().await;
    let (start, end) = (end() + 1 - 7 * HOUR, end());
    let whole = list(&edge, start, end, "").await;
    let mut parts = Vec::new();
    for hour in (start..end).step_by(HOUR as usize) {
        // Not longer than an hour: listed as such.
        parts.extend(rows(&list(&edge, hour, hour + HOUR - 1, "").await));
    }
    assert!(whole.body.len() > 1 << 20 && parts.len() > 7 * 1700, "{}", parts.len());
    assert!(rows(&whole) == parts, "the rows are the same");
    assert_eq!(whole.json()["stream"], "cam-1");
    assert_eq!(whole.json()["start"], Timestamp::from_millis(start).to_string());

    edge.forget_reached().await;
    let most = rows(&list(&edge, start + 1, end - 1, "").await);
    assert!(most.len() + 2 >= parts.len() && most.len() <= parts.len());
    assert_eq!(edge.reached_by("ListFragments").await, 0, "the lists of the hours are held");

    // By the producer's clock nothing is put together of what is held.
    let by_producer = rows(&list(&edge, start, end, "&clock=producer").await);
    assert!(by_producer.len() + 10 > parts.len() && edge.reached_by("ListFragments").await > 5);
    let starts: Vec<&str> = by_producer.iter().map(|row| row["producer_start"].as_str().unwrap()).collect();
    assert!(starts.is_sorted());
}

#[tokio::test]
async fn a_list_that_cannot_be_finished_breaks_off_and_one_that_cannot_be_begun_is_an_error() {
    let edge = small_cache().await;
    let failure = json!({"kind": "status", "status": 400, "type": "InvalidArgumentException"});
    let (start, end) = (end() + 1 - 7 * HOUR, end());
    edge.fault(json!({"operation": "ListFragments", "fault": failure, "skip": 5, "times": 1})).await;
    let broken = list(&edge, start, end, "").await;
    assert!(broken.status == 200 && broken.broken, "{}", broken.status);
    let whole = list(&edge, start, end, "").await;
    assert!(rows(&whole).len() > 7 * 1700);
    edge.fault(json!({"operation": "ListFragments", "fault": failure, "times": 1})).await;
    assert_eq!(list(&edge, start - 20 * HOUR, end - 18 * HOUR, "").await.status, 400);
}
