//! Pictures in the size, format and quality that GetImages asks for (KVS.md 4.5).
//!
//! The recordings keep one JPEG per fragment. Another size, PNG, or another quality is made from its pixels; this
//! folder holds as much of JPEG (ITU-T T.81, baseline) and PNG as that takes. Results are remembered, since clients
//! ask for the same thumbnails again and again.

mod decode;
mod encode;
mod png;

use super::Recording;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Form {
    /// PNG instead of JPEG.
    pub(crate) png: bool,
    /// 1 to 100; JPEG only. The recording's own if absent.
    pub(crate) quality: Option<u8>,
    /// Pixels; the recording's own if absent. Both: the picture is stretched.
    pub(crate) width: Option<u16>,
    /// Pixels; alone, the aspect is kept.
    pub(crate) height: Option<u16>,
}

/// Pixels: three bytes each, row by row.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

type Key = (usize, u64, Form);

/// Remembered at most; then all are forgotten.
const REMEMBERED: usize = 512;

static MADE: LazyLock<Mutex<HashMap<Key, Bytes>>> = LazyLock::new(Mutex::default);

/// The first picture of fragment `index` of recording `recording`, in this form.
pub(crate) fn picture(recording: usize, index: u64, form: Form) -> Bytes {
    let source = Recording::of(recording);
    let jpeg = source.image(index);
    if form == (Form { png: false, quality: None, width: None, height: None }) {
        return jpeg;
    }
    let key = (recording % 3, index % super::FRAGMENTS, form);
    let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = made().get(&key) {
        return bytes.clone();
    }
    let (native_width, native_height) = (usize::from(source.width), usize::from(source.height));
    let height = form.height.map_or(native_height, usize::from);
    let width = match (form.width, form.height) {
        (Some(width), _) => usize::from(width),
        (None, Some(_)) => (native_width * height).div_ceil(native_height),
        (None, None) => native_width,
    };
    let picture = decode::decode(&jpeg, width, height).resized(width, height);
    let bytes: Bytes =
        if form.png { png::encode(&picture) } else { encode::encode(&picture, form.quality.unwrap_or(80)) }
            .into();
    let mut made = made();
    if made.len() >= REMEMBERED {
        made.clear();
    }
    made.insert(key, bytes.clone());
    bytes
}

impl Picture {
    /// Stretched or shrunk, each pixel mixed from its four nearest.
    fn resized(self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let mut rgb = Vec::with_capacity(width * height * 3);
        // Positions in 1/256 pixel, of pixel centres.
        let place = |at: usize, to: usize, from: usize| -> (usize, usize, usize) {
            let at = ((2 * at + 1) * from * 128 / to).saturating_sub(128);
            let first = (at / 256).min(from - 1);
            (first, (first + 1).min(from - 1), at % 256)
        };
        let columns: Vec<_> = (0..width).map(|x| place(x, width, self.width)).collect();
        for y in 0..height {
            let (above, below, down) = place(y, height, self.height);
            let (above, below) = (above * self.width * 3, below * self.width * 3);
            for &(left, right, across) in &columns {
                for channel in 0..3 {
                    let (left, right) = (left * 3 + channel, right * 3 + channel);
                    let mix = |row: usize| {
                        usize::from(self.rgb[row + left]) * (256 - across)
                            + usize::from(self.rgb[row + right]) * across
                    };
                    rgb.push(((mix(above) * (256 - down) + mix(below) * down + 32_768) >> 16) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }
}

/// Half the cosine basis of an `n`-point transform: row `x`, column `u`.
fn basis(n: usize) -> Vec<[f32; 8]> {
    (0..n)
        .map(|x| {
            std::array::from_fn(|u| {
                let scale = if u == 0 { std::f32::consts::FRAC_1_SQRT_2 } else { 1.0 };
                let angle = ((2 * x + 1) * u) as f32 * std::f32::consts::PI / (2 * n) as f32;
                0.5 * scale * angle.cos()
            })
        })
        .collect()
}

/// The order in which coefficients are written.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(a: &Picture, b: &Picture) -> f64 {
        assert_eq!((a.width, a.height), (b.width, b.height));
        let sum: u64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.rgb.len() as f64
    }

    #[test]
    fn what_is_encoded_is_decoded_alike() {
        for (recording, index) in [(0, 3), (1, 19), (2, 0)] {
            let source = Recording::of(recording);
            let (width, height) = (usize::from(source.width) / 4, usize::from(source.height) / 4);
            let small = decode::decode(&source.image(index), width, height).resized(width, height);
            let again = decode::decode(&encode::encode(&small, 90), width, height);
            let difference = difference(&small, &again);
            assert!(difference < 4.0, "{difference}");
            assert!(encode::encode(&small, 10).len() < encode::encode(&small, 90).len());
        }
    }

    #[test]
    fn a_picture_is_decoded_at_every_scale_to_about_the_same_picture() {
        for index in [0, 7, 13, 19] {
            let jpeg = Recording::of(0).image(index);
            let half = decode::decode(&jpeg, 320, 180);
            let eighth = decode::decode(&jpeg, 80, 45);
            let difference = difference(&half.resized(80, 45), &eighth);
            assert!(difference < 8.0, "{index}: {difference}");
        }
    }

    #[test]
    fn a_form_is_made_once_and_has_its_size() {
        let form = Form { png: true, quality: None, width: Some(100), height: Some(50) };
        let png = picture(1, 7, form);
        assert_eq!(png, picture(1, 27, form), "the loop comes round");
        assert_eq!(&png[16..24], [0, 0, 0, 100, 0, 0, 0, 50]);
        let tall = picture(0, 0, Form { png: true, quality: None, width: None, height: Some(90) });
        assert_eq!(&tall[16..24], [0, 0, 0, 160, 0, 0, 0, 90]);
    }
}
