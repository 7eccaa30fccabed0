//! `[cache.shared] s3 = { … }`: the bucket for large objects.

use super::address::Address;
use crate::aws::credentials::{CredentialsSource, Role};
use crate::aws::hosts;
use crate::setting::{ByteSize, Mistake, SecretSource};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A bucket, and how it is reached. Credentials are named as in `[[aws]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bucket's name.
    pub bucket: String,
    /// Its region, such as `eu-west-1`.
    pub region: String,
    /// What the names of all objects begin with.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Smaller objects are not written to the bucket: one PUT costs as much as fetching 420 KB from KVS
    /// again.
    #[serde(default = "min_size")]
    pub min_size: ByteSize,
    /// Another address than AWS's, such as that of an object store of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// Whether the bucket's name stands in the path instead of in the host name. If it is not given: with
    /// `endpoint_url`, and for a bucket whose name has dots in it, for which AWS has no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// A role to assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What the role's trust policy may demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session's name in CloudTrail; `kvs-edge` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// Another address of STS, for tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts_endpoint_url: Option<String>,
    /// A profile of AWS's shared files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Fixed keys instead of AWS's default chain; with `secret_access_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<SecretSource>,
    /// See `access_key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretSource>,
}

fn prefix() -> String {
    "kvs-edge".to_owned()
}

fn min_size() -> ByteSize {
    ByteSize(1 << 20)
}

impl Config {
    /// A bucket with defaults for everything else.
    #[must_use]
    pub fn new(bucket: &str, region: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            region: region.to_owned(),
            prefix: prefix(),
            min_size: min_size(),
            endpoint_url: None,
            path_style: None,
            role_arn: None,
            external_id: None,
            session_name: None,
            sts_endpoint_url: None,
            profile: None,
            access_key_id: None,
            secret_access_key: None,
        }
    }

    /// Makes relative paths start at the configuration file's folder.
    pub fn resolve(&mut self, folder: &Path) {
        for secret in [&mut self.access_key_id, &mut self.secret_access_key].into_iter().flatten() {
            secret.resolve(folder);
        }
    }

    /// Adds what is wrong with the settings at `at`, such as `cache.shared.s3`. `insecure`: plain HTTP is
    /// allowed beyond this machine.
    pub fn check(&self, at: &str, insecure: bool, mistakes: &mut Vec<Mistake>) {
        let mut must = |holds: bool, key: &str, problem: &str| {
            if !holds {
                mistakes.push(Mistake::at(format!("{at}.{key}"), problem));
            }
        };
        must(is_bucket(&self.bucket), "bucket", "must be a bucket's name: 3 to 63 of a-z, 0-9, '-' and '.'");
        must(hosts::is_region(&self.region), "region", "must be a region's name, such as eu-west-1");
        must(
            is_prefix(&self.prefix),
            "prefix",
            "must be letters, digits, '-', '_' and '.', with '/' between them",
        );
        must(
            self.access_key_id.is_some() == self.secret_access_key.is_some(),
            "secret_access_key",
            "and access_key_id belong together: write both, or neither for AWS's default chain",
        );
        match self.address() {
            Err(problem) => must(false, "endpoint_url", problem),
            Ok(address) => must(
                insecure || !address.is_plain() || address.is_loopback(),
                "endpoint_url",
                "must begin with https:// unless it is this machine; \
                 cache.shared.insecure = true allows plain HTTP",
            ),
        }
    }

    /// Where its objects are.
    ///
    /// # Errors
    /// How `endpoint_url` is written.
    pub(super) fn address(&self) -> Result<Address, &'static str> {
        let endpoint = self.endpoint_url.as_deref();
        Address::of(endpoint, &self.region, &self.bucket, &self.prefix, self.path_style)
    }

    /// Where its credentials come from.
    ///
    /// # Errors
    /// The key of the setting, and why it cannot be read.
    pub(super) fn credentials(&self) -> Result<CredentialsSource, (&'static str, String)> {
        let read = |key: &'static str, source: &SecretSource| {
            let secret = source.read().map_err(|problem| (key, problem))?;
            String::from_utf8(secret.expose().to_vec()).map_err(|_| (key, "is not text".to_owned()))
        };
        let keys = match (&self.access_key_id, &self.secret_access_key) {
            (Some(id), Some(secret)) => {
                Some((read("access_key_id", id)?, read("secret_access_key", secret)?))
            }
            _ => None,
        };
        let session_name = || self.session_name.clone().unwrap_or_else(|| "kvs-edge".to_owned());
        Ok(CredentialsSource {
            region: self.region.clone(),
            profile: self.profile.clone(),
            keys,
            role: self.role_arn.clone().map(|arn| Role {
                arn,
                external_id: self.external_id.clone(),
                session_name: session_name(),
            }),
            sts_endpoint: self.sts_endpoint_url.clone(),
        })
    }
}

fn is_bucket(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (3..=63).contains(&name.len())
        && name.bytes().all(fine)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
}

/// Characters that stand in a URL as they are.
fn is_prefix(prefix: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(fine);
    prefix.len() <= 200 && prefix.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(config: &Config) -> String {
        let mut found = Vec::new();
        config.check("cache.shared.s3", false, &mut found);
        found.iter().map(|mistake| format!("{:?} {}\n", mistake.place, mistake.problem)).collect()
    }

    #[test]
    fn a_bucket_and_its_region_are_enough() {
        let config: Config = toml::from_str("bucket = 'media'\nregion = 'eu-west-1'").unwrap();
        assert_eq!(config, Config::new("media", "eu-west-1"));
        assert_eq!(mistakes(&config), "");
        assert!(toml::from_str::<Config>("bucket = 'media'\nregion = 'eu-west-1'\nbukket = 'x'").is_err());
    }

    #[test]
    fn every_wrong_value_is_named() {
        let config = Config {
            prefix: "a//b".into(),
            endpoint_url: Some("http://store.example:9000".into()),
            access_key_id: Some(SecretSource::Env("A".into())),
            ..Config::new("Media", "europe")
        };
        let found = mistakes(&config);
        for key in ["bucket", "region", "prefix", "secret_access_key", "endpoint_url"] {
            assert!(found.contains(&format!("cache.shared.s3.{key}")), "{key} in {found}");
        }
        let with = |url: &str| {
            let config = Config { endpoint_url: Some(url.into()), ..Config::new("media", "eu-west-1") };
            mistakes(&config)
        };
        assert_eq!(with("http://127.0.0.1:9000"), "");
        assert_eq!(with("https://store.example"), "");
        for wrong in ["store.example", "ftp://store.example", "https://user@store.example", "https://h/path"]
        {
            assert!(with(wrong).contains("endpoint_url"), "{wrong}");
        }
    }

    #[test]
    fn prefixes_need_no_escaping() {
        for (prefix, fine) in [
            ("kvs-edge", true),
            ("a/b_c/d.e", true),
            ("", false),
            ("/a", false),
            ("a/", false),
            ("a b", false),
        ] {
            assert_eq!(is_prefix(prefix), fine, "{prefix}");
        }
        assert!(!is_prefix("a/../b"));
    }
}
