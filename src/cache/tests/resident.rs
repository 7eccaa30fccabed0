//! A full cache against the memory of the process, with bodies that arrive over real connections: what is
//! kept must not be a slice of a buffer that the network was read into.

use super::{bench, pattern};
use crate::base::clock;
use crate::cache::key::tests_support::key;
use crate::cache::{Cache, Fetched, Head, Keep, Sharing};
use crate::kvs::Timestamp;
use crate::net::client::{Client, Limits, Options};
use crate::setting::ByteSize;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A server that answers with `size` bytes of media.
async fn server(size: usize) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let body = Bytes::from(pattern(size));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let body = body.clone();
            let answer = hyper::service::service_fn(move |_| {
                let mut response = Response::new(Full::new(body.clone()));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(socket), answer));
        }
    });
    uri
}

/// Fetches one body into the cache and reads it to its end.
async fn fill(cache: Cache, client: Client, uri: Uri, number: u64) {
    let fetch = move || {
        let (client, request) = (client.clone(), Request::get(uri.clone()).body(Bytes::new()).unwrap());
        async move {
            let response = client.send(request, &Limits::default()).await?;
            let content_type = response.headers()[CONTENT_TYPE].clone();
            let head = Head::new(content_type, None, Timestamp::from(clock::now()));
            let keep = Keep::For(Duration::from_secs(3600));
            Ok::<_, crate::net::client::Error>(Fetched { head, keep, body: response.into_body() })
        }
    };
    cache.warm(key(number), Sharing::Always, fetch).await.unwrap();
}

/// Fills a cache of `memory` bytes twice over with bodies of `size` bytes. Gives what the cache counts at the
/// end, and by how much the process has grown.
async fn full(memory: u64, size: usize) -> (u64, u64) {
    let uri = server(size).await;
    let client = Client::new(Options { allow_http: true, ..Options::default() }).unwrap();
    let bench = bench(|config| config.memory = ByteSize(memory));
    bench.clock.store(Timestamp::from(clock::now()).millis(), Ordering::Relaxed);
    let before = resident();
    let bodies = memory * 3 / 2 / (size as u64 + 1000);
    for first in (0..bodies).step_by(16) {
        let mut fills = JoinSet::new();
        for number in first..bodies.min(first + 16) {
            fills.spawn(fill(bench.cache.clone(), client.clone(), uri.clone(), number));
        }
        fills.join_all().await;
    }
    bench.cache.0.memory.tidy();
    drop(client);
    (bench.cache.0.budget.used(), resident().saturating_sub(before))
}

#[tokio::test]
async fn a_full_cache_takes_what_it_counts_whatever_the_size_of_its_bodies() {
    const MEMORY: u64 = 24 << 20;
    for size in [2 << 10, 256 << 10, 2 << 20] {
        let (counted, grown) = full(MEMORY, size).await;
        println!("{size} bytes each: {counted} counted, the process has grown by {grown}");
        assert!(counted > MEMORY / 2, "{counted} bytes of {size} each");
        assert!(grown < MEMORY + MEMORY / 10 + (12 << 20), "{grown} bytes for {counted} of {size} each");
    }
}

/// Memory of the process that is no page of a file.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}
