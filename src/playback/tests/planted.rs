//! Whatever stands in KVS's answer, and wherever a secret is planted in it: what `rewrite` passes on holds
//! neither token nor host, and leads nowhere else.

use super::rewrite;
use crate::kvs::{Protocol, Resource};
use proptest::prelude::*;

const TOKEN: &str = "CiAxZ5pfU9cQmGmHn0TSKq7qyDkF3b1m6r4vAaBbCcDdEhIQAAECAwQFBgcICQoLDA0ODxoZQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWSIgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU~";
const HOST: &str = "b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com";

/// All playlists and manifests of `tests/vectors`, as KVS gives them.
fn answers() -> Vec<(Resource, String)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut answers = Vec::new();
    for (folder, file) in [("playlists", "before.m3u8"), ("manifests", "before.mpd")] {
        for entry in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            let resource = match path.file_name().unwrap().to_str().unwrap() {
                _ if folder == "manifests" => Resource::Manifest,
                name if name.starts_with("master") => Resource::MasterPlaylist,
                _ => Resource::MediaPlaylist { track: 1 },
            };
            let text = std::fs::read_to_string(path.join(file)).unwrap();
            answers.push((resource, text.replace("<TOKEN>", TOKEN)));
        }
    }
    assert!(answers.len() >= 9, "{}", answers.len());
    answers
}

fn spelled(secret: &str, how: u8) -> String {
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    match how {
        0 => secret.to_owned(),
        1 => percent(secret),
        2 => percent(&percent(secret)),
        3 => secret.bytes().map(|byte| format!("&#{byte};")).collect(),
        4 => secret.bytes().map(|byte| format!("&#x{byte:x};")).collect(),
        5 => secret.replace('~', "%7E").replace('.', "%2e"),
        6 => secret.replace('~', "="),
        7 => format!("https://{secret}/"),
        8 => format!("SessionToken={secret}"),
        9 => format!("\"{secret}\""),
        _ => secret.to_ascii_uppercase(),
    }
}

/// What a reader makes of a text who takes off every encoding that he knows.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..4 {
        if !text.contains('%') && !text.contains("&#") {
            break;
        }
        for code in 0x21..0x7f_u8 {
            let char = char::from(code).to_string();
            for spelling in [
                format!("%{code:02x}"),
                format!("%{code:02X}"),
                format!("&#{code};"),
                format!("&#x{code:x};"),
            ] {
                if text.contains(&spelling) {
                    text = text.replace(&spelling, &char);
                }
            }
        }
    }
    text.to_ascii_lowercase()
}

fn innocent(clean: &str) -> Result<(), String> {
    let plain = plain(clean);
    let token = TOKEN.to_ascii_lowercase();
    let pieces = (0..token.len() - 48).step_by(24).map(|at| &token[at..at + 48]);
    match pieces.chain([HOST, "sessiontoken"]).find(|secret| plain.contains(secret)) {
        Some(secret) => Err(format!("{secret} left in {clean}")),
        None => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn no_secret_leaves_wherever_it_is_planted(
        which: prop::sample::Index,
        planted in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), 0..11_u8, 0..4_u8), 1..5
        ),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let answers = answers();
        let (resource, mut text) = which.get(&answers).clone();
        for (at, host, how, where_to) in planted {
            let secret = spelled(if host { HOST } else { TOKEN }, how);
            // In a line of its own, in a comment, in a tag, or in the middle of whatever stands there.
            let (line, xml) = (text.lines().count(), resource == Resource::Manifest);
            let begins = text.lines().take(at.index(line)).map(|line| line.len() + 1).sum::<usize>();
            let begins = (begins.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
            match where_to {
                0 => text.insert_str(begins, &format!("{secret}\n")),
                1 if xml => text.insert_str(begins, &format!("<!-- {secret} -->\n")),
                1 => text.insert_str(begins, &format!("# {secret}\n")),
                2 if xml => text.insert_str(begins, &format!("<Vendor a='{secret}'>{secret}</Vendor>\n")),
                2 => text.insert_str(begins, &format!("#EXT-X-VENDOR:A=1,B={secret}\n")),
                _ => {
                    let at = at.index(text.len());
                    if text.is_char_boundary(at) {
                        text.insert_str(at, &secret);
                    }
                }
            }
        }
        if let Some(cut) = cut {
            let cut = cut.index(text.len());
            if text.is_char_boundary(cut) {
                text.truncate(cut);
            }
        }
        if let Ok(clean) = rewrite(&resource, &text, &[TOKEN, HOST]) {
            let clean = clean.text();
            prop_assert!(innocent(clean).is_ok(), "{:?}", innocent(clean));
        }
    }
}

/// Every byte of every answer, one after the other: taken out, doubled, and replaced by what parsers trip
/// over.
#[test]
fn an_answer_damaged_at_any_byte_leads_nowhere_else() {
    for (resource, text) in answers() {
        let tokens: Vec<_> = text.match_indices(TOKEN).map(|(at, _)| at + 5..at + TOKEN.len() - 5).collect();
        // In the middle of a token one byte is like another.
        let telling = |at: &usize| at.is_multiple_of(31) || !tokens.iter().any(|token| token.contains(at));
        for at in (0..text.len()).filter(telling) {
            for damage in [&b""[..], b"\"", b"\n", b"/", b":", b"<", b"\0", b"\xff"] {
                let mut bytes = text.as_bytes().to_vec();
                bytes.splice(at..=at, damage.iter().copied());
                let Ok(clean) = rewrite(&resource, &String::from_utf8_lossy(&bytes), &[TOKEN, HOST]) else {
                    continue;
                };
                let clean = clean.text();
                assert!(!clean.contains("SessionToken") && !clean.contains(TOKEN), "{at}: {clean}");
                if resource != Resource::Manifest {
                    for uri in clean.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                        let (file, query) = uri.split_once('?').unwrap_or((uri, ""));
                        let known = Resource::parse(Protocol::Hls, file, query);
                        assert!(known.is_some_and(|known| known.to_string() == uri), "{at}: {uri}");
                    }
                }
            }
        }
    }
}
