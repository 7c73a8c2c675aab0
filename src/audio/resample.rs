//! From any rate between 1 and 384 kHz to 16 kHz.
//!
//! A windowed sinc, evaluated at the exact position of every output: output `o` stands at input position `o in/16000`,
//! whatever came in which piece, so there is no delay to make good, no drift, and no block whose borders would show.
//! (Block-wise FFT resamplers, rubato's among them, give other bits for another start, and add their block to the delay;
//! that is why this is the project's own.)
//!
//! The filter passes up to 7 kHz flat, stops from 8 kHz on (80 dB), and reaches 2.5 ms to either side. For inputs below
//! 16 kHz these figures scale with the input's rate. Input at 16 kHz passes through unchanged.

use std::sync::Arc;

use super::{AudioError, RATE_HZ, check_recording_rate};

/// Zero crossings of the sinc on either side. With [`KAISER_BETA`] the transition is 1/16 of the lower rate wide.
const ZERO_CROSSINGS: f64 = 40.0;
/// Shape of the Kaiser window: 80 dB of stop band.
const KAISER_BETA: f64 = 7.857;
/// Middle of the transition, as a share of the lower of both rates: 7.5 kHz for 16 kHz.
const CUTOFF: f64 = 0.468_75;
/// Positions between two inputs for which the filter is kept exactly. Covers every usual rate (11025 Hz needs 640);
/// other rates interpolate between this many, with an error below -100 dB.
const MAX_PHASES: u32 = 640;
/// Independent sums in the inner product: one or two SIMD registers' worth.
const LANES: usize = 8;

/// How far the filter reaches to either side, in ms.
pub(super) fn reach_ms(input_hz: u32) -> f32 {
    if input_hz == RATE_HZ {
        0.0
    } else {
        half_length(input_hz) as f32 * 1000.0 / input_hz as f32
    }
}

/// Inputs that the filter reaches to either side.
fn half_length(input_hz: u32) -> usize {
    (ZERO_CROSSINGS * f64::from(input_hz.max(RATE_HZ)) / f64::from(RATE_HZ)).ceil() as usize
}

/// The filter for one input rate: a table, shared by all who resample from it.
pub struct SincKernel {
    input_hz: u32,
    /// Outputs stand at `o * step / phases_exact` inputs.
    step: u64,
    phases_exact: u64,
    /// Rows of the table, less one: row `p` is for a position of `p / phases` after an input.
    phases: u64,
    half: usize,
    taps: usize,
    table: Vec<f32>,
}

impl SincKernel {
    /// Computes the table: up to 641 rows of 80 to 240 values for rates up to 48 kHz, of 1,920 for 384 kHz.
    ///
    /// # Errors
    /// [`AudioError::RecordingRate`] outside 1–384 kHz.
    pub fn new(input_hz: u32) -> Result<Self, AudioError> {
        check_recording_rate(input_hz)?;
        let divisor = greatest_common_divisor(input_hz, RATE_HZ);
        let exact = RATE_HZ / divisor;
        let phases = exact.min(MAX_PHASES);
        let half = if input_hz == RATE_HZ {
            0
        } else {
            half_length(input_hz)
        };
        let taps = (2 * half).next_multiple_of(LANES);
        let mut table = Vec::with_capacity(taps * (phases as usize + 1));
        if half > 0 {
            let mut row = vec![0.0f64; taps];
            for phase in 0..=phases {
                fill_phase(
                    input_hz,
                    half,
                    f64::from(phase) / f64::from(phases),
                    &mut row,
                );
                table.extend(row.iter().map(|value| *value as f32));
            }
        }
        Ok(Self {
            input_hz,
            step: u64::from(input_hz / divisor),
            phases_exact: u64::from(exact),
            phases: u64::from(phases),
            half,
            taps,
            table,
        })
    }

    /// The input's rate in Hz.
    pub fn input_hz(&self) -> u32 {
        self.input_hz
    }

    /// The inputs that output `output` reads, `first..end`; both may be negative, for outputs near or before the start.
    pub fn inputs(&self, output: i64) -> std::ops::Range<i64> {
        let at = self.position(output).0;
        if self.half == 0 {
            at..at + 1
        } else {
            at + 1 - self.half as i64..at + 1 + self.half as i64
        }
    }

    /// The first output that stands at input `input` or after it.
    pub fn first_output_at(&self, input: i64) -> i64 {
        let scaled = i128::from(input) * i128::from(self.phases_exact);
        let step = i128::from(self.step);
        (scaled.div_euclid(step) + i128::from(scaled.rem_euclid(step) > 0)) as i64
    }

    /// How far output `output` stands past an input, in parts of an input that depend on the rate alone.
    pub fn fraction(&self, output: i64) -> u64 {
        self.position(output).1
    }

    /// Outputs of a sound of `inputs` samples: those that stand before its end.
    pub fn output_count(&self, inputs: u64) -> u64 {
        (inputs * self.phases_exact).div_ceil(self.step)
    }

    /// Values that [`Self::output`] wants to see from the first of [`Self::inputs`] on. Some beyond the range may be asked
    /// for to fill a register; their weight is zero.
    pub fn taps(&self) -> usize {
        self.taps.max(1)
    }

    /// Output `output`, from the samples that begin with the first of [`Self::inputs`].
    ///
    /// # Panics
    /// When there are fewer than [`Self::taps`] samples.
    pub fn output(&self, output: i64, samples: &[f32]) -> f32 {
        if self.half == 0 {
            return samples[0];
        }
        let samples = &samples[..self.taps];
        let remainder = self.position(output).1;
        if self.phases == self.phases_exact {
            return self.inner_product(remainder as usize, samples);
        }
        let scaled = remainder * self.phases;
        let row = (scaled / self.phases_exact) as usize;
        let share = (scaled % self.phases_exact) as f32 / self.phases_exact as f32;
        self.inner_product(row, samples) * (1.0 - share)
            + self.inner_product(row + 1, samples) * share
    }

    /// The input at or before output `output`, and the rest in `1 / phases_exact` inputs.
    fn position(&self, output: i64) -> (i64, u64) {
        let scaled = i128::from(output) * i128::from(self.step);
        let exact = i128::from(self.phases_exact);
        (
            scaled.div_euclid(exact) as i64,
            scaled.rem_euclid(exact) as u64,
        )
    }

    /// Always the same order of additions, so always the same bits.
    fn inner_product(&self, row: usize, samples: &[f32]) -> f32 {
        let weights = &self.table[row * self.taps..(row + 1) * self.taps];
        let mut sums = [0.0f32; LANES];
        for (weights, samples) in weights.chunks_exact(LANES).zip(samples.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sums[lane] += weights[lane] * samples[lane];
            }
        }
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
    }
}

/// The weights for an output that stands `fraction` (0..=1) of an input after input `half - 1` of the row. Their sum is 1.
fn fill_phase(input_hz: u32, half: usize, fraction: f64, row: &mut [f64]) {
    let cutoff = CUTOFF * f64::from(input_hz.min(RATE_HZ)) / f64::from(input_hz);
    let reach = ZERO_CROSSINGS * f64::from(input_hz.max(RATE_HZ)) / f64::from(RATE_HZ);
    row.fill(0.0);
    for (index, weight) in row.iter_mut().take(2 * half).enumerate() {
        let distance = index as f64 - (half as f64 - 1.0) - fraction;
        let inside = 1.0 - (distance / reach).powi(2);
        if inside < 0.0 {
            continue;
        }
        let angle = 2.0 * std::f64::consts::PI * cutoff * distance;
        let sinc = if angle == 0.0 {
            1.0
        } else {
            angle.sin() / angle
        };
        *weight = sinc * bessel_i0(KAISER_BETA * inside.sqrt());
    }
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|weight| *weight /= sum);
}

/// Modified Bessel function of the first kind, order 0, by its series (fast for the arguments here, up to 8).
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (n * n);
        sum += term;
        n += 1.0;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Resamples a sound that comes in pieces of any size. The bits do not depend on the pieces.
#[derive(Clone)]
pub struct Resampler {
    kernel: Arc<SincKernel>,
    /// Inputs from `base` on, as far as outputs still to come need them.
    held: Vec<f32>,
    base: i64,
    next_output: i64,
    received: u64,
}

impl Resampler {
    /// A resampler from `input_hz` to 16 kHz.
    ///
    /// # Errors
    /// [`AudioError::RecordingRate`] outside 1–384 kHz.
    pub fn new(input_hz: u32) -> Result<Self, AudioError> {
        Ok(Self::with_kernel(Arc::new(SincKernel::new(input_hz)?)))
    }

    /// A resampler that shares a table.
    pub fn with_kernel(kernel: Arc<SincKernel>) -> Self {
        let mut resampler = Self {
            kernel,
            held: Vec::new(),
            base: 0,
            next_output: 0,
            received: 0,
        };
        resampler.reset();
        resampler
    }

    /// The table, to be shared.
    pub fn kernel(&self) -> &Arc<SincKernel> {
        &self.kernel
    }

    /// Forgets the sound: the next sample is the first of another.
    pub fn reset(&mut self) {
        self.base = self.kernel.inputs(0).start.min(0);
        self.held.clear();
        self.held.resize(-self.base as usize, 0.0);
        self.next_output = 0;
        self.received = 0;
    }

    /// Takes samples and appends to `out` the outputs that they complete.
    pub fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.held.extend_from_slice(samples);
        self.received += samples.len() as u64;
        self.emit(i64::MAX, out);
    }

    /// The sound has ended: appends the outputs that were waiting for more, taking silence for it. Call
    /// [`Self::reset`] before the next sound.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let count = self.kernel.output_count(self.received) as i64;
        let padding = self.held.len() + self.kernel.taps();
        self.held.resize(padding, 0.0);
        self.emit(count, out);
    }

    /// Computes outputs before `limit` while their inputs are there, then drops the inputs that none will read again.
    fn emit(&mut self, limit: i64, out: &mut Vec<f32>) {
        while self.next_output < limit {
            let from = (self.kernel.inputs(self.next_output).start - self.base) as usize;
            let Some(samples) = self.held.get(from..from + self.kernel.taps()) else {
                break;
            };
            out.push(self.kernel.output(self.next_output, samples));
            self.next_output += 1;
        }
        let unused = (self.kernel.inputs(self.next_output).start - self.base).max(0) as usize;
        let unused = unused.min(self.held.len());
        self.held.drain(..unused);
        self.base += unused as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f64, len: usize) -> Vec<f32> {
        let step = 2.0 * std::f64::consts::PI * hz / f64::from(rate);
        (0..len)
            .map(|n| (0.5 * (step * n as f64).sin()) as f32)
            .collect()
    }

    fn resample(rate: u32, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let mut resampler = Resampler::new(rate).unwrap();
        resampler.process(samples, &mut out);
        resampler.finish(&mut out);
        out
    }

    /// The largest value away from the ends, where the tone's start and stop are heard.
    fn peak(values: impl Iterator<Item = f32>) -> f32 {
        values.map(f32::abs).fold(0.0, f32::max)
    }

    #[test]
    fn tones_that_both_rates_can_carry_keep_level_and_phase() {
        for rate in [
            1_000, 8_000, 11_025, 12_345, 22_050, 24_000, 32_000, 44_100, 47_999, 48_000, 96_000,
            192_000, 384_000,
        ] {
            let highest = 7_000.0 * f64::from(rate.min(RATE_HZ)) / 16_000.0;
            for hz in [100.0, 1_000.0_f64.min(highest), highest] {
                let out = resample(rate, &tone(rate, hz, rate as usize / 4));
                let wanted = tone(RATE_HZ, hz, out.len());
                let edge = 200.max((reach_ms(rate) * 16.0) as usize);
                let inner = edge..out.len() - edge;
                let error = peak(inner.map(|n| out[n] - wanted[n]));
                assert!(error < 2e-4, "{hz} Hz at {rate}: {error}");
            }
        }
    }

    #[test]
    fn tones_above_8_khz_are_gone() {
        for rate in [22_050, 24_000, 44_100, 48_000, 96_000, 384_000] {
            for hz in [8_100.0, 9_500.0, 10_900.0] {
                let out = resample(rate, &tone(rate, hz, rate as usize / 4));
                let left = peak(out[200..out.len() - 200].iter().copied());
                assert!(left < 1e-4, "{hz} Hz at {rate}: {left}");
            }
        }
    }

    #[test]
    fn sixteen_khz_passes_through_unchanged() {
        let samples = tone(RATE_HZ, 440.0, 1_000);
        assert_eq!(resample(RATE_HZ, &samples), samples);
    }

    #[test]
    fn a_sound_keeps_its_length() {
        for (rate, inputs, outputs) in [
            (24_000, 24_000, 16_000),
            (24_000, 1, 1),
            (48_000, 4, 2),
            (8_000, 3, 6),
            (44_100, 441, 160),
        ] {
            assert_eq!(resample(rate, &vec![0.1; inputs]).len(), outputs, "{rate}");
            assert_eq!(
                SincKernel::new(rate)
                    .unwrap()
                    .first_output_at(inputs as i64),
                outputs as i64
            );
        }
        assert_eq!(resample(24_000, &[]).len(), 0);
    }

    #[test]
    fn what_is_held_does_not_grow() {
        let mut resampler = Resampler::new(24_000).unwrap();
        let mut out = Vec::new();
        for _ in 0..1_000 {
            out.clear();
            resampler.process(&[0.1; 100], &mut out);
        }
        assert!(resampler.held.len() < 400, "{}", resampler.held.len());
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        for hz in [0, 999, 384_001, u32::MAX] {
            let error = SincKernel::new(hz).err();
            assert_eq!(error, Some(AudioError::RecordingRate { hz }));
        }
    }
}
