//! GetImages: pictures at sampling instants, 25 to a page, JSON with base64 in it (docs/KVS.md 4.5).

use super::call::Call;
use crate::answer::{Answer, KvsError};
use crate::archive::Fragment;
use crate::clock::Millis;
use crate::json::Json;
use crate::media::picture::{PictureFormat, picture};
use crate::members::missing;
use crate::stream::Stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest range.
const RANGE_MILLIS: Millis = 300_000;
/// The default interval: the older documented minimum. The real default is not known.
const INTERVAL_MILLIS: u64 = 3000;
/// The most pictures in a page, also if `MaxResults` is larger.
const PAGE: u64 = 25;
/// Metadata points of a call, besides one per picture.
const POINTS: usize = 400;

pub(super) fn get_images(call: &Call<'_>) -> Result<Answer, KvsError> {
    let members = call.members;
    let selector = members.selector("ImageSelectorType")?.ok_or_else(|| missing("imageSelectorType"))?;
    let (from, to) = members.range()?;
    let format = members.choice("Format", &["JPEG", "PNG"])?.ok_or_else(|| missing("format"))?;
    let quality = quality(call)?;
    let interval = members.integer("SamplingInterval", 200, 100_000_000)?.unwrap_or(INTERVAL_MILLIS);
    let width = members.integer("WidthPixels", 1, 3840)?;
    let height = members.integer("HeightPixels", 1, 2160)?;
    let pixels = |asked: Option<u64>| asked.and_then(|pixels| u16::try_from(pixels).ok());
    let picture_format =
        PictureFormat { png: format == "PNG", quality, width: pixels(width), height: pixels(height) };
    let asked = members.integer("MaxResults", 1, 100)?.unwrap_or(PAGE);
    let token = members.next_token()?;
    if width.is_some() && height.is_none() {
        let message = "HeightPixels must be given together with WidthPixels.";
        return Err(KvsError::new(400, "ValidationException", message));
    }
    if to < from {
        return Err(KvsError::invalid("EndTimestamp must not be earlier than StartTimestamp."));
    }
    if to - from > RANGE_MILLIS {
        let message = "The time range must not be longer than 300 seconds.";
        return Err(KvsError::new(400, "IllegalArgumentException", message));
    }
    let stream = call.recording_stream()?;
    let offset = token.map_or(Ok(0), offset)?;
    call.state.charge_points(&stream, POINTS + asked as usize, asked as usize)?;
    // As at KVS, a fragment that began before the range is not used, so the first pictures are missing.
    let fragments = if call.no_data {
        Vec::new()
    } else {
        let mut fragments = stream.archive.range(selector, from, to, call.now);
        fragments.retain(|f| !call.is_missing(f));
        fragments.sort_by_key(|f| f.start(selector));
        fragments
    };
    let covering = |at: Millis| -> Option<&Fragment> {
        let before = fragments.partition_point(|f| f.start(selector) <= at);
        fragments[..before].last().filter(|f| at < f.start(selector) + f.millis)
    };
    let total = (to - from) / interval + 1;
    let page = PAGE.min(asked);
    let end = total.min(offset + page);
    let images = (offset..end).map(|n| {
        let at = from + n * interval;
        match covering(at) {
            Some(f) => {
                let picture = picture_at(&stream, f, at - f.start(selector), picture_format);
                Json::object([("TimeStamp", Json::Time(at)), ("ImageContent", Json::Text(picture))])
            }
            None => Json::object([("TimeStamp", Json::Time(at)), ("Error", Json::text("NO_MEDIA"))]),
        }
    });
    let next = (end < total).then(|| STANDARD.encode(end.to_be_bytes()));
    Ok(Answer::json(&Json::object([
        ("Images", Json::List(images.collect())),
        ("NextToken", Json::maybe(next)),
    ])))
}

/// The picture that a fragment shows `after` milliseconds from its start, in base64.
fn picture_at(stream: &Stream, fragment: &Fragment, after: Millis, format: PictureFormat) -> String {
    STANDARD.encode(picture(fragment.recording(), stream.archive.window(fragment, after), format))
}

/// `FormatConfig`: exactly one entry, its value a decimal string.
fn quality(call: &Call<'_>) -> Result<Option<u8>, KvsError> {
    let Some(config) = call.members.inner("FormatConfig")? else { return Ok(None) };
    let text = config.text("JPEGQuality", (0, 256), |c| c.is_ascii_alphanumeric() || c == '_')?;
    let quality = text.and_then(|text| text.parse().ok()).filter(|quality| (1..=100).contains(quality));
    let wrong = "FormatConfig must have one entry, JPEGQuality, between 1 and 100.";
    quality.map(Some).ok_or_else(|| KvsError::invalid(wrong))
}

/// The number of the first picture of the page that a token stands for.
fn offset(token: &str) -> Result<u64, KvsError> {
    let bytes = STANDARD.decode(token).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    bytes
        .map(u64::from_be_bytes)
        .filter(|offset| *offset < 10_000)
        .ok_or_else(|| KvsError::invalid("The NextToken is not valid."))
}
