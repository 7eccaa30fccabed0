//! The settings of `[identity]` and of each `[[issuer]]`, and what is wrong with them.

use super::algorithm::Algorithm;
use super::claim_map::ClaimMap;
use super::jwks_source::{JwksSource, is_loopback};
use crate::setting::{ByteSize, Mistake, SecretSource, Span};
use http::Uri;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// `[identity]`: where a request may carry its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Config {
    /// The longest token accepted; at most 16 KiB. Clients and proxies on the way refuse long ones earlier.
    pub max_token: ByteSize,
    /// Headers that an access proxy sets and that hold a token, such as `Cf-Access-Jwt-Assertion`,
    /// `X-Amzn-Oidc-Data`, `X-Pomerium-Jwt-Assertion`. Only a proxy may be able to set them or not: the token
    /// in them is verified like any other.
    pub headers: Vec<String>,
    /// A cookie that holds a token, by its exact name. It counts for GET and HEAD, and for other methods only
    /// from kvs-edge's own pages, since a browser sends it along with what strangers' pages ask for.
    pub cookie: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_token: ByteSize(8 << 10), headers: Vec::new(), cookie: None }
    }
}

impl Config {
    /// Adds what is wrong, each with its key and what to write instead.
    pub fn check(&self, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: String, problem: String| mistakes.push(Mistake::at(key, problem));
        if !(256..=16 << 10).contains(&self.max_token.0) {
            wrong("identity.max_token".into(), "write a size from 256 to 16KiB".into());
        }
        let mut seen = BTreeSet::from(TAKEN.map(str::to_owned));
        for (index, name) in self.headers.iter().enumerate() {
            let key = format!("identity.headers[{index}]");
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                wrong(key, format!("{name:?} is not a header's name"));
            } else if !seen.insert(name.to_ascii_lowercase()) {
                wrong(key, format!("{name:?} is read already; remove it"));
            }
        }
        if let Some(name) = &self.cookie
            && (name.is_empty() || !name.bytes().all(is_cookie_name_byte))
        {
            wrong("identity.cookie".into(), format!("{name:?} is not a cookie's name"));
        }
    }
}

/// Headers that have a meaning of their own.
const TAKEN: [&str; 4] = ["authorization", "x-amz-security-token", "cookie", "host"];

/// RFC 6265 4.1.1: a cookie's name is a token of RFC 9110.
fn is_cookie_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// One `[[issuer]]`: an issuer whose tokens are accepted, with its rules and its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The exact `iss`, letter for letter, a slash at its end included.
    pub issuer: String,
    /// Acceptable values of `aud`; a token must name one of them.
    pub audience: Vec<String>,
    /// Acceptable values of `alg`.
    pub algorithms: Vec<Algorithm>,
    /// Where the public keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwksSource>,
    /// Instead of `jwks`: read the address of the keys from `{issuer}/.well-known/openid-configuration`.
    #[serde(default)]
    pub discovery: bool,
    /// Instead of `jwks`, and for HS256, HS384 and HS512 only: the shared secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// Which claims become the caller's subject, groups and attributes.
    #[serde(default)]
    pub claims: ClaimMap,
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
    #[serde(default = "default_types")]
    pub types: Vec<String>,
    /// The OAuth client that the console signs in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Read keys over plain http from another machine too. Whoever is between can then sign tokens.
    #[serde(default)]
    pub allow_http: bool,
    /// Accept a token without `kid` while exactly one key fits its algorithm.
    #[serde(default)]
    pub allow_missing_kid: bool,
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
fn default_types() -> Vec<String> {
    ["JWT", "at+jwt", ""].map(str::to_owned).into()
}

impl IssuerConfig {
    /// Makes relative paths start at `folder`, the configuration file's.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(JwksSource::File(path)) = &mut self.jwks {
            *path = folder.join(&*path);
        }
        if let Some(secret) = &mut self.secret {
            secret.resolve(folder);
        }
    }

    /// Adds what is wrong with the `index`th issuer, each with its key and what to write instead.
    pub fn check(&self, index: usize, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: &str, problem: &str| {
            mistakes.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
        };
        if self.issuer.is_empty() {
            wrong("issuer", "write the exact `iss` of its tokens");
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            wrong("audience", "write the `aud` that stands for this gateway, such as [\"kvs-edge\"]");
        }
        self.check_algorithms(&mut wrong);
        self.check_keys(&mut wrong);
        if self.leeway > Span::seconds(60) {
            wrong("leeway", "write at most 60s; clocks that differ more need setting");
        }
        if self.max_lifetime < Span::seconds(1) || self.max_lifetime > Span::seconds(3660 * 86_400) {
            wrong("max_lifetime", "write a duration from 1s to 3660d");
        }
        if self.refresh < Span::seconds(15) || self.refresh > Span::seconds(86_400) {
            wrong("refresh", "write a duration from 15s to 24h");
        }
        if self.stale_max < self.refresh || self.stale_max > Span::seconds(30 * 86_400) {
            wrong("stale_max", "write a duration from `refresh` to 30d");
        }
        if self.types.is_empty() {
            wrong("types", "write the accepted `typ`, such as [\"at+jwt\"]; \"\" stands for none");
        }
        if self.client_id.as_deref() == Some("") {
            wrong("client_id", "write the client's id, or leave it out");
        }
        for (name, problem) in self.claims.faults() {
            wrong(&format!("claims.{name}"), &problem);
        }
    }

    /// Adds what is wrong with a whole list of issuers.
    pub fn check_all(issuers: &[Self], mistakes: &mut Vec<Mistake>) {
        for (index, one) in issuers.iter().enumerate() {
            one.check(index, mistakes);
            if issuers[..index].iter().any(|earlier| earlier.issuer == one.issuer) {
                let problem = "this issuer is configured above; one [[issuer]] each";
                mistakes.push(Mistake::at(format!("issuer[{index}].issuer"), problem));
            }
            one.check_types(&issuers[..index], index, mistakes);
        }
    }

    /// Policies are written once for all issuers, so an attribute has one type.
    fn check_types(&self, earlier: &[Self], index: usize, mistakes: &mut Vec<Mistake>) {
        for (name, claim) in self.claims.attributes() {
            let differs = |other: &&Self| {
                other.claims.attributes().any(|(its, theirs)| its == name && theirs.kind != claim.kind)
            };
            if let Some(other) = earlier.iter().find(differs) {
                let problem =
                    format!("issuer {} maps it to another type; use one type or another name", other.issuer);
                mistakes.push(Mistake::at(format!("issuer[{index}].claims.{name}"), problem));
            }
        }
    }

    fn check_algorithms(&self, wrong: &mut impl FnMut(&str, &str)) {
        let shared = self.algorithms.iter().filter(|a| a.is_shared_secret()).count();
        match (&self.secret, shared) {
            _ if self.algorithms.is_empty() => {
                wrong("algorithms", "write the `alg` of its tokens, such as [\"RS256\"] or [\"ES256\"]");
            }
            (None, 1..) => {
                wrong("algorithms", "HS256, HS384 and HS512 need `secret`; public keys never fit them")
            }
            (Some(_), n) if n < self.algorithms.len() => {
                wrong("algorithms", "with `secret`, write only HS256, HS384 or HS512");
            }
            _ => {}
        }
    }

    fn check_keys(&self, wrong: &mut impl FnMut(&str, &str)) {
        let ways = usize::from(self.jwks.is_some())
            + usize::from(self.discovery)
            + usize::from(self.secret.is_some());
        if ways != 1 {
            wrong("jwks", "write exactly one of `jwks`, `discovery = true` and `secret`");
        }
        if let Some(JwksSource::Url(url)) = &self.jwks
            && let Err(problem) = self.may_fetch(url)
        {
            wrong("jwks", problem);
        }
        if self.discovery {
            let problem = match self.issuer.parse::<Uri>() {
                Ok(url) if url.host().is_some() => self.may_fetch(&url).err(),
                _ => Some("with `discovery`, the issuer must be an https:// URL"),
            };
            if let Some(problem) = problem {
                wrong("issuer", problem);
            }
        }
    }

    /// Whether both read the same keys, whatever their other rules are.
    pub(super) fn has_keys_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.algorithms == other.algorithms
            && self.jwks == other.jwks
            && self.discovery == other.discovery
            && self.secret == other.secret
            && self.allow_http == other.allow_http
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        issuer = "https://login.example.com/"
        audience = ["kvs-edge"]
        algorithms = ["RS256", "ES256"]
        jwks = "https://login.example.com/.well-known/jwks.json"
        claims = { subject = "/sub", groups = "/groups" }
    "#;

    fn mistakes(edit: impl FnOnce(&mut IssuerConfig)) -> Vec<String> {
        let mut issuer: IssuerConfig = toml::from_str(GOOD).unwrap();
        edit(&mut issuer);
        let mut found = Vec::new();
        issuer.check(0, &mut found);
        found.into_iter().map(|m| format!("{:?}: {}", m.place, m.problem)).collect()
    }

    #[test]
    fn the_example_of_the_design_is_good() {
        assert_eq!(mistakes(|_| {}), Vec::<String>::new());
        let issuer: IssuerConfig = toml::from_str(GOOD).unwrap();
        let again: IssuerConfig = toml::from_str(&toml::to_string(&issuer).unwrap()).unwrap();
        assert_eq!(again, issuer);
    }

    #[test]
    fn each_mistake_names_its_key() {
        type Edit = fn(&mut IssuerConfig);
        let cases: [(&str, Edit); 14] = [
            ("issuer[0].issuer", |i| i.issuer.clear()),
            ("issuer[0].audience", |i| i.audience.clear()),
            ("issuer[0].algorithms", |i| i.algorithms.clear()),
            ("issuer[0].algorithms", |i| i.algorithms.push(Algorithm::HS256)),
            ("issuer[0].jwks", |i| i.jwks = None),
            ("issuer[0].jwks", |i| i.discovery = true),
            ("issuer[0].jwks", |i| {
                i.jwks = Some(JwksSource::parse("http://login.example.com/keys").unwrap())
            }),
            ("issuer[0].leeway", |i| i.leeway = Span::seconds(61)),
            ("issuer[0].max_lifetime", |i| i.max_lifetime = Span::seconds(0)),
            ("issuer[0].refresh", |i| i.refresh = Span::seconds(1)),
            ("issuer[0].stale_max", |i| i.stale_max = Span::seconds(1)),
            ("issuer[0].types", |i| i.types.clear()),
            ("issuer[0].client_id", |i| i.client_id = Some(String::new())),
            ("issuer[0].issuer", |i| {
                i.jwks = None;
                i.discovery = true;
                i.issuer = "login".into();
            }),
        ];
        for (key, edit) in cases {
            let found = mistakes(edit);
            assert!(found.len() == 1 && found[0].contains(&format!("{key:?}")), "{key}: {found:?}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for url in ["http://127.0.0.1:4000/k", "http://[::1]:4000/k", "http://localhost/k"] {
            assert!(mistakes(|i| i.jwks = Some(JwksSource::parse(url).unwrap())).is_empty(), "{url}");
        }
        for url in ["http://10.0.0.1/k", "http://localhost.example.com/k", "http://127.0.0.1.example.com/k"] {
            assert!(!mistakes(|i| i.jwks = Some(JwksSource::parse(url).unwrap())).is_empty(), "{url}");
        }
    }

    #[test]
    fn the_same_issuer_twice_is_a_mistake() {
        let issuer: IssuerConfig = toml::from_str(GOOD).unwrap();
        let mut found = Vec::new();
        IssuerConfig::check_all(&[issuer.clone(), issuer], &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn an_attribute_has_one_type_for_all_issuers() {
        let issuer = |name: &str, kind: &str| -> IssuerConfig {
            let claims = format!("[claims]\nlevel = {{ pointer = '/{name}', type = '{kind}' }}");
            let text = GOOD.replace("claims = {", "# ").replace("https://login", &format!("https://{name}"));
            toml::from_str(&format!("{text}\n{claims}")).unwrap()
        };
        let check = |issuers: &[IssuerConfig]| {
            let mut found = Vec::new();
            IssuerConfig::check_all(issuers, &mut found);
            found
        };
        assert_eq!(check(&[issuer("a", "long"), issuer("b", "long")]), []);
        let found = check(&[issuer("a", "long"), issuer("b", "string")]);
        assert!(
            found.len() == 1 && format!("{:?}", found[0].place).contains("issuer[1].claims.level"),
            "{found:?}"
        );
    }

    #[test]
    fn token_sources_are_checked() {
        let bad: Config = toml::from_str(
            "max_token = '32KiB'\nheaders = ['X-A', 'x-a', 'Authorization', 'b d']\ncookie = 'a;b'",
        )
        .unwrap();
        let mut found = Vec::new();
        bad.check(&mut found);
        assert_eq!(found.len(), 5, "{found:?}");
        let mut found = Vec::new();
        Config::default().check(&mut found);
        assert!(found.is_empty());
        assert!(toml::from_str::<Config>("header = ['X-A']").is_err());
    }
}
