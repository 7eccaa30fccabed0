//! Sign-ins that a browser has begun and not finished, as they are kept in a sealed cookie of that browser.
//!
//! `state` ties the answer to this browser (RFC 6749 10.12), `nonce` the ID token to this sign-in, and the
//! verifier the code to whoever began it (PKCE, RFC 7636). Several tabs may sign in at once.

use super::fields;
use super::return_place::ReturnPlace;
use crate::kvs::Timestamp;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

/// How long somebody may take to sign in at the provider.
pub(super) const LASTS: Duration = Duration::from_secs(600);
/// How many sign-ins of one browser are open at once; an older one is forgotten.
const MOST: usize = 4;
/// Names an attempt's fields in the sealed form.
const FIELDS: usize = 7;

/// A sign-in under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    pub state: String,
    pub nonce: String,
    pub verifier: String,
    /// At which issuer, by its name in the settings.
    pub issuer: String,
    /// Where the browser goes back to.
    pub back: ReturnPlace,
    /// In a hidden frame, where the provider shows nothing.
    pub is_quiet: bool,
    pub begun: Timestamp,
}

impl Attempt {
    /// A new one.
    pub fn new(issuer: &str, back: ReturnPlace, is_quiet: bool, begun: Timestamp) -> Self {
        let (state, nonce, verifier) = (random::<16>(), random::<16>(), random::<32>());
        Self { state, nonce, verifier, issuer: issuer.to_owned(), back, is_quiet, begun }
    }

    /// The code challenge, by method S256 (RFC 7636 4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }
}

fn random<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).expect("the system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The sign-ins that one browser has begun, the newest last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    /// Reads what [`Attempts::to_bytes`] wrote; those that took too long are left out.
    pub fn from_bytes(bytes: &[u8], now: Timestamp) -> Option<Self> {
        let fields = fields::split(bytes)?;
        let (whole, rest) = fields.as_chunks::<FIELDS>();
        let read = |[state, nonce, verifier, issuer, back, quiet, begun]: &[&[u8]; FIELDS]| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            Some(Attempt {
                state: text(state)?,
                nonce: text(nonce)?,
                verifier: text(verifier)?,
                issuer: text(issuer)?,
                back: ReturnPlace::of(&text(back)?),
                is_quiet: *quiet == [1],
                begun: Timestamp::from_millis(u64::from_be_bytes((*begun).try_into().ok()?)),
            })
        };
        let mut attempts = whole.iter().map(read).collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())?;
        attempts.retain(|attempt| attempt.begun.age(now) < LASTS);
        Some(Self(attempts))
    }

    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let begun: Vec<_> = self.0.iter().map(|a| a.begun.millis().to_be_bytes()).collect();
        let mut all: Vec<&[u8]> = Vec::new();
        for (attempt, begun) in self.0.iter().zip(&begun) {
            for text in [&attempt.state, &attempt.nonce, &attempt.verifier, &attempt.issuer] {
                all.push(text.as_bytes());
            }
            all.push(attempt.back.as_str().as_bytes());
            all.push(if attempt.is_quiet { &[1] } else { &[0] });
            all.push(begun);
        }
        fields::join(&all)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one; the oldest goes when there are too many.
    pub fn add(&mut self, attempt: Attempt) {
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(attempt);
    }

    /// Takes out the one that this `state` belongs to.
    pub fn take(&mut self, state: &str) -> Option<Attempt> {
        let ours = |a: &Attempt| verify_slices_are_equal(a.state.as_bytes(), state.as_bytes()).is_ok();
        let at = self.0.iter().position(ours)?;
        Some(self.0.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn begun(at: u64) -> Attempt {
        Attempt::new(
            "https://login.example.com/",
            ReturnPlace::of("#/camera/1"),
            at > 5,
            Timestamp::from_millis(at),
        )
    }

    #[test]
    fn what_is_kept_is_read_again_until_it_took_too_long() {
        let mut attempts = Attempts::default();
        let all: Vec<Attempt> = (0..6).map(begun).collect();
        all.iter().for_each(|attempt| attempts.add(attempt.clone()));
        assert_eq!(attempts.0, all[2..], "only the newest four");
        let bytes = attempts.to_bytes().unwrap();
        let mut read = Attempts::from_bytes(&bytes, Timestamp::from_millis(9)).unwrap();
        assert_eq!(read, attempts);
        assert_eq!(read.take("another"), None);
        assert_eq!(read.take(&all[3].state).as_ref(), Some(&all[3]));
        assert_eq!(read.take(&all[3].state), None, "once");
        let late = Timestamp::from_millis(4 + LASTS.as_millis() as u64);
        assert_eq!(Attempts::from_bytes(&bytes, late).unwrap().0, all[5..]);
    }

    /// RFC 7636, appendix B.
    #[test]
    fn the_code_challenge_is_that_of_the_rfc() {
        let attempt = Attempt { verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(), ..begun(1) };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(begun(1).verifier.len(), 43);
        assert_ne!(begun(1).state, begun(1).state);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = Attempts::from_bytes(&bytes, Timestamp::from_millis(0));
        }
    }
}
