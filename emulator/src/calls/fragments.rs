//! ListFragments: unordered, in pages (docs/KVS.md 4.2).

use super::call::{Call, selector_and_range};
use crate::answer::{Answer, KvsError};
use crate::archive::{Fragment, Selector};
use crate::clock::Millis;
use crate::json::Json;
use crate::number::mix;
use crate::stream::Stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Fragments in a page by default.
const PAGE: u64 = 100;

pub(super) fn list_fragments(call: &Call<'_>) -> Result<Answer, KvsError> {
    let page = call.members.integer("MaxResults", 1, 1000)?.unwrap_or(PAGE);
    let token = call.members.next_token()?;
    if token.is_none() && call.members.inner("FragmentSelector")?.is_none() {
        // Observed instead of InvalidArgument (docs/KVS.md 4.2).
        return Err(KvsError::new(500, "InternalFailure", "Internal Failure"));
    }
    let stream = call.stream()?;
    let position = match token {
        Some(token) => {
            ListPosition::read(token).ok_or_else(|| KvsError::invalid("The NextToken is not valid."))?
        }
        None => {
            let (selector, (from, to)) = selector_and_range(call.members, "FragmentSelector")?;
            if to < from {
                return Err(KvsError::invalid("EndTimestamp must not be earlier than StartTimestamp."));
            }
            ListPosition { selector, from, to, seen_at: call.now, offset: 0 }
        }
    };
    // Charged for a full page, however few fragments are returned.
    call.state.charge_points(&stream, page as usize, 0)?;
    let mut found = if call.no_data { Vec::new() } else { position.fragments(&stream) };
    found.retain(|f| !call.is_missing(f));
    found.sort_unstable_by_key(|f| mix(u64::from(f.number.tail) ^ f.producer));
    let rest = found.get(position.offset as usize..).unwrap_or_default();
    let shown = &rest[..rest.len().min(page as usize)];
    let more = rest.len() > shown.len();
    let next = more.then(|| ListPosition { offset: position.offset + page, ..position }.write());
    Ok(Answer::json(&Json::object([
        ("Fragments", Json::List(shown.iter().map(|f| row(&stream, f)).collect())),
        ("NextToken", Json::maybe(next)),
    ])))
}

fn row(stream: &Stream, fragment: &Fragment) -> Json {
    let footage = stream.archive.footage(fragment);
    // From the first to the last frame, so shorter than the fragment.
    let length = if stream.archive.producer.zero_length { 0 } else { footage.length() };
    let size = stream.archive.size(fragment, &footage);
    Json::object([
        ("FragmentLengthInMilliseconds", Json::Integer(length)),
        ("FragmentNumber", Json::text(fragment.number.to_string())),
        ("FragmentSizeInBytes", Json::Integer(size as u64)),
        ("ProducerTimestamp", Json::Time(fragment.producer)),
        ("ServerTimestamp", Json::Time(fragment.server)),
    ])
}

/// The content of a continuation token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ListPosition {
    selector: Selector,
    from: Millis,
    to: Millis,
    /// The time of the first page: all pages list what was there then, so that they do not overlap.
    seen_at: Millis,
    offset: u64,
}

impl ListPosition {
    fn fragments(&self, stream: &Stream) -> Vec<Fragment> {
        stream.archive.range(self.selector, self.from, self.to, self.seen_at)
    }

    fn write(&self) -> String {
        let selector = u64::from(self.selector == Selector::Producer);
        STANDARD
            .encode([selector, self.from, self.to, self.seen_at, self.offset].map(u64::to_be_bytes).concat())
    }

    fn read(token: &str) -> Option<Self> {
        let bytes: [u8; 40] = STANDARD.decode(token).ok()?.try_into().ok()?;
        let mut numbers =
            bytes.chunks_exact(8).map(|chunk| chunk.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)));
        let selector = match numbers.next()? {
            0 => Selector::Server,
            1 => Selector::Producer,
            _ => return None,
        };
        let (from, to, seen_at, offset) =
            (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
        let sane = [from, to, seen_at, offset].into_iter().all(|number| number < 1 << 50);
        sane.then_some(Self { selector, from, to, seen_at, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_says_where_to_go_on(
            from in 0..1_u64 << 49, to in 0..1_u64 << 49, offset in 0..1_u64 << 30,
        ) {
            let position = ListPosition { selector: Selector::Producer, from, to, seen_at: to, offset };
            prop_assert_eq!(ListPosition::read(&position.write()), Some(position));
        }

        #[test]
        fn any_token_is_read_or_refused(text in "[A-Za-z0-9+/=]{0,80}") { let _ = ListPosition::read(&text); }
    }
}
