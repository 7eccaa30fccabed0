//! What a token must claim. Pure: the clock is handed in. What its claims make of the caller is in
//! `claimed_caller`.

use super::error::{Error, Reason, quoted};
use super::issuer_config::IssuerConfig;
use super::issuer_kind::IssuerKind;
use super::one_or_many::OneOrMany;
use super::token::{Unverified, is_media_type};
use crate::kvs::Timestamp;
use serde_json::Value;

/// When a token counts, leeway included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Not before this.
    pub from: Timestamp,
    /// Before this.
    pub until: Timestamp,
}

impl Window {
    /// Refuses what lies outside of the window.
    pub fn admit(self, now: Timestamp) -> Result<(), Error> {
        if now >= self.until {
            Err(Error::refused(Reason::Expired, format!("{} s ago", self.until.age(now).as_secs())))
        } else if now < self.from {
            Err(Error::refused(Reason::NotYet, format!("only in {} s", now.age(self.from).as_secs())))
        } else {
            Ok(())
        }
    }
}

/// Applies every rule about claims that an issuer has. The signature is checked elsewhere.
pub(super) fn check(token: &Unverified<'_>, rules: &IssuerConfig, now: Timestamp) -> Result<Window, Error> {
    let claims = &token.claims;
    let typ = token.typ.as_deref().unwrap_or_default();
    if !rules.types.iter().any(|accepted| is_media_type(typ, accepted)) {
        return Err(Error::refused(Reason::Type, quoted(typ)));
    }
    check_audience(claims, rules)?;
    let window = check_times(claims, rules, now)?;
    if !rules.allow_bound && claims.get("cnf").is_some_and(|bound| !bound.is_null()) {
        return Err(Error::refused(Reason::Bound, "`cnf`"));
    }
    if let Some((pointer, wanted)) = rules.require.broken_by(claims) {
        return Err(Error::refused(Reason::Require, format!("`{pointer}` must be {wanted}")));
    }
    Ok(window)
}

/// When a token of this issuer counts, if that is now.
pub(super) fn check_times(claims: &Value, rules: &IssuerConfig, now: Timestamp) -> Result<Window, Error> {
    let leeway = rules.leeway.0;
    let expires = instant(claims, "exp")?.ok_or_else(|| Error::refused(Reason::Unbounded, "no `exp`"))?;
    let not_before = instant(claims, "nbf")?;
    let issued = instant(claims, "iat")?;
    let from = not_before.map_or(Timestamp::from_millis(0), |from| from.minus(leeway));
    let window = Window { from, until: expires.plus(leeway) };
    window.admit(now)?;
    if let Some(issued) = issued
        && issued > now.plus(leeway)
    {
        let ahead = now.age(issued).as_secs();
        return Err(Error::refused(Reason::IssuedAhead, format!("{ahead} s ahead")));
    }
    // Without `iat`, what remains is the least that it lives.
    let life = issued.map_or_else(|| now.age(expires.minus(leeway)), |issued| issued.age(expires));
    if life > rules.max_lifetime.0 {
        let detail = format!("{} s; at most {} are accepted", life.as_secs(), rules.max_lifetime.0.as_secs());
        return Err(Error::refused(Reason::Lifetime, detail));
    }
    Ok(window)
}

/// Whether the token names one of the issuer's audiences; also chooses between two entries of one issuer.
pub(super) fn check_audience(claims: &Value, rules: &IssuerConfig) -> Result<(), Error> {
    if !rules.kind.has_audience() {
        return Ok(());
    }
    let (pointer, found) = audience(claims, rules)?;
    let refused = |detail: String| Err(Error::refused(Reason::Audience, detail));
    let found: Vec<&str> = match found {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => match several.iter().map(Value::as_str).collect() {
            Some(texts) => texts,
            None => return refused(format!("`{pointer}` holds what is not text")),
        },
        Some(_) => return refused(format!("`{pointer}` is neither text nor a list of texts")),
        None => return refused(format!("no `{pointer}`")),
    };
    if found.iter().any(|name| rules.audience.iter().any(|accepted| accepted == name)) {
        return Ok(());
    }
    refused(found.iter().take(4).map(|a| quoted(a)).collect::<Vec<_>>().join(", "))
}

/// The claim that names the audience, and where it is.
pub(super) fn audience<'a>(
    claims: &'a Value,
    rules: &'a IssuerConfig,
) -> Result<(&'a str, Option<&'a Value>), Error> {
    let first = |pointers: &'a [String]| {
        let there = pointers
            .iter()
            .find_map(|p| Some((p.as_str(), Some(claims.pointer(p).filter(|v| !v.is_null())?))));
        there.unwrap_or((pointers.first().map_or("/aud", String::as_str), None))
    };
    if let Some(pointers) = rules.audience_claim.as_ref().map(OneOrMany::as_slice) {
        return Ok(first(pointers));
    }
    // Cognito: "Understanding user pool JSON web tokens". A client's id is in `aud` of ID tokens and in
    // `client_id` of access tokens; neither is looked at in the other.
    match (rules.kind, claims.get("token_use").and_then(Value::as_str)) {
        (IssuerKind::Cognito, Some("access")) => Ok(("/client_id", claims.get("client_id"))),
        (IssuerKind::Cognito, Some("id")) => Ok(("/aud", claims.get("aud"))),
        (IssuerKind::Cognito, _) => {
            Err(Error::refused(Reason::Audience, "`token_use` is neither \"id\" nor \"access\""))
        }
        _ => Ok(("/aud", claims.get("aud"))),
    }
}

/// A NumericDate (RFC 7519 2): seconds, with or without decimals.
pub(super) fn instant(claims: &Value, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = value.as_f64().and_then(|seconds| Timestamp::from_seconds(seconds).ok());
    time.map(Some).ok_or_else(|| {
        Error::refused(Reason::Malformed, format!("`{name}` is not a number of seconds since 1970"))
    })
}
