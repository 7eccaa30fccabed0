//! This replica in its fleet: how it signs in to the shared store, and what it says of itself there.

use crate::aws;
use crate::aws::connect_token::{ConnectTo, connect_token};
use crate::aws::credentials::{self, CredentialsSource};
use crate::base::{clock, hex};
use crate::config::Config;
use crate::fleet::{Replica, Store, TokenSource};
use crate::gateway::Gateway;
use crate::net::client::{Client, Options};
use crate::setting::Secret;
use crate::{cache, net, telemetry};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// How tokens for the store are made, if `iam` is set. Nothing is fetched before the first one.
pub(super) fn token_source(config: &Config) -> Option<TokenSource> {
    let shared = config.cache.shared.as_ref()?;
    let iam = shared.iam.as_ref()?;
    let first = config.aws.first().map(|entry| entry.region.clone());
    let to = Arc::new(ConnectTo {
        service: if iam.memorydb { "memorydb" } else { "elasticache" },
        region: iam.region.clone().or(first).unwrap_or_default(),
        cache: iam.cache.clone(),
        user: iam.user.clone(),
        serverless: iam.serverless,
    });
    let provider: Arc<OnceCell<SharedCredentialsProvider>> = Arc::default();
    Some(Arc::new(move || {
        let (to, provider) = (to.clone(), provider.clone());
        Box::pin(async move {
            let provider = provider.get_or_try_init(|| chain(&to.region)).await?;
            let keys = provider.provide_credentials().await.map_err(|error| error.to_string())?;
            let token = connect_token(&to, &keys, clock::now())?;
            Ok((to.user.clone(), Secret::new(token.into_bytes())))
        })
    }))
}

async fn chain(region: &str) -> Result<SharedCredentialsProvider, String> {
    // The metadata endpoints of EC2 and ECS are plain HTTP.
    let options = Options { allow_http: true, ..Options::default() };
    let client = Client::new(options).map_err(|error| error.to_string())?;
    let source = CredentialsSource { region: region.to_owned(), ..CredentialsSource::default() };
    let provider = credentials::provider(&source, aws::transport(client)).await;
    provider.map_err(|error| error.to_string())
}

/// What this replica says of itself.
pub(super) fn description(
    config: &Config,
    gateway: &Gateway,
    store: &Store,
    addresses: &[SocketAddr],
) -> Replica {
    let host = std::env::var("HOSTNAME").map(|name| format!("{name} ")).unwrap_or_default();
    let address = addresses.first().map(SocketAddr::to_string).unwrap_or_default();
    let mut keys = store.key_ids();
    keys.sort_unstable();
    Replica {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: format!("{host}{address}"),
        settings: settings_digest(config),
        policies: gateway.policy().version().to_string(),
        keys: digest(keys.concat().as_slice()),
    }
}

/// A digest of the settings that must be the same on all replicas: without addresses, logs, and what each
/// keeps for itself.
fn settings_digest(config: &Config) -> String {
    let mut config = config.clone();
    config.server.listen = net::listener::ServerConfig::default().listen;
    config.server.tls = None;
    config.admin = crate::admin::Config::default();
    config.log = telemetry::log::Config::default();
    config.trace = telemetry::spans::Config::default();
    config.metrics = telemetry::metrics::Config::default();
    config.sessions.state = None;
    let own = cache::Config::default();
    (config.cache.memory, config.cache.disk) = (own.memory, None);
    digest(config.to_toml().unwrap_or_default().as_bytes())
}

fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hex::encode(&digest.as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_by_what_players_could_notice_and_not_by_where_a_replica_runs() {
        let one = Config::default();
        let mut other = Config::default();
        other.cache.memory = crate::setting::ByteSize(1 << 30);
        other.log.level = "debug".to_owned();
        other.sessions.state = Some("elsewhere.json".into());
        assert_eq!(settings_digest(&one), settings_digest(&other));
        other.playback.live_window += 1;
        assert_ne!(settings_digest(&one), settings_digest(&other));
    }
}
