//! Which members of `context` policies read, and how far the outcome depends on each.
//!
//! A number or an instant that is only compared with constants matters as far as that: as long as none of
//! them is reached or passed, the decision is the same ([`super::decision_cache`]). What is not understood
//! here counts as read in a way that any change may matter.

use crate::kvs::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Which members of `context` some policies read. The others need not be given to Cedar, since they decide
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ContextReads {
    /// The context is read as a whole, or in a way that is not understood here: it must be complete.
    All,
    /// These, by name: `mode`, or `local.hour` for a member of a member.
    Named(BTreeMap<String, ReadAs>),
}

/// How a member of `context` is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ReadAs {
    /// In a way that any change of the value may change the outcome.
    Wholly,
    /// Only by comparing it with these numbers, in order and each once: as long as none of them is reached or
    /// passed, the outcome is the same. Instants are milliseconds since 1970.
    Against(Vec<i64>),
}

impl ReadAs {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Against(mut one), Self::Against(mut two)) => {
                one.append(&mut two);
                one.sort_unstable();
                one.dedup();
                Self::Against(one)
            }
            _ => Self::Wholly,
        }
    }

    /// The number as far as it matters: itself, or where among the numbers that it is compared with.
    pub fn of(&self, number: i64) -> i64 {
        let Self::Against(numbers) = self else { return number };
        let below = numbers.partition_point(|with| *with < number);
        2 * below as i64 + i64::from(numbers.get(below) == Some(&number))
    }
}

impl ContextReads {
    /// What one policy reads.
    pub fn of(policy: &Value) -> Self {
        let mut named = BTreeMap::new();
        if collect_reads(policy, &mut named) { Self::Named(named) } else { Self::All }
    }

    /// Nothing is read.
    pub fn none() -> Self {
        Self::Named(BTreeMap::new())
    }

    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Named(mut one), Self::Named(two)) => {
                two.into_iter().for_each(|(name, reading)| add(&mut one, name, reading));
                Self::Named(one)
            }
            _ => Self::All,
        }
    }

    /// Whether a member of the context, or a member of it, is read.
    pub fn holds(&self, name: &str) -> bool {
        let within = |read: &String| read.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        match self {
            Self::All => true,
            Self::Named(named) => named.contains_key(name) || named.keys().any(within),
        }
    }

    /// How a member is read, if it is. Who reads all of `local` reads `local.hour`.
    pub fn reading(&self, name: &str) -> Option<&ReadAs> {
        let Self::Named(named) = self else { return Some(&ReadAs::Wholly) };
        let whole = name.split_once('.').and_then(|(record, _)| named.get(record));
        whole.or_else(|| named.get(name))
    }
}

fn add(named: &mut BTreeMap<String, ReadAs>, name: String, reading: ReadAs) {
    let reading = match named.remove(&name) {
        Some(already) => already.or(reading),
        None => reading,
    };
    named.insert(name, reading);
}

/// The records in the context: what clocks show now, and at the start and the end of the footage.
const RECORDS: [&str; 3] = ["local", "local_start", "local_end"];

/// `context.mode` or `context.local.hour`: the name of the member.
fn member(node: &Value) -> Option<String> {
    let inner = node.get(".")?;
    let (of, name) = (&inner["left"], inner["attr"].as_str()?);
    if *of == json!({"Var": "context"}) {
        return Some(name.to_owned());
    }
    let record = RECORDS
        .into_iter()
        .find(|record| *of == json!({".": {"left": {"Var": "context"}, "attr": record}}))?;
    Some(format!("{record}.{name}"))
}

/// `context.start_age <= 86400`, either way round: the member and the constant.
fn compared(node: &Value) -> Option<(String, i64)> {
    let sides = ["<", "<=", ">", ">=", "==", "!="].iter().find_map(|operator| node.get(operator))?;
    let (left, right) = (&sides["left"], &sides["right"]);
    let (read, with) = match member(left) {
        Some(read) => (read, right),
        None => (member(right)?, left),
    };
    Some((read, constant(with)?))
}

/// A whole number, or an instant such as `datetime("2026-01-01")` in milliseconds.
fn constant(node: &Value) -> Option<i64> {
    if let Some(number) = node.get("Value") {
        return number.as_i64();
    }
    match node.get("datetime")?.as_array()?.as_slice() {
        [text] => instant(text.get("Value")?.as_str()?),
        _ => None,
    }
}

/// Reads Cedar's three ways of writing an instant: a date, and with a time in UTC or at an offset. `None` for
/// what is none of them, or before 1970.
fn instant(text: &str) -> Option<i64> {
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let offset = text.len().checked_sub(5).filter(|at| matches!(text.as_bytes()[*at], b'+' | b'-'));
    let text = match offset {
        _ if text.len() == "2026-01-01".len() => format!("{text}T00:00:00Z"),
        Some(_) => format!("{}:{}", text.get(..text.len() - 2)?, text.get(text.len() - 2..)?),
        None => text.to_owned(),
    };
    i64::try_from(Timestamp::parse(&text).ok()?.millis()).ok()
}

/// Collects the members of `context` that are read by name; false if it is read in another way.
fn collect_reads(node: &Value, named: &mut BTreeMap<String, ReadAs>) -> bool {
    let context = |node: &Value| node.get("Var").is_some_and(|name| name == "context");
    if let Some((name, number)) = compared(node) {
        add(named, name, ReadAs::Against(vec![number]));
        return true;
    }
    if let Some(name) = member(node) {
        add(named, name, ReadAs::Wholly);
        return true;
    }
    if context(node) {
        return false;
    }
    if let Some(inner) = node.get("has")
        && inner.get("left").is_some_and(context)
    {
        let attribute = inner.get("attr").and_then(Value::as_str);
        return attribute.map(|name| add(named, name.to_owned(), ReadAs::Wholly)).is_some();
    }
    match node {
        Value::Array(list) => list.iter().all(|inner| collect_reads(inner, named)),
        Value::Object(map) => map.values().all(|inner| collect_reads(inner, named)),
        _ => true,
    }
}

#[cfg(test)]
#[path = "tests/context_reads.rs"]
mod tests;
