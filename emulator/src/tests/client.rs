//! A small client: signs with `aws-sigv4`, sends over a new connection and reads the response.

use super::*;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::SystemTime;
use tokio::net::TcpStream;

/// An emulator for one test.
pub(super) struct Kvs {
    pub(super) emulator: Emulator,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) content_type: &'static str,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) token: Option<String>,
    pub(super) time: Option<SystemTime>,
}

/// A response; `broken` if its body ended early.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) broken: bool,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error's name, without its tail.
    pub(super) fn kind(&self) -> String {
        let kind = self.headers.get("x-amzn-errortype").map_or("", |kind| kind.to_str().unwrap());
        kind.split(':').next().unwrap().to_owned()
    }
}

impl Kvs {
    pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { listen: "127.0.0.1:0".parse().unwrap(), allow_faults: true, ..Config::default() };
        change(&mut config);
        let (region, access_key) = (config.region.clone(), config.access_key.clone());
        let secret_key = config.secret_key.clone();
        let emulator = start(config).await.unwrap();
        let (service, content_type) = ("kinesisvideo".into(), "application/json");
        Self { emulator, region, service, content_type, access_key, secret_key, token: None, time: None }
    }

    /// A signed call.
    pub(super) async fn call(&self, path: &str, body: Value) -> Reply {
        self.call_at(&self.emulator.url(), path, body).await
    }

    pub(super) async fn call_at(&self, url: &str, path: &str, body: Value) -> Reply {
        let body = body.to_string();
        self.try_send(self.signed(url, path, body)).await.unwrap()
    }

    /// A signed call that may get no answer at all.
    pub(super) async fn try_call(&self, path: &str, body: Value) -> Result<Reply, hyper::Error> {
        self.try_send(self.signed(&self.emulator.url(), path, body.to_string())).await
    }

    pub(super) fn signed(&self, url: &str, path: &str, body: String) -> Request<Full<Bytes>> {
        let credentials =
            Credentials::new(&self.access_key, &self.secret_key, self.token.clone(), None, "test");
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.time.unwrap_or_else(SystemTime::now))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("{url}{path}");
        let headers = [("content-type", self.content_type)];
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &uri, headers.into_iter(), signable).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut request = Request::post(&uri)
            .header("content-type", self.content_type)
            .body(Full::from(body.clone()))
            .unwrap();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    pub(super) async fn get(&self, url: &str) -> Reply {
        self.try_send(Request::get(url).body(Full::default()).unwrap()).await.unwrap()
    }

    /// A request under `/_emulator/`.
    pub(super) async fn admin(&self, method: Method, path: &str, body: Value) -> Reply {
        let uri = format!("{}/_emulator/{path}", self.emulator.url());
        let request = Request::builder().method(method).uri(uri).body(Full::from(body.to_string())).unwrap();
        self.try_send(request).await.unwrap()
    }

    pub(super) async fn fault(&self, rule: Value) {
        let reply = self.admin(Method::POST, "faults", rule).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    pub(super) async fn requests(&self) -> Value {
        self.admin(Method::GET, "requests", Value::Null).await.json()
    }

    pub(super) async fn try_send(&self, mut request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        let uri = request.uri().clone();
        let authority = uri.authority().unwrap().to_string();
        let stream = TcpStream::connect(&authority).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        request.headers_mut().entry("host").or_insert(authority.parse().unwrap());
        *request.uri_mut() = uri.path_and_query().unwrap().as_str().parse().unwrap();
        let (parts, mut body) = sender.send_request(request).await?.into_parts();
        let mut bytes = Vec::new();
        let mut broken = false;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        driver.abort();
        Ok(Reply { status: parts.status, headers: parts.headers, body: bytes.into(), broken })
    }

    /// Opens a session and gives its URL.
    pub(super) async fn open(&self, body: Value) -> String {
        let reply = self.call("/getHLSStreamingSessionURL", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["HLSStreamingSessionURL"].as_str().unwrap().to_owned()
    }
}

/// Seconds since the epoch, so many before now.
pub(super) fn ago(seconds: f64) -> f64 {
    clock::now() as f64 / 1000.0 - seconds
}
