//! Clients that hold on to what they have been given: heads and bodies that trickle, answers that nobody reads.

use super::bystanders::now;
use super::smuggling::connect;
use super::target::Target;
use super::{Finding, Until};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Connections of each kind; one address may have 256.
const WIDTH: usize = 200;

/// A byte a second of a head that never ends.
pub async fn heads(target: Arc<Target>, until: Until) -> Finding {
    hold(target, until, 60, |_, _| "GET /streams HTTP/1.1\r\nHost: edge\r\nX: ".to_owned()).await
}

/// A byte a second of a body that never ends.
pub async fn bodies(target: Arc<Target>, until: Until) -> Finding {
    hold(target, until, 61, |target, n| {
        let token = target.user(&format!("slow-{n}"));
        format!(
            "POST /describeStream HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\nContent-Length: 9000\r\n\r\n{{"
        )
    })
    .await
}

/// A clip that nobody reads.
pub async fn readers(target: Arc<Target>, until: Until) -> Finding {
    hold(target, until, 62, |target, n| {
        let (token, end) = (target.user(&format!("sleeper-{n}")), now() - 400);
        let path = format!("/streams/cam-{}/clip.mp4?start={}&end={end}", n % 4 + 1, end - 600);
        format!("GET {path} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {token}\r\n\r\n")
    })
    .await
}

/// Opens connections, sends `begin`, then a byte a second; one that the gateway ends is opened anew.
async fn hold(target: Arc<Target>, until: Until, last: u8, begin: fn(&Target, usize) -> String) -> Finding {
    let mut clients = JoinSet::new();
    for n in 0..WIDTH {
        let target = target.clone();
        clients.spawn(async move {
            let (mut opened, mut ended) = (0, 0);
            while !until.is_over() {
                let Some(mut connection) = connect(&target.address, last).await else {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                };
                opened += 1;
                let mut alive = connection.write_all(begin(&target, n).as_bytes()).await.is_ok();
                while alive && !until.is_over() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    alive = connection.write_all(b"x").await.is_ok();
                }
                if !alive {
                    ended += 1;
                    let _ = connection.read(&mut [0; 16]).await;
                }
            }
            (opened, ended)
        });
    }
    let mut finding = Finding::default();
    while let Some(client) = clients.join_next().await {
        let (opened, ended) = client.unwrap();
        finding.note_many("opened", opened);
        finding.note_many("ended by the gateway", ended);
    }
    finding
}
