//! Playback URLs that were changed: none opens anything.

use super::bystanders::absolute;
use super::target::Target;
use super::{Finding, Until};
use std::sync::Arc;

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The capability in a playback URL: where it begins and ends.
fn capability(url: &str) -> Option<(usize, usize)> {
    let start = url.find("/v1/")? + 4;
    Some((start, start + url[start..].find('/')?))
}

pub async fn tampered(target: Arc<Target>, until: Until) -> Finding {
    let client = target.client(40);
    let mut finding = Finding::default();
    let mut urls = Vec::new();
    for (user, group, what) in [("eve", "users", "cam-2"), ("bob", "guards", "cam-1")] {
        let path = format!("{}/streams/{what}/live.m3u8", target.url);
        let opened = client.get(&path, Some(&target.token(user, &[group]))).await;
        finding.breach_if(opened.status != 302, || {
            format!("{user} got {} instead of a playback URL", opened.status)
        });
        urls.push(absolute(&target.url, opened.header("location")));
    }
    let Some((start, end)) = capability(&urls[0]) else {
        finding.breach(format!("{} has no capability", urls[0]));
        return finding;
    };
    let length = end - start;
    for n in 0.. {
        if until.is_over() || n > 40 * length {
            break;
        }
        let mut url = urls[n % 2].clone();
        let (start, end) = capability(&url).unwrap();
        let changed = change(&url[start..end], &urls, n);
        if urls.iter().any(|original| original.contains(&format!("/{changed}/"))) {
            continue;
        }
        url.replace_range(start..end, &changed);
        let answer = client.get(&url, None).await;
        finding.answered(&answer);
        finding.breach_if((200..400).contains(&answer.status), || {
            format!("{} for the changed {url}", answer.status)
        });
    }
    finding
}

/// One change: a letter, a cut, something added, or the beginning of one and the end of another.
fn change(capability_text: &str, urls: &[String], n: usize) -> String {
    let mut bytes = capability_text.as_bytes().to_vec();
    let at = (n * 7919) % bytes.len();
    match n % 8 {
        0..4 => {
            let old = ALPHABET.iter().position(|letter| *letter == bytes[at]).unwrap_or(0);
            // The last letter may differ in bits that no byte holds.
            let at = if n.is_multiple_of(64) { bytes.len() - 1 } else { at };
            bytes[at] = ALPHABET[(old + 1 + n % 62) % 64];
        }
        4 => bytes.truncate(at),
        5 => bytes.insert(at, ALPHABET[n % 64]),
        6 => bytes.swap(at, (at + 1) % capability_text.len()),
        _ => {
            let other = &urls[(n + 1) % 2];
            let (start, end) = capability(other).unwrap();
            let other = &other.as_bytes()[start..end];
            let at = at.min(other.len());
            bytes = [&bytes[..at.min(bytes.len())], &other[at..]].concat();
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}
