//! Where a key is in the file.

use toml::de::{DeTable, DeValue};

/// `issuer[0].jwks` → `issuer`, `0`, `jwks`.
pub(super) fn segments(key: &str) -> Vec<String> {
    key.split(['.', '[', ']']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Where a key is written; if it is not, where the deepest table on the way to it is.
pub(super) fn offset_of(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (key, rest) = path.split_first()?;
    let (name, value) = table.iter().find(|(name, _)| name.get_ref().as_ref() == key.as_str())?;
    let here = name.span().start;
    let deeper = match value.get_ref() {
        DeValue::Table(inner) => offset_of(inner, rest),
        DeValue::Array(list) => rest.split_first().and_then(|(index, rest)| {
            let member = list.get(index.parse::<usize>().ok()?)?;
            match member.get_ref() {
                DeValue::Table(inner) => offset_of(inner, rest).or(Some(member.span().start)),
                _ => Some(member.span().start),
            }
        }),
        _ => None,
    };
    deeper.or(Some(here))
}
