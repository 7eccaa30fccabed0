//! What is wrong with the settings of issuers, each with its key and what to write instead.

use super::config::Config;
use super::issuer_config::IssuerConfig;
use super::issuer_kind::IssuerKind;
use super::jwks_source::JwksSource;
use super::place::AcceptedPlace;
use crate::caller::ANONYMOUS_ISSUER;
use crate::setting::{Mistake, Span};
use http::Uri;

impl IssuerConfig {
    /// Adds what is wrong with a whole list of issuers, which are complete.
    pub fn check_all(issuers: &[Self], mistakes: &mut Vec<Mistake>) {
        for (index, one) in issuers.iter().enumerate() {
            one.check(index, mistakes);
            let mut wrong = |key: &str, problem: String| {
                mistakes.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
            };
            if issuers[..index].iter().any(|earlier| one.is_confused_with(earlier)) {
                let problem = "this issuer is configured above; the same one twice needs other `audience`s or \
                               other `places`";
                wrong("issuer", problem.into());
            }
            if one.issuer.as_slice().iter().any(|name| name == ANONYMOUS_ISSUER) {
                wrong("issuer", "this name stands for callers without a credential; write another".into());
            }
            one.check_types(&issuers[..index], &mut wrong);
            one.check_prefixes(&issuers[..index], &mut wrong);
        }
    }

    /// Adds the places where tokens of these issuers are said to count and where none is read.
    pub fn check_places(issuers: &[Self], settings: &Config, mistakes: &mut Vec<Mistake>) {
        for (index, one) in issuers.iter().enumerate() {
            for place in &one.places {
                let problem = match place {
                    AcceptedPlace::Header(name)
                        if !settings.headers.iter().any(|h| h.eq_ignore_ascii_case(name)) =>
                    {
                        format!("no token is read from the header {name}; add it to identity.headers")
                    }
                    AcceptedPlace::Cookie if settings.cookie.is_none() && one.client_id.is_none() => {
                        "no token is read from a cookie; write identity.cookie".to_owned()
                    }
                    _ => continue,
                };
                // Written or by its kind.
                mistakes.push(Mistake::at(format!("issuer[{index}].places"), problem));
            }
        }
    }

    /// Adds what is wrong with the `index`th issuer.
    pub fn check(&self, index: usize, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: &str, problem: &str| {
            mistakes.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
        };
        if self.issuer.as_slice().is_empty() || self.issuer.as_slice().iter().any(String::is_empty) {
            wrong("issuer", "write the exact `iss` of its tokens");
        }
        self.check_audience(&mut wrong);
        self.check_algorithms(&mut wrong);
        self.check_kind(&mut wrong);
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
        self.check_client(&mut wrong);
        for (pointer, problem) in self.require.faults() {
            wrong("require", &format!("{pointer}: {problem}"));
        }
        for (name, problem) in self.claims.faults() {
            wrong(&format!("claims.{name}"), &problem);
        }
    }

    /// The client that people sign in with.
    fn check_client(&self, wrong: &mut impl FnMut(&str, &str)) {
        if self.client_id.is_none() {
            let scopes = self.scopes != ["openid"];
            for (key, written) in [
                ("client_secret", self.client_secret.is_some()),
                ("scopes", scopes),
                ("extra", !self.extra.is_empty()),
            ] {
                if written {
                    wrong(key, "belongs to a sign-in; write client_id too, or leave it out");
                }
            }
            return;
        }
        if self.client_id.as_deref() == Some("") {
            wrong("client_id", "write the client's id, or leave it out");
        }
        if !matches!(self.kind, IssuerKind::Oidc | IssuerKind::Cognito) {
            wrong("client_id", "nobody signs in with this kind of issuer; leave it out");
        }
        if !self.counts_at(&AcceptedPlace::Cookie) {
            wrong("places", "a sign-in keeps its token in a cookie; add \"cookie\"");
        }
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if !self.scopes.iter().any(|scope| scope == "openid") || !self.scopes.iter().all(is_scope) {
            wrong("scopes", "write scopes without spaces, \"openid\" among them");
        }
        for name in self.extra.keys() {
            if name.is_empty() || RESERVED_PARAMETERS.contains(&name.as_str()) {
                wrong("extra", &format!("{name:?} is set by kvs-edge; leave it out"));
            }
        }
    }

    fn check_audience(&self, wrong: &mut impl FnMut(&str, &str)) {
        if !self.kind.has_audience() {
            if !self.audience.is_empty() || self.audience_claim.is_some() {
                wrong("audience", "tokens of Verified Access name none; leave it out");
            }
            return;
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            let problem = match self.kind {
                IssuerKind::Cognito | IssuerKind::Alb => "write the ids of the clients (the app clients)",
                _ => "write the `aud` that stands for this gateway, such as [\"kvs-edge\"]",
            };
            wrong("audience", problem);
        }
        let pointers = self.audience_claim.as_ref().map(|claim| claim.as_slice());
        if pointers.is_some_and(|list| list.is_empty() || !list.iter().all(|p| p.starts_with('/'))) {
            wrong("audience_claim", "write a JSON pointer, such as \"/aud\" or \"/client_id\"");
        }
        if self.kind == IssuerKind::Alb && pointers.is_some() {
            wrong("audience_claim", "of a load balancer it is `client` in the header; leave it out");
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

    /// What belongs to one kind only.
    fn check_kind(&self, wrong: &mut impl FnMut(&str, &str)) {
        let signers = self.signers();
        match self.kind {
            IssuerKind::Alb | IssuerKind::VerifiedAccess => {
                let places: Vec<_> = signers.iter().map(|arn| self.kind.key_address(arn)).collect();
                if signers.is_empty() || places.contains(&None) {
                    let problem = if self.kind == IssuerKind::Alb {
                        "write the load balancer's ARN: arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID"
                    } else {
                        "write the instance's ARN: arn:aws:ec2:REGION:ACCOUNT:verified-access-instance/vai-ID"
                    };
                    wrong("signer", problem);
                } else if places.windows(2).any(|pair| pair[0] != pair[1]) {
                    wrong("signer", "these are in several regions; write one [[issuer]] for each");
                }
                if self.places.iter().any(|place| !matches!(place, AcceptedPlace::Header(_))) {
                    wrong("places", "only a header that the proxy sets can hold its tokens");
                }
            }
            _ if self.signer.is_some() => {
                wrong("signer", "belongs to kind = \"alb\" and kind = \"verified-access\" only");
            }
            IssuerKind::Spiffe => {
                let domain = |name: &String| {
                    let domain = name.strip_prefix("spiffe://").unwrap_or_default();
                    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
                    !domain.is_empty() && domain.bytes().all(fits)
                };
                if !self.issuer.as_slice().iter().all(domain) {
                    wrong("issuer", "write the trust domain: spiffe://example.org");
                }
            }
            _ => {}
        }
    }

    fn check_keys(&self, wrong: &mut impl FnMut(&str, &str)) {
        let ways = usize::from(self.jwks.is_some())
            + usize::from(self.is_discovered())
            + usize::from(self.secret.is_some());
        if self.kind.has_signer() {
            if ways > 0 {
                wrong("jwks", "keys of this kind are read from `key_url`; leave out the others");
            }
        } else if self.key_url.is_some() {
            wrong("key_url", "belongs to kind = \"alb\" and kind = \"verified-access\" only");
        } else if self.kind == IssuerKind::Spiffe && self.jwks.is_none() {
            wrong("jwks", "write where the bundle is: https://…, or file:PATH");
        } else if ways != 1 {
            wrong("jwks", "write exactly one of `jwks`, `discovery = true`, `discovery_url` and `secret`");
        }
        for (key, source) in
            [("jwks", &self.jwks), ("discovery_url", &self.discovery_url), ("key_url", &self.key_url)]
        {
            match source {
                Some(JwksSource::Url(url)) => {
                    if let Err(problem) = self.may_fetch(url) {
                        wrong(key, problem);
                    }
                }
                Some(JwksSource::File(_)) if key != "jwks" => wrong(key, "write an https:// URL"),
                _ => {}
            }
        }
        if self.discovery && self.discovery_url.is_none() {
            let problem = match self.name().parse::<Uri>() {
                Ok(url) if url.host().is_some() => self.may_fetch(&url).err(),
                _ => Some("with `discovery`, the issuer must be an https:// URL"),
            };
            if let Some(problem) = problem {
                wrong("issuer", problem);
            }
        }
        let local = self.secret.is_some() || matches!(self.jwks, Some(JwksSource::File(_)));
        for (key, source) in [("ca", &self.ca), ("bearer", &self.bearer)] {
            if local && source.is_some() {
                wrong(key, "the keys of this issuer are not read over the network; leave it out");
            }
        }
    }

    /// Whether a token could belong to both.
    fn is_confused_with(&self, other: &Self) -> bool {
        let same_name = self.issuer.as_slice().iter().any(|name| other.is_called(name));
        let apart = match (self.kind.has_signer(), other.kind.has_signer()) {
            (true, true) => !self.signers().iter().any(|arn| other.signers().contains(arn)),
            (false, false) => {
                let places = !self.places.is_empty()
                    && !other.places.is_empty()
                    && !self.places.iter().any(|place| other.counts_at(place));
                places || !self.audience.iter().any(|name| other.audience.contains(name))
            }
            // The token's header has a signer, or it has none.
            _ => true,
        };
        same_name && !apart
    }

    /// Policies are written once for all issuers, so an attribute has one type.
    fn check_types(&self, earlier: &[Self], wrong: &mut impl FnMut(&str, String)) {
        for (name, claim) in self.claims.attributes() {
            let differs = |other: &&Self| {
                let mut theirs = other.claims.attributes();
                theirs.any(|(its, theirs)| its == name && !theirs.kind.reads_as(claim.kind))
            };
            if let Some(other) = earlier.iter().find(differs) {
                let name_of = other.name();
                let problem =
                    format!("issuer {name_of} maps it to another type; use one type or another name");
                wrong(&format!("claims.{name}"), problem);
            }
        }
    }

    /// With prefixes that begin alike, one issuer could make up names of the other.
    fn check_prefixes(&self, earlier: &[Self], wrong: &mut impl FnMut(&str, String)) {
        let alike = |one: &str, two: &str| {
            one != two && !one.is_empty() && !two.is_empty() && (one.starts_with(two) || two.starts_with(one))
        };
        for other in earlier {
            for (key, ours, theirs) in [
                ("subject_prefix", &self.subject_prefix, &other.subject_prefix),
                ("group_prefix", &self.group_prefix, &other.group_prefix),
            ] {
                if alike(ours, theirs) {
                    wrong(
                        key,
                        format!("one of {ours:?} and {theirs:?} begins with the other; choose another"),
                    );
                }
            }
        }
    }
}

/// Parameters of a sign-in whose values are not the operator's to choose.
const RESERVED_PARAMETERS: [&str; 13] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "id_token_hint",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

#[cfg(test)]
#[path = "tests/issuer_checks.rs"]
mod tests;
