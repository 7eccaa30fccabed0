//! `[[aws]]`: one entry per account and region, the streams it serves, and the quotas it has.

use crate::aws::hosts;
use crate::base::glob;
use crate::kvs::StreamRef;
use crate::setting::{Mistake, SecretSource};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `[[aws]]`: one account and region, and the streams that are served from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryConfig {
    /// The entry's own name, in metrics, logs and cache keys.
    pub name: String,
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// Globs of the stream names that are served from here. An empty list: only requests with an ARN of this
    /// account and region.
    #[serde(default = "every_stream")]
    pub streams: Vec<String>,
    /// The account. If it is not given, the role's account, or what KVS says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// A role to assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What the role's trust policy may demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session's name in CloudTrail; `kvs-edge` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// Another address of KVS's control plane: an emulator, or a VPC endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// Another address of STS, for tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts_endpoint_url: Option<String>,
    /// A profile of AWS's shared files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// FIPS endpoints.
    #[serde(default)]
    pub fips: bool,
    /// Dual-stack endpoints.
    #[serde(default)]
    pub dual_stack: bool,
    /// Fixed keys instead of AWS's default chain; with `secret_access_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<SecretSource>,
    /// See `access_key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretSource>,
    /// Quotas of this account, where they differ from AWS's defaults.
    #[serde(default)]
    pub quotas: Quotas,
}

fn every_stream() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What KVS allows (docs/KVS.md 6 and 5.7), per second unless said otherwise. Only change what AWS has
/// raised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Metadata points per stream.
    pub metadata_points: u32,
    /// Media points per stream.
    pub media_points: u32,
    /// GetDataEndpoint per stream.
    pub endpoint_tps: u32,
    /// DescribeStream and ListTagsForStream per stream, each.
    pub describe_tps: u32,
    /// Get…StreamingSessionURL per stream, each.
    pub session_url_tps: u32,
    /// GetMediaForFragmentList connections per stream, at a time.
    pub media_connections: u32,
    /// GetDataEndpoint and DescribeStream per account, each.
    pub account_tps: u32,
    /// ListStreams per account.
    pub account_list_tps: u32,
    /// Master playlists, media playlists, manifests and init segments per session, each.
    pub session_playlist_tps: u32,
    /// Media segments per session.
    pub session_media_tps: u32,
    /// All requests of the account together; no bound if absent. A VPC endpoint allows 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            metadata_points: 10_000,
            media_points: 500,
            endpoint_tps: 5,
            describe_tps: 5,
            session_url_tps: 25,
            media_connections: 5,
            account_tps: 300,
            account_list_tps: 50,
            session_playlist_tps: 5,
            session_media_tps: 20,
            requests_per_second: None,
        }
    }
}

impl EntryConfig {
    /// An entry with defaults for everything but its name and region.
    #[must_use]
    pub fn new(name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            streams: every_stream(),
            account: None,
            role_arn: None,
            external_id: None,
            session_name: None,
            endpoint_url: None,
            sts_endpoint_url: None,
            profile: None,
            fips: false,
            dual_stack: false,
            access_key_id: None,
            secret_access_key: None,
            quotas: Quotas::default(),
        }
    }

    /// Makes relative paths start at the configuration file's folder.
    pub fn resolve(&mut self, folder: &Path) {
        for secret in [&mut self.access_key_id, &mut self.secret_access_key].into_iter().flatten() {
            secret.resolve(folder);
        }
    }

    /// How well this entry, whose account may be known, fits a stream: not at all, by region and account
    /// only, or by a glob too.
    pub(super) fn fit(&self, stream: &StreamRef, account: Option<&str>) -> Option<bool> {
        let named = self.streams.iter().any(|glob| glob::matches(glob, stream.name().as_str()));
        match stream {
            StreamRef::Name(_) => named.then_some(true),
            StreamRef::Arn(arn) => {
                let ours = arn.region() == self.region
                    && arn.partition() == hosts::partition(&self.region)
                    && account.is_none_or(|account| account == arn.account());
                (ours && (named || self.streams.is_empty())).then_some(named)
            }
        }
    }

    /// The entry that serves a stream according to the configuration alone; in the order of
    /// `Upstream::locate`.
    #[must_use]
    pub fn serving<'a>(entries: &'a [Self], stream: &StreamRef) -> Option<&'a Self> {
        let fits = |(index, entry): (usize, &'a Self)| {
            let account = entry.known_account();
            let named = entry.fit(stream, account)?;
            Some(((named, account.is_some(), std::cmp::Reverse(index)), entry))
        };
        entries.iter().enumerate().filter_map(fits).max_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }

    /// The account, as far as the configuration says.
    #[must_use]
    pub fn known_account(&self) -> Option<&str> {
        self.account.as_deref().or_else(|| role_account(self.role_arn.as_deref()?))
    }

    fn check(&self, at: &str, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: &str, problem: &str| mistakes.push(Mistake::at(format!("{at}.{key}"), problem));
        if self.name.is_empty() || self.name.len() > 64 {
            wrong("name", "must be 1 to 64 characters; it names the entry in metrics and logs");
        }
        if !hosts::is_region(&self.region) {
            wrong("region", "must be a region's name, such as eu-west-1");
        } else if let Err(problem) = hosts::control(&self.region, self.fips, self.dual_stack) {
            wrong("dual_stack", problem);
        }
        for (i, glob) in self.streams.iter().enumerate() {
            if let Err(problem) = check_glob(glob) {
                wrong(&format!("streams[{i}]"), problem);
            }
        }
        if self.account.as_deref().is_some_and(|account| !is_account(account)) {
            wrong("account", "must be an account number of 12 digits, in quotes");
        }
        match self.role_arn.as_deref() {
            Some(role) if role_account(role).is_none() => {
                wrong("role_arn", "must look like arn:aws:iam::123456789012:role/name");
            }
            None if self.external_id.is_some() => wrong("external_id", "has no meaning without role_arn"),
            None if self.session_name.is_some() => wrong("session_name", "has no meaning without role_arn"),
            _ => {}
        }
        for (key, url) in [("endpoint_url", &self.endpoint_url), ("sts_endpoint_url", &self.sts_endpoint_url)]
        {
            if url.as_deref().is_some_and(|url| super::origin::Origin::parse(url).is_none()) {
                wrong(key, "must be http://host[:port] or https://host[:port], without a path");
            }
        }
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => wrong("secret_access_key", "is required beside access_key_id"),
            (None, Some(_)) => wrong("access_key_id", "is required beside secret_access_key"),
            (Some(_), Some(_)) if self.profile.is_some() => {
                wrong("profile", "cannot stand beside access_key_id: choose one");
            }
            _ => {}
        }
        for (key, number) in self.quotas.all() {
            if number == 0 {
                wrong(&format!("quotas.{key}"), "must be at least 1");
            }
        }
    }
}

impl Quotas {
    fn all(&self) -> [(&'static str, u32); 11] {
        [
            ("metadata_points", self.metadata_points),
            ("media_points", self.media_points),
            ("endpoint_tps", self.endpoint_tps),
            ("describe_tps", self.describe_tps),
            ("session_url_tps", self.session_url_tps),
            ("media_connections", self.media_connections),
            ("account_tps", self.account_tps),
            ("account_list_tps", self.account_list_tps),
            ("session_playlist_tps", self.session_playlist_tps),
            ("session_media_tps", self.session_media_tps),
            ("requests_per_second", self.requests_per_second.unwrap_or(1)),
        ]
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The account in `arn:aws:iam::123456789012:role/name`.
fn role_account(role: &str) -> Option<&str> {
    let mut parts = role.splitn(6, ':');
    let (arn, partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    let fine = arn == "arn"
        && partition.starts_with("aws")
        && service == "iam"
        && region.is_empty()
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty());
    (fine && is_account(account)).then_some(account)
}

/// Adds what is wrong with the entries, each for itself and together: names that are taken twice, and
/// stream names or ARNs that two entries would serve.
pub fn check(entries: &[EntryConfig], mistakes: &mut Vec<Mistake>) {
    if entries.is_empty() {
        mistakes.push(Mistake::at("aws", "at least one [[aws]] entry is needed, with name and region"));
    }
    for (i, entry) in entries.iter().enumerate() {
        entry.check(&format!("aws[{i}]"), mistakes);
        for (other, earlier) in entries[..i].iter().enumerate() {
            check_pair((other, earlier), (i, entry), mistakes);
        }
    }
}

fn check_pair(
    (_, earlier): (usize, &EntryConfig),
    (i, entry): (usize, &EntryConfig),
    mistakes: &mut Vec<Mistake>,
) {
    if earlier.name == entry.name {
        mistakes.push(Mistake::at(format!("aws[{i}].name"), "is taken by another entry: names must differ"));
    }
    for (g, glob) in entry.streams.iter().enumerate() {
        for other in &earlier.streams {
            if let Some(name) = glob::overlap(other, glob) {
                let problem = format!(
                    "overlaps \"{other}\" of entry \"{}\": both would serve a stream named \"{name}\". \
                     Make the globs disjoint, or write streams = [] for an entry that only ARNs select",
                    earlier.name
                );
                mistakes.push(Mistake::at(format!("aws[{i}].streams[{g}]"), problem));
                return;
            }
        }
    }
    let accounts = (earlier.known_account(), entry.known_account());
    let same_account = !matches!(accounts, (Some(a), Some(b)) if a != b);
    if earlier.region == entry.region
        && same_account
        && earlier.streams.is_empty()
        && entry.streams.is_empty()
    {
        let problem = format!(
            "the ARNs of account and region are served by entry \"{}\" already: give both entries \
             their account",
            earlier.name
        );
        mistakes.push(Mistake::at(format!("aws[{i}].streams"), problem));
    }
}

/// Says what is wrong with a glob over stream names, if anything is.
fn check_glob(glob: &str) -> Result<(), &'static str> {
    if glob.is_empty() || glob.len() > 256 {
        return Err("a stream glob is 1 to 256 characters long");
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'*' | b'?');
    if glob.bytes().all(fine) {
        Ok(())
    } else {
        Err("a stream glob holds letters, digits, '_', '.', '-', and the wildcards * and ?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Span;
    use crate::upstream::Config;

    fn mistakes(entries: &[EntryConfig]) -> Vec<String> {
        let mut found = Vec::new();
        check(entries, &mut found);
        found.into_iter().map(|m| format!("{:?} {}", m.place, m.problem)).collect()
    }

    #[test]
    fn a_plain_entry_is_fine_and_reads_from_toml() {
        let text = "name = 'main'\nregion = 'eu-west-1'\nquotas = { media_points = 800 }";
        let entry: EntryConfig = toml::from_str(text).unwrap();
        assert_eq!((entry.streams.clone(), entry.quotas.media_points), (vec!["*".to_owned()], 800));
        assert_eq!(mistakes(&[entry]), Vec::<String>::new());
        assert!(toml::from_str::<EntryConfig>("name = 'a'\nregion = 'eu-west-1'\nregoin = 'x'").is_err());
        assert!(toml::from_str::<Config>("first_byte = '5s'").is_ok());
    }

    #[test]
    fn ambiguous_names_are_a_mistake_with_a_proof() {
        let one = EntryConfig { streams: vec!["cam-*".into()], ..EntryConfig::new("one", "eu-west-1") };
        let two =
            EntryConfig { streams: vec!["x".into(), "*-1".into()], ..EntryConfig::new("two", "us-east-1") };
        let found = mistakes(&[one.clone(), two]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("aws[1].streams[1]") && found[0].contains("\"cam-1\""), "{found:?}");
        let apart = EntryConfig { streams: vec!["gate-*".into()], ..EntryConfig::new("two", "us-east-1") };
        assert!(mistakes(&[one.clone(), apart]).is_empty());
        let by_arn = EntryConfig { streams: vec![], ..EntryConfig::new("two", "eu-west-1") };
        assert!(mistakes(&[one, by_arn.clone()]).is_empty());
        let found = mistakes(&[by_arn.clone(), EntryConfig { name: "three".into(), ..by_arn }]);
        assert!(found[0].contains("give both entries their account"), "{found:?}");
    }

    #[test]
    fn every_wrong_value_is_named() {
        let entry = EntryConfig {
            region: "Europe".into(),
            account: Some("12".into()),
            role_arn: Some("role".into()),
            endpoint_url: Some("http://h/path".into()),
            access_key_id: Some(SecretSource::Env("A".into())),
            streams: vec!["a b".into()],
            quotas: Quotas { media_points: 0, ..Quotas::default() },
            ..EntryConfig::new("main", "x")
        };
        let found = mistakes(&[entry.clone(), entry]).join("\n");
        for key in [
            "region",
            "account",
            "role_arn",
            "endpoint_url",
            "secret_access_key",
            "streams[0]",
            "media_points",
            "[1].name",
        ] {
            assert!(found.contains(key), "{key} in {found}");
        }
        let mut config = Vec::new();
        Config { first_byte: Span::seconds(0), retries: 99, ..Config::default() }.check(&mut config);
        assert_eq!(config.len(), 2);
    }

    #[test]
    fn a_role_tells_its_account() {
        let mut entry = EntryConfig::new("main", "eu-west-1");
        entry.role_arn = Some("arn:aws-cn:iam::123456789012:role/path/kvs".into());
        assert_eq!(entry.known_account(), Some("123456789012"));
        for bad in
            ["arn:aws:iam::123456789012:user/x", "arn:aws:iam::12:role/x", "arn:aws:s3::123456789012:role/x"]
        {
            assert_eq!(role_account(bad), None, "{bad}");
        }
    }
}
