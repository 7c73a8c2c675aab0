//! Putting a prediction back where it belongs in the full frame.

use super::crop::is_inside;
use super::image::to_byte;
use super::resample::Axis;
use super::{BgrImage, FrameError};

/// Composes predictions into full frames. One per worker: it keeps its working rows between calls.
#[derive(Debug, Default)]
pub struct Composer {
    /// The prediction after the horizontal pass: three planes of `size` rows of the rectangle's width.
    widened: Vec<f32>,
    row: Vec<f32>,
    alpha: Vec<f32>,
}

impl Composer {
    pub fn new() -> Composer {
        Composer::default()
    }

    /// Draws `prediction` (planes B, G, R of `size` x `size`, 0..1) over the rectangle `bounds` (x1, y1, x2, y2 in
    /// pixels of `full`, fractional): cubic interpolation, placed to a fraction of a pixel, and blended into the frame
    /// over `feather_px` pixels of the prediction along its edge ([`super::Geometry::feather_px`]), so that no seam shows.
    ///
    /// # Errors
    /// [`FrameError::WrongLength`] when the prediction is not `3 * size * size` long, [`FrameError::BadRectangle`]
    /// when the rectangle is empty or not inside the frame.
    pub fn compose(
        &mut self,
        full: &mut BgrImage,
        prediction: &[f32],
        size: usize,
        bounds: [f32; 4],
        feather_px: f32,
    ) -> Result<(), FrameError> {
        if size == 0 || prediction.len() != 3 * size * size {
            return Err(FrameError::WrongLength {
                expected: 3 * size * size,
                found: prediction.len(),
            });
        }
        if !is_inside(bounds, full.width, full.height) {
            return Err(FrameError::BadRectangle {
                bounds,
                width: full.width,
                height: full.height,
            });
        }
        let [x1, y1, x2, y2] = bounds;
        let (left, right) = covered(x1, x2, full.width);
        let (top, bottom) = covered(y1, y2, full.height);
        let width = right - left;
        let columns = Axis::cubic(f64::from(x1), f64::from(x2), left, width, size);
        let rows = Axis::cubic(f64::from(y1), f64::from(y2), top, bottom - top, size);

        self.widened.resize(3 * size * width, 0.0);
        for (line, out) in prediction
            .chunks_exact(size)
            .zip(self.widened.chunks_exact_mut(width))
        {
            for (x, value) in out.iter_mut().enumerate() {
                let (first, weights) = columns.sample(x);
                *value = weights.iter().zip(&line[first..]).map(|(w, p)| w * p).sum();
            }
        }
        let feather_x = feather_px * (x2 - x1) / size as f32;
        let feather_y = feather_px * (y2 - y1) / size as f32;
        self.alpha.clear();
        self.alpha
            .extend((left..right).map(|x| opacity(x, x1, x2, feather_x)));
        self.row.resize(3 * width, 0.0);
        for y in top..bottom {
            let (first, weights) = rows.sample(y - top);
            self.row.fill(0.0);
            for (plane, sum) in self
                .widened
                .chunks_exact(size * width)
                .zip(self.row.chunks_exact_mut(width))
            {
                for (weight, line) in weights
                    .iter()
                    .zip(plane[first * width..].chunks_exact(width))
                {
                    for (s, v) in sum.iter_mut().zip(line) {
                        *s += weight * v;
                    }
                }
            }
            let alpha_y = opacity(y, y1, y2, feather_y);
            let line = &mut full.data[(y * full.width + left) * 3..(y * full.width + right) * 3];
            for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
                let alpha = self.alpha[x] * alpha_y;
                for (value, drawn) in pixel.iter_mut().zip(self.row[x..].iter().step_by(width)) {
                    let under = f32::from(*value) * (1.0 / 255.0);
                    *value = to_byte(under + alpha * (drawn.clamp(0.0, 1.0) - under));
                }
            }
        }
        Ok(())
    }
}

/// The pixels that a stretch touches, kept inside the picture.
fn covered(from: f32, to: f32, length: usize) -> (usize, usize) {
    (
        from.floor().max(0.0) as usize,
        (to.ceil() as usize).min(length),
    )
}

/// How much of the prediction shows at a pixel: 0 at the edge of the stretch, 1 from `feather` pixels on, smooth between.
fn opacity(pixel: usize, from: f32, to: f32, feather: f32) -> f32 {
    let centre = pixel as f32 + 0.5;
    let t = ((centre - from).min(to - centre) / feather.max(1e-3)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(seed: u64, i: usize) -> u8 {
        let mixed = (seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as u8
    }

    /// One pixel at a time, straight from the definition, for enlarging only.
    fn slow(
        full: &BgrImage,
        prediction: &[f32],
        size: usize,
        bounds: [f32; 4],
        feather: f32,
    ) -> Vec<f32> {
        let keys = |x: f64| match x.abs() {
            x if x < 1.0 => 1.25 * x * x * x - 2.25 * x * x + 1.0,
            x if x < 2.0 => -0.75 * x * x * x + 3.75 * x * x - 6.0 * x + 3.0,
            _ => 0.0,
        };
        let [x1, y1, x2, y2] = bounds.map(f64::from);
        let mut out = Vec::new();
        for i in 0..full.width * full.height * 3 {
            let (c, x, y) = (i % 3, i / 3 % full.width, i / 3 / full.width);
            let under = f64::from(full.data[i]) / 255.0;
            let (cx, cy) = (x as f64 + 0.5, y as f64 + 0.5);
            let (u, v) = (
                (cx - x1) * size as f64 / (x2 - x1) - 0.5,
                (cy - y1) * size as f64 / (y2 - y1) - 0.5,
            );
            let mut sum = 0.0;
            for ty in -1..=2 {
                for tx in -1..=2 {
                    let (sx, sy) = (u.floor() + f64::from(tx), v.floor() + f64::from(ty));
                    let last = size as f64 - 1.0;
                    let at = (c * size + sy.clamp(0.0, last) as usize) * size
                        + sx.clamp(0.0, last) as usize;
                    sum += keys(u - sx) * keys(v - sy) * f64::from(prediction[at]);
                }
            }
            let ramp = |p: f64, a: f64, b: f64| {
                let t = ((p - a).min(b - p) / (f64::from(feather) * (b - a) / size as f64))
                    .clamp(0.0, 1.0);
                t * t * (3.0 - 2.0 * t)
            };
            let alpha = ramp(cx, x1, x2) * ramp(cy, y1, y2);
            out.push(((under + alpha * (sum.clamp(0.0, 1.0) - under)) * 255.0) as f32);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn composing_agrees_with_its_slow_twin(
            seed in any::<u64>(), size in 4usize..12, x in 0.0f32..8.0, y in 0.0f32..8.0,
            grow in 1.0f32..1.9, feather in 1.0f32..3.0,
        ) {
            let side = size as f32 * grow;
            let mut full = BgrImage::new(32, 33);
            full.data.iter_mut().enumerate().for_each(|(i, b)| *b = noise(seed, i));
            let prediction: Vec<f32> = (0..3 * size * size).map(|i| f32::from(noise(!seed, i)) / 255.0).collect();
            let bounds = [x, y, x + side, y + side];
            let want = slow(&full, &prediction, size, bounds, feather);
            Composer::new().compose(&mut full, &prediction, size, bounds, feather).unwrap();
            for (i, (got, want)) in full.data.iter().zip(want).enumerate() {
                prop_assert!((f32::from(*got) - want).abs() < 0.75, "value {i}: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn what_the_network_left_alone_stays_as_it_is() {
        // A flat frame and a prediction of the same grey: not one value may change, wherever the rectangle lies.
        let mut full = BgrImage::new(64, 64);
        full.data.fill(77);
        let prediction = vec![77.0 / 255.0; 3 * 16 * 16];
        Composer::new()
            .compose(&mut full, &prediction, 16, [3.3, 4.7, 40.1, 41.9], 2.0)
            .unwrap();
        assert!(full.data.iter().all(|&v| v == 77));
    }

    #[test]
    fn only_the_rectangle_changes_and_its_middle_is_the_prediction() {
        let mut full = BgrImage::new(40, 40);
        let prediction = vec![1.0; 3 * 8 * 8];
        Composer::new()
            .compose(&mut full, &prediction, 8, [10.5, 10.5, 30.5, 30.5], 1.0)
            .unwrap();
        assert_eq!(full.pixel(20, 20), [255; 3]);
        assert_eq!(full.pixel(9, 20), [0; 3]);
        assert_eq!(full.pixel(20, 31), [0; 3]);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let mut full = BgrImage::new(10, 10);
        let mut composer = Composer::new();
        let result = composer.compose(&mut full, &[0.0; 11], 2, [0.0, 0.0, 4.0, 4.0], 1.0);
        assert_eq!(
            result,
            Err(FrameError::WrongLength {
                expected: 12,
                found: 11
            })
        );
        let result = composer.compose(&mut full, &[0.0; 12], 2, [0.0, 0.0, 40.0, 4.0], 1.0);
        assert!(matches!(result, Err(FrameError::BadRectangle { .. })));
    }
}
