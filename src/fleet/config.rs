//! The settings of the store that replicas share, table `[cache.shared]`.

use super::address::Address;
use super::s3;
use crate::setting::{ByteSize, Mistake, SecretSource, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the store is, how replicas sign in, and what they keep in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address of the store: `rediss://user@host:6379`. Any node of a cluster does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Address>,
    /// Several addresses instead of one: nodes of a cluster, or sentinels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Address>,
    /// What answers there.
    #[serde(default)]
    pub mode: Mode,
    /// The name that sentinels know the primary by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// The password of the user in `url`, or of the default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// The password of sentinels, if they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<SecretSource>,
    /// Sign in to ElastiCache or MemoryDB with AWS credentials instead of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam: Option<IamConfig>,
    /// Certificates to trust, in PEM, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Allows a connection without TLS to another machine.
    #[serde(default)]
    pub insecure: bool,
    /// What the names of all keys begin with: fleets with different prefixes share nothing.
    #[serde(default = "Config::prefix")]
    pub prefix: String,
    /// How long an operation on state may take before the request goes on without it.
    #[serde(default = "Config::timeout")]
    pub timeout: Span,
    /// How long a look for an object may take before it is a miss.
    #[serde(default = "Config::object_timeout")]
    pub object_timeout: Span,
    /// The largest body that is kept in the store itself; 0 keeps state only.
    #[serde(default = "Config::object_limit")]
    pub object_limit: ByteSize,
    /// When fragments of live streams are kept.
    #[serde(default)]
    pub live: Live,
    /// When replicas of the store are read.
    #[serde(default)]
    pub replica_reads: ReplicaReads,
    /// What happens to media while the log of purges cannot be read.
    #[serde(default)]
    pub purge: Purge,
    /// Storage for large objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<s3::Config>,
}

/// What answers at the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One server.
    #[default]
    Standalone,
    /// A cluster.
    Cluster,
    /// Sentinels, which know the primary.
    Sentinel,
}

/// When fragments of live streams are kept in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Live {
    /// While at least two replicas have viewers of the stream.
    #[default]
    WatchedTwice,
    /// Always.
    Shared,
    /// Never.
    No,
}

/// When replicas of the store are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaReads {
    /// While their primary does not answer.
    #[default]
    Failover,
    /// Never: ElastiCache Serverless has none to read.
    Never,
}

/// What happens to media while the log of purges cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purge {
    /// It is served; a purge takes effect when the log can be read again.
    #[default]
    Open,
    /// It is refused once the log has not been read for 10 s.
    Closed,
}

/// How a token is made from AWS credentials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IamConfig {
    /// The name of the cache or replication group.
    pub cache: String,
    /// The user in the store.
    pub user: String,
    /// The region of the cache; absent: that of the first `[[aws]]` entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// True for ElastiCache Serverless.
    #[serde(default)]
    pub serverless: bool,
    /// True for MemoryDB.
    #[serde(default)]
    pub memorydb: bool,
}

/// The largest value that is kept in the store: larger ones hold back the small ones behind them.
const LARGEST_OBJECT: ByteSize = ByteSize(8 << 20);

impl Config {
    fn prefix() -> String {
        "kvse".to_owned()
    }

    fn timeout() -> Span {
        Span(Duration::from_millis(100))
    }

    fn object_timeout() -> Span {
        Span(Duration::from_millis(250))
    }

    fn object_limit() -> ByteSize {
        ByteSize(1 << 20)
    }

    /// Every address, whichever setting names it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.url.iter().chain(&self.nodes)
    }

    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(ca) = &mut self.ca {
            *ca = folder.join(&*ca);
        }
        let secrets = [&mut self.password, &mut self.sentinel_password];
        secrets.into_iter().flatten().for_each(|secret| secret.resolve(folder));
        if let Some(s3) = &mut self.s3 {
            s3.resolve(folder);
        }
    }

    /// Adds what is wrong with the settings; touches nothing outside them.
    pub fn check(&self, mistakes: &mut Vec<Mistake>) {
        let check = &mut Check(mistakes);
        let one = self.url.is_some() == self.nodes.is_empty();
        check.must(one, "url", "write the address of the store either as url or, several of them, as nodes");
        let with_tls = self.addresses().filter(|address| address.tls).count();
        let tls = with_tls == 0 || with_tls == self.addresses().count();
        check.must(tls, "nodes", "must be all with TLS (rediss://) or all without");
        for address in self.addresses().filter(|address| !address.tls && !address.is_loopback()) {
            let how = format!(
                "{address} is on another machine and has no TLS: write rediss://, or insecure = true if the \
                 network between is trusted"
            );
            check.must(self.insecure, "url", &how);
        }
        let several = self.nodes.len() <= 1 || self.mode != Mode::Standalone;
        check.must(
            several,
            "nodes",
            "a standalone store has one address: write mode = \"cluster\" or \"sentinel\"",
        );
        let database = self.mode != Mode::Cluster || self.addresses().all(|address| address.database == 0);
        check.must(database, "url", "a cluster has one database only: leave its number out");
        check.must(
            (self.mode == Mode::Sentinel) == self.master.is_some(),
            "master",
            "goes together with mode = \"sentinel\": it is the name that sentinels know the primary by",
        );
        let once = self.iam.is_none() || self.password.is_none();
        check.must(once, "iam", "signs in instead of a password: remove one of them");
        let named = self.iam.is_none() || self.addresses().all(|address| address.user.is_none());
        check.must(named, "iam.user", "names the user: leave it out of the address");
        let secret = self.iam.is_none() || self.addresses().all(|address| address.tls);
        check.must(secret, "iam", "works over TLS only: write rediss://");
        if let Some(iam) = &self.iam {
            check.must(
                !(iam.serverless && iam.memorydb),
                "iam.serverless",
                "is ElastiCache's, not MemoryDB's",
            );
        }
        let ca = self.ca.is_none() || self.addresses().all(|address| address.tls);
        check.must(ca, "ca", "is for TLS only: write rediss://");
        let prefix = (1..=32).contains(&self.prefix.len())
            && self.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        check.must(prefix, "prefix", "must be 1 to 32 letters, digits and -_.:");
        for (key, span) in [("timeout", self.timeout), ("object_timeout", self.object_timeout)] {
            let bounds = Span(Duration::from_millis(10))..=Span::seconds(5);
            check.must(bounds.contains(&span), key, "must be 10ms to 5s");
        }
        let limit = self.object_limit <= LARGEST_OBJECT;
        check.must(
            limit,
            "object_limit",
            &format!("must be at most {LARGEST_OBJECT}; larger bodies belong in s3"),
        );
        if let Some(s3) = &self.s3 {
            s3.check("cache.shared.s3", self.insecure, check.0);
        }
    }
}

/// Collects what is wrong.
struct Check<'a>(&'a mut Vec<Mistake>);

impl Check<'_> {
    fn must(&mut self, holds: bool, key: &str, problem: &str) {
        if !holds {
            self.0.push(Mistake::at(format!("cache.shared.{key}"), problem));
        }
    }
}

#[cfg(test)]
#[path = "tests/config.rs"]
mod tests;
