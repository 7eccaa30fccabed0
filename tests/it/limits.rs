//! `docs/LIMITS.md` is what the program does: its defaults, its tests, and nothing left out; and the defaults from outside.

use crate::harness::Edge;
use kvs_edge::config::Config;
use std::fs;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DOCUMENT: &str = include_str!("../../docs/LIMITS.md");

/// What stands between backticks in the table's rows.
fn marked() -> Vec<&'static str> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What"));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_table_of_limits_is_the_code() {
    let shown = Config::default().to_toml().unwrap();
    let defaults: toml::Table = toml::from_str(&shown).unwrap();
    let mut named = Vec::new();
    for (key, value) in marked().into_iter().filter_map(|text| text.split_once(" = ")) {
        let (section, key) = key.split_once('.').unwrap();
        let is = defaults[section].get(key).unwrap_or_else(|| panic!("there is no {section}.{key}"));
        assert_eq!(is.to_string(), value, "{section}.{key}");
        named.push((section, key));
    }
    for section in ["limits", "rates"] {
        for key in defaults[section].as_table().unwrap().keys() {
            assert!(named.contains(&(section, key)), "{section}.{key} is not in docs/LIMITS.md");
        }
    }
    for key in ["limits.memory", "rates.requests", "rates.bytes", "rates.points"] {
        assert!(marked().contains(&key), "{key}");
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let mut text = String::new();
    let mut folders = ["src", "tests/it"].map(|f| Path::new(env!("CARGO_MANIFEST_DIR")).join(f)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let names =
        marked().into_iter().filter(|name| name.matches('_').count() >= 2 && !name.contains(['.', ' ']));
    let missing: Vec<_> = names.filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Sends bytes and gives the answer's head and what follows, until the edge closes.
async fn exchange(edge: &Edge, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(edge.url.strip_prefix("http://").unwrap()).await.unwrap();
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_defaults_hold() {
    let edge = Edge::start().await;
    let long = |length: usize| "x".repeat(length);
    let many: String = (0..66).map(|n| format!("x-{n}: y\r\n")).collect();
    let several: String = (0..4).map(|n| format!("x-{n}: {}\r\n", long(9 << 10))).collect();
    let close = "Host: edge\r\nConnection: close\r\n";
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\n{close}\r\n", long(8 << 10)), 414),
        (format!("GET / HTTP/1.1\r\n{close}x: {}\r\n\r\n", long(17 << 10)), 431),
        (format!("GET / HTTP/1.1\r\n{close}{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{close}{several}\r\n"), 431),
        (
            format!("GET /streams HTTP/1.1\r\n{close}Authorization: Bearer {}\r\n\r\n", long((16 << 10) + 1)),
            431,
        ),
        (
            format!(
                "POST /getClip HTTP/1.1\r\n{close}Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{}",
                edge.alice(),
                65 << 10,
                long(65 << 10)
            ),
            413,
        ),
        (format!("GET /streams HTTP/1.1\r\n{close}\r\n"), 401),
    ] {
        let answer = exchange(&edge, request.as_bytes()).await;
        let told = answer.lines().next().unwrap_or_default();
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{told}: {:.60}", request);
        // What hyper cannot parse it answers by itself, with no header but `connection: close`.
        let ours = answer.contains("x-amzn-errortype");
        assert!(ours || status == 431, "{answer}");
        assert_eq!(answer.contains("cache-control: no-store"), ours, "{answer}");
    }
}

#[tokio::test]
async fn http2_announces_the_limits() {
    let edge = Edge::start().await;
    let mut socket = TcpStream::connect(edge.url.strip_prefix("http://").unwrap()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut settings, mut window) = (std::collections::BTreeMap::new(), 65_535);
    while settings.is_empty() || window == 65_535 {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut content = vec![0; length];
        socket.read_exact(&mut content).await.unwrap();
        match (head[3], head[4] & 1) {
            (4, 0) => settings.extend(content.chunks(6).map(|pair| {
                let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                (u16::from_be_bytes([pair[0], pair[1]]), value)
            })),
            (8, _) => window += u32::from_be_bytes([content[0], content[1], content[2], content[3]]),
            _ => {}
        }
    }
    // RFC 9113 6.5.2: concurrent streams, a stream's window, the largest frame, the size of a header list. What is not
    // announced is at its default, which is also ours.
    assert_eq!(settings[&3], 100);
    assert_eq!(settings.get(&4).copied().unwrap_or(65_535).next_multiple_of(1024), 64 << 10);
    assert_eq!(settings.get(&5).copied().unwrap_or(16 << 10), 16 << 10);
    assert_eq!(settings[&6], 32 << 10);
    assert_eq!(window, 1 << 20);
}
