//! Interleaved 8-bit images, and the way there from a network's planes.

use super::FrameError;

/// An interleaved BGR picture: `height` rows of `width` pixels of 3 bytes, no padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgrImage {
    pub width: usize,
    pub height: usize,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

impl BgrImage {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> BgrImage {
        BgrImage {
            width,
            height,
            data: vec![0; width * height * 3],
        }
    }

    /// Wraps pixels that are already there.
    pub fn from_data(width: usize, height: usize, data: Vec<u8>) -> Result<BgrImage, FrameError> {
        match width * height * 3 {
            expected if expected == data.len() => Ok(BgrImage {
                width,
                height,
                data,
            }),
            expected => Err(FrameError::WrongLength {
                expected,
                found: data.len(),
            }),
        }
    }

    /// The three bytes (B, G, R) of one pixel.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.data[at], self.data[at + 1], self.data[at + 2]]
    }
}

/// Turns a network's output `[3, height, width]` (planes B, G, R; 0..1) into interleaved bytes, rounded to nearest.
///
/// Values outside 0..1 are clamped; what is not a number becomes 0. `out` is resized to `planes.len()`.
/// The planes must be three of equal length, or the rest is left out.
pub fn planes_to_bgr(planes: &[f32], out: &mut Vec<u8>) {
    let pixels = planes.len() / 3;
    out.resize(pixels * 3, 0);
    let (blue, rest) = planes.split_at(pixels);
    let (green, red) = rest.split_at(pixels);
    for (((pixel, &b), &g), &r) in out.chunks_exact_mut(3).zip(blue).zip(green).zip(red) {
        pixel[0] = to_byte(b);
        pixel[1] = to_byte(g);
        pixel[2] = to_byte(r);
    }
}

/// 0..1 to 0..=255, rounded to nearest; saturates, and maps what is not a number to 0.
#[inline(always)]
pub(super) fn to_byte(value: f32) -> u8 {
    (value * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_interleaved_bytes() {
        let mut out = vec![9; 1];
        planes_to_bgr(&[0.0, 1.0, 0.5, 2.0, -1.0, f32::NAN], &mut out);
        assert_eq!(out, [0, 128, 0, 255, 255, 0]);
    }

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        for byte in 0..=255u8 {
            assert_eq!(to_byte(f32::from(byte) / 255.0), byte);
        }
    }

    #[test]
    fn a_wrong_length_is_told() {
        assert_eq!(
            BgrImage::from_data(2, 2, vec![0; 11]),
            Err(FrameError::WrongLength {
                expected: 12,
                found: 11
            })
        );
    }
}
