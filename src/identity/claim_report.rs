//! What became of each claim of a token: for `explain`, and in the log where a claim could not be used.

use super::claim_map::Claim;
use super::claimed_caller::{LeftOut, attribute, first};
use super::claims::audience;
use super::issuer_config::IssuerConfig;
use crate::caller::Caller;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimLine {
    /// Where it is, as a JSON pointer.
    pub pointer: String,
    /// Its value as JSON, shortened; `None` if it is absent.
    pub value: Option<String>,
    /// What became of it.
    pub fate: String,
}

/// The longest value that is shown, in characters.
const SHOWN: usize = 100;

impl IssuerConfig {
    /// What becomes of each of these claims. The issuer must be complete.
    #[must_use]
    pub fn report(&self, claims: &Value) -> Vec<ClaimLine> {
        let mut lines = Vec::new();
        let mut add = |pointer: &str, fate: String| {
            let value = claims.pointer(pointer).map(shown);
            lines.push(ClaimLine { pointer: pointer.to_owned(), value, fate });
        };
        add("/iss", format!("the issuer {}", self.name()));
        if self.kind.has_audience() {
            match audience(claims, self) {
                Ok((pointer, _)) => {
                    add(pointer, format!("the audience; accepted: {}", self.audience.join(", ")))
                }
                Err(error) => add("/token_use", error.to_string()),
            }
        }
        for pointer in self.require.pointers() {
            let broken = self.require.broken_by(claims).filter(|(broken, _)| *broken == pointer);
            add(
                pointer,
                broken.map_or("required, and good".into(), |(_, wanted)| {
                    format!("REFUSED: it must be {wanted}")
                }),
            );
        }
        for (name, claim) in self.claims.all() {
            let pointers = claim.pointers.as_slice();
            let pointer = first(claims, pointers).map(|(pointer, _)| pointer);
            let pointer = pointer.or_else(|| pointers.first().map(String::as_str)).unwrap_or_default();
            add(pointer, self.fate(name, claim, claims));
        }
        for (name, fate) in [
            ("exp", "the end of the token"),
            ("nbf", "the beginning of the token"),
            ("iat", "when the token was made"),
            ("jti", "the token's id, for the audit log"),
        ] {
            if claims.get(name).is_some() {
                add(&format!("/{name}"), fate.into());
            }
        }
        if claims.get("cnf").is_some_and(|bound| !bound.is_null()) {
            let fate = if self.allow_bound { "not checked (allow_bound)" } else { "REFUSED: bound to a key" };
            add("/cnf", fate.into());
        }
        let used: Vec<String> = lines.iter().map(|line| line.pointer.clone()).collect();
        for (name, value) in claims.as_object().into_iter().flatten() {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let within = |used: &String| *used == pointer || used.starts_with(&format!("{pointer}/"));
            if !used.iter().any(within) {
                lines.push(ClaimLine { pointer, value: Some(shown(value)), fate: "not mapped".into() });
            }
        }
        lines
    }

    fn fate(&self, name: &str, claim: &Claim, claims: &Value) -> String {
        let (what, prefix) = match name {
            "subject" => ("the subject".to_owned(), &self.subject_prefix),
            "groups" => ("the groups".to_owned(), &self.group_prefix),
            _ => (format!("principal.{name}"), const { &String::new() }),
        };
        let prefixed =
            if prefix.is_empty() { String::new() } else { format!(", each with {prefix:?} in front") };
        match first(claims, claim.pointers.as_slice()) {
            Some((_, value)) if attribute(value, claim.kind).is_some() => format!("{what}{prefixed}"),
            Some(_) if claim.required || name == "subject" => {
                format!("REFUSED: {what}, and not of the type {}", claim.kind.as_str())
            }
            Some(_) => format!("LEFT OUT: {what}, and not of the type {}", claim.kind.as_str()),
            None if claim.required || name == "subject" => format!("REFUSED: {what} is absent"),
            None => format!("{what}: absent"),
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Tells the log of claims that were left out, each at most once in a while: every token of an issuer may
/// have the same fault.
#[derive(Default)]
pub(super) struct NotedClaims(Mutex<BTreeMap<String, Instant>>);

/// How long the same fault is not reported again.
const QUIET: Duration = Duration::from_secs(600);
/// How many faults are remembered; further ones are not reported.
const MOST: usize = 1000;

impl NotedClaims {
    /// Tells what could not be used of a token.
    pub fn tell(&self, issuer: &str, caller: &Caller, left_out: &[LeftOut]) {
        for LeftOut { name, why } in left_out {
            if self.is_due(format!("{issuer} {name}")) {
                tracing::warn!(issuer, claim = name, "a claim was left out: {why}");
            }
        }
        if caller.groups_withheld && self.is_due(format!("{issuer} overage")) {
            tracing::warn!(
                issuer,
                subject = &*caller.subject,
                "the token lists no groups because its owner is in too many (groups overage); assign groups \
                 to the application, or use app roles: docs/IDENTITY.md"
            );
        }
    }

    fn is_due(&self, fault: String) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reported.retain(|_, when| when.elapsed() < QUIET);
        if reported.contains_key(&fault) || reported.len() >= MOST {
            return false;
        }
        reported.insert(fault, Instant::now());
        true
    }
}
