//! What the claims of a token make of its caller: the subject, the groups, the attributes, and a note for
//! each claim that could not be used.

use super::claim_map::{Claim, ClaimType};
use super::claims::instant;
use super::error::{Error, Reason, quoted};
use super::issuer_config::IssuerConfig;
use crate::caller::{Attribute, Caller, TextSet};
use crate::kvs::Timestamp;
use crate::net::forwarded::Network;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A caller, and what was left out of it.
pub(super) struct Claimed {
    pub caller: Caller,
    pub left_out: Vec<LeftOut>,
}

/// A claim that is mapped and could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The name in the claim map.
    pub name: String,
    /// Why, for the log: it quotes the token at most in part.
    pub why: String,
}

impl IssuerConfig {
    /// The caller that these claims would make, were they in a token: for explaining decisions, not for
    /// making any.
    ///
    /// # Errors
    /// What a real token with these claims would be refused for.
    pub fn imagine(&self, claims: &Value, now: Timestamp) -> Result<Caller, Error> {
        if !claims.is_object() {
            return Err(Error::refused(Reason::Malformed, "the claims are no JSON object"));
        }
        let caller = claimed(claims, self)?.caller;
        let expires = match claims.get("exp") {
            Some(_) => caller.expires,
            None => now.plus(self.max_lifetime.0),
        };
        Ok(Caller { expires, ..caller })
    }
}

/// The caller that a verified token names.
pub(super) fn claimed(claims: &Value, rules: &IssuerConfig) -> Result<Claimed, Error> {
    let expires = instant(claims, "exp")?.unwrap_or(Timestamp::from_millis(0));
    let subject = subject(claims, rules)?;
    let mut left_out = Vec::new();
    let groups = groups(claims, rules, &mut left_out)?;
    let mut attributes = BTreeMap::new();
    for (name, claim) in rules.claims.attributes() {
        if let Some(value) = usable(claims, name, claim, &mut left_out)? {
            attributes.insert(name.to_owned(), value);
        }
    }
    let caller = Caller {
        issuer: Arc::from(rules.name()),
        subject,
        token_id: token_id(claims)?,
        groups_withheld: groups.is_empty() && groups_withheld(claims, rules),
        groups,
        attributes,
        expires,
    };
    Ok(Claimed { caller, left_out })
}

/// The longest subject and `jti`, in bytes: they go into every audit line.
const LONGEST_NAME: usize = 512;

fn subject(claims: &Value, rules: &IssuerConfig) -> Result<Arc<str>, Error> {
    let refused = |detail: String| Err(Error::refused(Reason::Subject, detail));
    let pointers = rules.claims.subject().map_or(&[][..], |claim| claim.pointers.as_slice());
    let found = first(claims, pointers);
    let name = match found {
        Some((_, Value::String(name))) if !name.is_empty() => format!("{}{name}", rules.subject_prefix),
        Some((pointer, Value::String(_))) => return refused(format!("`{pointer}` is empty")),
        Some((pointer, _)) => return refused(format!("`{pointer}` is not text")),
        None => return refused(format!("no `{}`", pointers.join("`, no `"))),
    };
    if !is_name(&name) {
        return refused(format!("{} is long, or has control characters", quoted(&name)));
    }
    if let Some(prefix) = rules.reserved.subjects.iter().find(|prefix| name.starts_with(*prefix)) {
        return refused(format!("{} begins with {prefix:?}, which is another issuer's", quoted(&name)));
    }
    if rules.kind == super::issuer_kind::IssuerKind::Spiffe && !in_trust_domain(claims, rules) {
        return refused("`sub` is of another trust domain".into());
    }
    Ok(name.into())
}

/// SPIFFE ID, section 2: a workload's id is the trust domain and a path.
pub(super) fn in_trust_domain(claims: &Value, rules: &IssuerConfig) -> bool {
    let id = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let path = |domain: &String| id.strip_prefix(domain.as_str()).and_then(|rest| rest.strip_prefix('/'));
    rules.issuer.as_slice().iter().find_map(path).is_some_and(|path| !path.is_empty())
}

fn groups(claims: &Value, rules: &IssuerConfig, left_out: &mut Vec<LeftOut>) -> Result<TextSet, Error> {
    let Some(claim) = rules.claims.groups() else { return Ok(TextSet::default()) };
    let Some(Attribute::Texts(names)) = usable(claims, "groups", claim, left_out)? else {
        return Ok(TextSet::default());
    };
    let mut groups = Vec::new();
    for name in names.iter() {
        let name = format!("{}{name}", rules.group_prefix);
        match rules.reserved.groups.iter().find(|prefix| name.starts_with(*prefix)) {
            None => groups.push(name),
            Some(prefix) => left_out.push(LeftOut {
                name: "groups".into(),
                why: format!("{} begins with {prefix:?}, which is another issuer's", quoted(&name)),
            }),
        }
    }
    Ok(groups.into_iter().collect())
}

/// Whether the issuer says that there are more groups than the token can hold: Entra's overage (`hasgroups`,
/// or `groups` among `_claim_names`, OpenID Connect Core 5.6.2).
fn groups_withheld(claims: &Value, rules: &IssuerConfig) -> bool {
    let pointers = rules.claims.groups().map_or(&[][..], |claim| claim.pointers.as_slice());
    let elsewhere = |pointer: &String| {
        let name = pointer.trim_start_matches('/').replace("~1", "/").replace("~0", "~");
        claims.get("_claim_names").is_some_and(|names| names.get(&name).is_some())
    };
    claims.get("hasgroups") == Some(&Value::Bool(true)) || pointers.iter().any(elsewhere)
}

fn token_id(claims: &Value) -> Result<Option<Arc<str>>, Error> {
    match claims.get("jti") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_name(id) => Ok(Some(Arc::from(id.as_str()))),
        Some(_) => Err(Error::refused(Reason::Malformed, "`jti` is not a short text")),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control)
}

/// The first claim that is there and not empty, or else the first that is there.
pub(super) fn first<'a>(claims: &'a Value, pointers: &'a [String]) -> Option<(&'a str, &'a Value)> {
    let there = || {
        let all = pointers.iter().filter_map(|p| Some((p.as_str(), claims.pointer(p)?)));
        all.filter(|(_, value)| !value.is_null())
    };
    let empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    there().find(|(_, value)| !empty(value)).or_else(|| there().next())
}

/// An attribute, or a note that it was left out.
fn usable(
    claims: &Value,
    name: &str,
    claim: &Claim,
    left_out: &mut Vec<LeftOut>,
) -> Result<Option<Attribute>, Error> {
    let found = first(claims, claim.pointers.as_slice());
    let read = found.and_then(|(_, value)| attribute(value, claim.kind));
    let why = match (&read, found) {
        (Some(_), _) => return Ok(read),
        (None, Some((pointer, _))) => format!("`{pointer}` is not of the type {}", claim.kind.as_str()),
        (None, None) if claim.required => format!("no `{}`", claim.pointers.as_slice().join("`, no `")),
        (None, None) => return Ok(None),
    };
    if claim.required {
        return Err(Error::refused(Reason::Claim, format!("{why}, mapped to `{name}`")));
    }
    left_out.push(LeftOut { name: name.to_owned(), why });
    Ok(None)
}

/// A claim's value as policies read it; `None` if it is of another type.
pub(super) fn attribute(value: &Value, kind: ClaimType) -> Option<Attribute> {
    match (kind, value) {
        (ClaimType::String, Value::String(text)) => Some(Attribute::Text(text.clone())),
        (ClaimType::Bool, Value::Bool(it)) => Some(Attribute::Bool(*it)),
        (ClaimType::Long, Value::Number(number)) => number.as_i64().map(Attribute::Long),
        (ClaimType::Set, Value::String(one)) => Some(Attribute::Texts([one].into())),
        (ClaimType::Set, Value::Array(items)) => {
            items.iter().map(Value::as_str).collect::<Option<_>>().map(Attribute::Texts)
        }
        (ClaimType::Words, Value::String(text)) => {
            Some(Attribute::Texts(text.split(' ').filter(|word| !word.is_empty()).collect()))
        }
        (ClaimType::Keys, Value::Object(members)) => Some(Attribute::Texts(members.keys().collect())),
        (ClaimType::Ip, Value::String(text)) => {
            Network::parse(text).ok().map(|net| Attribute::Ip(net.to_string()))
        }
        (ClaimType::Datetime, Value::Number(seconds)) => {
            Timestamp::from_seconds(seconds.as_f64()?).ok().map(Attribute::Datetime)
        }
        // Digits alone are a number in disguise: an issuer that writes times so means nothing by it.
        (ClaimType::Datetime, Value::String(text)) if text.contains('-') => {
            Timestamp::parse(text).ok().map(Attribute::Datetime)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(text: &str) -> IssuerConfig {
        let text = format!("issuer = 'https://a/'\naudience = ['a']\nalgorithms = ['ES256']\n{text}");
        let mut issuers = [toml::from_str(&text).unwrap()];
        IssuerConfig::complete(&mut issuers);
        let [issuer] = issuers;
        issuer
    }

    fn of(text: &str, claims: &Value) -> Result<Claimed, Error> {
        let mut all = json!({ "sub": "ann", "exp": 1_800_000_000 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        claimed(&all, &rules(text))
    }

    #[test]
    fn each_type_reads_its_claim_and_leaves_every_other_out() {
        let set = |names: &[&str]| Attribute::Texts(names.iter().collect());
        let ip = |text: &str| Attribute::Ip(text.to_owned());
        let at = |millis| Attribute::Datetime(Timestamp::from_millis(millis));
        for (kind, value, read) in [
            ("string", json!("a"), Some(Attribute::Text("a".into()))),
            ("string", json!(["a"]), None),
            ("set", json!(["b", "a"]), Some(set(&["a", "b"]))),
            ("set", json!("a b"), Some(set(&["a b"]))),
            ("set", json!(["a", 1]), None),
            ("words", json!("openid  video.read "), Some(set(&["openid", "video.read"]))),
            ("words", json!(""), Some(set(&[]))),
            ("words", json!(["a"]), None),
            ("keys", json!({ "admin": { "1": "a" }, "viewer": {} }), Some(set(&["admin", "viewer"]))),
            ("keys", json!(["admin"]), None),
            ("long", json!(3), Some(Attribute::Long(3))),
            ("long", json!("3"), None),
            ("long", json!(3.5), None),
            ("bool", json!(true), Some(Attribute::Bool(true))),
            ("bool", json!("true"), None),
            ("ip", json!("10.0.0.0/8"), Some(ip("10.0.0.0/8"))),
            ("ip", json!("2001:db8::1"), Some(ip("2001:db8::1/128"))),
            ("ip", json!("10.0.0.0/33"), None),
            ("ip", json!("10.0.0"), None),
            ("datetime", json!(1_800_000_000), Some(at(1_800_000_000_000))),
            ("datetime", json!("2027-01-15T08:00:00Z"), Some(at(1_800_000_000_000))),
            ("datetime", json!("1800000000"), None),
            ("datetime", json!("soon"), None),
            ("datetime", json!(true), None),
        ] {
            let map = format!("claims = {{ x = {{ pointer = '/x', type = '{kind}' }} }}");
            let claimed = of(&map, &json!({ "x": value })).unwrap();
            assert_eq!(claimed.left_out.len(), usize::from(read.is_none()), "{kind} {value}");
            assert_eq!(claimed.caller.attributes.get("x"), read.as_ref(), "{kind} {value}");
            let strict = map.replace("' }", "', required = true }");
            assert_eq!(
                of(&strict, &json!({ "x": value })).is_ok(),
                read.is_some(),
                "{kind} {value}, required"
            );
        }
        let map = "claims = { x = { pointer = '/x', required = true } }";
        assert!(of(map, &json!({})).is_err(), "absent");
        assert!(of(map, &json!({ "x": null })).is_err(), "null");
    }

    #[test]
    fn the_first_subject_that_is_not_empty_counts() {
        let map = "claims = { subject = ['/email', '/name', '/sub'] }";
        let subject = |claims: Value| of(map, &claims).map(|c| c.caller.subject.to_string()).ok();
        assert_eq!(subject(json!({ "email": "a@b" })).as_deref(), Some("a@b"));
        assert_eq!(subject(json!({ "email": "", "name": "Ann" })).as_deref(), Some("Ann"));
        assert_eq!(subject(json!({ "email": null })).as_deref(), Some("ann"));
        assert_eq!(subject(json!({ "email": ["a@b"] })), None, "no fall to the next one");
        assert_eq!(subject(json!({ "email": 7 })), None);
    }

    #[test]
    fn a_set_that_is_empty_is_there() {
        let claimed =
            of("claims = { sites = { pointer = ['/a', '/b'], type = 'set' } }", &json!({ "a": [] }));
        assert_eq!(claimed.unwrap().caller.attributes["sites"], Attribute::Texts(TextSet::default()));
    }

    #[test]
    fn withheld_groups_are_noticed() {
        let withheld = |claims: Value| of("", &claims).unwrap().caller.groups_withheld;
        let elsewhere = json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": {} } });
        assert!(withheld(elsewhere.clone()));
        assert!(withheld(json!({ "hasgroups": true })));
        for claims in [
            json!({}),
            json!({ "hasgroups": "true" }),
            json!({ "_claim_names": { "other": "src1" } }),
            json!({ "_claim_names": "groups" }),
            json!({ "groups": ["a"], "hasgroups": true }),
        ] {
            assert!(!withheld(claims.clone()), "{claims}");
        }
        let map = "claims = { groups = '/resource_access/groups' }";
        assert!(!of(map, &elsewhere).unwrap().caller.groups_withheld, "other groups are mapped");
    }
}
