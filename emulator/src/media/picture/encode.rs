//! Writes baseline JPEG: 4:2:0, the example tables of ITU-T T.81 annex K, the luminance codes for every component.

use super::{Picture, ZIGZAG};

/// T.81 table K.1, in rows.
const LUMINANCE: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
    22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
    87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
/// T.81 table K.3: how many codes of each length; the values are 0 to 11.
const DC_COUNTS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// T.81 table K.5.
const AC_COUNTS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d];
const AC_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22,
    0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33,
    0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34,
    0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55,
    0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76,
    0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5,
    0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4,
    0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1,
    0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

/// Encodes a picture; `quality` is 1 to 100, as libjpeg counts it.
pub(super) fn encode(picture: &Picture, quality: u8) -> Vec<u8> {
    let quality = u16::from(quality.clamp(1, 100));
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    let quantiser = LUMINANCE.map(|value| ((value * percent + 50) / 100).clamp(1, 255) as u8);
    let mut out = header(picture, &quantiser);
    let mut writer = Writer {
        out: Vec::new(),
        buffer: 0,
        count: 0,
        dc: codes(&DC_COUNTS, &DC_VALUES),
        ac: codes(&AC_COUNTS, &AC_VALUES),
        quantiser,
    };
    let mut predictions = [0; 3];
    for y in (0..picture.height).step_by(16) {
        for x in (0..picture.width).step_by(16) {
            for (dx, dy) in [(0, 0), (8, 0), (0, 8), (8, 8)] {
                let block = block(|column, row| picture.luma(x + dx + column, y + dy + row));
                predictions[0] = writer.block(&block, predictions[0]);
            }
            for (number, weights) in [(1, BLUE), (2, RED)] {
                let block = block(|column, row| picture.chroma(x + 2 * column, y + 2 * row, weights));
                predictions[number] = writer.block(&block, predictions[number]);
            }
        }
    }
    out.extend(writer.finish());
    out.extend([0xff, 0xd9]);
    out
}

const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
const BLUE: [f32; 3] = [-0.168_74, -0.331_26, 0.5];
const RED: [f32; 3] = [0.5, -0.418_69, -0.081_31];

impl Picture {
    /// A pixel, weighted; the last row and column go on beyond the edge.
    fn weighted(&self, x: usize, y: usize, weights: [f32; 3]) -> f32 {
        let at = (y.min(self.height - 1) * self.width + x.min(self.width - 1)) * 3;
        let (red, green, blue) = (self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]);
        weights[0] * f32::from(red) + weights[1] * f32::from(green) + weights[2] * f32::from(blue)
    }

    fn luma(&self, x: usize, y: usize) -> f32 {
        self.weighted(x, y, LUMA) - 128.0
    }

    /// The mean of two pixels that lie aslant: as good as four, and half the work.
    fn chroma(&self, x: usize, y: usize, weights: [f32; 3]) -> f32 {
        (self.weighted(x, y, weights) + self.weighted(x + 1, y + 1, weights)) / 2.0
    }
}

fn block(sample: impl Fn(usize, usize) -> f32) -> [[f32; 8]; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| sample(column, row)))
}

fn header(picture: &Picture, quantiser: &[u8; 64]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    out.extend_from_slice(b"\xff\xe0\0\x10JFIF\0\x01\x02\0\0\x01\0\x01\0\0");
    out.extend([0xff, 0xdb, 0, 67, 0]);
    out.extend(ZIGZAG.iter().map(|at| quantiser[usize::from(*at)]));
    let size = |value: usize| (value as u16).to_be_bytes();
    out.extend([0xff, 0xc0, 0, 17, 8]);
    out.extend(size(picture.height));
    out.extend(size(picture.width));
    out.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
    for (class, counts, values) in [(0x00, DC_COUNTS, &DC_VALUES[..]), (0x10, AC_COUNTS, &AC_VALUES[..])] {
        out.extend([0xff, 0xc4]);
        out.extend(size(19 + values.len()));
        out.push(class);
        out.extend(counts);
        out.extend(values);
    }
    out.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
    out
}

/// Code and length of each value.
fn codes(counts: &[u8; 16], values: &[u8]) -> Vec<(u16, u8)> {
    let mut table = vec![(0, 0); 256];
    let (mut code, mut values) = (0_u16, values.iter());
    for (length, &count) in (1..).zip(counts) {
        for value in values.by_ref().take(usize::from(count)) {
            table[usize::from(*value)] = (code, length);
            code += 1;
        }
        code <<= 1;
    }
    table
}

struct Writer {
    out: Vec<u8>,
    buffer: u32,
    count: u8,
    dc: Vec<(u16, u8)>,
    ac: Vec<(u16, u8)>,
    quantiser: [u8; 64],
}

impl Writer {
    /// Writes a block; tells its DC value.
    fn block(&mut self, samples: &[[f32; 8]; 8], prediction: i32) -> i32 {
        let coefficients = self.transform(samples);
        let dc = coefficients[0];
        let size = size(dc - prediction);
        self.bits(self.dc[usize::from(size)]);
        self.signed(dc - prediction, size);
        let mut zeros = 0_u8;
        for &at in &ZIGZAG[1..] {
            let value = coefficients[usize::from(at)];
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros > 15 {
                self.bits(self.ac[0xf0]);
                zeros -= 16;
            }
            let size = self::size(value);
            self.bits(self.ac[usize::from(zeros << 4 | size)]);
            self.signed(value, size);
            zeros = 0;
        }
        if zeros > 0 {
            self.bits(self.ac[0]);
        }
        dc
    }

    /// The forward transform, quantised.
    fn transform(&self, samples: &[[f32; 8]; 8]) -> [i32; 64] {
        let rows = samples.map(cosines);
        let columns: [[f32; 8]; 8] = std::array::from_fn(|u| cosines(rows.map(|row| row[u])));
        std::array::from_fn(|at| (columns[at % 8][at / 8] / f32::from(self.quantiser[at])).round() as i32)
    }

    fn bits(&mut self, (code, length): (u16, u8)) {
        self.buffer = self.buffer << length | u32::from(code);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.buffer &= (1 << self.count) - 1;
    }

    fn signed(&mut self, value: i32, size: u8) {
        if size > 0 {
            let bits = if value < 0 { value + (1 << size) - 1 } else { value };
            self.bits((bits as u16, size));
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bits((0x7f, 7));
        self.out
    }
}

/// Half the cosine of so many sixteenths of a half turn.
const C: [f32; 8] =
    [0.5, 0.490_392_64, 0.461_939_77, 0.415_734_8, 0.353_553_4, 0.277_785_12, 0.191_341_72, 0.097_545_16];

/// The transform of eight values, written out: sums serve the even, differences the odd frequencies.
fn cosines(x: [f32; 8]) -> [f32; 8] {
    let (a, b, c, d) = (x[0] + x[7], x[1] + x[6], x[2] + x[5], x[3] + x[4]);
    let (e, f, g, h) = (x[0] - x[7], x[1] - x[6], x[2] - x[5], x[3] - x[4]);
    [
        C[4] * (a + b + c + d),
        C[1] * e + C[3] * f + C[5] * g + C[7] * h,
        C[2] * (a - d) + C[6] * (b - c),
        C[3] * e - C[7] * f - C[1] * g - C[5] * h,
        C[4] * (a - b - c + d),
        C[5] * e - C[1] * f + C[7] * g + C[3] * h,
        C[6] * (a - d) - C[2] * (b - c),
        C[7] * e - C[5] * f + C[3] * g - C[1] * h,
    ]
}

/// How many bits a value takes.
fn size(value: i32) -> u8 {
    (32 - value.unsigned_abs().leading_zeros()) as u8
}
