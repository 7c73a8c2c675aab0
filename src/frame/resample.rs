//! One axis at a time: which source samples, by which weights, make each output sample.
//!
//! Both filters work on a stretch of the source that may start and end between samples, which is how sub-pixel
//! placement works: sample `i` covers the stretch from `i` to `i + 1`.

/// For every output sample: its first source sample and `taps` weights that sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    taps: usize,
    first: Vec<usize>,
    weights: Vec<f32>,
}

impl Axis {
    /// Area interpolation: output sample `i` is the mean of the source under `[from + i*s, from + (i+1)*s)`, where
    /// `s = (to - from) / out`. Parts that lie outside the source take its edge sample.
    pub(super) fn area(from: f64, to: f64, out: usize, source: usize) -> Axis {
        let step = (to - from) / out as f64;
        Axis::build(out, source, step.ceil() as usize + 1, |i| {
            let (start, end) = (from + i as f64 * step, from + (i + 1) as f64 * step);
            let first = start.floor();
            (first as isize, move |tap| {
                let left = first + tap as f64;
                (end.min(left + 1.0) - start.max(left)).max(0.0)
            })
        })
    }

    /// Cubic interpolation (Keys, a = -0.75, as image libraries of this field use it) of a source whose whole length
    /// lies on `[from, to)` of the output axis, for the `out` output samples from `start` on. When it shrinks, the
    /// kernel is widened, so that nothing aliases. Outside the source its edge sample counts.
    pub(super) fn cubic(from: f64, to: f64, start: usize, out: usize, source: usize) -> Axis {
        let step = source as f64 / (to - from);
        let width = step.max(1.0);
        Axis::build(out, source, (4.0 * width).ceil() as usize + 1, |i| {
            let centre = ((start + i) as f64 + 0.5 - from) * step - 0.5;
            let first = (centre - 2.0 * width).ceil();
            (first as isize, move |tap| {
                keys((first + tap as f64 - centre) / width)
            })
        })
    }

    fn build<W: Fn(usize) -> f64>(
        out: usize,
        source: usize,
        reach: usize,
        sample: impl Fn(usize) -> (isize, W),
    ) -> Axis {
        let taps = reach.min(source);
        let last_first = source - taps;
        let mut axis = Axis {
            taps,
            first: Vec::with_capacity(out),
            weights: vec![0.0; out * taps],
        };
        for i in 0..out {
            let (first, weight) = sample(i);
            let kept_first = first.clamp(0, last_first as isize) as usize;
            let row = &mut axis.weights[i * taps..(i + 1) * taps];
            let total: f64 = (0..reach).map(&weight).sum();
            for tap in 0..reach {
                let at = (first + tap as isize).clamp(0, source as isize - 1) as usize;
                // Samples outside the source are folded onto its edge; those the clamped start leaves out weigh 0.
                let slot = at.saturating_sub(kept_first).min(taps - 1);
                row[slot] += (weight(tap) / total) as f32;
            }
            axis.first.push(kept_first);
        }
        axis
    }

    /// Number of output samples.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    /// First source sample and weights of output sample `i`.
    pub(super) fn sample(&self, i: usize) -> (usize, &[f32]) {
        (
            self.first[i],
            &self.weights[i * self.taps..(i + 1) * self.taps],
        )
    }
}

fn keys(x: f64) -> f64 {
    const A: f64 = -0.75;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(axis: &Axis, source: &[f32]) -> Vec<f32> {
        let one = |i| {
            let (first, weights) = axis.sample(i);
            weights
                .iter()
                .zip(&source[first..])
                .map(|(w, s)| w * s)
                .sum()
        };
        (0..axis.len()).map(one).collect()
    }

    /// Area interpolation by walking the stretch in tiny steps.
    fn area_slow(source: &[f32], from: f64, to: f64, out: usize) -> Vec<f32> {
        const STEPS: usize = 4000;
        let step = (to - from) / out as f64;
        let mean = |i: usize| {
            let at = |k: usize| from + (i as f64 + (k as f64 + 0.5) / STEPS as f64) * step;
            let value = |k| source[(at(k).floor().max(0.0) as usize).min(source.len() - 1)];
            (0..STEPS).map(value).sum::<f32>() / STEPS as f32
        };
        (0..out).map(mean).collect()
    }

    #[test]
    fn whole_factors_are_plain_means() {
        let axis = Axis::area(0.0, 6.0, 3, 6);
        assert_eq!(
            apply(&axis, &[1.0, 3.0, 5.0, 7.0, 0.0, 1.0]),
            [2.0, 6.0, 0.5]
        );
    }

    #[test]
    fn same_size_is_the_identity() {
        let source = [0.1, 0.9, 0.3, 0.7, 0.2];
        for axis in [Axis::area(0.0, 5.0, 5, 5), Axis::cubic(0.0, 5.0, 0, 5, 5)] {
            for (got, want) in apply(&axis, &source).iter().zip(source) {
                assert!((got - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn cubic_follows_a_straight_line_at_any_shift() {
        let source: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let axis = Axis::cubic(3.3, 63.3, 20, 10, 40);
        for (i, got) in apply(&axis, &source).iter().enumerate() {
            let want = (20.0 + i as f32 + 0.5 - 3.3) * (40.0 / 60.0) - 0.5;
            assert!(
                (got - want).abs() < 0.05,
                "sample {i}: {got} instead of {want}"
            );
        }
    }

    proptest! {
        #[test]
        fn area_agrees_with_its_slow_twin(
            source in prop::collection::vec(0.0f32..1.0, 1..40), out in 1usize..30, a in -0.2f64..1.0, b in 0.05f64..1.0,
        ) {
            let from = a * source.len() as f64;
            let to = from + b * source.len() as f64;
            let fast = apply(&Axis::area(from, to, out, source.len()), &source);
            for (f, s) in fast.iter().zip(area_slow(&source, from, to, out)) {
                prop_assert!((f - s).abs() < 2e-3, "{f} {s}");
            }
        }

        #[test]
        fn weights_sum_to_one(
            from in -10.0f64..100.0, length in 1.0f64..300.0, out in 1usize..50, source in 1usize..200,
        ) {
            for axis in [
                Axis::area(from, from + length, out, source), Axis::cubic(from, from + length, 0, out, source),
            ] {
                prop_assert_eq!(axis.len(), out);
                for i in 0..out {
                    let (first, weights) = axis.sample(i);
                    prop_assert!(first + weights.len() <= source);
                    prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                }
            }
        }
    }
}
