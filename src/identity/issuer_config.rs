//! The settings of one `[[issuer]]`, and what its kind implies where they say nothing.

use super::algorithm::Algorithm;
use super::claim_map::ClaimMap;
use super::issuer_kind::IssuerKind;
use super::jwks_source::{JwksSource, is_loopback};
use super::one_or_many::OneOrMany;
use super::place::AcceptedPlace;
use super::required_claims::RequiredClaims;
use crate::setting::{SecretSource, Span};
use http::Uri;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One `[[issuer]]`: an issuer whose tokens are accepted, with its rules and its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What it is, which decides defaults.
    #[serde(default)]
    pub kind: IssuerKind,
    /// The exact `iss`, letter for letter, a slash at its end included; or the spellings of it that tokens
    /// use. The first one names the issuer in policies, logs and metrics.
    pub issuer: OneOrMany<String>,
    /// Acceptable values of the audience; a token must name one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// JSON pointers to the audience; the first that is there counts. By default `/aud`, and `/client_id` of
    /// Cognito's access tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience_claim: Option<OneOrMany<String>>,
    /// Claims that a token must have.
    #[serde(default, skip_serializing_if = "RequiredClaims::is_empty")]
    pub require: RequiredClaims,
    /// For load balancers and Verified Access: the ARNs that sign, exactly as in the token's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<OneOrMany<String>>,
    /// The only places where its tokens count: `bearer`, `security-token`, `cookie`, or one of
    /// `identity.headers`. Everywhere if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<AcceptedPlace>,
    /// Acceptable values of `alg`.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// Where the public keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwksSource>,
    /// Instead of `jwks`: read the address of the keys from `{issuer}/.well-known/openid-configuration`.
    #[serde(default)]
    pub discovery: bool,
    /// Where the discovery document is, if it is elsewhere. It must still name this issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<JwksSource>,
    /// For load balancers and Verified Access: the address under which each key is, by its `kid`, as PEM.
    /// By default AWS's address in the region of the signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_url: Option<JwksSource>,
    /// Instead of `jwks`, and for HS256, HS384 and HS512 only: the shared secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// Certificates, PEM, that alone are trusted when keys and discovery are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretSource>,
    /// A bearer token to read keys and discovery with; sent to the configured origin only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretSource>,
    /// Which claims become the caller's subject, groups and attributes.
    #[serde(default)]
    pub claims: ClaimMap,
    /// Put in front of each subject, so that it cannot be another issuer's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_prefix: String,
    /// Put in front of each group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group_prefix: String,
    /// Prefixes of other issuers, which no subject and no group of this one may begin with.
    #[serde(skip)]
    pub(super) reserved: ReservedPrefixes,
    /// kvs-edge is not ready while the keys of this issuer are missing, even if others have theirs.
    #[serde(default)]
    pub required: bool,
    /// Accept tokens that are bound to a key (`cnf`), though kvs-edge does not check that the client has it.
    #[serde(default)]
    pub allow_bound: bool,
    /// How far this machine's clock and the issuer's may differ; at most 60 s.
    #[serde(default = "default_leeway")]
    pub leeway: Span,
    /// Tokens that live longer are refused.
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime: Span,
    /// How often the keys are read again; or twice within `stale_max`, if that is more often.
    #[serde(default = "default_refresh")]
    pub refresh: Span,
    /// How long keys that cannot be read again are still trusted; later, requests are answered 503.
    #[serde(default = "default_stale_max")]
    pub stale_max: Span,
    /// Acceptable values of `typ`; an empty one stands for a token without `typ`.
    #[serde(default)]
    pub types: Vec<String>,
    /// The OAuth client that people sign in to the console with, at this issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret; none for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretSource>,
    /// What a sign-in asks for. `offline_access` gives a refresh token at most issuers.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// More parameters of the address at which people sign in, such as `audience` and `prompt`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
    /// Read keys over plain http from another machine too. Whoever is between can then sign tokens.
    #[serde(default)]
    pub allow_http: bool,
    /// Accept a token without `kid` while exactly one key fits its algorithm.
    #[serde(default)]
    pub allow_missing_kid: bool,
}

/// Prefixes that belong to other issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReservedPrefixes {
    pub subjects: Vec<String>,
    pub groups: Vec<String>,
}

fn default_scopes() -> Vec<String> {
    vec!["openid".to_owned()]
}
const fn default_leeway() -> Span {
    Span::seconds(30)
}
const fn default_max_lifetime() -> Span {
    Span::seconds(24 * 3600)
}
const fn default_refresh() -> Span {
    Span::seconds(300)
}
const fn default_stale_max() -> Span {
    Span::seconds(24 * 3600)
}

impl IssuerConfig {
    /// Fills in what the kinds of these issuers imply, and what each must know of the others. Doing it again
    /// changes nothing.
    pub fn complete(issuers: &mut [Self]) {
        for issuer in issuers.iter_mut() {
            issuer.complete_one();
        }
        let prefixes: Vec<_> =
            issuers.iter().map(|i| (i.subject_prefix.clone(), i.group_prefix.clone())).collect();
        for issuer in issuers {
            let others = |own: &str, all: &mut dyn Iterator<Item = &String>| -> Vec<String> {
                all.filter(|prefix| !prefix.is_empty() && *prefix != own).cloned().collect()
            };
            issuer.reserved = ReservedPrefixes {
                subjects: others(&issuer.subject_prefix, &mut prefixes.iter().map(|(subject, _)| subject)),
                groups: others(&issuer.group_prefix, &mut prefixes.iter().map(|(_, group)| group)),
            };
        }
    }

    fn complete_one(&mut self) {
        let kind = self.kind;
        if self.algorithms.is_empty() {
            self.algorithms = kind.algorithms().to_vec();
        }
        if self.types.is_empty() {
            self.types = kind.types().iter().map(|typ| (*typ).to_owned()).collect();
        }
        if self.places.is_empty() {
            self.places = kind.places();
        }
        if kind == IssuerKind::Cognito && self.jwks.is_none() && self.discovery_url.is_none() {
            self.discovery = true;
        }
        if kind.has_signer() && self.key_url.is_none() {
            let address = self.signers().first().and_then(|arn| kind.key_address(arn));
            self.key_url = address.and_then(|address| JwksSource::parse(&address).ok());
        }
        self.claims.complete(kind.groups());
    }

    /// Makes relative paths start at `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(JwksSource::File(path)) = &mut self.jwks {
            *path = folder.join(&*path);
        }
        let secrets = [&mut self.secret, &mut self.ca, &mut self.bearer, &mut self.client_secret];
        for source in secrets.into_iter().flatten() {
            source.resolve(folder);
        }
    }

    /// The name of this issuer in policies, logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        self.issuer.as_slice().first().map_or("", String::as_str)
    }

    /// Whether a token with this `iss` is from this issuer.
    #[must_use]
    pub fn is_called(&self, iss: &str) -> bool {
        self.issuer.as_slice().iter().any(|name| name == iss)
    }

    /// The ARNs that sign for it.
    pub(super) fn signers(&self) -> &[String] {
        self.signer.as_ref().map_or(&[], OneOrMany::as_slice)
    }

    /// Whether its tokens count in this place of a request.
    pub(super) fn counts_at(&self, place: &AcceptedPlace) -> bool {
        self.places.is_empty() || self.places.iter().any(|ours| ours.is(place))
    }

    /// Whether the keys are found by discovery.
    pub(super) fn is_discovered(&self) -> bool {
        self.discovery || self.discovery_url.is_some()
    }

    /// Whether both read the same keys, whatever their other rules are.
    pub(super) fn has_keys_of(&self, other: &Self) -> bool {
        let sources = |config: &Self| {
            let Self { kind, issuer, algorithms, jwks, discovery, discovery_url, key_url, .. } =
                config.clone();
            let Self { secret, ca, bearer, allow_http, .. } = config.clone();
            let web = (discovery_url, key_url, ca, bearer, allow_http);
            (kind, issuer, algorithms, jwks, discovery, secret, web)
        };
        sources(self) == sources(other)
    }

    /// Whether keys may be read from there: over TLS, or from this machine.
    pub(super) fn may_fetch(&self, url: &Uri) -> Result<(), &'static str> {
        match url.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_http || is_loopback(url) => Ok(()),
            Some("http") => {
                Err("keys read over plain http can be replaced on the way; write https://, or set \
                                 allow_http = true")
            }
            _ => Err("write an https:// URL"),
        }
    }
}
