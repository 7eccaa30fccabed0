//! What the fuzz targets in `fuzz/` call: one function for each parser of input that we do not control.
//!
//! Each function parses the input, checks what must hold for every accepted input, and returns whether the
//! input was accepted. The module exists in tests and with the feature `fuzzing` only, so the parsers stay
//! private. The tests here run the committed seeds through the same functions, so a change that breaks a
//! target fails `make test`.

use crate::config::{Config, ConfigSource};
use crate::identity::{self, Algorithm, Identity, IssuerConfig, KeySet};
use crate::kvs::{Call, FragmentNumber, ListedFragment, Operation, Resource, Timestamp};
use crate::net::body::Broken;
use crate::net::proxy_protocol;
use crate::net::range::{self, Selection};
use crate::package::clip::{Clip, ClipSettings, Format};
use crate::package::{self, Document, TrackSettings};
use crate::playback::{self, Keys, mp4};
use crate::upstream::Chunks;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A fuzz target by name; the seeds of a target are in `fuzz/seeds/NAME`.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets.
pub const TARGETS: [Target; 12] = [
    ("json_request", json_request),
    ("jwt", jwt),
    ("jwks", jwks),
    ("capability", capability),
    ("hls", hls),
    ("mpd", mpd),
    ("mp4", mp4_head),
    ("mkv", mkv),
    ("fragment", fragment),
    ("range", range_headers),
    ("proxy_protocol", proxy_header),
    ("config", config),
];

/// Runs a target by its name.
///
/// # Panics
/// If there is no such target, or if the target has found a fault.
#[must_use]
pub fn run_target(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.unwrap_or_else(|| panic!("there is no target {name}")).1(data)
}

/// The time that every target takes for the present: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The body of a KVS call. The first byte chooses the operation.
///
/// An accepted body, written again in its canonical form, reads as the same call.
#[must_use]
pub fn json_request(data: &[u8]) -> bool {
    let Some((first, body)) = data.split_first() else { return false };
    let operation = Operation::ALL[usize::from(*first) % Operation::ALL.len()];
    let Ok(call) = Call::read(operation, body, NOW) else { return false };
    let canonical = call.body();
    let again = Call::read(operation, &canonical, NOW).expect("the canonical body is readable");
    assert_eq!(canonical, again.body());
    true
}

/// A JWT as it arrives. If the input has a line break, it is a header and claims, which are then signed with
/// the right key, so that the rules behind the signature are reached.
#[must_use]
pub fn jwt(data: &[u8]) -> bool {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let token = match text.split_once('\n') {
        Some((header, claims)) => signed(header, claims),
        None => text.to_owned(),
    };
    let identity = IDENTITY.get_or_init(test_identity);
    run(identity.verify(&token, NOW)).is_ok()
}

/// A JWKS document, and a signature check with each key that it yields.
#[must_use]
pub fn jwks(data: &[u8]) -> bool {
    const ALLOWED: [Algorithm; 4] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
    let Ok(keys) = KeySet::from_jwks(data, &ALLOWED, "sig") else { return false };
    for algorithm in ALLOWED {
        assert!(
            keys.signer(None, algorithm, true, b"signed", &"B".repeat(86)).is_none(),
            "nobody made this signature"
        );
    }
    true
}

/// A playback capability: as it arrives, and as the content of a capability that was sealed with the right
/// key.
#[must_use]
pub fn capability(data: &[u8]) -> bool {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let keys =
        KEYS.get_or_init(|| Keys::load(&playback::Config::default()).expect("a random key can be made"));
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(keys.open(text, NOW).is_err(), "nobody sealed this");
    }
    let sealed = URL_SAFE_NO_PAD.encode(keys.seal_for(playback::PURPOSE, data));
    let Ok(statement) = keys.open(&sealed, NOW) else { return false };
    assert_eq!(keys.open(&keys.seal(&statement), NOW).as_ref(), Ok(&statement));
    true
}

/// An HLS playlist of KVS: master, media, or neither. An accepted one is accepted again and does not change.
#[must_use]
pub fn hls(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    [Resource::MasterPlaylist, Resource::MediaPlaylist { track: 1 }]
        .map(|resource| rewritten(&resource, text))
        .contains(&true)
}

/// A DASH manifest of KVS. An accepted one is accepted again and does not change.
#[must_use]
pub fn mpd(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| rewritten(&Resource::Manifest, text))
}

/// The head of an MP4 fragment and an init segment. Times that were moved read as moved.
#[must_use]
pub fn mp4_head(data: &[u8]) -> bool {
    let init = mp4::init(data).is_some();
    let Ok(Some(length)) = mp4::head(data) else { return init };
    let head = &data[..length];
    let Ok(moved) = mp4::moved(head, 90_000) else { return init };
    if let (Ok(before), Ok(after)) = (mp4::time(head), mp4::time(&moved)) {
        assert_eq!(before.wrapping_add(90_000), after);
    }
    true
}

/// The body of `GetMediaForFragmentList`, whole and in small pieces. Both cut it into the same documents,
/// which add up to the input.
#[must_use]
pub fn mkv(data: &[u8]) -> bool {
    let whole = documents(data, data.len().max(1));
    assert_eq!(whole, documents(data, 7), "pieces do not matter");
    let Ok(found) = whole else { return false };
    let joined: BytesMut = found.iter().flatten().copied().collect();
    assert_eq!(joined, data, "documents add up to the body");
    !found.is_empty()
}

/// One stored fragment, whole and in small pieces. Both are read alike; its frames lie inside the document
/// and are together no longer than it.
#[must_use]
pub fn fragment(data: &[u8]) -> bool {
    let whole = package::mkv::read(&Document::from(Bytes::copy_from_slice(data)));
    let pieces = data.chunks(7).map(Bytes::copy_from_slice).collect();
    let cut = package::mkv::read(&Document::new(pieces));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "pieces do not matter");
    let Ok(fragment) = whole else { return false };
    assert!(fragment.frames.iter().all(|frame| frame.length > 0 && frame.place().end <= data.len()));
    let frames: u64 = fragment.frames.iter().map(|frame| u64::from(frame.length)).sum();
    assert!(frames <= data.len() as u64);
    let Ok(settings) = TrackSettings::of_fragment(&fragment) else { return false };
    for (_, settings) in settings {
        assert!(settings.timescale > 0 && !settings.codec_string(true).is_empty());
        assert!(!settings.codec.is_video() || settings.parameter_sets().is_ok());
    }
    for format in [Format::Fragmented, Format::Plain, Format::Matroska] {
        packaged(data, format);
    }
    true
}

/// A clip of one fragment, twice: each slot has the length that was promised, or is refused, and is not much
/// longer than what is stored.
fn packaged(data: &[u8], format: Format) {
    let document = Document::from(Bytes::copy_from_slice(data));
    let row = |number: &str, start| ListedFragment {
        number: FragmentNumber::parse(number).expect("digits"),
        server: Timestamp::from_millis(start),
        producer: Timestamp::from_millis(start),
        length: Duration::from_secs(2),
        size: data.len() as u64,
    };
    let settings = ClipSettings { format, slack: 1, hidden: Duration::from_millis(300) };
    let rows = [row("1", 1_700_000_000_000), row("2", 1_700_000_002_000)];
    let Ok(clip) = Clip::new(Arc::new(rows), &document, settings) else { return };
    let mut written = clip.header().len() as u64;
    for index in 0..2 {
        if let Ok(slot) = clip.slot(index, &document) {
            written += slot.iter().map(|piece| piece.len() as u64).sum::<u64>();
        } else {
            return;
        }
    }
    let tables = (0..2).map(|index| clip.frame_table(index, &document)).collect::<Result<Vec<_>, _>>();
    if format == Format::Plain {
        let Ok(trailer) = tables.and_then(|tables| clip.trailer(&tables)) else { return };
        written += trailer.len() as u64;
    }
    assert_eq!(written, clip.length(), "{format:?}");
}

/// Conditional and range headers, one per line as `name: value`. A selected range lies within the body.
#[must_use]
pub fn range_headers(data: &[u8]) -> bool {
    const LENGTH: u64 = 1000;
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let _ = range::is_known(&headers, "\"tag\"");
    let _ = range::select(&Method::GET, &headers, None, None);
    match range::select(&Method::GET, &headers, Some("\"tag\""), Some(LENGTH)) {
        Selection::Part(range) => assert!(range.start < range.end && range.end <= LENGTH, "{range:?}"),
        Selection::NeedsLength | Selection::NeedsBytes(_) => panic!("the length is known"),
        Selection::Whole => return false,
        Selection::NotModified | Selection::Failed | Selection::Unsatisfiable => {}
    }
    true
}

/// The header of the PROXY protocol, version 1 or 2.
#[must_use]
pub fn proxy_header(data: &[u8]) -> bool {
    let mut from = data;
    let read = run(proxy_protocol::read(&mut from));
    read.is_ok()
}

/// The configuration file. A refusal has a line for each fault.
#[must_use]
pub fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match Config::load(&ConfigSource::of_text(text)) {
        Ok(_) => true,
        Err(refused) => {
            assert!(!refused.lines.is_empty(), "a refusal says why");
            false
        }
    }
}

/// Whether a playlist or manifest is passed on.
fn rewritten(resource: &Resource, text: &str) -> bool {
    const SECRET: &str = "CiAplantedSessionToken0123456789abcdefghijklmnopqrstuvwxyz~";
    let Ok(clean) = playback::rewrite(resource, text, &[SECRET]) else { return false };
    let clean = clean.text();
    assert!(!clean.contains(SECRET));
    let again = playback::rewrite(resource, clean, &[SECRET]);
    assert_eq!(again.as_ref().map(playback::Rewritten::text), Ok(clean));
    true
}

/// The documents of a body that arrives in pieces of this size.
fn documents(data: &[u8], piece: usize) -> Result<Vec<Bytes>, ()> {
    let pieces = data.chunks(piece).map(Bytes::copy_from_slice).collect();
    let mut chunks = Chunks::of(Pieces(pieces).boxed_unsync());
    run(async {
        let mut found = Vec::new();
        while let Some(chunk) = chunks.next().await {
            found.push(chunk.map_err(|_| ())?.bytes);
        }
        Ok(found)
    })
}

/// A body that yields one piece at a time.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Accepts tokens of one issuer that are signed with the secret in `fuzz/secret.txt`.
fn test_identity() -> Arc<Identity> {
    let issuer = format!(
        "issuer = 'https://login.example.com/'\naudience = ['kvs-edge']\nalgorithms = ['HS256']\n\
         secret = 'file:{SECRET_FILE}'\n\
         [claims]\nsubject = '/sub'\ngroups = '/groups'\nlevel = {{ pointer = '/level', type = 'long' }}"
    );
    let issuer: IssuerConfig = toml::from_str(&issuer).expect("the issuer is well formed");
    let metrics = identity::Metrics::register(&prometheus::Registry::new()).expect("the registry is empty");
    match Identity::look(&[issuer], &identity::Config::default(), metrics) {
        Ok(identity) => identity,
        Err(mistakes) => panic!("{SECRET_FILE}: {mistakes:?}"),
    }
}

const SECRET_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/secret.txt");

/// The compact form of a token, signed with the issuer's secret whatever header and claims are.
fn signed(header: &str, claims: &str) -> String {
    const SECRET: &[u8] = include_bytes!("../fuzz/secret.txt");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.trim_ascii_end());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| Builder::new_current_thread().build().expect("a runtime without I/O can be made"));
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Seeds named `good-...` must be accepted: otherwise the target no longer reaches what it is for.
    #[test]
    fn every_target_accepts_its_good_seeds_and_survives_the_others() {
        let mut wrong = Vec::new();
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
            let mut good = 0;
            for seed in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                let path = seed.unwrap().path();
                let accepted = target(&fs::read(&path).unwrap());
                if path.file_name().unwrap().to_str().unwrap().starts_with("good-") {
                    good += 1;
                    if !accepted {
                        wrong.push(path.display().to_string());
                    }
                }
            }
            assert!(good > 0, "{name} has no seed that is accepted");
        }
        assert!(wrong.is_empty(), "these seeds are not accepted any more: {wrong:#?}");
    }

    #[test]
    fn every_target_has_a_program() {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        for (name, _) in TARGETS {
            let text = fs::read_to_string(programs.join(name).with_extension("rs")).unwrap();
            assert!(text.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
