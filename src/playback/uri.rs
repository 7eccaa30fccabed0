//! One URI of a playlist or manifest: read as a playback resource, or refused.
//!
//! A URI is never edited. It is parsed to its meaning and the meaning is written anew, so whatever else it
//! held, the session token first of all, is not in what leaves (`docs/THREATS.md`, threat 4).

use super::error::Error;
use crate::kvs::{Protocol, Resource};

/// The longest playlist or manifest. KVS's are far shorter: 5,000 fragments take 1.5 MB.
pub(super) const LONGEST_TEXT: usize = 8 << 20;

/// Longer ones do not occur: a token has 152 characters, a fragment number 47.
const LONGEST: usize = 2048;

/// Reads a relative URI of KVS's own form, `getMP4….mp4?Name=Value&…`.
pub(super) fn resource(protocol: Protocol, uri: &str) -> Result<Resource, Error> {
    checked(uri)?;
    let (file, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut seen = [false; PARAMETERS.len()];
    for pair in query.split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if let Some(at) = PARAMETERS.iter().position(|known| *known == name) {
            // Which of two a reader takes depends on the reader.
            if std::mem::replace(&mut seen[at], true) {
                return Err(Error::Foreign("a parameter stands twice"));
            }
        }
    }
    Resource::parse(protocol, file, query)
        .filter(|resource| !matches!(resource, Resource::Packaged(_)))
        .ok_or(Error::Foreign("it is none of the playback resources"))
}

const PARAMETERS: [&str; 4] = ["SessionToken", "FragmentNumber", "TrackNumber", "SequenceNumber"];

/// The same for a URI template of DASH, where a parameter's whole value may be a variable that the player
/// fills in. Gives the template without token.
pub(super) fn template(protocol: Protocol, uri: &str) -> Result<String, Error> {
    let mut plain = uri.to_owned();
    let mut put_back = Vec::new();
    for (parameter, variables) in [
        ("FragmentNumber", &["$Number$", "$Time$"][..]),
        ("TrackNumber", &["$RepresentationID$"][..]),
        ("SequenceNumber", &["$RepresentationID$"][..]),
    ] {
        for variable in variables {
            let written = format!("{parameter}={variable}");
            if pairs(&plain).any(|pair| pair == written) {
                // A number that is valid for each of the three parameters and survives the parser.
                let placeholder = format!("{parameter}=1");
                plain = plain.replacen(&written, &placeholder, 1);
                put_back.push((placeholder, written));
            }
        }
    }
    let mut shown = resource(protocol, &plain)?.to_string();
    for (placeholder, written) in put_back {
        shown = shown.replacen(&placeholder, &written, 1);
    }
    Ok(shown)
}

fn pairs(uri: &str) -> impl Iterator<Item = &str> {
    uri.split_once('?').map_or("", |(_, query)| query).split('&')
}

/// Refuses every spelling by which some player could leave the folder or the host.
fn checked(uri: &str) -> Result<(), Error> {
    if uri.is_empty() || uri.len() > LONGEST {
        return Err(Error::Foreign("its length is out of bounds"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-%=&?".contains(&byte);
    if !uri.bytes().all(plain) {
        return Err(Error::Foreign("it holds characters that KVS does not use"));
    }
    let lower = uri.to_ascii_lowercase();
    if ["..", "%2e", "%2f", "%5c", "%00", "%0a", "%0d", "%25"].iter().any(|strange| lower.contains(strange)) {
        return Err(Error::Foreign("it climbs or hides what it says"));
    }
    Ok(())
}

/// True for text that some player could take for a URI that leads away.
pub(super) fn leads_away(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c == '"' || c == '\'' || c.is_whitespace());
    let lower = text.to_ascii_lowercase();
    lower.contains("://")
        || lower.starts_with("//")
        || lower.contains("\\\\")
        || ["data:", "javascript:", "blob:", "file:", "about:"].iter().any(|scheme| lower.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_kvs_writes_is_read_in_any_order() {
        for (uri, shown) in [
            (
                "getHLSMediaPlaylist.m3u8?SessionToken=CiA_-~&TrackNumber=1",
                "getHLSMediaPlaylist.m3u8?TrackNumber=1",
            ),
            (
                "getMP4InitFragment.mp4?SessionToken=CiA%7E&TrackNumber=2&SequenceNumber=0",
                "getMP4InitFragment.mp4?TrackNumber=2&SequenceNumber=0",
            ),
            (
                "getMP4MediaFragment.mp4?FragmentNumber=913&SessionToken=CiA~&TrackNumber=1",
                "getMP4MediaFragment.mp4?FragmentNumber=913&TrackNumber=1",
            ),
            ("getTSFragment.ts?SessionToken=CiA~&FragmentNumber=7", "getTSFragment.ts?FragmentNumber=7"),
        ] {
            assert_eq!(resource(Protocol::Hls, uri).map(|r| r.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn foreign_uris_are_refused() {
        for bad in [
            "",
            "https://evil.example/getTSFragment.ts?FragmentNumber=1",
            "//evil.example/getTSFragment.ts?FragmentNumber=1",
            "/hls/v1/getTSFragment.ts?FragmentNumber=1",
            "./getTSFragment.ts?FragmentNumber=1",
            "../getTSFragment.ts?FragmentNumber=1",
            "%2e%2E/getTSFragment.ts?FragmentNumber=1",
            "getTSFragment.ts?FragmentNumber=1#x",
            "getTSFragment.ts?FragmentNumber=1\r",
            "getTSFragment.ts?FragmentNumber=1 ",
            "getTSFragment.ts;x?FragmentNumber=1",
            "getTSFragment.ts?FragmentNumber=1&FragmentNumber=2",
            "getTSFragment.ts?FragmentNumber=%31",
            "\\\\evil\\getTSFragment.ts?FragmentNumber=1",
            "data:video/mp4;base64,AAAA",
            "getClip?FragmentNumber=1",
            "GetTSFragment.ts?FragmentNumber=1",
            "getHLSMediaPlaylist.m3u8?TrackNumber={$t}",
        ] {
            assert!(matches!(resource(Protocol::Hls, bad), Err(Error::Foreign(_))), "{bad}");
        }
    }

    #[test]
    fn templates_keep_their_variables() {
        assert_eq!(
            template(
                Protocol::Dash,
                "getMP4MediaFragment.mp4?FragmentNumber=$Number$&SessionToken=CiA~&TrackNumber=$RepresentationID$"
            ),
            Ok("getMP4MediaFragment.mp4?FragmentNumber=$Number$&TrackNumber=$RepresentationID$".into())
        );
        for bad in [
            "$BaseURL$",
            "getMP4MediaFragment.mp4?FragmentNumber=$Number%05d$&TrackNumber=1",
            "x$Number$.mp4",
        ] {
            assert!(template(Protocol::Dash, bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_plain_and_relative(uri in "(getTSFragment.ts|getMP4InitFragment.mp4)?[?&=/:.%a-zA-Z0-9$~]{0,60}") {
            let as_resource = resource(Protocol::Hls, &uri).map(|r| r.to_string());
            for passed in [as_resource, template(Protocol::Hls, &uri)].into_iter().flatten() {
                prop_assert!(passed.starts_with("get") && !passed.contains([':', '/', '%', '~']), "{}", passed);
            }
        }
    }
}
