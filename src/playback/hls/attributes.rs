//! Attribute lists of HLS tags (RFC 8216, 4.2), and which attributes hold URIs.

/// `URI`, `SERVER-URI`, `X-ASSET-URI`, `X-ASSET-LIST` and all attributes with similar names.
pub(super) fn is_uri(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.contains("URI") || name.contains("URL") || name == "X-ASSET-LIST"
}

/// True if a lenient reader could find a `URI=` in it.
pub(super) fn names_uri(value: &str) -> bool {
    let upper = value.to_ascii_uppercase();
    ["URI", "URL", "X-ASSET-LIST"].iter().any(|name| {
        upper.match_indices(name).any(|(at, _)| upper[at + name.len()..].trim_start().starts_with('='))
    })
}

pub(super) struct Attribute {
    pub(super) name: std::ops::Range<usize>,
    /// With its quotation marks.
    pub(super) value: std::ops::Range<usize>,
}

/// Reads an attribute list (RFC 8216, 4.2); `None` if it is not one.
pub(super) fn attributes(list: &str) -> Option<Vec<Attribute>> {
    let bytes = list.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        let name = at;
        while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            at += 1;
        }
        if at == name || bytes.get(at) != Some(&b'=') {
            return None;
        }
        let value = at + 1;
        at = if bytes.get(value) == Some(&b'"') {
            value + 2 + list[value + 1..].find('"')?
        } else {
            let end = list[value..].find([',', '"']).map_or(list.len(), |end| value + end);
            if bytes.get(end) == Some(&b'"') {
                return None;
            }
            end
        };
        found.push(Attribute { name: name..value - 1, value: value..at });
        match bytes.get(at) {
            None => return Some(found),
            Some(b',') => at += 1,
            Some(_) => return None,
        }
    }
}
