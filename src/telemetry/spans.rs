//! Spans of requests, sent to a collector by OTLP over HTTP.
//!
//! Nothing is done, and nothing allocated, unless `trace.endpoint` is set and the request is sampled. A
//! request's steps note when they began and ended. Its spans are made of these notes when the last byte has
//! been sent, so that a span has the outcome of the request. OpenTelemetry's batch processor sends them from
//! a thread of its own, and drops spans rather than delay a request. The function that sends a batch is a
//! parameter, because the HTTP client is another part of this floor.
//!
//! Spans have the operation, stream, status and cache outcome, as the access line has, but not the caller.
//! Nothing of a trace is sent to AWS.

use super::trace::{Trace, random_bytes};
use crate::base::clock;
use crate::setting::Mistake;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use prometheus::{IntCounterVec, Registry, opts};
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// `[trace]`. Does not change while the program runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The collector: `http://host:4318`, or a whole URL. Without it there are no spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Which share of the requests without a sampling decision is sampled, 0 to 1.
    pub sample: f64,
    /// Whose `traceparent` decides whether a request is sampled.
    pub follow: Follow,
}

/// Whose sampling decision counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follow {
    /// Only those of trusted proxies: any client could have everything sampled.
    #[default]
    Trusted,
    /// Those of all clients.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self { endpoint: None, sample: 0.01, follow: Follow::Trusted }
    }
}

impl Config {
    /// All mistakes, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !(0.0..=1.0).contains(&self.sample) {
            mistakes.push(Mistake::at("trace.sample", "write a share from 0.0 to 1.0, such as 0.01"));
        }
        if let Some(endpoint) = &self.endpoint
            && url(endpoint).is_none()
        {
            let how = "write the collector's OTLP/HTTP address, such as http://127.0.0.1:4318";
            mistakes.push(Mistake::at("trace.endpoint", format!("`{endpoint}`: {how}")));
        }
        mistakes
    }
}

/// The collector's URL, with the standard path unless it has one.
fn url(endpoint: &str) -> Option<String> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let known =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty());
    let path = if uri.path() == "/" { "/v1/traces" } else { uri.path() };
    known.then(|| {
        format!(
            "{}://{}{path}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |a| a.as_str())
        )
    })
}

/// The future of one batch being sent.
type Sending = Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>;
/// Sends one batch; any thread may call it.
pub type Post = Arc<dyn Fn(Request<Bytes>) -> Sending + Send + Sync>;

/// Makes spans and sends them.
pub struct Tracer {
    config: Config,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// Why there is no tracer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter cannot be built.
    #[error("trace.endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Its counter is registered already.
    #[error(transparent)]
    Counter(#[from] prometheus::Error),
}

impl Tracer {
    /// A tracer, if one is configured. Registers `kvs_edge_trace_exports_total` in any case.
    ///
    /// # Errors
    /// The exporter cannot be built, or the counter is registered already.
    pub fn start(config: &Config, send: Post, registry: &Registry) -> Result<Option<Arc<Self>>, Error> {
        let exports = IntCounterVec::new(
            opts!("kvs_edge_trace_exports_total", "Batches of spans sent to the collector"),
            &["result"],
        )?;
        registry.register(Box::new(exports.clone()))?;
        for result in ["sent", "failed"] {
            exports.with_label_values(&[result]);
        }
        let Some(url) = config.endpoint.as_deref().and_then(url) else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { send, exports })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(PATIENCE)
            .build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        // As the OpenTelemetry specification says, these come from OTEL_SERVICE_NAME and
        // OTEL_RESOURCE_ATTRIBUTES.
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "kvs-edge".to_owned());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        processor.set_resource(&Resource::builder().with_service_name(name).with_attribute(version).build());
        let scope = InstrumentationScope::builder("kvs-edge").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Some(Arc::new(Self { config: config.clone(), processor, scope })))
    }

    /// The spans of a request that begins now, if it is sampled.
    #[must_use]
    pub fn begin(self: &Arc<Self>, parent: Option<Trace>, trusted: bool) -> Option<Spans> {
        let decided =
            parent.filter(|_| trusted || self.config.follow == Follow::All).map(|trace| trace.sampled());
        if !decided.unwrap_or_else(|| chance() < self.config.sample) {
            return None;
        }
        let trace = parent.map_or_else(random_bytes, |trace| trace.id_bytes());
        Some(Spans {
            tracer: self.clone(),
            trace: TraceId::from_bytes(trace),
            parent: parent.map_or(SpanId::INVALID, |trace| SpanId::from_bytes(trace.parent_bytes())),
            root: SpanId::from_bytes(random_bytes()),
            began: (clock::now(), Instant::now()),
            steps: Steps(Some(Arc::default())),
        })
    }

    /// Sends what is left, for a moment at most. Blocks.
    pub fn end(&self) {
        // A collector that is gone has been counted and logged already.
        let _ = self.processor.shutdown_with_timeout(Duration::from_secs(2));
    }
}

/// How long one batch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// From 0 to 1.
fn chance() -> f64 {
    (u64::from_le_bytes(random_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The program's HTTP client behind the exporter's trait.
struct Sender {
    send: Post,
    exports: IntCounterVec,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = (self.send)(request).await;
        let good = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        self.exports.with_label_values(&[if good { "sent" } else { "failed" }]).inc();
        if !good {
            let problem = match &answer {
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.clone(),
            };
            tracing::warn!(%problem, "spans could not be sent to the collector");
        }
        answer.map_err(Into::into)
    }
}

/// What belongs to one sampled request.
pub struct Spans {
    tracer: Arc<Tracer>,
    trace: TraceId,
    parent: SpanId,
    root: SpanId,
    began: (SystemTime, Instant),
    steps: Steps,
}

/// One step that is over.
struct SpanStep {
    name: &'static str,
    began: Instant,
    ended: Instant,
}

/// Where steps are noted; nowhere, if the request is not sampled.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Mutex<Vec<SpanStep>>>>);

/// More steps than this are not noted: a list of fragments may take many calls.
const MOST_STEPS: usize = 64;

impl Steps {
    /// Notes how long something took.
    pub async fn time<F: Future>(&self, name: &'static str, step: F) -> F::Output {
        let began = self.0.as_ref().map(|_| Instant::now());
        let output = step.await;
        if let Some(began) = began {
            self.note(name, began, Instant::now());
        }
        output
    }

    /// Notes a step that is over.
    pub fn note(&self, name: &'static str, began: Instant, ended: Instant) {
        let Some(steps) = &self.0 else { return };
        let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < MOST_STEPS {
            steps.push(SpanStep { name, began, ended });
        }
    }
}

impl Spans {
    /// Where the request's steps are noted.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.steps.clone()
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Arc<str> {
        self.trace.to_string().into()
    }

    /// Ends the request's span with its outcome, and passes all its spans to the exporter.
    pub fn end(self, name: &'static str, attributes: Vec<(&'static str, Value)>, failure: Option<String>) {
        let now = Instant::now();
        let status = failure.map_or(Status::Unset, Status::error);
        let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let root = SpanData {
            parent_span_is_remote: self.parent != SpanId::INVALID,
            span_kind: SpanKind::Server,
            attributes,
            status,
            ..self.span(name, self.root, self.parent, self.began.1, now)
        };
        self.tracer.processor.on_end(root);
        let steps = self
            .steps
            .0
            .as_ref()
            .map(|steps| std::mem::take(&mut *steps.lock().unwrap_or_else(PoisonError::into_inner)));
        for step in steps.unwrap_or_default() {
            let id = SpanId::from_bytes(random_bytes());
            let span = self.span(step.name, id, self.root, step.began, step.ended);
            let kind = if step.name == UPSTREAM { SpanKind::Client } else { SpanKind::Internal };
            self.tracer.processor.on_end(SpanData { span_kind: kind, ..span });
        }
    }

    fn span(
        &self,
        name: &'static str,
        id: SpanId,
        parent: SpanId,
        began: Instant,
        ended: Instant,
    ) -> SpanData {
        let at = |instant: Instant| self.began.0 + instant.saturating_duration_since(self.began.1);
        SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: at(began),
            end_time: at(ended),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.tracer.scope.clone(),
        }
    }
}

/// The name of a step that calls KVS.
pub const UPSTREAM: &str = "upstream";

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(config: Config) -> Option<Arc<Tracer>> {
        let nobody: Post = Arc::new(|_| Box::pin(async { Err("nobody is there".to_owned()) }));
        Tracer::start(&config, nobody, &Registry::new()).unwrap()
    }

    fn parent(flags: &str) -> Option<Trace> {
        let mut headers = http::HeaderMap::new();
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        headers.insert("traceparent", text.parse().unwrap());
        Trace::read(&headers)
    }

    #[test]
    fn settings_are_checked() {
        assert_eq!(Config::default().check(), []);
        let bad = Config { endpoint: Some("collector:4318".into()), sample: 1.5, ..Config::default() };
        assert_eq!(bad.check().len(), 2);
        assert_eq!(url("http://c:4318").as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(url("https://c/otlp/v1/traces").as_deref(), Some("https://c/otlp/v1/traces"));
    }

    #[test]
    fn nothing_is_sampled_without_a_collector() {
        assert!(tracer(Config { sample: 1.0, ..Config::default() }).is_none());
    }

    #[test]
    fn the_proxys_flag_decides_and_a_strangers_only_if_we_say_so() {
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let never = tracer(Config { endpoint: endpoint.clone(), sample: 0.0, ..Config::default() }).unwrap();
        assert!(never.begin(parent("01"), true).is_some() && never.begin(parent("01"), false).is_none());
        assert!(never.begin(parent("00"), true).is_none() && never.begin(None, true).is_none());
        let all = tracer(Config { endpoint: endpoint.clone(), sample: 0.0, follow: Follow::All }).unwrap();
        assert!(all.begin(parent("01"), false).is_some());
        let always = tracer(Config { endpoint, sample: 1.0, ..Config::default() }).unwrap();
        assert!(always.begin(parent("00"), true).is_none(), "a trusted proxy said no");
        let spans = always.begin(parent("00"), false).unwrap();
        assert_eq!(&*spans.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(always.begin(None, false).unwrap().trace_id().len(), 32);
    }
}
