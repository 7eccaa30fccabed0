//! Traces: a proxy's `traceparent` and `x-request-id` are taken over, the request's steps reach a collector by OTLP,
//! and AWS sees nothing of it.

use crate::harness::Setup;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use std::sync::{Arc, Mutex};

/// A collector that keeps what it is told.
struct Collector {
    url: String,
    told: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let kept = told.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        kept.lock().unwrap().push(body);
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::new())))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self { url, told }
    }

    fn spans(&self) -> Vec<Span> {
        let told = self.told.lock().unwrap().clone();
        let batches = told.into_iter().map(|body| ExportTraceServiceRequest::decode(body).unwrap());
        let resources = batches.flat_map(|batch| batch.resource_spans);
        resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_steps_of_a_sampled_request_reach_the_collector_and_nothing_reaches_aws() {
    let collector = Collector::start().await;
    let edge = Setup::default()
        .setting("TRACE__ENDPOINT", format!("\"{}\"", collector.url))
        .setting("TRACE__SAMPLE", "0.0")
        .setting("SERVER__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    let bearer = format!("Bearer {}", edge.alice());
    let ask = async |path: &str, flags: &str| {
        let trace = format!("00-{TRACE}-{PARENT}-{flags}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("traceparent", &trace),
            ("tracestate", "canary=1"),
            ("x-request-id", "proxy-42"),
        ];
        edge.http.get(&format!("{}{path}", edge.url), &headers).await
    };
    let unseen = ask("/streams/cam-2/snapshot.jpg", "00").await;
    let shown = ask("/streams/cam-1/snapshot.jpg", "01").await;
    assert_eq!((unseen.status, shown.status), (200, 200), "{}", shown.text());
    assert_eq!(shown.header("x-request-id"), Some("proxy-42"), "a trusted proxy's id is taken over");
    edge.until("the collector is told", || async { !collector.spans().is_empty() }).await;
    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "GetImages").collect();
    assert_eq!(roots.len(), 1, "only one was sampled");
    let root = roots[0];
    assert_eq!((hex(&root.parent_span_id).as_str(), root.kind()), (PARENT, SpanKind::Server));
    for step in ["authenticate", "read", "authorize", "cache", "upstream", "send"] {
        let span = spans.iter().find(|span| span.name == step).unwrap_or_else(|| panic!("{step}: {spans:?}"));
        assert_eq!(span.parent_span_id, root.span_id, "{step}");
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{step}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{step}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{step}");
    }
    let text = format!("{spans:?}");
    assert!(text.contains("cam-1") && text.contains("proxy-42") && !text.contains("cam-2"), "{text}");
    let token = bearer.rsplit('.').next().unwrap();
    assert!(!text.contains("alice") && !text.contains(token), "a trace names nobody: {text}");
    let seen = edge.reached().await["clients_headers_seen"].to_string();
    assert!(!seen.contains("trace") && !seen.contains("x-request-id"), "{seen}");
    assert!(edge.metric("kvs_edge_trace_exports_total", &["result=\"sent\""]).await >= 1.0);
}

#[tokio::test]
async fn a_strangers_ids_are_not_taken_over_and_a_missing_collector_hurts_nobody() {
    let edge = Setup::default()
        .setting("TRACE__ENDPOINT", "\"http://127.0.0.1:9\"")
        .setting("TRACE__SAMPLE", "1.0")
        .start()
        .await;
    let bearer = format!("Bearer {}", edge.alice());
    let headers = [("authorization", bearer.as_str()), ("x-request-id", "mine")];
    let answer = edge.http.get(&format!("{}/streams", edge.url), &headers).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-request-id").is_some_and(|id| id != "mine" && id.len() == 32));
    edge.until("the failure is counted", || async {
        edge.metric("kvs_edge_trace_exports_total", &["result=\"failed\""]).await >= 1.0
    })
    .await;
    assert_eq!(edge.get("/streams", edge.alice()).await.status, 200);
}
