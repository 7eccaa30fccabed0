//! The AWS SDK for Rust, unmodified: kvs-edge is an `endpoint_url` in a profile, the JWT is the session token.
//!
//! The SDK is built without an HTTP client of its own and borrows the harness's, as it would any other.

use crate::harness::{Http, Setup};
use aws_config::BehaviorVersion;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_kinesisvideo::Client as Control;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ClipFragmentSelector, ClipFragmentSelectorType, ClipTimestampRange, FragmentSelector,
    FragmentSelectorType, HlsPlaybackMode, TimestampRange,
};
use aws_sdk_kinesisvideoarchivedmedia::{Client as Media, error::ProvideErrorMetadata, primitives::DateTime};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use kvs_edge::kvs::Timestamp;
use kvs_edge::net::client::{Client, Limits, Options};
use serde_json::json;

#[derive(Clone)]
pub struct Lent(pub Client);

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lent")
    }
}

impl HttpConnector for Lent {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let request = http::Request::from_parts(parts, body);
            match client.fetch(request, 64 << 20, &Limits::default()).await {
                Ok(answer) => HttpResponse::try_from(answer.map(SdkBody::from))
                    .map_err(|error| ConnectorError::other(error.into(), None)),
                Err(error) => Err(ConnectorError::io(error.to_string().into())),
            }
        })
    }
}

impl HttpClient for Lent {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// The documented two steps, with nothing but a profile.
async fn clients(url: &str, token: &str) -> (Control, Media) {
    let profile = format!(
        "[default]\nregion = eu-west-1\nendpoint_url = {url}\naws_access_key_id = kvsedge\n\
         aws_secret_access_key = kvsedge\naws_session_token = {token}\n"
    );
    let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, profile).build();
    let lent = Lent(Client::new(Options { allow_http: true, ..Options::default() }).unwrap());
    let config =
        aws_config::defaults(BehaviorVersion::latest()).profile_files(files).http_client(lent).load().await;
    let control = Control::new(&config);
    let endpoint = control.get_data_endpoint().stream_name("cam-1").api_name(ApiName::GetClip).send().await;
    let endpoint = endpoint.unwrap().data_endpoint.unwrap();
    assert_eq!(endpoint, url);
    let config = aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(&config).endpoint_url(endpoint);
    (control, Media::from_conf(config.build()))
}

fn ago(seconds: i64) -> DateTime {
    DateTime::from_secs(
        i64::try_from(Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000).unwrap() - seconds,
    )
}

fn range(start: i64, end: i64) -> ClipFragmentSelector {
    let range = ClipTimestampRange::builder().start_timestamp(ago(start)).end_timestamp(ago(end)).build();
    ClipFragmentSelector::builder()
        .fragment_selector_type(ClipFragmentSelectorType::ServerTimestamp)
        .timestamp_range(range.unwrap())
        .build()
        .unwrap()
}

/// Clips, pages of fragments, media and a playback URL.
pub async fn plays_downloads_and_pages(url: &str, alice: &str) {
    let (_, media) = clients(url, alice).await;
    let clip = media.get_clip().stream_name("cam-1").clip_fragment_selector(range(110, 90)).send().await;
    assert!(clip.unwrap().payload.collect().await.unwrap().into_bytes().len() > 50_000);
    let times = TimestampRange::builder().start_timestamp(ago(110)).end_timestamp(ago(90)).build().unwrap();
    let selector = FragmentSelector::builder()
        .fragment_selector_type(FragmentSelectorType::ServerTimestamp)
        .timestamp_range(times)
        .build()
        .unwrap();
    let mut pages = media
        .list_fragments()
        .stream_name("cam-1")
        .fragment_selector(selector)
        .into_paginator()
        .page_size(4)
        .items()
        .send();
    let mut numbers = Vec::new();
    while let Some(fragment) = pages.next().await {
        numbers.push(fragment.unwrap().fragment_number.unwrap());
    }
    assert!(numbers.len() >= 9, "{numbers:?}");
    let mkv = media.get_media_for_fragment_list().stream_name("cam-1").fragments(&numbers[0]).send().await;
    assert!(
        mkv.unwrap().payload.collect().await.unwrap().into_bytes().starts_with(&[0x1a, 0x45, 0xdf, 0xa3])
    );
    let live =
        media.get_hls_streaming_session_url().stream_name("cam-1").playback_mode(HlsPlaybackMode::Live);
    let url = live.send().await.unwrap().hls_streaming_session_url.unwrap();
    assert_eq!(Http::new().get(&url, &[]).await.status, 200);
}

/// Denied, not found, invalid and, where KVS throttles clips of cam-2, throttled.
pub async fn raises_its_exceptions(url: &str, alice: &str, bob: &str) {
    let (control, media) = clients(url, alice).await;
    let missing = control.describe_stream().stream_name("cam-9").send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
    let invalid = media.get_clip().stream_name("cam-1").clip_fragment_selector(range(90, 110)).send().await;
    let invalid = invalid.unwrap_err().into_service_error();
    assert!(invalid.is_invalid_argument_exception(), "{invalid:?}");
    let throttled = media.get_clip().stream_name("cam-2").clip_fragment_selector(range(110, 90)).send().await;
    let throttled = throttled.unwrap_err();
    assert_eq!(throttled.raw_response().unwrap().status().as_u16(), 429);
    assert_eq!(throttled.into_service_error().code(), Some("ThrottlingException"));

    let (_, bob) = clients(url, bob).await;
    let denied = bob.get_clip().stream_name("cam-1").clip_fragment_selector(range(110, 90)).send().await;
    let denied = denied.unwrap_err();
    assert_eq!(denied.raw_response().unwrap().status().as_u16(), 403);
    let denied = denied.into_service_error();
    assert!(denied.is_not_authorized_exception());
    let words = "not authorized to perform kinesisvideo:GetClip on stream cam-1";
    assert_eq!(denied.meta().message(), Some(words));
}

#[tokio::test]
async fn it_plays_downloads_pages_and_gets_its_own_exceptions() {
    let edge = Setup::default().reachable().setting("UPSTREAM__THROTTLE_RETRIES", "0").start().await;
    plays_downloads_and_pages(&edge.url, &edge.alice()).await;
    let throttled = json!({"kind": "status", "status": 400, "type": "ClientLimitExceededException"});
    edge.fault(json!({"operation": "GetClip", "stream": "cam-2", "fault": throttled})).await;
    raises_its_exceptions(&edge.url, &edge.alice(), &edge.bob()).await;
    let tries = edge.metric("kvs_edge_requests_total", &[r#"api="GetClip""#, r#"code="429""#]).await;
    assert_eq!(tries, 3.0, "the SDK tries three times, at our word");
}
