//! GetImages (docs/KVS.md 4.5).

use super::shared_members::write_stream;
use crate::kvs::bounds::{IMAGES, IMAGES_INTERVAL_MILLIS, IMAGES_RANGE};
use crate::kvs::json::{Invalid, Members};
use crate::kvs::range::{SelectorType, TimeRange};
use crate::kvs::stream::StreamRef;
use serde_json::{Map, Value, json};

/// Requests still pictures at regular instants of a range of at most 300 s.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetImages {
    /// Which stream.
    pub stream: StreamRef,
    /// The clock that selects.
    pub selector: SelectorType,
    /// From when to when; both ends are there.
    pub range: TimeRange,
    /// Milliseconds between pictures, 200 or more; KVS chooses if absent.
    pub sampling_interval: Option<u32>,
    /// JPEG or PNG.
    pub format: ImageFormat,
    /// JPEG quality, 1..100; 80 if absent.
    pub quality: Option<u8>,
    /// Width in pixels, 1..3840.
    pub width: Option<u16>,
    /// Height in pixels, 1..2160.
    pub height: Option<u16>,
    /// At most so many, 1..100; KVS gives no more than 25 in a page.
    pub max_results: Option<u8>,
    /// Where the last page ended.
    pub next_token: Option<String>,
}

/// A picture's format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the names say all there is
pub enum ImageFormat {
    Jpeg,
    Png,
}

impl ImageFormat {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
        }
    }
}

impl GetImages {
    pub(in crate::kvs) fn read(from: &Members<'_>) -> Result<Self, Invalid> {
        let start = from.required("StartTimestamp", from.timestamp("StartTimestamp")?)?;
        let end = from.required("EndTimestamp", from.timestamp("EndTimestamp")?)?;
        let words = [("JPEG", ImageFormat::Jpeg), ("PNG", ImageFormat::Png)];
        let call = Self {
            stream: from.required_stream()?,
            selector: from.required("ImageSelectorType", from.selector_type("ImageSelectorType")?)?,
            range: TimeRange { start, end: Some(end) },
            sampling_interval: from
                .integer("SamplingInterval", IMAGES_INTERVAL_MILLIS.into(), i64::from(i32::MAX))?
                .map(|n| n as u32),
            format: from.required("Format", from.choice("Format", &words)?)?,
            quality: quality(from)?,
            width: from.integer("WidthPixels", 1, 3840)?.map(|n| n as u16),
            height: from.integer("HeightPixels", 1, 2160)?.map(|n| n as u16),
            max_results: from.integer("MaxResults", 1, IMAGES.into())?.map(|n| n as u8),
            next_token: from.next_token(4096)?,
        };
        call.check()?;
        Ok(call)
    }

    /// The rules between members that hold however the request was put together.
    ///
    /// # Errors
    /// Names the member that breaks a bound.
    pub fn check(&self) -> Result<(), Invalid> {
        let (start, end) = (self.range.start, self.range.end.unwrap_or(self.range.start));
        if end < start {
            return Err(Invalid::member("EndTimestamp", "must not be before StartTimestamp"));
        }
        if end > start.plus(IMAGES_RANGE) {
            return Err(Invalid::member("EndTimestamp", "must be at most 300 seconds after StartTimestamp"));
        }
        if self.width.is_some() && self.height.is_none() {
            return Err(Invalid::member("HeightPixels", "is required beside WidthPixels"));
        }
        if self.quality.is_some() && self.format == ImageFormat::Png {
            return Err(Invalid::member("FormatConfig", "has JPEGQuality, but Format is PNG"));
        }
        Ok(())
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::new();
        write_stream(&mut to, &self.stream);
        to.insert("ImageSelectorType".into(), self.selector.as_str().into());
        to.insert("StartTimestamp".into(), self.range.start.to_json());
        to.insert("EndTimestamp".into(), self.range.end.unwrap_or(self.range.start).to_json());
        to.insert("Format".into(), self.format.as_str().into());
        let numbers = [
            ("SamplingInterval", self.sampling_interval),
            ("WidthPixels", self.width.map(u32::from)),
            ("HeightPixels", self.height.map(u32::from)),
            ("MaxResults", self.max_results.map(u32::from)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                to.insert(name.into(), number.into());
            }
        }
        if let Some(quality) = self.quality {
            to.insert("FormatConfig".into(), json!({"JPEGQuality": quality.to_string()}));
        }
        if let Some(token) = &self.next_token {
            to.insert("NextToken".into(), token.as_str().into());
        }
        to
    }
}

/// `FormatConfig`: one entry, whose value is a string of a number (docs/KVS.md trap 15).
fn quality(from: &Members<'_>) -> Result<Option<u8>, Invalid> {
    match from.single_text("FormatConfig")? {
        None => Ok(None),
        Some(("JPEGQuality", text)) => match text.parse::<u8>() {
            Ok(quality @ 1..=100) => Ok(Some(quality)),
            _ => Err(Invalid::member("FormatConfig.JPEGQuality", "must be a string from \"1\" to \"100\"")),
        },
        Some(_) => Err(Invalid::member("FormatConfig", "must have JPEGQuality as its only key")),
    }
}
