//! `[upstream]`: how KVS is called.

use crate::net::client::Limits;
use crate::setting::{Mistake, SecretSource, Span};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `[upstream]`: how KVS is called. All of it has defaults that need no change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Certificates of a private authority in PEM, trusted beside the system's: of an endpoint, or of a proxy
    /// that opens TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretSource>,
    /// Bound on connecting, TLS included.
    pub connect_timeout: Span,
    /// Bound on the wait for the first byte of an answer.
    pub first_byte: Span,
    /// The same for GetClip, which is packaged before it begins.
    pub clip_first_byte: Span,
    /// Bound on the wait between two chunks of an answer.
    pub between_bytes: Span,
    /// Whole calls, retries included, that answer with JSON.
    pub api_deadline: Span,
    /// Whole downloads: GetClip, GetMediaForFragmentList, GetImages.
    pub download_deadline: Span,
    /// Whole playlists and manifests; players request the next one soon.
    pub playlist_deadline: Span,
    /// Whole init and media segments.
    pub playback_deadline: Span,
    /// How long an unused connection is kept, which bounds how long a change of DNS goes unnoticed.
    pub idle: Span,
    /// How many unused connections are kept per endpoint.
    pub connections: usize,
    /// How long an endpoint from GetDataEndpoint is used before it is looked up again.
    pub endpoint_ttl: Span,
    /// How long a stream's description is used before it is requested again.
    pub describe_ttl: Span,
    /// How long a request may wait for its turn under KVS's quotas before it is refused.
    pub queue_wait: Span,
    /// How often a call that failed on the way or with KVS's own trouble is tried again.
    pub retries: u32,
    /// How often a throttled call is tried again.
    pub throttle_retries: u32,
    /// Retries per hundred calls that are paid for; beyond it failures are passed on.
    pub retry_budget_percent: u32,
    /// So many failures in a row open an endpoint's circuit breaker.
    pub breaker_failures: u32,
    /// How long an open breaker refuses before it lets one probe through; doubles up to thirty times this.
    pub breaker_pause: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ca: None,
            connect_timeout: Span::seconds(3),
            first_byte: Span::seconds(10),
            clip_first_byte: Span::seconds(30),
            between_bytes: Span::seconds(15),
            api_deadline: Span::seconds(30),
            download_deadline: Span::seconds(600),
            playlist_deadline: Span::seconds(5),
            playback_deadline: Span::seconds(60),
            idle: Span::seconds(20),
            connections: 64,
            endpoint_ttl: Span::seconds(40 * 60),
            describe_ttl: Span::seconds(5 * 60),
            queue_wait: Span::seconds(5),
            retries: 2,
            throttle_retries: 5,
            retry_budget_percent: 20,
            breaker_failures: 5,
            breaker_pause: Span::seconds(1),
        }
    }
}

impl Config {
    /// The bounds of one request.
    pub(super) fn limits(&self, first_byte: Span, whole: Span) -> Limits {
        Limits { first_byte: first_byte.0, between_bytes: self.between_bytes.0, whole: whole.0 }
    }

    /// Makes relative paths start at the configuration file's folder.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(ca) = &mut self.ca {
            ca.resolve(folder);
        }
    }

    /// Adds what is wrong with the section.
    pub fn check(&self, mistakes: &mut Vec<Mistake>) {
        for (key, span) in [
            ("connect_timeout", self.connect_timeout),
            ("first_byte", self.first_byte),
            ("clip_first_byte", self.clip_first_byte),
            ("between_bytes", self.between_bytes),
            ("api_deadline", self.api_deadline),
            ("download_deadline", self.download_deadline),
            ("playlist_deadline", self.playlist_deadline),
            ("playback_deadline", self.playback_deadline),
            ("endpoint_ttl", self.endpoint_ttl),
            ("breaker_pause", self.breaker_pause),
        ] {
            if span.0.is_zero() {
                mistakes.push(Mistake::at(
                    format!("upstream.{key}"),
                    "must be longer than 0; write for example 10s",
                ));
            }
        }
        if self.breaker_failures == 0 {
            mistakes.push(Mistake::at("upstream.breaker_failures", "must be at least 1"));
        }
        for (key, value, most) in
            [("retries", self.retries, 10), ("throttle_retries", self.throttle_retries, 20)]
        {
            if value > most {
                mistakes.push(Mistake::at(format!("upstream.{key}"), format!("must be at most {most}")));
            }
        }
    }
}
