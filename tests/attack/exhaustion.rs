//! One ordinary user who takes as much as the gateway gives: of places for sessions, of turns at KVS, of memory, of
//! labels in metrics.

use super::bystanders::{absolute, now, open_session, session_url};
use super::client::{Answer, Client};
use super::target::Target;
use super::{Finding, Until};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Runs `request` with numbers from 0 on, `width` at a time, and counts the answers.
async fn many<F>(until: Until, width: usize, most: usize, request: impl Fn(usize) -> F) -> Finding
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (mut finding, mut under_way) = (Finding::default(), JoinSet::new());
    for n in 0..most {
        if until.is_over() {
            break;
        }
        if under_way.len() >= width
            && let Some(Ok(answer)) = under_way.join_next().await
        {
            finding.answered(&answer);
        }
        under_way.spawn(request(n));
    }
    while let Some(answer) = under_way.join_next().await {
        finding.answered(&answer.unwrap());
    }
    finding
}

/// Sessions of ranges a millisecond apart: each has a key of its own.
pub async fn session_keys(target: Arc<Target>, until: Until) -> Finding {
    let (client, token, end) = (target.client(20), target.user("key-maker"), now() - 600);
    many(until, 64, 20_000, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move {
            let start = (end - 60) as f64 + n as f64 / 1000.0;
            follow(&client, &url, open_session(&client, &url, &token, 1, start, end as f64).await).await
        }
    })
    .await
}

/// Asks for the first playlist of a session that was opened.
async fn follow(client: &Client, url: &str, opened: Answer) -> Answer {
    let Some(address) = session_url(&opened) else { return opened };
    let media = absolute(url, &address).replace("getHLSMasterPlaylist.m3u8", "getHLSMediaPlaylist.m3u8");
    client.get(&format!("{media}?TrackNumber=1"), None).await
}

/// 200 sessions in flight at once, each of another range.
pub async fn session_opens(target: Arc<Target>, until: Until) -> Finding {
    let (client, token, end) = (target.client(21), target.user("opener"), now() - 1200);
    many(until, 200, 5_000, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move {
            let start = (end - 100 - n as u64) as f64;
            follow(&client, &url, open_session(&client, &url, &token, 2, start, end as f64).await).await
        }
    })
    .await
}

/// Playlists of a day, many at once.
pub async fn long_playlists(target: Arc<Target>, until: Until) -> Finding {
    let (client, token, end) = (target.client(22), target.user("day-viewer"), now() - 300);
    many(until, 24, 400, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move {
            let (camera, start) = (n % 4 + 1, end - 85_000 + n as u64);
            let path = format!("{url}/streams/cam-{camera}/vod.m3u8?start={start}&end={end}");
            let opened = client.get(&path, Some(&token)).await;
            if opened.status != 302 {
                return opened;
            }
            let master = absolute(&url, opened.header("location"));
            let media = master.replace("getHLSMasterPlaylist.m3u8", "getHLSMediaPlaylist.m3u8");
            client.get(&format!("{media}?TrackNumber=1"), None).await
        }
    })
    .await
}

/// Lists of all fragments of a day.
pub async fn fragment_lists(target: Arc<Target>, until: Until) -> Finding {
    let (client, token, end) = (target.client(23), target.user("list-reader"), now() - 300);
    many(until, 16, 400, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move {
            let start = end - 86_000 + n as u64;
            let path = format!("{url}/streams/cam-{}/fragments?start={start}&end={end}", n % 4 + 1);
            client.get(&path, Some(&token)).await
        }
    })
    .await
}

/// Pictures of every second of an hour.
pub async fn pictures(target: Arc<Target>, until: Until) -> Finding {
    let (client, token, end) = (target.client(24), target.user("thumbnailer"), now() - 900);
    many(until, 100, 3_600, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move {
            let path = format!("{url}/streams/cam-1/snapshot.jpg?at={}", end - n as u64);
            client.get(&path, Some(&token)).await
        }
    })
    .await
}

/// Names that nobody has given to a stream, by a caller who is permitted nothing: none becomes a label.
pub async fn labels(target: Arc<Target>, until: Until) -> Finding {
    let (client, token) = (target.client(25), target.token("nobody", &[]));
    let mut finding = many(until, 32, 3_000, |n| {
        let (client, token, url) = (client.clone(), token.clone(), target.url.clone());
        async move { client.get(&format!("{url}/streams/made-up-{n}/snapshot.jpg"), Some(&token)).await }
    })
    .await;
    let made_up = target.metrics().await.matches("made-up-").count();
    finding.breach_if(made_up > 0, || format!("{made_up} series carry made-up names"));
    finding.breach_if(finding.count(200) > 0, || "a caller without permission was answered".to_owned());
    finding
}

/// Tokens with hundreds of groups, each of another user.
pub async fn large_tokens(target: Arc<Target>, until: Until) -> Finding {
    let client = target.client(26);
    let groups: Vec<String> = (0..180).map(|n| format!("group-of-a-large-company-{n:04}")).collect();
    let mut groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    groups.push("users");
    many(until, 16, 10_000, |n| {
        let token = target.token(&format!("employee-{n}"), &groups);
        let (client, url) = (client.clone(), target.url.clone());
        async move { client.get(&format!("{url}/streams/cam-{}", n % 4 + 1), Some(&token)).await }
    })
    .await
}
