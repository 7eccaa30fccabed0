//! Manifests before and after; nothing of a planted secret survives.

use super::{Error, uri};
use crate::kvs::Protocol;
use crate::kvs::leak;
use crate::playback::dash::rewrite;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;

const TOKEN: &str = "CiAxZ5pfU9cQmGmHn0TSKq7qyDkF3b1m6r4vAaBbCcDdEhIQAAECAwQFBgcICQoLDA0ODxoZQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWSIgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU~";
const HOST: &str = "b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com";

fn vectors() -> Vec<(String, String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifests");
    let mut vectors = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        vectors.push((name, read("before.mpd").replace("<TOKEN>", TOKEN), read("after.mpd")));
    }
    assert!(vectors.len() >= 2);
    vectors
}

fn rewritten(text: &str) -> Result<String, Error> {
    let clean = rewrite(text)?;
    leak::scan(&clean, &[TOKEN, HOST])?;
    Ok(clean)
}

#[test]
fn manifests_lose_their_tokens_and_little_else() {
    for (name, before, after) in vectors() {
        // Quotation marks and white space between attributes are not worth keeping.
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('\'', "\"");
        assert_eq!(rewritten(&before).map(|text| plain(&text)), Ok(plain(&after)), "{name}");
        assert_eq!(
            rewritten(&after).map(|text| plain(&text)),
            Ok(plain(&after)),
            "{name}: once more changes nothing"
        );
    }
}

#[test]
fn what_leads_away_or_hides_is_refused() {
    let inside = |body: &str| format!("<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\">{body}</MPD>");
    assert!(rewritten(&inside("<BaseURL>./</BaseURL><Period xlink=\"x\"/>")).is_ok());
    for bad in [
        "<BaseURL>https://evil.example/</BaseURL>",
        "<BaseURL>//evil.example/</BaseURL>",
        "<BaseURL>other/</BaseURL>",
        "<BaseURL>ht<!-- -->tps://evil.example/</BaseURL>",
        "<x:BaseURL>https:&#47;/evil.example</x:BaseURL>",
        "<BaseURL><![CDATA[https://evil.example/]]></BaseURL>",
        "<Location>https://evil.example/getDASHManifest.mpd</Location>",
        "<Location>getMP4InitFragment.mp4?TrackNumber=1</Location>",
        "<PatchLocation>patch.mpd</PatchLocation>",
        "<Period xlink:href=\"https://evil.example/p.xml\"/>",
        "<Period xlink:href=\"p.xml\"/>",
        "<SegmentTemplate media=\"https://evil.example/$Number$.mp4\"/>",
        "<SegmentTemplate media=\"https&#58;//evil.example/$Number$.mp4\"/>",
        "<SegmentTemplate media=\"$Number$.mp4\"/>",
        "<SegmentTemplate initialization=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;TrackNumber=1\"/>",
        "<SegmentTemplate index=\"i.mp4\"/>",
        "<SegmentURL media=\"data:video/mp4;base64,AAAA\"/>",
        "<Initialization sourceURL=\"../x\"/>",
        "<UTCTiming value=\"https://time.example/\"/>",
        "<ProgramInformation moreInformationURL=\"x\"/>",
        "<S kvs:uri=\"x\"/>",
        "<a b=\"&undefined;\"/>",
        "<?xml-stylesheet href=\"x\"?>",
        "<a b='1' b='2'/>",
        "<a",
        "<a></b>",
    ] {
        assert!(rewritten(&inside(bad)).is_err(), "{bad}: {:?}", rewritten(&inside(bad)));
    }
    for bad in [
        "",
        "<html/>",
        "<MPD/><MPD/>",
        "text",
        "<!DOCTYPE MPD [<!ENTITY a \"b\">]><MPD/>",
        "<?xml version=\"1.0\" encoding=\"utf-16\"?><MPD/>",
        "<MPD>\u{0}</MPD>",
        &format!("<MPD>{}{}</MPD>", "<a>".repeat(40), "</a>".repeat(40)),
        &format!("<MPD {}/>", (0..99).map(|n| format!("a{n}='' ")).collect::<String>()),
    ] {
        assert!(matches!(rewritten(bad), Err(Error::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_token_in_any_corner_does_not_leave() {
    for corner in [
        format!("<S kvs:token=\"{TOKEN}\"/>"),
        format!("<S kvs:token=\"{}\"/>", TOKEN.replace('~', "&#126;")),
        format!("<Title>{TOKEN}</Title>"),
        format!("<Title>{HOST}</Title>"),
        format!("<S a=\"{}\"/>", TOKEN.bytes().map(|byte| format!("&#{byte};")).collect::<String>()),
    ] {
        assert!(matches!(rewritten(&format!("<MPD>{corner}</MPD>")), Err(Error::Leak(_))), "{corner}");
    }
    assert_eq!(rewritten(&format!("<MPD><!-- {TOKEN} --></MPD>")), Ok("<MPD></MPD>".into()));
}

/// Every attribute and text that is a URI by its name in MPEG-DASH.
fn what_a_player_fetches(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = Reader::from_str(manifest);
    let mut element = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) | Event::Empty(start) => {
                element = start.local_name().into_inner().to_owned();
                for attribute in start.attributes().map(Result::unwrap) {
                    if ["initialization", "media", "sourceURL", "href", "index"]
                        .contains(&attribute.key.local_name().into_inner())
                    {
                        found.push(quick_xml::escape::unescape(&attribute.value).unwrap().into_owned());
                    }
                }
            }
            Event::Text(text) if ["BaseURL", "Location"].contains(&element.as_str()) => {
                found.push(text.trim().to_owned());
            }
            Event::End(_) => element.clear(),
            Event::Eof => return found,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_manifest_damaged_byte_by_byte_never_passes_a_foreign_uri(
        which in 0..2_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3), 1..6)
    ) {
        let (_, before, _) = vectors().swap_remove(which);
        let mut bytes = before.into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(clean) = rewritten(&String::from_utf8_lossy(&bytes)) {
            for uri in what_a_player_fetches(&clean) {
                prop_assert!(uri.is_empty() || uri == "./" || uri::template(Protocol::Dash, &uri) == Ok(uri.clone()), "{}", uri);
            }
        }
    }

    #[test]
    fn any_text_is_rewritten_or_refused_without_panic(text in "\\PC{0,120}") {
        let _ = rewritten(&text);
        let _ = rewritten(&format!("<MPD>{text}</MPD>"));
    }
}
