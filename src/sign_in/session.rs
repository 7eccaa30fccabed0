//! The session of a person who signed in: the provider's tokens, as they are kept in sealed cookies.

use super::fields;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use zeroize::Zeroizing;

/// A token in memory, which is wiped when it is dropped.
pub(super) type TokenText = Zeroizing<String>;

/// Who signed in, and the tokens that say so.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The issuer, by its name in the settings.
    pub(super) issuer: String,
    /// The subject, which stays the same through renewals.
    pub(super) subject: String,
    /// The token that is judged at each request.
    pub(super) bearer: TokenText,
    /// The latest ID token, which tells the provider who signs out; empty if there is none, or if it is the
    /// bearer itself.
    pub(super) id_token: TokenText,
    /// What new tokens are had for; empty if there is none.
    pub(super) refresh: TokenText,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(*** of {})", self.issuer)
    }
}

/// The form of the sealed content.
const VERSION: &[u8] = &[1];

impl Session {
    /// The token that is judged at each request, as any bearer token is.
    #[must_use]
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    /// The issuer, by its name in the settings.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether the provider gave a refresh token.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        !self.refresh.is_empty()
    }

    /// The ID token to sign out with.
    pub(super) fn id_token_hint(&self) -> &str {
        if self.id_token.is_empty() { &self.bearer } else { &self.id_token }
    }

    pub(super) fn to_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        let packed = [&self.bearer, &self.id_token, &self.refresh].map(|token| pack(token));
        let [bearer, id_token, refresh] = &packed;
        let (issuer, subject) = (self.issuer.as_bytes(), self.subject.as_bytes());
        fields::join(&[VERSION, issuer, subject, bearer, id_token, refresh]).map(Zeroizing::new)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fields = fields::split(bytes)?;
        let [VERSION, issuer, subject, bearer, id_token, refresh] = fields[..] else { return None };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            issuer: text(issuer)?,
            subject: text(subject)?,
            bearer: unpack(bearer)?,
            id_token: unpack(id_token)?,
            refresh: unpack(refresh)?,
        })
    }
}

/// A JWT as the bytes that its segments stand for, a quarter shorter; anything else as it is.
fn pack(token: &str) -> Zeroizing<Vec<u8>> {
    let decoded = |segment: &str| URL_SAFE_NO_PAD.decode(segment).ok().map(Zeroizing::new);
    let segments: Option<Vec<_>> = token.split('.').map(decoded).collect();
    let packed = segments.filter(|all| all.len() == 3).and_then(|all| {
        let borrowed: Vec<&[u8]> = all.iter().map(|segment| segment.as_slice()).collect();
        fields::join(&borrowed)
    });
    let (kind, mut rest) = packed.map_or((TEXT, token.as_bytes().to_vec()), |packed| (JWT, packed));
    rest.insert(0, kind);
    Zeroizing::new(rest)
}

fn unpack(packed: &[u8]) -> Option<TokenText> {
    match packed.split_first()? {
        (&TEXT, text) => String::from_utf8(text.to_vec()).ok().map(Zeroizing::new),
        (&JWT, joined) => {
            let segments: Vec<String> =
                fields::split(joined)?.into_iter().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).collect();
            Some(Zeroizing::new(segments.join(".")))
        }
        _ => None,
    }
}

const TEXT: u8 = 0;
const JWT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(bearer: &str, refresh: &str) -> Session {
        Session {
            issuer: "https://login.example.com/".into(),
            subject: "ann".into(),
            bearer: Zeroizing::new(bearer.into()),
            id_token: Zeroizing::default(),
            refresh: Zeroizing::new(refresh.into()),
        }
    }

    #[test]
    fn a_jwt_is_kept_in_three_quarters_of_its_length() {
        let jwt = format!("{}.{}.{}", "eyJhbGciOiJSUzI1NiJ9", "QUJD".repeat(500), "c2ln");
        let bytes = session(&jwt, "opaque").to_bytes().unwrap();
        assert!(bytes.len() < jwt.len() * 3 / 4 + 80, "{} of {}", bytes.len(), jwt.len());
        assert_eq!(&*Session::from_bytes(&bytes).unwrap().bearer, &jwt);
    }

    proptest! {
        #[test]
        fn kept_and_read_again_is_the_same(
            bearer in "([A-Za-z0-9_-]{0,20}\\.){0,3}[A-Za-z0-9_=-]{0,20}", refresh in "\\PC{0,30}",
        ) {
            let session = session(&bearer, &refresh);
            prop_assert_eq!(Session::from_bytes(&session.to_bytes().unwrap()), Some(session));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = Session::from_bytes(&bytes);
        }
    }
}
