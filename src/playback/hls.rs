//! Rewrites HLS playlists line by line: URIs become token-free and relative, everything else stays byte for byte.
//!
//! Unknown tags, odd spaces, number formats and line ends of KVS survive, since players were tested against those.
//! Which lines and attributes hold URIs is RFC 8216; because some players read more leniently than it (unquoted
//! values, other letter case), what could be taken for a URI and is not one of ours is refused.

use super::{Error, LONGEST_TEXT, uri};
use crate::kvs::{Protocol, Resource};

/// A master playlist: it may point to media playlists.
pub(super) fn master(text: &str) -> Result<String, Error> {
    rewrite(text, |to| matches!(to, Resource::MediaPlaylist { .. }))
}

/// A media playlist: it may point to media, and to its sister playlists.
pub(super) fn media(text: &str) -> Result<String, Error> {
    rewrite(text, |to| !matches!(to, Resource::MasterPlaylist | Resource::Manifest))
}

fn rewrite(text: &str, allowed: fn(&Resource) -> bool) -> Result<String, Error> {
    if text.len() > LONGEST_TEXT {
        return Err(Error::Malformed("the playlist is longer than 8 MiB"));
    }
    if text.lines().next() != Some("#EXTM3U") {
        return Err(Error::Malformed("the playlist does not begin with #EXTM3U"));
    }
    let map = |found: &str, out: &mut String| {
        let resource = uri::resource(Protocol::Hls, found)?;
        if !allowed(&resource) {
            return Err(Error::Foreign("it has no business in this playlist"));
        }
        out.push_str(&resource.to_string());
        Ok(())
    };
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let body = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        // Some players break lines at more than \n, and would see a line that we have not looked at.
        if body
            .chars()
            .any(|c| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
        {
            return Err(Error::Foreign("control characters"));
        }
        if body.starts_with("#EXT") {
            tag(body, &map, &mut out)?;
        } else if body.is_empty() || body.starts_with('#') {
            out.push_str(body);
        } else {
            map(body, &mut out)?;
        }
        out.push_str(&line[body.len()..]);
    }
    Ok(out)
}

fn tag(
    line: &str,
    map: &impl Fn(&str, &mut String) -> Result<(), Error>,
    out: &mut String,
) -> Result<(), Error> {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    // It would let a player put other text into what we have checked.
    if name == "#EXT-X-DEFINE" {
        return Err(Error::Foreign("variables"));
    }
    if uri::leads_away(value) {
        return Err(Error::Foreign("an absolute one"));
    }
    let Some(attributes) = attributes(value) else {
        if names_uri(value) {
            return Err(Error::Foreign("an attribute that cannot be read"));
        }
        out.push_str(line);
        return Ok(());
    };
    let mut done = 0;
    let start = line.len() - value.len();
    for attribute in attributes {
        let found = &value[attribute.value.clone()];
        if uri::leads_away(found) {
            return Err(Error::Foreign("an absolute one"));
        }
        if !is_uri(&value[attribute.name]) {
            continue;
        }
        let Some(quoted) = found.strip_prefix('"').and_then(|found| found.strip_suffix('"')) else {
            return Err(Error::Foreign("without quotation marks"));
        };
        out.push_str(&line[done..=start + attribute.value.start]);
        map(quoted, out)?;
        done = start + attribute.value.end - 1;
    }
    out.push_str(&line[done..]);
    Ok(())
}

/// `URI`, `SERVER-URI`, `X-ASSET-URI`, `X-ASSET-LIST` and whatever else is called like that.
fn is_uri(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.contains("URI") || name.contains("URL") || name == "X-ASSET-LIST"
}

/// True if a lenient reader could find a `URI=` in it.
fn names_uri(value: &str) -> bool {
    let upper = value.to_ascii_uppercase();
    ["URI", "URL", "X-ASSET-LIST"].iter().any(|name| {
        upper.match_indices(name).any(|(at, _)| upper[at + name.len()..].trim_start().starts_with('='))
    })
}

struct Attribute {
    name: std::ops::Range<usize>,
    /// With its quotation marks.
    value: std::ops::Range<usize>,
}

/// Reads an attribute list (RFC 8216, 4.2); `None` if it is none.
fn attributes(list: &str) -> Option<Vec<Attribute>> {
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

#[cfg(test)]
mod tests;
