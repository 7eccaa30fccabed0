//! What happened to a request: filled in by the steps, written once, when the last byte has left or the
//! client has gone.
//!
//! The logic stays clear of counting; this file turns one record into metrics and the access line. It never
//! holds a token, a capability or a KVS secret, so none can be logged.

use super::metrics::Metrics;
use super::rates::Allowance;
use super::viewing::Viewing;
use crate::base::clock;
use crate::caller::Caller;
use crate::kvs::{Request, StreamName, TimeRange, Timestamp};
use crate::net::body::Broken;
use crate::net::listener::Rejection;
use crate::telemetry::request_labels::{NO_CACHE, NO_STREAM, OTHER};
use crate::telemetry::spans::{Spans, Steps};
use crate::telemetry::trace::Trace;
use crate::upstream::CallLog;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The facts about one request.
pub struct Record {
    metrics: Metrics,
    started: Instant,
    first_byte: Option<Instant>,
    bytes: u64,
    ending: Ending,
    /// What people quote to support.
    pub request_id: Arc<str>,
    /// The caller's trace, from `traceparent`.
    pub trace_id: Option<Arc<str>>,
    /// The client's address.
    pub client: IpAddr,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: http::Version,
    /// The client's `User-Agent`, cut to a sane length.
    pub user_agent: Option<Arc<str>>,
    /// When it came, on the wall clock.
    pub at: Timestamp,
    /// CloudWatch's name for what was asked.
    pub api: &'static str,
    /// Which stream.
    pub stream: Option<StreamName>,
    /// Which footage.
    pub range: Option<TimeRange>,
    /// Who asked, once known.
    pub caller: Option<Arc<Caller>>,
    /// The answer's status.
    pub status: u16,
    /// The exception's name in an error answer.
    pub error_type: Option<String>,
    /// The reason in our own words; for the log only.
    pub reason: Option<String>,
    /// Whether policy permits what is asked.
    permitted: bool,
    /// Whether a successful answer shows that there is such a stream.
    shows_existence: bool,
    /// What the cache did.
    pub cache: &'static str,
    /// What the calls to KVS came to, if there were any.
    calls: OnceLock<Arc<CallLog>>,
    /// Whether the access line is written.
    pub logged: bool,
    /// Where media bytes count towards a viewing.
    pub viewing: Option<Viewing>,
    /// The caller's account, which body bytes are charged to.
    pub allowance: Option<Allowance>,
    /// `TLSv1_3` or `TLSv1_2`; none without TLS.
    pub tls: Option<&'static str>,
    spans: Option<Spans>,
    /// When the step under way began.
    step: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Bytes are still to come; if the record is written so, the client went away.
    Open,
    Whole,
    Broken,
}

impl Record {
    /// A record of a request that has just arrived.
    #[must_use]
    pub fn new(metrics: &Metrics, request_id: Arc<str>, client: IpAddr, protocol: http::Version) -> Self {
        metrics.in_flight.inc();
        let started = Instant::now();
        Self {
            metrics: metrics.clone(),
            started,
            first_byte: None,
            bytes: 0,
            ending: Ending::Open,
            request_id,
            trace_id: None,
            client,
            protocol,
            user_agent: None,
            at: Timestamp::from(clock::now()),
            api: OTHER,
            stream: None,
            range: None,
            caller: None,
            status: 0,
            error_type: None,
            reason: None,
            permitted: false,
            shows_existence: true,
            cache: NO_CACHE,
            calls: OnceLock::new(),
            logged: true,
            viewing: None,
            allowance: None,
            tls: None,
            spans: None,
            step: started,
        }
    }

    /// Notes what is asked, once it has been understood.
    pub fn asked(&mut self, request: &Request) {
        self.api = request.api();
        self.stream = request.stream().map(|stream| stream.name().clone());
        self.range = request.range();
    }

    /// Where calls to KVS are noted that are made for this request.
    pub fn calls(&self) -> Arc<CallLog> {
        self.calls.get_or_init(Arc::default).clone()
    }

    fn attempts(&self) -> u32 {
        self.calls.get().map_or(0, |calls| calls.attempts())
    }

    /// Counts a permitted request. Its stream exists if it came `by_capability`: those are made for streams
    /// that play.
    pub fn allowed(&mut self, by_capability: bool) {
        self.metrics.allowed.inc();
        self.permitted = true;
        if let (true, Some(stream)) = (by_capability, &self.stream) {
            self.metrics.series.exists(stream.as_str());
        }
    }

    /// Notes that the answer is good and yet does not show whether there is such a stream.
    pub fn existence_is_open(&mut self) {
        self.shows_existence = false;
    }

    /// The stream that bytes count for: any caller could use up the labels with names that are refused or
    /// that no stream has.
    fn counted_stream(&self) -> &str {
        let exists = self.permitted && self.shows_existence && self.status < 400;
        self.stream.as_ref().filter(|_| exists).map_or(NO_STREAM, StreamName::as_str)
    }

    /// Notes the trace that the request is part of, and its spans if it is sampled.
    pub fn trace(&mut self, parent: Option<Trace>, spans: Option<Spans>) {
        self.trace_id = spans.as_ref().map(Spans::trace_id).or_else(|| parent.map(|trace| trace.id()));
        self.spans = spans;
    }

    /// Where steps are noted that are not on the straight line.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.spans.as_ref().map(Spans::steps).unwrap_or_default()
    }

    /// A step of the straight line is over, and the next one begins.
    pub fn step(&mut self, name: &'static str) {
        if let Some(spans) = &self.spans {
            let now = Instant::now();
            spans.steps().note(name, self.step, now);
            self.step = now;
        }
    }

    /// Counts that the caller has taken too much.
    pub fn limited(&self) {
        self.metrics.rejected.with_label_values(&[Rejection::Rate.as_str()]).inc();
    }

    /// Counts an authentication or policy decision.
    pub fn decided(&self, result: &str, reason: &str) {
        self.metrics.decisions.with_label_values(&[result, reason]).inc();
    }

    /// Bytes went to the socket.
    pub fn sent(&mut self, bytes: usize) {
        if self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
        self.bytes += bytes as u64;
        if let Some(allowance) = &self.allowance {
            allowance.spend_bytes(bytes, Instant::now());
        }
    }

    /// The source of the body failed; the connection will be aborted.
    pub fn broke(&mut self, broken: &Broken) {
        self.ending = Ending::Broken;
        self.reason = Some(broken.to_string());
    }

    /// The last byte left.
    pub fn ended(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Whole;
        }
    }

    /// Writes everything down. Called once, by the body when it goes.
    pub fn write(&mut self) {
        self.metrics.in_flight.dec();
        let first = self.first_byte.unwrap_or_else(Instant::now);
        let first_byte = first.duration_since(self.started);
        self.count(first, first_byte.as_secs_f64());
        if let Some(viewing) = self.viewing.take() {
            viewing.shown(self.bytes);
        }
        if self.logged {
            self.log(first_byte.as_secs_f64() * 1000.0);
        }
        if let Some(spans) = self.spans.take() {
            self.end_spans(spans);
        }
    }

    /// What a trace says of the request: what the access line says, but no caller.
    fn end_spans(&self, spans: Spans) {
        if let Some(first) = self.first_byte {
            spans.steps().note("send", first, Instant::now());
        }
        let mut attributes = vec![
            ("http.response.status_code", i64::from(self.status).into()),
            ("network.protocol.version", format!("{:?}", self.protocol).into()),
            ("kvs_edge.request_id", self.request_id.to_string().into()),
            ("kvs_edge.cache", self.cache.into()),
            ("kvs_edge.attempts", i64::from(self.attempts()).into()),
            ("kvs_edge.bytes_out", i64::try_from(self.bytes).unwrap_or(i64::MAX).into()),
            ("kvs_edge.aborted", (self.ending != Ending::Whole).into()),
        ];
        if let Some(stream) = &self.stream {
            attributes.push(("kvs_edge.stream", stream.as_str().to_owned().into()));
        }
        if let Some(kind) = &self.error_type {
            attributes.push(("error.type", kind.clone().into()));
        }
        let failed = self.status >= 500 || self.ending == Ending::Broken;
        spans.end(self.api, attributes, failed.then(|| self.error_type.clone().unwrap_or_default()));
    }

    fn count(&self, first: Instant, first_byte_seconds: f64) {
        let (metrics, series) = (&self.metrics, &self.metrics.series);
        let Some(at) = series.index(self.api, self.cache) else { return };
        if self.bytes > 0 {
            series.sent(at, self.counted_stream(), self.bytes);
            series.transfer(at).observe(first.elapsed().as_secs_f64());
        }
        match series.requests(at, self.status) {
            Some(requests) => requests.inc(),
            None => {
                let mut digits = [0; 3];
                let code = code(self.status, &mut digits);
                metrics.requests.with_label_values(&[self.api, code, self.cache]).inc();
            }
        }
        series.first_byte(at).observe(first_byte_seconds);
    }

    fn log(&self, first_byte_millis: f64) {
        let caller = self.caller.as_deref();
        let calls = self.calls.get().filter(|calls| calls.attempts() > 0);
        tracing::info!(
            target: "access",
            request_id = %self.request_id,
            trace_id = self.trace_id.as_deref(),
            client_ip = %self.client,
            user_sub = caller.map(|caller| &*caller.subject),
            issuer = caller.map(|caller| &*caller.issuer),
            op = self.api,
            stream = self.stream.as_ref().map(StreamName::as_str),
            range = self.range.map(show_range),
            status = self.status,
            error_type = self.error_type.as_deref(),
            reason = self.reason.as_deref(),
            bytes_out = self.bytes,
            duration_ms = millis(self.started.elapsed().as_secs_f64() * 1000.0),
            ttfb_ms = millis(first_byte_millis),
            cache = self.cache,
            attempts = self.attempts(),
            upstream_request_id = calls.and_then(|calls| calls.request_id()),
            upstream_ms = calls.map(|calls| calls.waited().as_millis() as u64),
            aborted = self.ending != Ending::Whole,
            protocol = ?self.protocol,
            tls_version = self.tls,
            user_agent = self.user_agent.as_deref(),
        );
    }
}

/// Three decimals are enough for a log.
fn millis(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn show_range(range: TimeRange) -> String {
    match range.end {
        Some(end) => format!("{}/{end}", range.start),
        None => format!("{}/..", range.start),
    }
}

fn code(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(digits).unwrap_or("000")
}
