//! Replicas see each other, say so when they differ, and `check --online` asks the store.

use crate::harness::redis::Redis;
use crate::harness::{Edge, Setup, run};
use std::time::Duration;
use tokio::process::Command;

async fn notes(edge: &Edge, admin: &str) -> String {
    edge.http.get(&format!("{admin}/readyz"), &[]).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_see_each_other_and_say_when_they_differ() {
    let redis = Redis::standalone().await;
    let edge = Setup { more: redis.settings(""), ..Setup::default() }.start().await;
    let alike = edge.replicas(1, &[]).await;
    edge.until("both are seen", || async { edge.metric("kvs_edge_fleet_replicas", &[]).await == 2.0 }).await;
    assert_eq!(edge.metric("kvs_edge_fleet_configurations", &[]).await, 1.0);
    assert!(!notes(&edge, &edge.admin).await.contains("has other"));
    let _other = edge.replicas(1, &[("SESSIONS__PREFETCH", "0".to_owned())]).await;
    edge.until("the difference is seen", || async {
        edge.metric("kvs_edge_fleet_configurations", &[]).await == 2.0
    })
    .await;
    let said = notes(&edge, &edge.admin).await;
    assert!(said.contains("has other settings than this one"), "{said}");
    assert_eq!(edge.http.get(&format!("{}/readyz", edge.admin), &[]).await.status, 200, "it is no reason");
    drop(alike);
    for key in redis.keys().await {
        let dump: Vec<u8> = redis.servers[0].command(&["DUMP", &key]).await.unwrap();
        let text = String::from_utf8_lossy(&dump);
        assert!(!text.contains("127.0.0.1") && !text.contains("cam-1"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_asks_each_primary_of_the_store() {
    let mut redis = Redis::cluster().await;
    let edge = Setup { more: redis.settings(""), ..Setup::default() }.start().await;
    let check = async || {
        let mut command = Command::new(crate::harness::program::binary());
        command.args(["check", "--online", "--config", edge.path("edge.toml").to_str().unwrap()]);
        let output = run(&mut command).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = check().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the shared store answers: 3 primary(ies), version 7."), "{text}");
    assert!(!text.contains("warning: cache.shared"), "{text}");
    let noeviction = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    redis.servers[1].command::<()>(&noeviction).await.unwrap();
    let (code, text) = check().await;
    assert!(code == Some(0) && text.contains("noeviction"), "{text}");
    redis.servers.clear();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (code, text) = check().await;
    assert!(code == Some(2) && text.contains("cache.shared"), "{text}");
}
