//! Pictures in the size, format and quality that GetImages asks for (docs/KVS.md 4.5).
//!
//! The recordings hold one JPEG per window. Another size, format or quality is made from its pixels.
//! Results are cached, since clients request the same thumbnails repeatedly.

use super::Recording;
use crate::lock::lock;
use bytes::Bytes;
use jpeg_encoder::ColorType;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The format of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PictureFormat {
    /// PNG instead of JPEG.
    pub(crate) png: bool,
    /// 1 to 100; JPEG only. The recording's own if absent.
    pub(crate) quality: Option<u8>,
    /// Pixels; the recording's own if absent. With a height, the picture is stretched.
    pub(crate) width: Option<u16>,
    /// Pixels; the recording's own if absent. Without a width, the aspect ratio is kept.
    pub(crate) height: Option<u16>,
}

/// The quality of a JPEG if the request has no quality.
const QUALITY: u8 = 80;
/// Pictures in the cache; when it is full, it is emptied.
const CACHED: usize = 512;

/// By camera, window of the loop, and format.
static CACHE: LazyLock<Mutex<HashMap<(usize, u64, PictureFormat), Bytes>>> = LazyLock::new(Mutex::default);

/// The first picture of window `window` of the loop of a recording, in this format.
pub(crate) fn picture(source: &Recording, window: u64, format: PictureFormat) -> Bytes {
    let jpeg = Recording::image(source.camera, window);
    if format == (PictureFormat { png: false, quality: None, width: None, height: None }) {
        return jpeg;
    }
    let key = (source.camera, window % (super::LOOP_FRAMES / super::WINDOW_FRAMES), format);
    if let Some(bytes) = lock(&CACHE).get(&key) {
        return bytes.clone();
    }
    let height = format.height.unwrap_or(source.height());
    let width = match (format.width, format.height) {
        (Some(width), _) => width,
        (None, Some(_)) => {
            let width = (u32::from(source.width()) * u32::from(height)).div_ceil(u32::from(source.height()));
            u16::try_from(width).unwrap_or(u16::MAX)
        }
        (None, None) => source.width(),
    };
    let pixels = decode(&jpeg).resized(usize::from(width), usize::from(height));
    let bytes: Bytes = if format.png {
        encode_png(&pixels.rgb, width, height).into()
    } else {
        encode_jpeg(&pixels.rgb, width, height, format.quality.unwrap_or(QUALITY)).into()
    };
    let mut cache = lock(&CACHE);
    if cache.len() >= CACHED {
        cache.clear();
    }
    cache.insert(key, bytes.clone());
    bytes
}

/// Three bytes a pixel, row by row.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

fn decode(jpeg: &[u8]) -> Pixels {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let rgb = decoder.decode().expect("make.sh writes JPEGs");
    let (width, height) = decoder.dimensions().expect("the header is decoded");
    Pixels { width, height, rgb }
}

fn encode_jpeg(rgb: &[u8], width: u16, height: u16, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut out, quality);
    encoder.encode(rgb, width, height, ColorType::Rgb).expect("as many pixels as announced, into memory");
    out
}

fn encode_png(rgb: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fastest);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(rgb));
    written.expect("as many pixels as announced, into memory");
    out
}

impl Pixels {
    /// Stretched or shrunk. Halved as often as possible, so that no pixel is left out; then each pixel is
    /// mixed from its four nearest.
    fn resized(self, width: usize, height: usize) -> Self {
        let mut source = self;
        while source.width >= 2 * width && source.height >= 2 * height {
            source = source.halved();
        }
        if (width, height) == (source.width, source.height) {
            return source;
        }
        let mut rgb = Vec::with_capacity(width * height * 3);
        // Of each pixel of the result: its two neighbours in the source, and how near it is to the second, in
        // 1/256.
        let neighbours = |at: usize, to: usize, from: usize| -> (usize, usize, usize) {
            let at = ((2 * at + 1) * from * 128 / to).saturating_sub(128);
            let first = (at / 256).min(from - 1);
            (first, (first + 1).min(from - 1), at % 256)
        };
        let columns: Vec<_> = (0..width).map(|x| neighbours(x, width, source.width)).collect();
        for y in 0..height {
            let (above, below, down) = neighbours(y, height, source.height);
            let (above, below) = (above * source.width * 3, below * source.width * 3);
            for &(left, right, across) in &columns {
                for channel in 0..3 {
                    let (left, right) = (left * 3 + channel, right * 3 + channel);
                    let mix = |row: usize| {
                        usize::from(source.rgb[row + left]) * (256 - across)
                            + usize::from(source.rgb[row + right]) * across
                    };
                    rgb.push(((mix(above) * (256 - down) + mix(below) * down + 32_768) >> 16) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }

    /// Half as wide and half as high, each pixel the mean of four.
    fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut rgb = Vec::with_capacity(width * height * 3);
        let row = self.width * 3;
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let at = 2 * y * row + 6 * x + channel;
                    let four = [at, at + 3, at + row, at + row + 3].map(|at| u16::from(self.rgb[at]));
                    rgb.push(((four.iter().sum::<u16>() + 2) / 4) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::super::VideoCodec;
    use super::*;

    fn difference(a: &Pixels, b: &Pixels) -> f64 {
        assert_eq!((a.width, a.height), (b.width, b.height));
        let sum: u64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.rgb.len() as f64
    }

    #[test]
    fn what_is_encoded_is_decoded_alike() {
        for (recording, index) in [(0, 3), (1, 19), (2, 0)] {
            let source = Recording::of(VideoCodec::H264, recording);
            let (width, height) = (source.width() / 4, source.height() / 4);
            let small = decode(&Recording::image(source.camera, index)).resized(width.into(), height.into());
            let encode = |quality| encode_jpeg(&small.rgb, width, height, quality);
            let difference = difference(&small, &decode(&encode(90)));
            assert!(difference < 4.0, "{difference}");
            assert!(encode(10).len() < encode(90).len());
        }
    }

    #[test]
    fn a_picture_is_about_the_same_at_every_scale() {
        for index in [0, 7, 13, 19] {
            let whole = decode(&Recording::image(0, index));
            let (half, eighth) = (whole.clone().resized(320, 180), whole.resized(80, 45));
            let difference = difference(&half.resized(81, 46).resized(80, 45), &eighth);
            assert!(difference < 8.0, "{index}: {difference}");
        }
    }

    #[test]
    fn a_form_is_made_once_and_has_its_size() {
        let format = PictureFormat { png: true, quality: None, width: Some(100), height: Some(50) };
        let png = picture(Recording::of(VideoCodec::H264, 1), 7, format);
        assert_eq!(
            png,
            picture(Recording::of(VideoCodec::H264BFrames, 0), 27, format),
            "the loop comes round, and both show one camera"
        );
        assert_eq!(&png[16..24], [0, 0, 0, 100, 0, 0, 0, 50]);
        let tall = picture(
            Recording::of(VideoCodec::H264, 0),
            0,
            PictureFormat { png: true, quality: None, width: None, height: Some(90) },
        );
        assert_eq!(&tall[16..24], [0, 0, 0, 160, 0, 0, 0, 90]);
    }
}
