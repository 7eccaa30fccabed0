//! Environment variables as settings: `KVS_EDGE__SECTION__KEY`, or `KVS_EDGE__AWS__0__REGION` for a list.
//!
//! A value is read as TOML where that succeeds, and as plain text otherwise, so neither `512MiB` nor `["a",
//! "b"]` needs quotes beyond the shell's.

use toml::{Table, Value};

/// The prefix of variables that are settings.
pub const ENVIRONMENT_PREFIX: &str = "KVS_EDGE__";

/// `KVS_EDGE__AWS__0__REGION` → `aws`, `0`, `region`.
pub(super) fn path_of(name: &str) -> Vec<String> {
    name[ENVIRONMENT_PREFIX.len()..].split("__").map(str::to_lowercase).collect()
}

pub(super) fn value_of(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Keys with a short form as text, and the member of the table that the text is.
const SHORT_FORMS: [([&str; 2], &str); 1] = [(["log", "audit"], "to")];

/// Where a member of a table is set whose key is a text for short, writes the table out.
pub(super) fn write_out(table: &mut Table, path: &[String]) {
    for ([section, key], member) in SHORT_FORMS {
        if path.len() > 2
            && path[..2] == [section, key]
            && let Some(value) = table.get_mut(section).and_then(|section| section.get_mut(key))
            && value.is_str()
        {
            let text = std::mem::replace(value, Value::Table(Table::new()));
            if let Value::Table(inner) = value {
                inner.insert(member.to_owned(), text);
            }
        }
    }
}

/// Puts a value at a path, making tables and appending to lists on the way.
pub(super) fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((key, rest)) = path.split_first().filter(|(key, _)| !key.is_empty()) else {
        return Err("names no setting; write KVS_EDGE__SECTION__KEY".into());
    };
    let Some(next) = rest.first() else {
        table.insert(key.clone(), value);
        return Ok(());
    };
    let index: Option<usize> = next.parse().ok();
    let fresh = if index.is_some() { Value::Array(Vec::new()) } else { Value::Table(Table::new()) };
    match (table.entry(key.clone()).or_insert(fresh), index) {
        (Value::Table(inner), _) => set(inner, rest, value),
        (Value::Array(list), Some(index)) => set_in_list(list, index, &rest[1..], value),
        _ => Err(format!("{key} is no table")),
    }
}

fn set_in_list(list: &mut Vec<Value>, index: usize, rest: &[String], value: Value) -> Result<(), String> {
    if index > list.len() {
        return Err(format!("index {index} leaves a hole: the list has {} members", list.len()));
    }
    if index == list.len() {
        list.push(if rest.is_empty() { value.clone() } else { Value::Table(Table::new()) });
    }
    match (&mut list[index], rest.is_empty()) {
        (slot, true) => {
            *slot = value;
            Ok(())
        }
        (Value::Table(inner), false) => set(inner, rest, value),
        _ => Err(format!("member {index} is no table")),
    }
}
