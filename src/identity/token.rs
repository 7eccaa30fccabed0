//! Takes a compact JWS apart, strictly. Nothing in it is verified here.
//!
//! The rules of RFC 8725 that need no key are all here: three segments of canonical base64url, JSON without
//! repeated members, no encryption, compression, extension or nesting. Headers that carry or point to keys
//! (`jku`, `jwk`, `x5u`, `x5c`) are never looked at.

use super::algorithm::Algorithm;
use super::error::{Error, Reason, quoted};
use crate::kvs::strict::{self, Fault};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// base64url: bits left over must be zero; padding may be absent, or complete as `X-Amzn-Oidc-Data` writes
/// it, which the issuer's kind decides later. The signature covers the segments as written, so a token has
/// one spelling.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token taken apart; nothing in it has been verified.
pub(super) struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
    /// An object.
    pub claims: Value,
    /// The rest of the header. Load balancers put claims there.
    pub header: Map<String, Value>,
    /// Whether a segment is padded with `=`.
    pub padded: bool,
    /// What the signature covers.
    pub signed: &'a [u8],
    /// Canonical base64url without padding.
    pub signature: &'a str,
}

impl<'a> Unverified<'a> {
    pub fn parse(token: &'a str) -> Result<Self, Error> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'.');
        if !token.bytes().all(fits) {
            return malformed("it holds what no JWT contains");
        }
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature)) =
            (segments.next(), segments.next(), segments.next())
        else {
            return malformed("not three segments");
        };
        match segments.count() {
            0 => {}
            2 => return Err(Error::refused(Reason::Encrypted, "five segments")),
            _ => return malformed("not three segments"),
        }
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let mut header = object(header, "header")?;
        let algorithm = read_header(&header)?;
        let claims = Value::Object(object(payload, "payload")?);
        decode(signature, "signature")?;
        let signature = signature.trim_end_matches('=');
        let (kid, typ) = (text(&mut header, "kid")?, text(&mut header, "typ")?);
        let padded = token.contains('=');
        Ok(Self { algorithm, kid, typ, claims, header, padded, signed, signature })
    }

    /// `iss`, which selects the issuer whose rules and keys apply.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// The ARN in the header of a load balancer's token.
    pub fn signer(&self) -> Option<&Value> {
        self.header.get("signer")
    }

    /// Moves what a load balancer says in the header to where other issuers say it: `iss`, `exp`, and
    /// `client` as the audience. The payload is what the identity provider sent of the user, so it decides
    /// none of the three.
    pub fn adopt_header(&mut self) -> Result<(), Error> {
        let issuer = match self.header.get("iss") {
            Some(issuer @ Value::String(_)) => issuer.clone(),
            _ => return Err(Error::refused(Reason::Issuer, "no `iss` in the header, or not text")),
        };
        if self.claims.get("iss").is_some_and(|inner| *inner != issuer) {
            return Err(Error::refused(Reason::Issuer, "the payload names another `iss` than the header"));
        }
        let expires = self.header.get("exp").cloned();
        let expires = expires.ok_or_else(|| Error::refused(Reason::Unbounded, "no `exp` in the header"))?;
        let Value::Object(claims) = &mut self.claims else { return malformed("the payload is no object") };
        // Of two ends the earlier one counts.
        match (claims.get("exp").map(Value::as_f64), expires.as_f64()) {
            (Some(None), _) => return malformed("`exp` in the payload is no number"),
            (Some(Some(inner)), Some(outer)) if inner < outer => {}
            _ => drop(claims.insert("exp".into(), expires)),
        }
        claims.insert("iss".into(), issuer);
        match self.header.get("client") {
            Some(client @ Value::String(_)) => drop(claims.insert("aud".into(), client.clone())),
            Some(_) => return Err(Error::refused(Reason::Audience, "`client` in the header is not text")),
            None => drop(claims.remove("aud")),
        }
        Ok(())
    }
}

fn read_header(header: &Map<String, Value>) -> Result<Algorithm, Error> {
    let has = |name: &str| header.contains_key(name);
    if has("enc") {
        return Err(Error::refused(Reason::Encrypted, "`enc` in the header"));
    }
    if has("zip") {
        return Err(Error::refused(Reason::Compressed, "`zip` in the header"));
    }
    if has("crit") || has("b64") {
        return Err(Error::refused(Reason::Critical, "`crit` or `b64` in the header"));
    }
    if let Some(content) = header.get("cty") {
        let Some(content) = content.as_str() else { return malformed("`cty` is not text") };
        if is_media_type(content, "JWT") {
            return Err(Error::refused(Reason::Nested, "`cty` is JWT"));
        }
    }
    match header.get("alg") {
        Some(Value::String(name)) => Algorithm::parse(name)
            .ok_or_else(|| Error::refused(Reason::Algorithm, format!("unknown algorithm {}", quoted(name)))),
        _ => malformed("`alg` is absent or not text"),
    }
}

/// Media types of tokens: letter case and a leading `application/` do not matter (RFC 7515 4.1.9).
pub(super) fn is_media_type(found: &str, wanted: &str) -> bool {
    let short = |t: &'_ str| -> String {
        let t = t.to_ascii_lowercase();
        t.strip_prefix("application/").map_or_else(|| t.clone(), str::to_owned)
    };
    short(found) == short(wanted)
}

fn object(segment: &str, which: &str) -> Result<Map<String, Value>, Error> {
    strict::object(&decode(segment, which)?).map_err(|fault| match fault {
        Fault::Twice(_) => Error::refused(Reason::Duplicate, format!("in the {which}")),
        other => Error::refused(Reason::Malformed, format!("the {which} is {}", other.plain())),
    })
}

fn decode(segment: &str, which: &str) -> Result<Vec<u8>, Error> {
    let unpadded = segment.trim_end_matches('=');
    if unpadded.len() != segment.len() && !segment.len().is_multiple_of(4) {
        return malformed(&format!("the {which} has wrong padding"));
    }
    BASE64URL
        .decode(segment)
        .map_err(|_| Error::refused(Reason::Malformed, format!("the {which} is not base64url")))
}

fn text(header: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match header.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => malformed(&format!("`{name}` is not text")),
    }
}

fn malformed<T>(detail: &str) -> Result<T, Error> {
    Err(Error::refused(Reason::Malformed, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn reason(token: &str) -> Option<Reason> {
        match Unverified::parse(token) {
            Err(Error::Refused { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn padded_segments_are_read_as_the_load_balancer_writes_them() {
        let b64 = |text: &str| URL_SAFE.encode(text);
        let token = format!("{}.{}.{}", b64(r#"{"alg":"ES256"}"#), b64(r#"{"iss":"a"}"#), b64("sig!"));
        assert!(token.contains('='));
        let read = Unverified::parse(&token).unwrap();
        assert_eq!(read.issuer(), Some("a"));
        assert!(token.as_bytes().starts_with(read.signed));
        assert_eq!(reason(&token.replace("==", "=")), Some(Reason::Malformed));
    }

    #[test]
    fn bits_left_over_must_be_zero() {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256" }"#);
        assert_eq!(head.len() % 4, 2);
        let claims = URL_SAFE_NO_PAD.encode("{}");
        assert_eq!(reason(&format!("{head}.{claims}.AA")), None);
        assert_eq!(reason(&format!("{head}.{claims}.AB")), Some(Reason::Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,60}") { let _ = Unverified::parse(&text); }

        #[test]
        fn any_segments_are_read_or_refused_without_panic(
            header in "\\{\"(alg|kid|typ|crit|zip|cty)\":(\"[A-Za-z0-9]{0,6}\"|null|\\[\\]|1)\\}",
            payload: Vec<u8>, signature: Vec<u8>,
        ) {
            let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let token = format!("{}.{}.{}", b64(header.as_bytes()), b64(&payload), b64(&signature));
            let _ = Unverified::parse(&token);
        }
    }
}
