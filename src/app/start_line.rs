//! The line that a start ends with: what is served, where, and by which settings.

use super::program::App;
use crate::base::version;
use std::net::SocketAddr;

/// Logs that the program serves.
pub(super) fn log(app: &App, listen: &[SocketAddr], admin: &[SocketAddr]) {
    let (config, gateway) = (app.config(), app.gateway());
    let accounts: Vec<&str> = config.aws.iter().map(|entry| entry.name.as_str()).collect();
    let issuers: Vec<&str> = config.issuer.iter().map(|issuer| issuer.name()).collect();
    tracing::info!(
        version = version::LONG,
        config = %app.source.path().display(),
        ?listen,
        ?admin,
        tls = config.server.tls.is_some(),
        public_url = %config.server.public_url,
        ?issuers,
        policy = &**gateway.policy().version(),
        aws = ?accounts,
        "serving"
    );
}
