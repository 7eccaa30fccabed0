//! `kvs-edge demo` as people meet it: the binary itself, the tokens it prints, and each unmodified SDK against it, with
//! nothing set that the demo does not tell.

use crate::harness::program::binary;
use crate::harness::{Http, python};
use crate::rust_sdk;
use crate::sdk_clients::{Place, aws_cli, boto3, node};
use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

struct Demo {
    url: String,
    emulator: String,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Demo {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(binary())
            .args(["demo", "--allow-faults", "--admin", "127.0.0.1:0", "--emulator", "127.0.0.1:0"])
            .args(["--listen", &free.to_string(), "--folder", folder.path().to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut emulator = None;
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(rest) = line.trim_start().strip_prefix("emulator ") {
                emulator = rest.split_whitespace().next().map(str::to_owned);
            }
            // The last of what it says.
            if line.contains("/metrics | grep") {
                break;
            }
        }
        // Read on, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let emulator = emulator.expect("the demo says where its emulator is");
        Self { url: format!("http://{free}"), emulator, folder, _child: child }
    }

    fn token(&self, who: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{who}.jwt"))).unwrap()
    }

    /// KVS throttles clips of cam-2 from now on.
    async fn throttle(&self) {
        let throttled = json!({"kind": "status", "status": 400, "type": "ClientLimitExceededException"});
        let plan = json!({"operation": "GetClip", "stream": "cam-2", "fault": throttled});
        let url = format!("{}/_emulator/faults", self.emulator);
        let answer = Http::new().post(&url, &[], plan.to_string()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }
}

#[tokio::test]
async fn every_unmodified_sdk_works_with_the_running_demo_and_raises_its_own_exceptions() {
    let demo = Demo::start().await;
    let (alice, bob) = (demo.token("alice"), demo.token("bob"));
    let place = Place { url: &demo.url, alice: &alice, bob: &bob, folder: demo.folder.path() };
    let environment = [
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", demo.url.as_str()),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "kvsedge"),
        ("AWS_SECRET_ACCESS_KEY", "kvsedge"),
        ("AWS_SESSION_TOKEN", &alice),
    ];
    let pages = python("list_streams.py", &environment).await;
    let pages: Value = serde_json::from_slice(&pages.stdout).unwrap();
    assert_eq!(pages, json!([["cam-1", "cam-2"], ["cam-3"]]), "boto3's paginator");
    rust_sdk::plays_downloads_and_pages(&demo.url, &alice).await;
    demo.throttle().await;
    tokio::join!(
        boto3(&place),
        node(&place),
        aws_cli(&place),
        rust_sdk::raises_its_exceptions(&demo.url, &alice, &bob)
    );
}
