//! What a token must claim, and what its claims make of the caller. Pure: the clock is handed in.

use super::claim_map::{Claim, ClaimType};
use super::config::IssuerConfig;
use super::error::{Error, Reason, quoted};
use super::token::{Unverified, is_media_type};
use crate::caller::{Attribute, Caller, TextSet};
use crate::kvs::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

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
    check_audience(claims.get("aud"), &rules.audience)?;
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

fn check_audience(found: Option<&Value>, accepted: &[String]) -> Result<(), Error> {
    let found: Vec<&str> = match found {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| Error::refused(Reason::Audience, "`aud` holds what is not text"))?,
        Some(_) => return Err(Error::refused(Reason::Audience, "`aud` is neither text nor a list of texts")),
        None => return Err(Error::refused(Reason::Audience, "no `aud`")),
    };
    if found.iter().any(|name| accepted.iter().any(|accepted| accepted == name)) {
        return Ok(());
    }
    Err(Error::refused(
        Reason::Audience,
        found.iter().take(4).map(|a| quoted(a)).collect::<Vec<_>>().join(", "),
    ))
}

/// A NumericDate (RFC 7519 2): seconds, with or without decimals.
fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = value.as_f64().and_then(|seconds| Timestamp::from_seconds(seconds).ok());
    time.map(Some).ok_or_else(|| {
        Error::refused(Reason::Malformed, format!("`{name}` is not a number of seconds since 1970"))
    })
}

impl IssuerConfig {
    /// The caller that these claims would make, were they in a token: for explaining decisions, not for
    /// making any.
    ///
    /// # Errors
    /// What a real token with these claims would be refused for.
    pub fn imagine(&self, claims: &Value, now: Timestamp) -> Result<Caller, Error> {
        let Value::Object(claims) = claims else {
            return Err(Error::refused(Reason::Malformed, "the claims are no JSON object"));
        };
        let caller = caller(claims, self)?;
        let expires = if claims.contains_key("exp") { caller.expires } else { now.plus(self.max_lifetime.0) };
        Ok(Caller { expires, ..caller })
    }
}

/// The caller that a verified token names.
pub(super) fn caller(claims: &Map<String, Value>, rules: &IssuerConfig) -> Result<Caller, Error> {
    let expires = instant(claims, "exp")?.unwrap_or(Timestamp::from_millis(0));
    // JSON pointers start at a value, and the claims are that value's members.
    let all = Value::Object(claims.clone());
    let groups = match attribute(&all, "groups", rules.claims.groups())? {
        Some(Attribute::Texts(names)) => names,
        _ => TextSet::default(),
    };
    let mut attributes = std::collections::BTreeMap::new();
    for (name, claim) in rules.claims.attributes() {
        if let Some(value) = attribute(&all, name, claim)? {
            attributes.insert(name.to_owned(), value);
        }
    }
    Ok(Caller {
        issuer: Arc::from(rules.issuer.as_str()),
        subject: subject(&all, rules.claims.subject())?,
        token_id: token_id(claims)?,
        groups,
        attributes,
        expires,
    })
}

/// The longest subject and `jti`, in bytes: they go into every audit line.
const LONGEST_NAME: usize = 512;

fn subject(all: &Value, claim: &Claim) -> Result<Arc<str>, Error> {
    let refused = |detail: String| Err(Error::refused(Reason::Subject, detail));
    match all.pointer(&claim.pointer) {
        Some(Value::String(name)) if is_name(name) => Ok(Arc::from(name.as_str())),
        Some(Value::String(_)) => {
            refused(format!("`{}` is empty, long, or has control characters", claim.pointer))
        }
        Some(_) => refused(format!("`{}` is not text", claim.pointer)),
        None => refused(format!("no `{}`", claim.pointer)),
    }
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Arc<str>>, Error> {
    match claims.get("jti") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_name(id) => Ok(Some(Arc::from(id.as_str()))),
        Some(_) => Err(Error::refused(Reason::Malformed, "`jti` is not a short text")),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control)
}

fn attribute(all: &Value, name: &str, claim: &Claim) -> Result<Option<Attribute>, Error> {
    let value = match all.pointer(&claim.pointer) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let read = match (claim.kind, value) {
        (ClaimType::String, Value::String(text)) => Some(Attribute::Text(text.clone())),
        (ClaimType::Bool, Value::Bool(it)) => Some(Attribute::Bool(*it)),
        (ClaimType::Long, Value::Number(number)) => number.as_i64().map(Attribute::Long),
        (ClaimType::Set, Value::String(one)) => Some(Attribute::Texts([one].into())),
        (ClaimType::Set, Value::Array(items)) => {
            items.iter().map(Value::as_str).collect::<Option<_>>().map(Attribute::Texts)
        }
        _ => None,
    };
    read.map(Some)
        .ok_or_else(|| Error::refused(Reason::Claim, format!("`{}`, mapped to `{name}`", claim.pointer)))
}
