//! From a full frame to what a network sees: the inner square, and the square with the mouth hidden.

use super::resample::Axis;
use super::{BgrImage, FrameError};
use serde::{Deserialize, Serialize};

/// The filled rectangle that hides the mouth, in pixels of the inner square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 4]", into = "[usize; 4]")]
pub struct Mask {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl From<[usize; 4]> for Mask {
    fn from([x, y, width, height]: [usize; 4]) -> Mask {
        Mask {
            x,
            y,
            width,
            height,
        }
    }
}

impl From<Mask> for [usize; 4] {
    fn from(mask: Mask) -> [usize; 4] {
        [mask.x, mask.y, mask.width, mask.height]
    }
}

/// A network family's picture geometry. Sizes are in pixels of the crop after it was resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the square crop (328 or 168).
    pub crop_size: usize,
    /// Side S of the inner square, which is what the network sees (320 or 160).
    pub inner_size: usize,
    /// Pixels of the crop on each side of the inner square (4).
    pub border: usize,
    pub mask: Mask,
}

impl Geometry {
    /// Values of the image input, `[6, S, S]`.
    pub fn input_len(&self) -> usize {
        6 * self.inner_size * self.inner_size
    }

    /// Values of the network's output, `[3, S, S]`.
    pub fn output_len(&self) -> usize {
        3 * self.inner_size * self.inner_size
    }

    /// Width, in pixels of the prediction, of the edge over which it may be blended into the frame: the margin that
    /// the mask leaves visible, where the network has seen the real pixels. At least 1.
    pub fn feather_px(&self) -> f32 {
        let right = self
            .inner_size
            .saturating_sub(self.mask.x + self.mask.width);
        let bottom = self
            .inner_size
            .saturating_sub(self.mask.y + self.mask.height);
        self.mask.x.min(self.mask.y).min(right).min(bottom).max(1) as f32
    }
}

/// The inner square of one idle frame: S x S interleaved BGR bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crop {
    pub size: usize,
    /// `size * size * 3` bytes.
    pub bgr: Vec<u8>,
}

/// Cuts the square under `bounds` (x1, y1, x2, y2 in pixels of `full`, fractional) out of a frame and brings it to
/// `size` x `size` pixels by area interpolation.
///
/// # Errors
/// [`FrameError::BadRectangle`] when the rectangle is empty or not inside the picture.
pub fn cut_crop(full: &BgrImage, bounds: [f32; 4], size: usize) -> Result<Crop, FrameError> {
    let (width, height) = (full.width, full.height);
    if size == 0 || !is_inside(bounds, width, height) {
        return Err(FrameError::BadRectangle {
            bounds,
            width,
            height,
        });
    }
    let [x1, y1, x2, y2] = bounds.map(f64::from);
    let columns = Axis::area(x1, x2, size, width);
    let rows = Axis::area(y1, y2, size, height);
    let top = rows.sample(0).0;
    let bottom = rows.sample(size - 1);
    let bottom = bottom.0 + bottom.1.len();

    let mut narrowed = vec![0.0f32; (bottom - top) * size * 3];
    for (y, line) in (top..bottom).zip(narrowed.chunks_exact_mut(size * 3)) {
        let source = &full.data[y * width * 3..(y + 1) * width * 3];
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            let (first, weights) = columns.sample(x);
            for (weight, from) in weights.iter().zip(source[first * 3..].chunks_exact(3)) {
                for (sum, value) in pixel.iter_mut().zip(from) {
                    *sum += weight * f32::from(*value);
                }
            }
        }
    }
    let mut bgr = vec![0u8; size * size * 3];
    let mut sum = vec![0.0f32; size * 3];
    for (y, line) in bgr.chunks_exact_mut(size * 3).enumerate() {
        let (first, weights) = rows.sample(y);
        sum.fill(0.0);
        for (weight, from) in weights
            .iter()
            .zip(narrowed[(first - top) * size * 3..].chunks_exact(size * 3))
        {
            for (s, f) in sum.iter_mut().zip(from) {
                *s += weight * f;
            }
        }
        for (byte, s) in line.iter_mut().zip(&sum) {
            *byte = (s + 0.5) as u8;
        }
    }
    Ok(Crop { size, bgr })
}

/// Whether `bounds` is finite, not empty, and inside a picture of this size (half a pixel of slack).
pub fn is_inside([x1, y1, x2, y2]: [f32; 4], width: usize, height: usize) -> bool {
    const SLACK: f32 = 0.5;
    [x1, y1, x2, y2].iter().all(|v| v.is_finite())
        && x1 >= -SLACK
        && y1 >= -SLACK
        && x2 <= width as f32 + SLACK
        && y2 <= height as f32 + SLACK
        && x2 - x1 >= 1.0
        && y2 - y1 >= 1.0
}

/// Fills a network's image input: `out` is `[6, S, S]`, f32 in 0..1; planes 0..3 are the crop (B, G, R), planes 3..6
/// the same with the mask rectangle black.
///
/// # Errors
/// [`FrameError::WrongSize`] when the crop is not S x S, [`FrameError::WrongLength`] when `out` is not
/// [`Geometry::input_len`] long.
pub fn fill_input(crop: &Crop, geometry: &Geometry, out: &mut [f32]) -> Result<(), FrameError> {
    let size = geometry.inner_size;
    if crop.size != size || crop.bgr.len() != size * size * 3 {
        return Err(FrameError::WrongSize {
            expected: (size, size),
            found: (crop.size, crop.size),
        });
    }
    if out.len() != geometry.input_len() {
        return Err(FrameError::WrongLength {
            expected: geometry.input_len(),
            found: out.len(),
        });
    }
    let plane = size * size;
    let (real, masked) = out.split_at_mut(3 * plane);
    let (blue, rest) = real.split_at_mut(plane);
    let (green, red) = rest.split_at_mut(plane);
    for (((pixel, b), g), r) in crop.bgr.chunks_exact(3).zip(blue).zip(green).zip(red) {
        *b = f32::from(pixel[0]) * (1.0 / 255.0);
        *g = f32::from(pixel[1]) * (1.0 / 255.0);
        *r = f32::from(pixel[2]) * (1.0 / 255.0);
    }
    masked.copy_from_slice(real);
    let Mask {
        x,
        y,
        width,
        height,
    } = geometry.mask;
    let (right, bottom) = ((x + width).min(size), (y + height).min(size));
    for rows in masked.chunks_exact_mut(plane) {
        for row in rows.chunks_exact_mut(size).take(bottom).skip(y) {
            row[x.min(right)..right].fill(0.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(size: usize, mask: [usize; 4]) -> Geometry {
        Geometry {
            crop_size: size + 8,
            inner_size: size,
            border: 4,
            mask: mask.into(),
        }
    }

    #[test]
    fn a_whole_crop_is_copied_as_it_is() {
        let full = BgrImage::from_data(8, 6, (0..144).map(|i| (i * 7) as u8).collect()).unwrap();
        let crop = cut_crop(&full, [2.0, 1.0, 6.0, 5.0], 4).unwrap();
        for y in 0..4 {
            for x in 0..4 {
                let at = (y * 4 + x) * 3;
                assert_eq!(crop.bgr[at..at + 3], full.pixel(x + 2, y + 1));
            }
        }
    }

    #[test]
    fn halving_takes_means() {
        let row = [0, 0, 0, 20, 40, 60, 1, 1, 1, 1, 1, 1];
        let full = BgrImage::from_data(4, 2, row.repeat(2)).unwrap();
        let crop = cut_crop(&full, [0.0, 0.0, 2.0, 2.0], 1).unwrap();
        assert_eq!(crop.bgr, [10, 20, 30]);
    }

    #[test]
    fn rectangles_outside_the_picture_are_refused() {
        let full = BgrImage::new(10, 10);
        for bounds in [
            [0.0, 0.0, 11.0, 5.0],
            [-1.0, 0.0, 5.0, 5.0],
            [5.0, 5.0, 5.0, 9.0],
            [f32::NAN, 0.0, 5.0, 5.0],
            [0.0, 0.0, f32::INFINITY, 5.0],
        ] {
            assert!(
                matches!(
                    cut_crop(&full, bounds, 4),
                    Err(FrameError::BadRectangle { .. })
                ),
                "{bounds:?}"
            );
        }
    }

    #[test]
    fn the_feather_is_the_margin_of_the_mask() {
        assert_eq!(geometry(160, [5, 5, 150, 145]).feather_px(), 5.0);
        assert_eq!(geometry(160, [0, 0, 160, 160]).feather_px(), 1.0);
    }

    proptest! {
        #[test]
        fn the_input_agrees_with_its_slow_twin(
            size in 1usize..20, mask in prop::array::uniform4(0usize..20), seed in any::<u64>(),
        ) {
            let byte = |i: usize| (seed.rotate_left(i as u32 % 64) as usize ^ (i * 31)) as u8;
            let crop = Crop { size, bgr: (0..size * size * 3).map(byte).collect() };
            let geometry = geometry(size, mask);
            let mut out = vec![-1.0; geometry.input_len()];
            fill_input(&crop, &geometry, &mut out).unwrap();
            for c in 0..6 {
                for y in 0..size {
                    for x in 0..size {
                        let [mx, my, mw, mh] = mask;
                        let hidden = c >= 3 && x >= mx && x < mx + mw && y >= my && y < my + mh;
                        let real = f32::from(crop.bgr[(y * size + x) * 3 + c % 3]) / 255.0;
                        let want = if hidden { 0.0 } else { real };
                        prop_assert!((out[(c * size + y) * size + x] - want).abs() < 1e-6);
                    }
                }
            }
        }
    }
}
