//! `NextToken` bound to the request that it continues.
//!
//! KVS's own tokens say nothing that we could check, so a token of one stream beside the name of another
//! would be a way around policy (docs/THREATS.md). Ours seals KVS's token together with the stream and the
//! footage: a continuation is judged by the footage it continues, and a token that was not given out for this
//! stream does not open.

use crate::kvs::operations::{FragmentSelector, GetImages, ListFragments};
use crate::kvs::{Call, SelectorType, StreamRef, TimeRange, Timestamp};
use crate::playback::Keys;
use crate::upstream::{self, Located};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A token that was not given out for the request that it came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("NextToken was not given out for this request")]
pub struct ForeignPageToken;

/// What a token says inside.
#[derive(Serialize, Deserialize)]
struct Inside {
    stream: Bound,
    kind: SelectorType,
    start: Timestamp,
    end: Timestamp,
    token: String,
}

const PURPOSE: &[u8] = b"kvs-edge page token v2";

/// Which stream a token was given out for: a name says it only together with the account and region that
/// serve it.
#[derive(Serialize, Deserialize)]
struct Bound {
    /// The `[[aws]]` entry's name.
    entry: Arc<str>,
    name: String,
    /// If it was asked for by ARN.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    arn: Option<String>,
}

impl Bound {
    fn to(located: &Located) -> Self {
        Self {
            entry: located.entry.clone(),
            name: located.stream.name().to_string(),
            arn: located.stream.arn().map(ToString::to_string),
        }
    }

    /// A page may be asked for by name and the next one by ARN, and the other way round: entry and name must
    /// be the same then, and of two ARNs every letter.
    fn is_same(&self, other: &Self) -> bool {
        let arns = self.arn.as_ref().zip(other.arn.as_ref());
        self.entry == other.entry && self.name == other.name && arns.is_none_or(|(one, two)| one == two)
    }
}

/// Replaces our token in a call by KVS's own, and fills in the footage that it continues. `locate` tells
/// where a stream is served from; a call about one that is not stays as it is, since it goes no further than
/// to be refused.
///
/// # Errors
/// [`ForeignPageToken`] if the token was not given out for this stream.
pub fn open(
    keys: &Keys,
    call: Call,
    locate: impl Fn(&StreamRef) -> Result<Located, upstream::Error>,
) -> Result<Call, ForeignPageToken> {
    let Some(Ok(located)) = call.stream().map(locate) else { return Ok(call) };
    Ok(match call {
        Call::ListFragments(ListFragments { stream, selector, max_results, next_token: Some(token) }) => {
            let inside = unseal(keys, &token, &located)?;
            let continued = inside.selector();
            if selector.is_some_and(|selector| selector != continued) {
                return Err(ForeignPageToken);
            }
            let next_token = Some(inside.token);
            Call::ListFragments(ListFragments { stream, selector: Some(continued), max_results, next_token })
        }
        Call::GetImages(GetImages { next_token: Some(token), .. }) if token.is_empty() => {
            return Err(ForeignPageToken);
        }
        Call::GetImages(mut images) => {
            if let Some(token) = images.next_token.take() {
                let inside = unseal(keys, &token, &located)?;
                let asked = FragmentSelector { kind: images.selector, range: images.range };
                if inside.selector() != asked {
                    return Err(ForeignPageToken);
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
pub fn seal(keys: &Keys, located: &Located, kind: SelectorType, range: TimeRange, token: &str) -> String {
    let end = range.end.unwrap_or(range.start);
    let inside =
        Inside { stream: Bound::to(located), kind, start: range.start, end, token: token.to_owned() };
    let plain = serde_json::to_vec(&inside).unwrap_or_default();
    STANDARD.encode(keys.seal_for(PURPOSE, &plain))
}

fn unseal(keys: &Keys, token: &str, located: &Located) -> Result<Inside, ForeignPageToken> {
    let sealed = STANDARD.decode(token).map_err(|_| ForeignPageToken)?;
    let plain = keys.open_for(PURPOSE, &sealed).ok_or(ForeignPageToken)?;
    let inside: Inside = serde_json::from_slice(&plain).map_err(|_| ForeignPageToken)?;
    if inside.stream.is_same(&Bound::to(located)) { Ok(inside) } else { Err(ForeignPageToken) }
}

impl Inside {
    fn selector(&self) -> FragmentSelector {
        FragmentSelector { kind: self.kind, range: TimeRange { start: self.start, end: Some(self.end) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{StreamArn, StreamName};

    fn located(entry: &str, stream: &str) -> Located {
        let stream = match StreamArn::parse(stream) {
            Ok(arn) => StreamRef::Arn(arn),
            Err(_) => StreamRef::Name(StreamName::parse(stream).unwrap()),
        };
        Located { entry: entry.into(), stream, region: "eu-west-1".into(), account: None }
    }

    #[test]
    fn the_next_page_may_name_the_stream_another_way_but_no_other_stream() {
        let arn = |account: &str, name: &str, created: u64| {
            format!("arn:aws:kinesisvideo:eu-west-1:{account}:stream/{name}/{created}")
        };
        let (own, other) = (arn("111122223333", "cam-1", 1), arn("111122223333", "cam-2", 1));
        for (first, next, same) in [
            (("main", "cam-1"), ("main", "cam-1"), true),
            (("main", "cam-1"), ("main", &*own), true),
            (("main", &*own), ("main", "cam-1"), true),
            (("main", &*own), ("main", &*own), true),
            (("main", "cam-1"), ("main", "cam-2"), false),
            (("main", "cam-1"), ("main", &*other), false),
            (("main", &*own), ("main", &*other), false),
            (("main", &*own), ("main", &*arn("111122223333", "cam-1", 2)), false),
            (("main", &*own), ("main", &*arn("999988887777", "cam-1", 1)), false),
            // The same name in another account or region is another stream, by name and by ARN.
            (("main", "cam-1"), ("other", "cam-1"), false),
            (("main", "cam-1"), ("other", &*arn("999988887777", "cam-1", 1)), false),
        ] {
            let (bound, asked) = (located(first.0, first.1), located(next.0, next.1));
            assert_eq!(Bound::to(&bound).is_same(&Bound::to(&asked)), same, "{first:?} {next:?}");
        }
    }
}
