//! The fault matrix, seen from a client: for each call and each fault what the client got, whether anything of it was
//! kept, and how often KVS was asked. Nothing hangs, nothing is short, nothing bad is kept.
//!
//! `cargo nextest run --test it --no-capture conformance::faults` prints the table of `docs/KVS-CONFORMANCE.md`.

use super::{OPERATIONS, body, path};
use crate::harness::{Answer, Edge, Setup};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The deadlines that the edge is started with, in seconds: for the whole of a call, and for its first byte.
const WHOLE: u64 = 5;
/// How much longer than its deadline a call may take on a busy machine, before it counts as hanging.
const SLACK: Duration = Duration::from_secs(8);

const THROTTLE: &str = "ClientLimitExceededException";

/// What KVS does, to how many requests; `None` is always.
fn faults() -> Vec<(&'static str, Value, Option<u32>)> {
    let status = |status: u16, kind: &str| json!({"kind": "status", "status": status, "type": kind});
    vec![
        ("delay 200 ms", json!({"kind": "delay", "millis": 200}), Some(1)),
        ("no answer", json!({"kind": "delay", "millis": 60_000}), None),
        ("500 once", status(500, "InternalFailure"), Some(1)),
        ("500 always", status(500, "InternalFailure"), None),
        ("503 once", status(503, "ServiceUnavailable"), Some(1)),
        ("503 always", status(503, "ServiceUnavailable"), None),
        ("throttle once", status(400, THROTTLE), Some(1)),
        ("throttle always", status(400, THROTTLE), None),
        ("reset before first byte", json!({"kind": "reset"}), Some(1)),
        ("reset mid-body", json!({"kind": "reset", "after_bytes": 30}), None),
        ("truncation once", json!({"kind": "truncate", "after_bytes": 30}), Some(1)),
        ("truncation", json!({"kind": "truncate", "after_bytes": 30}), None),
        ("endless trickle", json!({"kind": "trickle", "bytes_per_second": 10}), None),
        ("90-byte 200 once", json!({"kind": "unknown_operation"}), Some(1)),
        ("90-byte 200", json!({"kind": "unknown_operation"}), None),
        ("expired credentials", status(403, "ExpiredTokenException"), Some(1)),
        ("moved endpoint", Value::Null, None),
        ("DNS failure", Value::Null, None),
    ]
}

/// What must succeed whatever the call is: one failure before the first byte.
fn is_absorbed(fault: &str, operation: &str) -> bool {
    // A clip that was cut after its first byte is broken and stays so; the client sees it.
    let passed_on = operation == "GetClip" && fault == "truncation once";
    (fault.ends_with("once") && !passed_on)
        || matches!(
            fault,
            "delay 200 ms" | "reset before first byte" | "expired credentials" | "moved endpoint"
        )
}

struct Cell {
    got: String,
    kept: bool,
    asked: u64,
    took: Duration,
    wrong: Vec<String>,
}

struct World {
    edge: Edge,
    operation: &'static str,
    fragments: BTreeMap<String, Vec<String>>,
}

fn stream(number: usize) -> String {
    format!("cam-{}", number + 1)
}

impl World {
    async fn start(operation: &'static str) -> Self {
        let mut setup = Setup::default();
        setup.emulator.streams = (0..faults().len()).map(stream).collect();
        setup.emulator.quotas = false;
        setup.emulator.separate_data_plane = true;
        let mut setup = setup
            .setting("UPSTREAM__RETRY_BUDGET_PERCENT", "100")
            .setting("PLAYBACK__ARCHIVE", "kvs")
            // Each cell is about its own fault; what a breaker does is shown elsewhere.
            .setting("UPSTREAM__BREAKER_FAILURES", "1000")
            .setting("UPSTREAM__THROTTLE_RETRIES", "2");
        for deadline in ["API_DEADLINE", "DOWNLOAD_DEADLINE", "PLAYLIST_DEADLINE"] {
            setup = setup.setting(&format!("UPSTREAM__{deadline}"), format!("{WHOLE}s"));
        }
        for deadline in ["FIRST_BYTE", "CLIP_FIRST_BYTE", "BETWEEN_BYTES"] {
            setup = setup.setting(&format!("UPSTREAM__{deadline}"), "2s");
        }
        let world = Self { edge: setup.start().await, operation, fragments: BTreeMap::new() };
        if operation != "GetMediaForFragmentList" {
            return world;
        }
        let mut fragments = BTreeMap::new();
        for name in (0..faults().len()).map(stream) {
            let wanted = body("ListFragments", &name, 60, &[]);
            let listed = world.edge.call("/listFragments", world.edge.alice(), &wanted).await.json();
            let number = |row: &Value| row["FragmentNumber"].as_str().unwrap().to_owned();
            fragments.insert(name, listed["Fragments"].as_array().unwrap().iter().map(number).collect());
        }
        Self { fragments, ..world }
    }

    /// The call that a client makes: KVS's GetDataEndpoint is ours to make, for somebody's ListFragments.
    fn call(&self) -> &'static str {
        if self.operation == "GetDataEndpoint" { "ListFragments" } else { self.operation }
    }

    /// Its body; for other footage of the same stream if `other`.
    fn body(&self, stream: &str, other: bool) -> Value {
        let numbers =
            self.fragments.get(stream).map_or(&[][..], |all| if other { &all[2..3] } else { &all[..2] });
        body(self.call(), stream, if other { 300 } else { 120 }, numbers)
    }

    async fn ask(&self, body: &Value) -> Answer {
        self.edge.call(path(self.call()), self.edge.alice(), body).await
    }

    async fn operator(&self, method: &str, what: &str, body: Value) {
        let url = format!("{}/_emulator/{what}", self.edge.emulator.url());
        let answer = self.edge.http.send(method, &url, &[], body.to_string()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    async fn cell(&self, number: usize, fault: &str, plan: Value, times: Option<u32>) -> Cell {
        let stream = &stream(number);
        // What is not this cell's subject is known beforehand: the endpoint, the stream's ARN.
        if fault != "DNS failure" && !matches!(self.operation, "ListStreams" | "GetDataEndpoint") {
            let warm = self.ask(&self.body(stream, true)).await;
            assert_eq!(warm.status, 200, "{} {fault}: {}", self.operation, warm.text());
        }
        let body = self.body(stream, false);
        match fault {
            "moved endpoint" => self.operator("POST", "endpoint", json!({})).await,
            "DNS failure" => {
                self.operator("POST", "endpoint", json!({"url": "http://gone.localhost:1"})).await
            }
            _ => {
                let plan = json!({"operation": self.operation, "fault": plan, "times": times});
                self.edge.fault(plan).await;
            }
        }
        self.edge.forget_reached().await;
        let started = Instant::now();
        let first = self.ask(&body).await;
        let took = started.elapsed();
        let asked = self.edge.reached_by(self.operation).await;
        match fault {
            "DNS failure" => self.operator("POST", "endpoint", json!({})).await,
            _ => self.operator("DELETE", "faults", Value::Null).await,
        }
        if first.status == 200 && matches!(self.operation, "DescribeStream" | "ListFragments" | "GetImages") {
            // For a second such an answer is everybody's; what is told here is what lasts.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let (mut second, mut kept);
        let patience = Instant::now();
        // A session that could not be opened is not tried again at once.
        loop {
            self.edge.forget_reached().await;
            second = self.ask(&body).await;
            kept = second.status == 200 && self.edge.reached_by(self.operation).await == 0;
            if second.status == 200 || patience.elapsed() > Duration::from_secs(5) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let cell = Cell { got: got(&first), kept, asked, took, wrong: Vec::new() };
        cell.judged(fault, self.operation, &first, &second)
    }
}

impl Cell {
    fn judged(mut self, fault: &str, operation: &str, first: &Answer, second: &Answer) -> Self {
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                self.wrong.push(format!("{operation}, {fault}: {what}: {} in {:?}", self.got, self.took));
            }
        };
        claim(self.took < Duration::from_secs(WHOLE) + SLACK, "it hung");
        claim(second.status == 200 && !second.broken, &format!("not well afterwards: {}", got(second)));
        claim(self.asked <= 4, &format!("KVS was asked {} times", self.asked));
        let good = first.status == 200 && !first.broken;
        if good {
            let same = match operation {
                // Capabilities and times differ; what they are is there.
                "GetHLSStreamingSessionURL" | "GetDASHStreamingSessionURL" => {
                    first.json().as_object().map(serde_json::Map::len)
                        == second.json().as_object().map(serde_json::Map::len)
                }
                "ListFragments" | "GetDataEndpoint" => first.body.len() == second.body.len(), // KVS gives no order
                // Where the list goes on is sealed anew each time.
                "GetImages" => first.json()["Images"] == second.json()["Images"],
                _ => first.body == second.body,
            };
            claim(same, "a success that is not whole");
        } else {
            claim(!self.kept, "something was kept of a failure");
            claim(
                first.status == 200 || first.header("cache-control") == Some("no-store"),
                "an error may be kept",
            );
            claim(first.status == 200 || !first.kind().is_empty(), "an error without a name");
        }
        claim(good || !is_absorbed(fault, operation), "not absorbed");
        self
    }
}

fn got(answer: &Answer) -> String {
    match answer.status {
        200 if answer.broken => "200, aborted".to_owned(),
        status => status.to_string(),
    }
}

/// One operation against every fault: what the table says, how long it took, what is wrong.
async fn column(operation: &'static str) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut world = World::start(operation).await;
    for (number, (fault, plan, times)) in faults().into_iter().enumerate() {
        if operation == "ListStreams" {
            // One list serves everybody for some seconds; each fault meets an edge that has none.
            world = World::start(operation).await;
        }
        cells.push(world.cell(number, fault, plan, times).await);
    }
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hangs_nothing_is_short_and_nothing_bad_is_kept() {
    let tasks: Vec<_> = OPERATIONS.iter().map(|(operation, _)| tokio::spawn(column(operation))).collect();
    let mut columns = Vec::new();
    for task in tasks {
        columns.push(task.await.unwrap());
    }
    let names: Vec<_> = OPERATIONS.iter().map(|(operation, _)| *operation).collect();
    println!("| Fault | {} | longest |\n|---{}|---|", names.join(" | "), "|---".repeat(names.len()));
    for (row, (fault, ..)) in faults().iter().enumerate() {
        let cells = columns.iter().map(|column| &column[row]);
        let shown = cells.clone().map(|Cell { got, kept, asked, .. }| {
            format!("{got}{}, {asked}×", if *kept { ", kept" } else { "" })
        });
        let longest = cells.map(|cell| cell.took.as_millis()).max().unwrap();
        println!("| {fault} | {} | {longest} ms |", shown.collect::<Vec<_>>().join(" | "));
    }
    let wrong: Vec<_> = columns.iter().flatten().flat_map(|cell| &cell.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
