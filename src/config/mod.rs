//! The whole configuration file, one field per part; each part owns its section and checks it.
//!
//! `load` reads the file and locates faults; this file gathers the sections. A test compares
//! `config/kvs-edge.toml`, which explains every setting, with the defaults in code.

mod environment;
mod load;
mod position;
mod warnings;
mod wording;

pub use environment::ENVIRONMENT_PREFIX;
pub use load::{ConfigSource, InvalidConfig};

use crate::setting::Mistake;
use crate::{
    accounting, admin, cache, identity, net, playback, policy, sessions, sign_in, telemetry, upstream,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Every setting.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, public URL, TLS, trusted proxies.
    pub server: net::listener::ServerConfig,
    /// Bounds on requests and connections.
    pub limits: net::listener::Limits,
    /// The listener for operators.
    pub admin: admin::Config,
    /// Accounts and regions.
    pub aws: Vec<upstream::EntryConfig>,
    /// How KVS is called.
    pub upstream: upstream::Config,
    /// Issuers of callers' tokens.
    pub issuer: Vec<identity::IssuerConfig>,
    /// Where a request has its token.
    pub identity: identity::Config,
    /// What callers are permitted to do.
    pub policy: policy::Config,
    /// Playback URLs.
    pub playback: playback::Config,
    /// Rates per caller.
    pub rates: accounting::rates::Config,
    /// Shared playback sessions.
    pub sessions: sessions::Config,
    /// Media bytes.
    pub cache: cache::Config,
    /// How many series there may be.
    pub metrics: telemetry::metrics::Config,
    /// Spans for a collector.
    pub trace: telemetry::spans::Config,
    /// Log and audit.
    pub log: telemetry::log::Config,
}

impl Config {
    /// Reads and checks a file and nothing beyond it: no secret is read and no request is made.
    ///
    /// # Errors
    /// All faults, each with its position.
    pub fn load(source: &ConfigSource) -> Result<Self, InvalidConfig> {
        let mut config: Self = source.parse()?;
        config.resolve(source.folder());
        let mistakes = config.check();
        if mistakes.is_empty() { Ok(config) } else { Err(source.locate(&mistakes)) }
    }

    /// Makes relative paths start at the file's folder.
    fn resolve(&mut self, folder: &Path) {
        self.server.resolve(folder);
        self.aws.iter_mut().for_each(|entry| entry.resolve(folder));
        self.upstream.resolve(folder);
        self.issuer.iter_mut().for_each(|issuer| issuer.resolve(folder));
        identity::IssuerConfig::complete(&mut self.issuer);
        self.policy.resolve(folder);
        self.playback.resolve(folder);
        self.sessions.resolve(folder);
        self.cache.resolve(folder);
        self.log.resolve(folder);
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = self.server.check();
        mistakes.extend(self.limits.check());
        mistakes.extend(self.admin.check());
        if self.aws.is_empty() {
            let how = "there is no [[aws]] entry: write one with name, region and streams";
            mistakes.push(Mistake::at("aws", how));
        }
        upstream::check(&self.aws, &mut mistakes);
        self.upstream.check(&mut mistakes);
        if self.issuer.is_empty() {
            let how = "there is no [[issuer]] entry: write one with issuer, audience, algorithms and jwks";
            mistakes.push(Mistake::at("issuer", how));
        }
        identity::IssuerConfig::check_all(&self.issuer, &mut mistakes);
        identity::IssuerConfig::check_places(&self.issuer, &self.identity, &mut mistakes);
        self.identity.check(&mut mistakes);
        sign_in::check(&self.issuer, &self.server.public_url, &mut mistakes);
        mistakes.extend(self.policy.check());
        mistakes.extend(self.playback.check());
        self.cache.check(&mut mistakes);
        mistakes.extend(self.rates.check());
        mistakes.extend(self.trace.check());
        mistakes.extend(self.log.check());
        self.check_audit_claims(&mut mistakes);
        if self.cache.shared.is_some() && self.playback.keys.is_empty() {
            let how = "is empty, and [cache.shared] seals with it: write [\"env:KVS_EDGE_PLAYBACK_KEY\"], the same \
                       on all replicas, made by `openssl rand -base64 32`";
            mistakes.push(Mistake::at("playback.keys", how));
        }
        mistakes
    }

    /// A claim that no issuer maps would never be shown.
    fn check_audit_claims(&self, mistakes: &mut Vec<Mistake>) {
        for (index, name) in self.log.audit_claims.iter().enumerate() {
            let mut mapped = self.issuer.iter().flat_map(|issuer| issuer.claims.attributes());
            if !mapped.any(|(attribute, _)| attribute == name) {
                let how = format!("no issuer maps `{name}`; write {name} = \"/…\" in [issuer.claims]");
                mistakes.push(Mistake::at(format!("log.audit_claims[{index}]"), how));
            }
        }
    }

    /// Every other file that the settings name and that can be replaced under its name. Policies are not
    /// among them, because their patterns have to be expanded, and neither are key sets, which `identity`
    /// watches.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let issuers = self.issuer.iter().filter_map(|issuer| issuer.secret.as_ref());
        let accounts = self.aws.iter().flat_map(|entry| [&entry.access_key_id, &entry.secret_access_key]);
        let secrets = issuers.chain(accounts.flatten()).chain(&self.playback.keys).chain(&self.upstream.ca);
        let certificates = self.server.tls.as_ref().map(net::tls::Config::files).unwrap_or_default();
        secrets.filter_map(|secret| secret.file().map(Path::to_owned)).chain(certificates).collect()
    }

    /// The effective settings as TOML. Secrets appear as the names of their files or variables.
    ///
    /// # Errors
    /// Never in practice: every setting has a TOML form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that explains every setting says the defaults that are in the code, and leaves none out.
    #[test]
    fn the_explained_file_is_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kvs-edge.toml");
        let source = ConfigSource::read(&path, std::iter::empty()).unwrap();
        let written: toml::Table = source.parse().unwrap();
        let mut config: Config = source.parse().unwrap();
        let explained = toml::Table::try_from(&config).unwrap();
        // Without a default, or an example in the file: there is nothing to compare.
        (config.aws, config.issuer) = (Vec::new(), Vec::new());
        (config.policy, config.playback.keys) = (policy::Config::default(), Vec::new());
        assert_eq!(config, Config::default());
        for (section, settings) in &explained {
            let settings = settings.as_table().or_else(|| settings.as_array()?.first()?.as_table()).unwrap();
            let written = written.get(section).unwrap_or_else(|| panic!("[{section}] is not explained"));
            let written = written.as_table().or_else(|| written.as_array()?.first()?.as_table()).unwrap();
            for key in settings.keys() {
                let shown = written.contains_key(key) || source.mentions(key);
                assert!(shown, "{section}.{key} is not explained in config/kvs-edge.toml");
            }
        }
    }

    #[test]
    fn audit_claims_are_those_that_issuers_map() {
        let text = "log.audit_claims = ['email', 'mail']\n[[issuer]]\nissuer = 'https://login.example.com/'\n\
                    claims = { email = '/email' }";
        let config: Config = toml::from_str(text).unwrap();
        let mut mistakes = Vec::new();
        config.check_audit_claims(&mut mistakes);
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].problem.contains("no issuer maps `mail`"), "{mistakes:?}");
    }

    #[test]
    fn an_empty_file_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.toml");
        std::fs::write(&path, "").unwrap();
        let source = ConfigSource::read(&path, std::iter::empty()).unwrap();
        let refused = Config::load(&source).unwrap_err().to_string();
        assert!(refused.contains("no [[aws]] entry") && refused.contains("no [[issuer]] entry"), "{refused}");
    }
}
