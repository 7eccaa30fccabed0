//! `NextToken` bound to the request that it continues.
//!
//! KVS's own tokens say nothing that we could check, so a token of one stream beside the name of another would be a
//! way around policy (`HARDENING.md`, threat 3). Ours seals KVS's token together with the stream and the footage:
//! a continuation is judged by the footage it continues, and a token that was not given out for this stream does
//! not open.

use super::error::Error;
use crate::kvs::operations::{FragmentSelector, GetImages, ListFragments};
use crate::kvs::{Call, SelectorType, StreamRef, TimeRange, Timestamp};
use crate::playback::Keys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What a token says inside.
#[derive(Serialize, Deserialize)]
struct Inside {
    stream: String,
    kind: SelectorType,
    start: Timestamp,
    end: Timestamp,
    token: String,
}

const PURPOSE: &[u8] = b"kvs-edge page token v1";

/// Replaces our token in a call by KVS's own, and fills in the footage that it continues.
///
/// # Errors
/// [`Error::PageToken`] if the token was not given out for this stream.
pub fn open(keys: &Keys, call: Call) -> Result<Call, Error> {
    Ok(match call {
        Call::ListFragments(ListFragments { stream, selector, max_results, next_token: Some(token) }) => {
            let inside = unseal(keys, &token, &stream)?;
            let continued = inside.selector();
            if selector.is_some_and(|selector| selector != continued) {
                return Err(Error::PageToken);
            }
            let next_token = Some(inside.token);
            Call::ListFragments(ListFragments { stream, selector: Some(continued), max_results, next_token })
        }
        Call::GetImages(GetImages { next_token: Some(token), .. }) if token.is_empty() => {
            return Err(Error::PageToken);
        }
        Call::GetImages(mut images) => {
            if let Some(token) = images.next_token.take() {
                let inside = unseal(keys, &token, &images.stream)?;
                let asked = FragmentSelector { kind: images.selector, range: images.range };
                if inside.selector() != asked {
                    return Err(Error::PageToken);
                }
                images.next_token = Some(inside.token);
            }
            Call::GetImages(images)
        }
        other => other,
    })
}

/// Our token for the page after this one.
#[must_use]
pub fn seal(keys: &Keys, stream: &StreamRef, kind: SelectorType, range: TimeRange, token: &str) -> String {
    let end = range.end.unwrap_or(range.start);
    let inside = Inside { stream: name_of(stream), kind, start: range.start, end, token: token.to_owned() };
    let plain = serde_json::to_vec(&inside).unwrap_or_default();
    STANDARD.encode(keys.seal_for(PURPOSE, &plain))
}

fn unseal(keys: &Keys, token: &str, stream: &StreamRef) -> Result<Inside, Error> {
    let sealed = STANDARD.decode(token).map_err(|_| Error::PageToken)?;
    let plain = keys.open_for(PURPOSE, &sealed).ok_or(Error::PageToken)?;
    let inside: Inside = serde_json::from_slice(&plain).map_err(|_| Error::PageToken)?;
    if inside.stream == name_of(stream) { Ok(inside) } else { Err(Error::PageToken) }
}

/// A page may be asked for by name and the next one by ARN: the name must be the same, and for two ARNs all of it.
fn name_of(stream: &StreamRef) -> String {
    match stream {
        StreamRef::Name(name) => name.as_str().to_owned(),
        StreamRef::Arn(arn) => arn.as_str().to_owned(),
    }
}

impl Inside {
    fn selector(&self) -> FragmentSelector {
        FragmentSelector { kind: self.kind, range: TimeRange { start: self.start, end: Some(self.end) } }
    }
}
