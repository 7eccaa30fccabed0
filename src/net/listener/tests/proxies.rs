//! Proxies in front: whose word counts.

use super::*;
use crate::net::forwarded::{Trust, TrustedProxy};

fn options(networks: &[&str], proxy_protocol: bool) -> ListenerOptions {
    let proxies: Vec<_> =
        networks.iter().map(|text| TrustedProxy::Network(Network::parse(text).unwrap())).collect();
    let trust = Arc::new(Trust::new(&proxies, Header::XForwardedFor));
    let limits = Limits { connections_per_address: 1, ..Limits::default() };
    ListenerOptions { trust, proxy_protocol, ..ListenerOptions::plain(limits) }
}

const FORWARDED: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 203.0.113.7\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn strangers_are_not_believed() {
    let edge = Edge::with(options(&["10.0.0.0/8"], false)).await;
    assert!(edge.exchange(FORWARDED).await.ends_with("127.0.0.1 One None None"));
}

#[tokio::test]
async fn trusted_proxies_are_believed_and_not_counted_as_one_client() {
    let edge = Edge::with(options(&["127.0.0.0/8"], false)).await;
    let _held = (edge.connect().await, edge.connect().await);
    assert!(edge.exchange(FORWARDED).await.ends_with("203.0.113.7 One None None"));
}

#[tokio::test]
async fn names_with_underscores_are_dropped_from_trusted_proxies_and_refused_from_others() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nx_user: a\r\nx_user: b\r\n\
        X-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n";
    let edge = Edge::with(options(&["127.0.0.0/8"], false)).await;
    assert!(edge.exchange(request).await.ends_with("203.0.113.7 One None None"));
    let edge = Edge::with(options(&["10.0.0.0/8"], false)).await;
    let answer = edge.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("underscore"), "{answer}");
}

#[tokio::test]
async fn the_proxy_protocol_says_whom_it_speaks_for() {
    let edge = Edge::with(options(&["127.0.0.0/8"], true)).await;
    let line = b"PROXY TCP4 198.51.100.9 10.0.0.1 5000 443\r\n";
    let answer = edge.exchange(&[line, FORWARDED].concat()).await;
    assert!(
        answer.ends_with("198.51.100.9 One None None"),
        "the client's own header is not believed: {answer}"
    );
    assert_eq!(edge.exchange(GET_LAST).await, "", "without the header nobody is served");
    assert_eq!(edge.metrics.rejections(Rejection::ProxyProtocol), 1);
    // Now the limit counts by the client's address.
    let mut held = edge.connect().await;
    held.write_all(&[line, GET].concat()).await.unwrap();
    read_answer(&mut held).await;
    assert_eq!(edge.exchange(&[&line[..], GET].concat()).await, "");
    assert_eq!(edge.metrics.rejections(Rejection::ConnectionsPerAddress), 1);
}

#[tokio::test]
async fn strangers_may_not_speak_the_proxy_protocol() {
    let edge = Edge::with(options(&["10.0.0.0/8"], true)).await;
    let line = b"PROXY TCP4 198.51.100.9 10.0.0.1 5000 443\r\n";
    assert_eq!(edge.exchange(&[line, GET_LAST].concat()).await, "");
    assert_eq!(edge.metrics.rejections(Rejection::ProxyProtocol), 1);
}
