//! Lends the program's own HTTP client to AWS's credential chain, so that no second HTTP and TLS stack is
//! built.

use crate::net::client::{self, Client, Limits};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Sends one small request within a bound of time. The metadata endpoints of EC2 and ECS are plain HTTP, so
/// it has to allow that. An error says whether it is worth another try.
pub type Transport = Arc<
    dyn Fn(
            http::Request<Bytes>,
            Duration,
        ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send>>
        + Send
        + Sync,
>;

/// Why a request of the chain got no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("{0}")]
    Broken(String),
    /// Too late.
    #[error("{0}")]
    Late(String),
}

/// The transport over a client, which must allow plain HTTP.
pub fn transport(client: Client) -> Transport {
    Arc::new(move |request, limit: Duration| {
        let client = client.clone();
        Box::pin(async move {
            let limits = Limits { first_byte: limit, between_bytes: limit, whole: limit };
            client.fetch(request, SMALL, &limits).await.map_err(|error| match error {
                client::Error::Late(_) => TransportError::Late(error.to_string()),
                _ => TransportError::Broken(error.to_string()),
            })
        })
    })
}

/// The most that a metadata or STS endpoint may answer.
const SMALL: usize = 256 << 10;

/// What the chain gets.
#[derive(Clone)]
pub(super) struct SmithyConnector {
    transport: Transport,
    limit: Duration,
}

impl SmithyConnector {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, limit: Duration::from_secs(5) }
    }
}

impl std::fmt::Debug for SmithyConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmithyConnector")
    }
}

impl HttpConnector for SmithyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            match (this.transport)(http::Request::from_parts(parts, body), this.limit).await {
                Ok(response) => HttpResponse::try_from(response.map(SdkBody::from))
                    .map_err(|e| ConnectorError::other(e.into(), None)),
                Err(error @ TransportError::Late(_)) => Err(ConnectorError::timeout(error.into())),
                Err(error @ TransportError::Broken(_)) => Err(ConnectorError::io(error.into())),
            }
        })
    }
}

impl HttpClient for SmithyConnector {
    fn http_connector(&self, asked: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        // The metadata client asks for 1 s + 1 s, so that a machine outside EC2 is not held up.
        let limit = asked.connect_timeout().zip(asked.read_timeout()).map(|(connect, read)| connect + read);
        SharedHttpConnector::new(Self { limit: limit.unwrap_or(self.limit), ..self.clone() })
    }
}
