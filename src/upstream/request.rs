//! A request to KVS: where it goes, what it costs, how long it may take and what is expected back.

use super::attempt::Expects;
use super::config::Config;
use super::error::Error;
use super::origin::Origin;
use super::quota::cost::Cost;
use crate::kvs::{ApiName, Call, MediaFormat, Operation, StreamName, StreamRef};
use crate::net::client::Limits;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use std::sync::Arc;

/// One request to KVS, before an endpoint is known.
#[derive(Clone)]
pub(super) struct KvsRequest {
    /// CloudWatch's name, the metric's label.
    pub(super) api: &'static str,
    /// The stream's name, for labels and quotas.
    pub(super) stream: Option<StreamName>,
    pub(super) destination: Destination,
    pub(super) body: Bytes,
    pub(super) limits: Limits,
    pub(super) expects: Expects,
    pub(super) cost: Cost,
    /// The principal whose turn it takes if requests have to wait.
    pub(super) principal: Arc<str>,
}

/// Where a request goes.
#[derive(Clone)]
pub(super) enum Destination {
    /// The control plane.
    Control { path: &'static str },
    /// The host that GetDataEndpoint names.
    Data { path: &'static str, api: ApiName, stream: StreamRef },
    /// A playback resource: a GET on a session's host, with a token in its query and no signature.
    Playback { origin: Origin, path_and_query: String },
}

/// Up to this size a JSON answer is held back whole, so that a cut one can be requested again unnoticed.
pub(super) const SMALL_JSON: usize = 1 << 20;
/// Pictures in JSON are too large for that.
const IMAGES_HEAD: usize = 4 << 10;
/// Sent with every request instead of the client's own.
const USER_AGENT: &str = concat!("kvs-edge/", env!("CARGO_PKG_VERSION"));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl KvsRequest {
    /// What a call of the API needs.
    pub(super) fn of_call(config: &Config, call: &Call, principal: &str) -> Self {
        let operation = call.operation();
        let (first_byte, whole) = match operation {
            Operation::GetClip => (config.clip_first_byte, config.download_deadline),
            Operation::GetMediaForFragmentList | Operation::GetImages => {
                (config.first_byte, config.download_deadline)
            }
            _ => (config.first_byte, config.api_deadline),
        };
        let expects = match operation {
            Operation::GetClip => Expects::Media(MediaFormat::Mp4),
            Operation::GetMediaForFragmentList => Expects::Mkv,
            Operation::GetImages => Expects::Json(IMAGES_HEAD),
            _ => Expects::Json(SMALL_JSON),
        };
        let destination = match (operation.api_name(), call.stream()) {
            (Some(api), Some(stream)) => {
                Destination::Data { path: operation.path(), api, stream: stream.clone() }
            }
            _ => Destination::Control { path: operation.path() },
        };
        Self {
            api: operation.name(),
            stream: call.stream().map(|stream| stream.name().clone()),
            destination,
            body: call.body(),
            limits: config.limits(first_byte, whole),
            expects,
            cost: Cost::of_call(call),
            principal: principal.into(),
        }
    }

    /// As HTTP, made from scratch: nothing of a client's request is in it. It is not signed yet.
    pub(super) fn http(&self, origin: &Origin) -> Result<Request<Bytes>, Error> {
        let (method, path) = match &self.destination {
            Destination::Control { path } | Destination::Data { path, .. } => (Method::POST, *path),
            Destination::Playback { path_and_query, .. } => (Method::GET, path_and_query.as_str()),
        };
        let is_post = method == Method::POST;
        let uri =
            origin.uri(path).ok_or_else(|| Error::BrokenAnswer("the address cannot be built".into()))?;
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if is_post {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }
}
