//! Playlists before and after; nothing of a planted secret survives.

use super::Error;
use crate::kvs::leak;
use crate::kvs::{Protocol, Resource};
use crate::playback::hls::{clean_master, clean_media};
use proptest::prelude::*;

const TOKEN: &str = "CiAxZ5pfU9cQmGmHn0TSKq7qyDkF3b1m6r4vAaBbCcDdEhIQAAECAwQFBgcICQoLDA0ODxoZQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWSIgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU~";
const HOST: &str = "b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com";

fn master(text: &str) -> Result<String, Error> {
    clean_master(text).map(|playlist| playlist.text)
}

fn media(text: &str) -> Result<String, Error> {
    clean_media(text).map(|playlist| playlist.text)
}

/// Each vector stands in a folder as `before` and `after`; `<TOKEN>` is put in here.
fn vectors() -> Vec<(String, String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/playlists");
    let mut vectors = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        vectors.push((name, read("before.m3u8").replace("<TOKEN>", TOKEN), read("after.m3u8")));
    }
    assert!(vectors.len() >= 6, "{}", vectors.len());
    vectors
}

fn rewritten(name: &str, text: &str) -> Result<String, Error> {
    let clean = if name.starts_with("master") { master(text) } else { media(text) }?;
    leak::scan(&clean, &[TOKEN, HOST])?;
    Ok(clean)
}

#[test]
fn the_playlists_of_kvs_lose_their_tokens_and_nothing_else() {
    for (name, before, after) in vectors() {
        assert_eq!(rewritten(&name, &before), Ok(after), "{name}");
    }
}

#[test]
fn line_ends_survive() {
    for (name, before, after) in vectors() {
        let crlf = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
        assert_eq!(rewritten(&name, &crlf(&before)), Ok(crlf(&after)), "{name}");
        assert_eq!(rewritten(&name, before.trim_end()), Ok(after.trim_end().to_owned()), "{name}");
    }
}

#[test]
fn what_leads_away_is_refused() {
    let fine = "#EXTINF:1,\ngetTSFragment.ts?FragmentNumber=1\n";
    assert!(media(&format!("#EXTM3U\n{fine}")).is_ok());
    for bad in [
        "https://evil.example/a.ts",
        "//evil.example/a.ts",
        " getTSFragment.ts?FragmentNumber=1",
        "getHLSMasterPlaylist.m3u8",
        "getTSFragment.ts?FragmentNumber=1\u{2028}https://evil.example/",
        "getTSFragment.ts?FragmentNumber=1\rhttps://evil.example/",
        "#EXT-X-MAP:URI=\"https://evil.example/init.mp4\"",
        "#EXT-X-MAP:URI=getMP4InitFragment.mp4?TrackNumber=1",
        "#EXT-X-MAP: URI = \"https:evil\"",
        "#EXT-X-MAP:URI=\"evil.mp4\"",
        "#EXT-X-MAP:uri=\"evil.mp4\"",
        "#EXT-X-MAP:X=\"a,URI=\"evil.mp4\"",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"data:text/plain;base64,AAAA\"",
        "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"ad.m3u8\"",
        "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-LIST=\"ads.json\"",
        "#EXT-X-SESSION-DATA:DATA-ID=\"x\",VALUE=\"//evil.example\"",
        "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/steer\"",
        "#EXT-X-VENDOR:go to https://evil.example/",
        "#EXT-X-DEFINE:NAME=\"t\",VALUE=\"x\"",
        "#EXT-X-RENDITION-REPORT:URI=\"getHLSMasterPlaylist.m3u8\"",
    ] {
        let text = format!("#EXTM3U\n{bad}\n{fine}");
        assert!(matches!(media(&text), Err(Error::Foreign(_))), "{bad}: {:?}", media(&text));
    }
    for bad in ["", "<html>", "#EXTM3U8\n", "\u{feff}#EXTM3U\n", " #EXTM3U\n"] {
        assert!(matches!(media(bad), Err(Error::Malformed(_))), "{bad}");
    }
    assert!(master("#EXTM3U\ngetTSFragment.ts?FragmentNumber=1\n").is_err());
}

#[test]
fn a_token_in_a_comment_or_unknown_tag_does_not_leave() {
    for line in [
        format!("# {TOKEN}"),
        format!("#EXT-X-VENDOR:{TOKEN}"),
        format!("#EXT-X-VENDOR:A=\"{}\"", TOKEN.replace('~', "%7E")),
        format!("# host {HOST}"),
    ] {
        let text = format!("#EXTM3U\n{line}\n");
        let left = rewritten("media", &text).unwrap();
        assert_eq!(left.trim(), "#EXTM3U", "{line}");
    }
}

/// Reads a playlist as a lenient player might and gives everything it would fetch.
fn what_a_lenient_player_fetches(text: &str) -> Vec<String> {
    let mut fetched = Vec::new();
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{b}', '\u{c}', '\u{85}']) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            fetched.push(line.to_owned());
        }
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("#EXT") {
            for (at, _) in upper.match_indices("URI") {
                if let Some(value) = line[at + 3..].trim_start().strip_prefix('=') {
                    let value = value.trim_start();
                    let value = match value.strip_prefix('"') {
                        Some(quoted) => quoted.split('"').next(),
                        None => value.split(',').next(),
                    };
                    fetched.extend(value.map(str::to_owned));
                }
            }
        }
    }
    fetched
}

fn ours(uri: &str) -> bool {
    let (file, query) = uri.split_once('?').unwrap_or((uri, ""));
    Resource::parse(Protocol::Hls, file, query).is_some_and(|resource| resource.to_string() == uri)
}

proptest! {
    #[test]
    fn a_playlist_damaged_byte_by_byte_never_passes_a_foreign_uri(
        which in 0..6_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3), 1..6)
    ) {
        let (name, before, _) = vectors().swap_remove(which);
        let mut bytes = before.into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(clean) = rewritten(&name, &String::from_utf8_lossy(&bytes)) {
            for uri in what_a_lenient_player_fetches(&clean) {
                prop_assert!(ours(&uri), "{}", uri);
            }
            prop_assert!(!clean.contains("SessionToken"));
        }
    }

    #[test]
    fn planted_lines_never_bring_a_foreign_uri(
        lines in proptest::collection::vec(
            prop_oneof![
                "(#EXT-X-(MAP|KEY|MEDIA|PART|VENDOR):)?[A-Z]{0,3}(URI|uri|NAME)?[ =\",]{0,3}(https:|//|data:|get)?[a-zA-Z0-9=?&\"/. -]{0,30}",
                "\\PC{0,30}",
                Just("#EXTINF:1,".to_owned()),
                Just(format!("getTSFragment.ts?FragmentNumber=12&SessionToken={TOKEN}")),
            ],
            0..8,
        ),
    ) {
        let text = format!("#EXTM3U\n{}", lines.join("\n"));
        if let Ok(clean) = rewritten("media", &text) {
            for uri in what_a_lenient_player_fetches(&clean) {
                prop_assert!(ours(&uri), "{}", uri);
            }
            prop_assert!(!clean.contains(TOKEN) && !clean.contains(HOST));
        }
    }

    #[test]
    fn any_text_is_rewritten_or_refused_without_panic(text in "\\PC{0,200}") {
        let _ = (media(&text), master(&text), media(&format!("#EXTM3U\n#EXT-X-A:{text}")));
    }
}
