//! The keys of capabilities: the first seals, all of them open, so that keys rotate without an interruption.
//!
//! AES-256-GCM-SIV by `aws-lc-rs`, which stays safe should two replicas draw the same nonce. The wire form is
//! base64url of key id | nonce | ciphertext and tag. The id is derived from the key itself, so replicas agree
//! on it without a number in the configuration. Ahead of it stands the tag of the stream (`stream_tag`).

use super::capability::Statement;
use super::config::Config;
use super::error::Error;
use super::stream_tag::{self, StreamTagger};
use crate::fleet::SealingSecret;
use crate::kvs::Timestamp;
use crate::setting::{Mistake, Secret};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// The configured keys. No `Debug`, since nothing of it may be shown.
pub struct Keys {
    /// Never empty.
    keys: Vec<CapabilityKey>,
    temporary: bool,
}

struct CapabilityKey {
    id: [u8; ID_LEN],
    aead: LessSafeKey,
    cookies: hmac::Key,
    tickets: Zeroizing<[u8; 32]>,
    tagger: StreamTagger,
    shared: Zeroizing<[u8; 32]>,
}

const ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// A capability of 8 KiB fits no request line that we accept.
const LONGEST: usize = 8 << 10;
/// What is sealed can be opened only as what it is.
pub(crate) const PURPOSE: &[u8] = b"kvs-edge capability v1";
const NOT_ONE: Error = Error::Malformed("this is not a playback capability");

impl Keys {
    /// Reads the keys that `config` names. Without any, makes one up that lasts as long as the process, and
    /// warns.
    ///
    /// # Errors
    /// Each key that cannot be read or is too weak, and what to write instead.
    pub fn load(config: &Config) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut keys: Vec<CapabilityKey> = Vec::new();
        for (at, source) in config.keys.iter().enumerate() {
            match source.read().and_then(|secret| CapabilityKey::from_secret(&secret)) {
                // The same key twice would be found once anyway.
                Ok(key) if keys.iter().any(|known| known.id == key.id) => {}
                Ok(key) => keys.push(key),
                Err(problem) => mistakes.push(Mistake::at(format!("playback.keys[{at}]"), problem)),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let temporary = keys.is_empty();
        if temporary {
            tracing::warn!(
                "playback.keys is empty: a random key is used, so other replicas and the next start cannot open \
                 playback URLs made now; set it to [\"env:KVS_EDGE_PLAYBACK_KEY\"], made by `openssl rand -base64 32`"
            );
            keys.push(CapabilityKey::of_this_process());
        }
        Ok(Self { keys, temporary })
    }

    /// True if no key is configured, so that capabilities end with the process.
    #[must_use]
    pub fn temporary(&self) -> bool {
        self.temporary
    }

    /// A secret per key for something else that replicas share: the tickets of TLS sessions. Nothing of a
    /// capability can be learnt from it.
    #[must_use]
    pub fn ticket_secrets(&self) -> Vec<Zeroizing<[u8; 32]>> {
        self.keys.iter().map(|key| key.tickets.clone()).collect()
    }

    /// A secret per key for the values that replicas share.
    #[must_use]
    pub fn sealing_secrets(&self) -> Vec<SealingSecret> {
        self.keys.iter().map(|key| SealingSecret { id: key.id, secret: key.shared.clone() }).collect()
    }

    /// Seals a statement into one path segment of `[A-Za-z0-9_-]`, behind the tag of its stream and a dot.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn seal(&self, statement: &Statement) -> String {
        let sealed = URL_SAFE_NO_PAD.encode(self.seal_for(PURPOSE, &statement.to_bytes()));
        self.keys[0].tagger.tagged(statement.stream.name(), &sealed)
    }

    /// Seals other small values that only kvs-edge reads again, such as page tokens. What is sealed for one
    /// purpose does not open for another.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn seal_for(&self, purpose: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system gives randomness");
        let mut sealed = Vec::with_capacity(ID_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = key
            .aead
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose),
                &mut sealed[ID_LEN + NONCE_LEN..],
            )
            .expect("what is sealed is far below the 64 GiB that the cipher takes");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a path segment, if one of the keys sealed it and its time is not over. A tag ahead of it must be
    /// that of the stream; it may be missing, as in URLs of versions that made none.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnknownKey`] or [`Error::Expired`].
    pub fn open(&self, segment: &str, now: Timestamp) -> Result<Statement, Error> {
        if segment.len() > LONGEST {
            return Err(NOT_ONE);
        }
        let (tag, sealed) = stream_tag::split(segment);
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NOT_ONE)?;
        let (key, plain) = self.unseal(PURPOSE, &mut sealed)?;
        let statement = Statement::from_bytes(plain)?;
        if tag.is_some_and(|tag| !key.tagger.is_tag_of(statement.stream.name(), tag)) {
            return Err(NOT_ONE);
        }
        if statement.expires <= now {
            return Err(Error::Expired(statement.expires));
        }
        Ok(statement)
    }

    /// Opens what [`Keys::seal_for`] sealed for the same purpose.
    #[must_use]
    pub fn open_for(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.unseal(purpose, &mut sealed.to_vec()).ok().map(|(_, plain)| plain.to_vec())
    }

    /// The value of the cookie that ties capabilities to a person's browser: the one it has, if it is that of
    /// this person under any of the keys, so that keys rotate; else by the first key.
    ///
    /// It is derived, not drawn: a page that opens several players at once, through whichever replicas, gets
    /// one value, and none of its answers takes the cookie away from another's player.
    #[must_use]
    pub fn binding_cookie(&self, principal: &str, carried: Option<&str>) -> String {
        let of = |key: &CapabilityKey| URL_SAFE_NO_PAD.encode(hmac::sign(&key.cookies, principal.as_bytes()));
        let mut values = self.keys.iter().map(of);
        let first = values.next().unwrap_or_default();
        match carried {
            Some(carried) if values.any(|value| value == carried) => carried.to_owned(),
            _ => first,
        }
    }

    /// The key that sealed it, and what it sealed.
    fn unseal<'a>(&self, purpose: &[u8], sealed: &'a mut [u8]) -> Result<(&CapabilityKey, &'a [u8]), Error> {
        if sealed.len() < ID_LEN + NONCE_LEN + TAG_LEN {
            return Err(NOT_ONE);
        }
        let (id, rest) = sealed.split_at_mut(ID_LEN);
        let key = self.keys.iter().find(|key| key.id == *id).ok_or(Error::UnknownKey)?;
        let (nonce, body) = rest.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NOT_ONE)?;
        let plain = key.aead.open_in_place(nonce, Aad::from(purpose), body).map_err(|_| NOT_ONE)?;
        Ok((key, plain))
    }
}

impl CapabilityKey {
    /// Base64 or hexadecimal is decoded, other text taken as it is; 32 bytes are the least.
    fn from_secret(secret: &Secret) -> Result<Self, String> {
        const HOW: &str = "make one with `openssl rand -base64 32`";
        let bytes = decoded(secret.expose());
        if bytes.len() < 32 {
            return Err(format!(
                "a playback key needs at least 32 bytes, this one has {}: {HOW}",
                bytes.len()
            ));
        }
        let mut different = [false; 256];
        for byte in bytes.iter() {
            different[usize::from(*byte)] = true;
        }
        if different.iter().filter(|seen| **seen).count() < 8 {
            return Err(format!("this playback key repeats itself and could be guessed: {HOW}"));
        }
        Ok(Self::derive(&bytes))
    }

    /// Stays the same over reloads.
    fn of_this_process() -> Self {
        static RANDOM: OnceLock<Zeroizing<[u8; 32]>> = OnceLock::new();
        Self::derive(
            RANDOM
                .get_or_init(|| {
                    let mut random = Zeroizing::new([0; 32]);
                    aws_lc_rs::rand::fill(random.as_mut()).expect("the system gives randomness");
                    random
                })
                .as_ref(),
        )
    }

    fn derive(material: &[u8]) -> Self {
        let root = Salt::new(HKDF_SHA256, b"kvs-edge playback").extract(material);
        let mut key = Zeroizing::new([0; 32]);
        let (mut id, mut cookies) = ([0; 32], Zeroizing::new([0; 32]));
        let (mut tickets, mut tags) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        let mut shared = Zeroizing::new([0; 32]);
        let outs: [(&[u8], &mut [u8; 32]); 6] = [
            (PURPOSE, &mut key),
            (b"kvs-edge capability key id", &mut id),
            (b"kvs-edge binding cookie", &mut cookies),
            (b"kvs-edge tls tickets", &mut tickets),
            (b"kvs-edge stream tags", &mut tags),
            (b"kvs-edge shared store", &mut shared),
        ];
        for (purpose, out) in outs {
            root.expand(&[purpose], HKDF_SHA256)
                .and_then(|okm| okm.fill(out))
                .expect("32 bytes are one block of HKDF-SHA-256");
        }
        let aead = UnboundKey::new(&AES_256_GCM_SIV, key.as_ref()).expect("the key has 32 bytes");
        let mut short = [0; ID_LEN];
        short.copy_from_slice(&id[..ID_LEN]);
        let cookies = hmac::Key::new(hmac::HMAC_SHA256, cookies.as_ref());
        let tagger = StreamTagger::new(&tags);
        Self { id: short, aead: LessSafeKey::new(aead), cookies, tickets, tagger, shared }
    }
}

fn decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    use base64::alphabet::{STANDARD, URL_SAFE};
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let text = text.trim_ascii();
    if text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit) {
        let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
        return Zeroizing::new(text.chunks_exact(2).map(|d| value(d[0]) << 4 | value(d[1])).collect());
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    for alphabet in [&STANDARD, &URL_SAFE] {
        if let Ok(bytes) = GeneralPurpose::new(alphabet, lenient).decode(text) {
            return Zeroizing::new(bytes);
        }
    }
    Zeroizing::new(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::capability::tests::any_statement;
    use super::*;
    use crate::kvs::StreamName;
    use crate::setting::SecretSource;
    use proptest::prelude::*;

    fn keys(materials: &[&str]) -> Keys {
        let folder = tempfile::tempdir().unwrap();
        let sources = materials.iter().enumerate().map(|(at, material)| {
            let path = folder.path().join(at.to_string());
            std::fs::write(&path, material).unwrap();
            SecretSource::File(path)
        });
        Keys::load(&Config { keys: sources.collect(), ..Config::default() })
            .unwrap_or_else(|m| panic!("{m:?}"))
    }

    const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const TWO: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    proptest! {
        #[test]
        fn sealed_then_opened_is_the_same(mut statement in any_statement()) {
            let now = Timestamp::from_millis(1_000);
            statement.expires = statement.expires.plus(std::time::Duration::from_secs(2));
            let keys = keys(&[ONE]);
            let segment = keys.seal(&statement);
            let (tag, sealed) = stream_tag::split(&segment);
            let of_base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let plain = |text: &str| text.bytes().all(of_base64);
            prop_assert!(plain(sealed) && tag.is_some_and(plain));
            // URLs of versions without tags.
            prop_assert_eq!(keys.open(sealed, now), Ok(statement.clone()));
            prop_assert_eq!(keys.open(&segment, now), Ok(statement));
        }

        #[test]
        fn one_changed_bit_and_it_does_not_open(statement in any_statement(), at: usize, bit in 0..8_u8) {
            let keys = keys(&[ONE]);
            let segment = keys.seal(&statement);
            let mut bytes = URL_SAFE_NO_PAD.decode(stream_tag::split(&segment).1).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(keys.open(&URL_SAFE_NO_PAD.encode(bytes), Timestamp::from_millis(0)).is_err());
        }

        #[test]
        fn any_segment_is_refused_without_panic(segment in "\\PC{0,200}") {
            prop_assert!(keys(&[ONE]).open(&segment, Timestamp::from_millis(0)).is_err());
        }
    }

    fn statement() -> Statement {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut statement = any_statement().new_tree(&mut runner).unwrap().current();
        statement.expires = Timestamp::from_millis(5_000);
        statement
    }
    use proptest::strategy::ValueTree as _;

    #[test]
    fn a_persons_binding_cookie_is_one_value_on_any_replica_and_stays_while_keys_rotate() {
        let (old, both, new) = (keys(&[ONE]), keys(&[TWO, ONE]), keys(&[TWO]));
        let value = old.binding_cookie("alice", None);
        assert_eq!(keys(&[ONE]).binding_cookie("alice", None), value);
        assert_eq!(old.binding_cookie("alice", Some("another's")), value);
        assert_ne!(old.binding_cookie("bob", Some(&value)), value);
        assert_eq!(both.binding_cookie("alice", Some(&value)), value, "her players go on");
        assert_ne!(new.binding_cookie("alice", Some(&value)), value);
        assert_eq!(value.len(), 43);
    }

    #[test]
    fn replicas_derive_the_same_secrets_for_tickets_in_the_order_of_their_keys() {
        let (one, both) = (keys(&[ONE]).ticket_secrets(), keys(&[TWO, ONE]).ticket_secrets());
        assert_eq!(one, keys(&[ONE]).ticket_secrets());
        assert_eq!((both.len(), &both[1]), (2, &one[0]));
        assert_ne!(both[0], both[1]);
    }

    #[test]
    fn the_tag_is_that_of_the_stream_by_the_key_that_sealed_and_no_other_opens() {
        let (one, both) = (keys(&[ONE]), keys(&[TWO, ONE]));
        let now = Timestamp::from_millis(0);
        let mut of_name = statement();
        of_name.stream = crate::kvs::StreamRef::Name(StreamName::parse("cam-1").unwrap());
        let mut of_arn = statement();
        let arn = "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1720751492346";
        of_arn.stream = crate::kvs::StreamRef::Arn(crate::kvs::StreamArn::parse(arn).unwrap());
        let tag = |segment: &str| stream_tag::split(segment).0.unwrap().to_owned();
        let (by_name, by_arn) = (one.seal(&of_name), one.seal(&of_arn));
        assert_eq!(tag(&by_name), tag(&by_arn), "playback and links of a camera lead to one replica");
        assert!(both.open(&by_name, now).is_ok());
        let sealed = stream_tag::split(&by_name).1;
        for wrong in [tag(&both.seal(&of_name)).as_str(), "", "AAAAAA", &tag(&by_name).repeat(2)] {
            let segment = format!("{wrong}.{sealed}");
            assert_eq!(both.open(&segment, now).err(), Some(NOT_ONE), "{wrong}");
        }
    }

    #[test]
    fn keys_rotate_in_pairs() {
        let (old, both, new) = (keys(&[ONE]), keys(&[TWO, ONE]), keys(&[TWO]));
        let now = Timestamp::from_millis(0);
        let before = old.seal(&statement());
        assert!(both.open(&before, now).is_ok());
        assert_eq!(new.open(&before, now), Err(Error::UnknownKey));
        let after = both.seal(&statement());
        assert!(new.open(&after, now).is_ok());
        assert_eq!(old.open(&after, now), Err(Error::UnknownKey));
    }

    #[test]
    fn a_capability_ends_at_its_time() {
        let keys = keys(&[ONE]);
        let sealed = keys.seal(&statement());
        assert!(keys.open(&sealed, Timestamp::from_millis(4_999)).is_ok());
        let end = Timestamp::from_millis(5_000);
        assert_eq!(keys.open(&sealed, end), Err(Error::Expired(end)));
    }

    #[test]
    fn without_a_key_one_lasts_as_long_as_the_process() {
        let (one, other) = (keys(&[]), keys(&[]));
        assert!(one.temporary() && !keys(&[ONE]).temporary());
        assert!(other.open(&one.seal(&statement()), Timestamp::from_millis(0)).is_ok());
    }

    #[test]
    fn weak_keys_are_refused_with_the_remedy_and_not_repeated() {
        for weak in ["hunter2", "c2hvcnQ=", "00112233445566778899aabbccddeeff", &"A".repeat(64)] {
            let problem = CapabilityKey::from_secret(&Secret::new(weak.as_bytes().to_vec())).err().unwrap();
            assert!(problem.contains("openssl rand -base64 32") && !problem.contains(weak), "{problem}");
        }
        for strong in [ONE, TWO, "correct horse battery staple, and then some more!"] {
            assert!(CapabilityKey::from_secret(&Secret::new(strong.as_bytes().to_vec())).is_ok(), "{strong}");
        }
        let missing = Config { keys: vec![SecretSource::File("/nowhere".into())], ..Config::default() };
        assert_eq!(
            Keys::load(&missing).err().unwrap()[0].place,
            crate::setting::MistakePlace::Key("playback.keys[0]".into())
        );
    }

    #[test]
    fn many_groups_fit_into_a_kilobyte() {
        let mut statement = statement();
        statement.caller.attributes.clear();
        statement.policies = None;
        statement.bind = Some(crate::playback::Binding::Address([192, 0, 2, 7].into()));
        statement.caller.issuer =
            "https://login.example.com/0a1b2c3d-0000-4000-8000-000000000000/v2.0".into();
        statement.caller.subject = "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ".into();
        statement.caller.token_id = Some("7c9e6679-7425-40de-944b-e07fc1f90ae7".into());
        statement.stream = crate::kvs::StreamRef::Arn(
            crate::kvs::StreamArn::parse(
                "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/lobby-north-entrance-2/1720751492346",
            )
            .unwrap(),
        );
        statement.caller.groups =
            (0..29_u64).map(|n| format!("{:08x}-0000-4000-8000-{:012x}", n * 0x0123_4567, n)).collect();
        let uuids = keys(&[ONE]).seal(&statement).len();
        statement.caller.groups =
            (0..30).map(|n| format!("/departments/security/site-{n:02}/viewers")).collect();
        let paths = keys(&[ONE]).seal(&statement).len();
        assert!(uuids < 1024 && paths < 1024, "{uuids} {paths}");
    }
}
