//! Rewrites DASH manifests with a real XML parser: URIs become token-free and relative, the rest stays as it
//! was.
//!
//! What could make one reader see another document than we do, or make a player fetch elsewhere, is refused:
//! document types, entities, processing instructions, CDATA, absolute or unknown URIs in any attribute or
//! text, remote elements (`xlink:href`). Comments are dropped. Size, depth and attributes are bounded.

use super::error::Error;
use super::uri::{self, LONGEST_TEXT};
use crate::kvs::{Protocol, Resource};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

const DEEPEST: usize = 24;
const MOST_ATTRIBUTES: usize = 64;
const NOT_XML: Error = Error::Malformed("the manifest is not well-formed XML");

/// Rewrites a manifest.
pub(super) fn rewrite(text: &str) -> Result<String, Error> {
    if text.len() > LONGEST_TEXT {
        return Err(Error::Malformed("the manifest is longer than 8 MiB"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return Err(Error::Malformed("the manifest holds control characters"));
    }
    let mut reader = Reader::from_str(text);
    let mut out = String::with_capacity(text.len());
    let mut open: Vec<String> = Vec::new();
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|_| NOT_XML)? {
            Event::Start(start) => {
                root(&start, &open, &mut seen_root)?;
                element(&start, &mut out)?;
                out.push('>');
                open.push(start.local_name().into_inner().to_owned());
                if open.len() > DEEPEST {
                    return Err(Error::Malformed("the manifest is nested too deeply"));
                }
            }
            Event::Empty(start) => {
                root(&start, &open, &mut seen_root)?;
                element(&start, &mut out)?;
                out.push_str("/>");
            }
            Event::End(end) => {
                open.pop();
                out.push_str("</");
                out.push_str(end.name().into_inner());
                out.push('>');
            }
            Event::Text(text) => content(&text, open.last().map(String::as_str), &mut out)?,
            Event::Decl(declaration) => {
                if let Some(encoding) = declaration.encoding()
                    && !encoding.map_err(|_| NOT_XML)?.eq_ignore_ascii_case("utf-8")
                {
                    return Err(Error::Malformed("the manifest is not in UTF-8"));
                }
                out.push_str("<?");
                out.push_str(&declaration);
                out.push_str("?>");
            }
            Event::Comment(_) => {}
            Event::Eof if seen_root && open.is_empty() => return Ok(out),
            Event::Eof => return Err(NOT_XML),
            Event::CData(_) | Event::PI(_) | Event::DocType(_) | Event::GeneralRef(_) => {
                return Err(Error::Malformed("the manifest holds more than elements, attributes and text"));
            }
        }
    }
}

/// One `MPD` at the top.
fn root(start: &BytesStart<'_>, open: &[String], seen: &mut bool) -> Result<(), Error> {
    if open.is_empty() && (std::mem::replace(seen, true) || start.local_name().into_inner() != "MPD") {
        return Err(Error::Malformed("the manifest's root is not one MPD element"));
    }
    Ok(())
}

/// Text between tags: white space, numbers, names; and the few elements that hold URIs.
fn content(text: &str, inside: Option<&str>, out: &mut String) -> Result<(), Error> {
    let meant = text.trim();
    match inside {
        // Relative to the manifest is what everything is already.
        Some("BaseURL") if matches!(meant, "" | "./") => out.push_str(text),
        Some("Location") if !meant.is_empty() => match uri::resource(Protocol::Dash, meant)? {
            manifest @ Resource::Manifest => out.push_str(&manifest.to_string()),
            _ => return Err(Error::Foreign("a location that is no manifest")),
        },
        Some(name) if !meant.is_empty() && (is_uri(name) || uri::leads_away(meant)) => {
            return Err(Error::Foreign("in the text of an element"));
        }
        None if !meant.is_empty() => return Err(NOT_XML),
        _ => out.push_str(text),
    }
    Ok(())
}

/// `<name attribute="value" …`, without the end of the tag.
fn element(start: &BytesStart<'_>, out: &mut String) -> Result<(), Error> {
    out.push('<');
    out.push_str(plain(start.name().into_inner())?);
    for (count, attribute) in start.attributes().enumerate() {
        let attribute = attribute.map_err(|_| NOT_XML)?;
        if count == MOST_ATTRIBUTES {
            return Err(Error::Malformed("an element of the manifest has too many attributes"));
        }
        // References to entities other than the five of XML fail here.
        let value = quick_xml::escape::unescape(&attribute.value).map_err(|_| NOT_XML)?;
        let name = plain(attribute.key.into_inner())?;
        let kept: &str = &attribute.value;
        let rewritten = match attribute.key.local_name().into_inner() {
            // Namespaces and vocabularies look like URLs and are names.
            _ if name == "xmlns" || name.starts_with("xmlns:") => None,
            "schemaLocation" | "schemeIdUri" | "profiles" => None,
            local @ ("initialization" | "media" | "sourceURL") => {
                let template = uri::template(Protocol::Dash, &value)?;
                if template.contains(".mpd") || local != "media" && template.contains("$Number$") {
                    return Err(Error::Foreign("it has no business in this attribute"));
                }
                Some(template.replace('&', "&amp;"))
            }
            // True or false in most places.
            "bitstreamSwitching" if matches!(&*value, "true" | "false") => None,
            local if is_uri(local) || uri::leads_away(&value) => {
                return Err(Error::Foreign("in an attribute"));
            }
            _ => None,
        };
        let value = rewritten.as_deref().unwrap_or(kept);
        let quote = if value.contains('"') { '\'' } else { '"' };
        if value.contains(quote) || value.contains('<') {
            return Err(NOT_XML);
        }
        out.push(' ');
        out.push_str(name);
        out.push('=');
        out.push(quote);
        out.push_str(value);
        out.push(quote);
    }
    Ok(())
}

/// A name of an element or attribute, of which no reader makes more than a name.
fn plain(name: &str) -> Result<&str, Error> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.');
    if name.chars().all(known) { Ok(name) } else { Err(NOT_XML) }
}

/// Elements and attributes that hold URIs by their name (ISO/IEC 23009-1) and that KVS has no use for.
fn is_uri(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["url", "uri", "href", "location"].iter().any(|part| lower.contains(part))
        || matches!(lower.as_str(), "index" | "bitstreamswitching" | "importedmpd")
}
