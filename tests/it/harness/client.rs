//! A plain HTTP client that shows everything of an answer.

use bytes::Bytes;
use http_body_util::BodyExt;
use kvs_edge::net::client::{Client, Limits, Options};
use serde_json::Value;
use std::time::Duration;

#[derive(Clone)]
pub struct Http(Client);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    /// The body ended early: the connection was cut, or fewer bytes came than were announced.
    pub broken: bool,
}

impl Http {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self(Client::new(Options { allow_http: true, ..Options::default() }).unwrap())
    }

    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", url, headers, String::new()).await
    }

    pub async fn post(&self, url: &str, headers: &[(&str, &str)], body: String) -> Answer {
        self.send("POST", url, headers, body).await
    }

    pub async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(request.body(body.into()).unwrap()).await
    }

    pub async fn exchange(&self, request: http::Request<Bytes>) -> Answer {
        let limits = Limits {
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
            whole: Duration::from_secs(120),
        };
        let shown = format!("{} {}", request.method(), request.uri());
        let answer = self.0.send(request, &limits).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (parts, mut body) = answer.into_parts();
        let (mut bytes, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes.into(), broken }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The path that a redirect leads to, which is an absolute URL.
    pub fn location(&self) -> String {
        let url: http::Uri = self.header("location").expect("a redirect").parse().unwrap();
        assert!(url.scheme().is_some() && url.host().is_some(), "{url}");
        url.path_and_query().unwrap().to_string()
    }

    /// The message of an error in KVS's shape.
    pub fn message(&self) -> String {
        self.json()["Message"].as_str().unwrap_or_default().to_owned()
    }

    /// The exception's name.
    pub fn kind(&self) -> &str {
        self.header("x-amzn-errortype").unwrap_or_default()
    }
}
