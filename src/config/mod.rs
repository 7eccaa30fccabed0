//! The whole configuration file, one field per part; each part owns its section and checks it.
//!
//! `load` reads and places faults; this file only gathers. A test holds `config/kvs-edge.toml`, which explains every
//! setting, to the defaults in code.

mod load;

pub use load::{ENVIRONMENT_PREFIX, Refused, Source};

use crate::setting::Mistake;
use crate::{admin, cache, identity, net, playback, policy, sessions, telemetry, upstream};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Every setting.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, as whom, behind whom.
    pub server: net::listener::ServerConfig,
    /// What one peer may take.
    pub limits: net::listener::Limits,
    /// The listener for operators.
    pub admin: admin::Config,
    /// Accounts and regions.
    pub aws: Vec<upstream::EntryConfig>,
    /// How KVS is called.
    pub upstream: upstream::Config,
    /// Who vouches for callers.
    pub issuer: Vec<identity::IssuerConfig>,
    /// Where tokens stand in a request.
    pub identity: identity::Config,
    /// What callers may do.
    pub policy: policy::Config,
    /// Playback URLs.
    pub playback: playback::Config,
    /// Shared playback sessions.
    pub sessions: sessions::Config,
    /// Media bytes.
    pub cache: cache::Config,
    /// How many series there may be.
    pub metrics: telemetry::metrics::Config,
    /// Log and audit.
    pub log: telemetry::log::Config,
}

impl Config {
    /// Reads and checks a file, without looking at anything beyond it: no secret is read, nobody is called.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(source: &Source) -> Result<Self, Refused> {
        let mut config: Self = source.parse()?;
        config.resolve(source.folder());
        let mistakes = config.check();
        if mistakes.is_empty() { Ok(config) } else { Err(source.locate(&mistakes)) }
    }

    /// Makes relative paths start at the file's folder.
    fn resolve(&mut self, folder: &Path) {
        self.server.resolve(folder);
        self.aws.iter_mut().for_each(|entry| entry.resolve(folder));
        self.issuer.iter_mut().for_each(|issuer| issuer.resolve(folder));
        self.policy.resolve(folder);
        self.playback.resolve(folder);
        self.cache.resolve(folder);
        self.log.resolve(folder);
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = self.server.check();
        mistakes.extend(self.limits.check());
        mistakes.extend(self.admin.check());
        if self.aws.is_empty() {
            let how = "there is no [[aws]] entry: write one with name, region and streams, so that there is a KVS to ask";
            mistakes.push(Mistake::at("aws", how));
        }
        upstream::check(&self.aws, &mut mistakes);
        self.upstream.check(&mut mistakes);
        if self.issuer.is_empty() {
            let how = "there is no [[issuer]] entry: write one with issuer, audience, algorithms and jwks, so that \
                       somebody can be recognized";
            mistakes.push(Mistake::at("issuer", how));
        }
        identity::IssuerConfig::check_all(&self.issuer, &mut mistakes);
        self.identity.check(&mut mistakes);
        mistakes.extend(self.policy.check());
        mistakes.extend(self.playback.check());
        self.cache.check(&mut mistakes);
        mistakes.extend(self.log.check());
        mistakes
    }

    /// The effective settings as TOML. Secrets are named by where they are kept, so there is nothing to hide.
    ///
    /// # Errors
    /// Never in practice: every setting has a TOML form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}
