//! Reads the recordings' JPEGs: baseline, one scan, Huffman codes, as `make.sh` makes them.
//!
//! A picture that will be shown small is decoded small: an inverse transform of 1, 2 or 4 points in place of 8 gives
//! an eighth, a quarter or half of its size.

use super::{Picture, ZIGZAG, basis};

/// Decodes a picture, at the smallest scale that is not below `width` and `height`.
pub(super) fn decode(jpeg: &[u8], width: usize, height: usize) -> Picture {
    let mut header = Header::default();
    let scan = header.read(jpeg);
    let scale = [1, 2, 4]
        .into_iter()
        .find(|n| header.width * n / 8 >= width && header.height * n / 8 >= height)
        .unwrap_or(8);
    let planes = header.planes(scan, scale);
    let (width, height) = (header.width * scale / 8, header.height * scale / 8);
    let (across, down) = (header.most_across(), header.most_down());
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let [luma, blue, red] = [0, 1, 2].map(|number| {
                let (component, plane) = (&header.components[number], &planes[number]);
                let at = y * component.down / down * plane.stride + x * component.across / across;
                f32::from(plane.samples[at])
            });
            let (blue, red) = (blue - 128.0, red - 128.0);
            let channels = [luma + 1.402 * red, luma - 0.344_14 * blue - 0.714_14 * red, luma + 1.772 * blue];
            rgb.extend(channels.map(|value| value.round().clamp(0.0, 255.0) as u8));
        }
    }
    Picture { width, height, rgb }
}

#[derive(Default)]
struct Header {
    width: usize,
    height: usize,
    components: Vec<Component>,
    quantisers: [Vec<u16>; 4],
    /// DC tables at 0 and 1, AC tables at 2 and 3.
    codes: [Codes; 4],
}

#[derive(Clone, Copy)]
struct Component {
    id: u8,
    across: usize,
    down: usize,
    quantiser: usize,
    dc: usize,
    ac: usize,
}

struct Plane {
    stride: usize,
    samples: Vec<u8>,
}

impl Header {
    /// Reads the segments up to the scan; returns the scan.
    fn read<'a>(&mut self, jpeg: &'a [u8]) -> &'a [u8] {
        let mut rest = &jpeg[2..];
        loop {
            let (marker, length) = (rest[1], usize::from(rest[2]) << 8 | usize::from(rest[3]));
            let segment = &rest[4..2 + length];
            rest = &rest[2 + length..];
            match marker {
                0xdb => self.quantisers(segment),
                0xc4 => self.codes(segment),
                0xc0 => self.frame(segment),
                0xda => {
                    for choice in segment[1..].chunks_exact(2).take(self.components.len()) {
                        let component = self.components.iter_mut().find(|c| c.id == choice[0]);
                        if let Some(component) = component {
                            component.dc = usize::from(choice[1] >> 4);
                            component.ac = 2 + usize::from(choice[1] & 0x0f);
                        }
                    }
                    return rest;
                }
                _ => {}
            }
        }
    }

    fn quantisers(&mut self, mut segment: &[u8]) {
        while let Some((&which, rest)) = segment.split_first() {
            let (table, rest) = rest.split_at(64);
            self.quantisers[usize::from(which & 3)] = table.iter().map(|value| u16::from(*value)).collect();
            segment = rest;
        }
    }

    fn codes(&mut self, mut segment: &[u8]) {
        while let Some((&which, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_at(16);
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (values, rest) = rest.split_at(total);
            let slot = usize::from(which >> 4) * 2 + usize::from(which & 1);
            self.codes[slot] = Codes { counts: counts.to_vec(), values: values.to_vec() };
            segment = rest;
        }
    }

    fn frame(&mut self, segment: &[u8]) {
        self.height = usize::from(segment[1]) << 8 | usize::from(segment[2]);
        self.width = usize::from(segment[3]) << 8 | usize::from(segment[4]);
        let component = |part: &[u8]| Component {
            id: part[0],
            across: usize::from(part[1] >> 4),
            down: usize::from(part[1] & 0x0f),
            quantiser: usize::from(part[2] & 3),
            dc: 0,
            ac: 2,
        };
        self.components = segment[6..].chunks_exact(3).map(component).collect();
    }

    fn most_across(&self) -> usize {
        self.components.iter().map(|component| component.across).max().unwrap_or(1)
    }

    fn most_down(&self) -> usize {
        self.components.iter().map(|component| component.down).max().unwrap_or(1)
    }

    /// Decodes the scan, each block to `scale` by `scale` samples.
    fn planes(&self, scan: &[u8], scale: usize) -> Vec<Plane> {
        let units_across = self.width.div_ceil(8 * self.most_across());
        let units_down = self.height.div_ceil(8 * self.most_down());
        let mut planes: Vec<Plane> = (self.components.iter())
            .map(|c| {
                let stride = units_across * c.across * scale;
                Plane { stride, samples: vec![0; stride * units_down * c.down * scale] }
            })
            .collect();
        let basis = basis(scale);
        let mut bits = Bits { rest: scan, buffer: 0, count: 0 };
        let mut predictions = vec![0; self.components.len()];
        for unit in 0..units_across * units_down {
            for (number, component) in self.components.iter().enumerate() {
                for block in 0..component.across * component.down {
                    let coefficients = self.block(&mut bits, component, &mut predictions[number]);
                    let x = (unit % units_across * component.across + block % component.across) * scale;
                    let y = (unit / units_across * component.down + block / component.across) * scale;
                    let plane = &mut planes[number];
                    transform(&coefficients, &basis, |row, column, value| {
                        plane.samples[(y + row) * plane.stride + x + column] = value;
                    });
                }
            }
        }
        planes
    }

    /// One block's coefficients, in rows.
    fn block(&self, bits: &mut Bits<'_>, component: &Component, prediction: &mut i32) -> [f32; 64] {
        let quantiser = &self.quantisers[component.quantiser];
        let mut out = [0.0; 64];
        let size = self.codes[component.dc].next(bits);
        *prediction += bits.signed(size);
        out[0] = (*prediction * i32::from(quantiser[0])) as f32;
        let mut at = 1;
        while at < 64 {
            let symbol = self.codes[component.ac].next(bits);
            let (run, size) = (usize::from(symbol >> 4), symbol & 0x0f);
            if size == 0 && run < 15 {
                break;
            }
            at += run;
            if at < 64 && size > 0 {
                out[usize::from(ZIGZAG[at])] = (bits.signed(size) * i32::from(quantiser[at])) as f32;
            }
            at += 1;
        }
        out
    }
}

/// The inverse transform, columns and then rows. Most coefficients are zero, and are passed over.
fn transform(coefficients: &[f32; 64], basis: &[[f32; 8]], mut put: impl FnMut(usize, usize, u8)) {
    let n = basis.len();
    let mut half = [[0.0_f32; 8]; 8];
    for (at, &coefficient) in coefficients.iter().enumerate() {
        let (v, u) = (at / 8, at % 8);
        if coefficient != 0.0 && v < n && u < n {
            for (row, basis) in half.iter_mut().zip(basis) {
                row[u] += basis[v] * coefficient;
            }
        }
    }
    for (y, half) in half.iter().enumerate().take(n) {
        for (x, basis) in basis.iter().enumerate() {
            let mut value = 128.5;
            for (coefficient, wave) in half.iter().zip(basis).take(n) {
                value += coefficient * wave;
            }
            put(y, x, value.clamp(0.0, 255.0) as u8);
        }
    }
}

/// Canonical Huffman codes: how many of each length, and what they mean.
#[derive(Default)]
struct Codes {
    counts: Vec<u8>,
    values: Vec<u8>,
}

impl Codes {
    fn next(&self, bits: &mut Bits<'_>) -> u8 {
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for &count in &self.counts {
            code = code << 1 | usize::from(bits.next());
            let count = usize::from(count);
            if code < first + count {
                return self.values[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
        }
        0
    }
}

struct Bits<'a> {
    rest: &'a [u8],
    buffer: u8,
    count: u8,
}

impl Bits<'_> {
    fn next(&mut self) -> u8 {
        if self.count == 0 {
            // Past the end, or at a marker, zeros follow.
            (self.buffer, self.rest) = match self.rest {
                [0xff, 0, rest @ ..] => (0xff, rest),
                [0xff, ..] | [] => (0, self.rest),
                [byte, rest @ ..] => (*byte, rest),
            };
            self.count = 8;
        }
        self.count -= 1;
        self.buffer >> self.count & 1
    }

    /// `size` bits as JPEG writes signed numbers: a leading 0 is negative.
    fn signed(&mut self, size: u8) -> i32 {
        let value = (0..size).fold(0, |value, _| value << 1 | i32::from(self.next()));
        if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }
}
