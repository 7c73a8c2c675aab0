//! The mel spectrogram, in the convention of the `ave` family.
//!
//! 1. Pre-emphasis `y[n] = x[n] - 0.97 x[n-1]`, with `y[0] = x[0]`.
//! 2. Frame `r` is `y[200 r - 400 .. 200 r + 400]`, times a periodic Hann window; `y` is zero outside the sound.
//! 3. Magnitudes of its Fourier transform: 401 bins of 20 Hz.
//! 4. 80 triangles on Slaney's scale from 55 to 7600 Hz, each of unit area per Hz.
//! 5. `S = 20 log10(max(1e-5, mel)) - 20`, then `clip(8 (S + 100) / 100 - 4, -4, 4)`.
//!
//! All of it in f64: the noise of an f32 transform is relative to a frame's loudest bin, and the logarithm lifts it into
//! view in the quiet bands. `tools/golden/mel.py` computes the same from the same definition, for the tests.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::{BANDS, FFT_LEN, HOP, RATE_HZ};

/// The value of a band without sound: the lower end of the clip.
pub const MEL_FLOOR: f32 = -4.0;

/// Share of the sample before that pre-emphasis takes away.
const PRE_EMPHASIS: f64 = 0.97;
/// Range of the bank of filters, in Hz.
const LOWEST_HZ: f64 = 55.0;
const HIGHEST_HZ: f64 = 7_600.0;
/// Magnitudes below it are taken for it, before the logarithm: -100 dB.
const MIN_MAGNITUDE: f64 = 1e-5;
/// The level that is subtracted, in dB.
const REFERENCE_DB: f64 = 20.0;
/// The range in dB that is spread over -[`MAX_VALUE`]..[`MAX_VALUE`].
const RANGE_DB: f64 = 100.0;
const MAX_VALUE: f64 = 4.0;

/// Pre-emphasis of one sample; `before` is 0 for the first of a sound.
#[inline]
pub(super) fn pre_emphasis(before: f32, sample: f32) -> f64 {
    f64::from(sample) - PRE_EMPHASIS * f64::from(before)
}

/// One triangle of the bank: `weights[i]` belongs to bin `first + i`.
#[derive(Clone)]
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

/// Computes mel rows one by one, without allocating.
#[derive(Clone)]
pub struct MelKernel {
    transform: Arc<dyn RealToComplex<f64>>,
    window: Vec<f64>,
    filters: Vec<Filter>,
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    magnitudes: Vec<f64>,
}

impl MelKernel {
    /// Plans the transform and computes the bank of filters.
    pub fn new() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(FFT_LEN);
        let step = 2.0 * std::f64::consts::PI / FFT_LEN as f64;
        Self {
            window: (0..FFT_LEN)
                .map(|n| 0.5 - 0.5 * (step * n as f64).cos())
                .collect(),
            filters: filter_bank(),
            frame: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            magnitudes: vec![0.0; FFT_LEN / 2 + 1],
            transform,
        }
    }

    /// The row of the frame `emphasised`: [`FFT_LEN`] samples at 16 kHz (full scale 1) after pre-emphasis.
    ///
    /// # Panics
    /// When `emphasised` or `row` (80 bands, -4..=4) has another length.
    pub fn row(&mut self, emphasised: &[f64], row: &mut [f32]) {
        assert_eq!(emphasised.len(), FFT_LEN);
        assert_eq!(row.len(), BANDS);
        for ((value, sample), weight) in self.frame.iter_mut().zip(emphasised).zip(&self.window) {
            *value = sample * weight;
        }
        self.transform
            .process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers were made for this transform");
        for (magnitude, bin) in self.magnitudes.iter_mut().zip(&self.spectrum) {
            // Not `hypot`: samples are small numbers, and cannot overflow when squared.
            *magnitude = (bin.re * bin.re + bin.im * bin.im).sqrt();
        }
        for (value, filter) in row.iter_mut().zip(&self.filters) {
            let bins = &self.magnitudes[filter.first..];
            let mel: f64 = filter
                .weights
                .iter()
                .zip(bins)
                .map(|(weight, bin)| weight * bin)
                .sum();
            let level_db = 20.0 * mel.max(MIN_MAGNITUDE).log10() - REFERENCE_DB;
            let scaled = 2.0 * MAX_VALUE * (level_db + RANGE_DB) / RANGE_DB - MAX_VALUE;
            *value = scaled.clamp(-MAX_VALUE, MAX_VALUE) as f32;
        }
    }
}

impl Default for MelKernel {
    fn default() -> Self {
        Self::new()
    }
}

/// Slaney's scale: 3 mel for 200 Hz up to 1 kHz, logarithmic above it (27 mel for a factor of 6.4).
fn hz_to_mel(hz: f64) -> f64 {
    if hz < 1000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + (hz / 1000.0).ln() * 27.0 / 6.4f64.ln()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp()
    }
}

fn filter_bank() -> Vec<Filter> {
    let (low, high) = (hz_to_mel(LOWEST_HZ), hz_to_mel(HIGHEST_HZ));
    let edge_hz = |index: usize| mel_to_hz(low + (high - low) * index as f64 / (BANDS + 1) as f64);
    let bin_hz = f64::from(RATE_HZ) / FFT_LEN as f64;
    (0..BANDS)
        .map(|band| {
            let (from, peak, to) = (edge_hz(band), edge_hz(band + 1), edge_hz(band + 2));
            let first = (from / bin_hz).ceil() as usize;
            let last = ((to / bin_hz).floor() as usize).min(FFT_LEN / 2);
            let weights = (first..=last)
                .map(|bin| {
                    let hz = bin as f64 * bin_hz;
                    let slope = ((hz - from) / (peak - from)).min((to - hz) / (to - peak));
                    slope.max(0.0) * 2.0 / (to - from)
                })
                .collect();
            Filter { first, weights }
        })
        .collect()
}

/// Turns samples that come in pieces into mel rows, each computed once.
///
/// The sound is silent before its start and after its end, so rows exist on both sides; where to begin is the caller's
/// choice.
#[derive(Clone)]
pub(super) struct MelStream {
    kernel: MelKernel,
    /// Emphasised samples from position `base` on, as far as rows still to come need them.
    held: Vec<f64>,
    base: i64,
    first_row: i64,
    next_row: i64,
    last_sample: f32,
    received: u64,
}

impl MelStream {
    /// `first_row`, the first row to be computed, is 0 or below.
    pub(super) fn new(first_row: i64) -> Self {
        let mut stream = Self {
            kernel: MelKernel::new(),
            held: Vec::new(),
            base: 0,
            first_row: first_row.min(0),
            next_row: 0,
            last_sample: 0.0,
            received: 0,
        };
        stream.reset();
        stream
    }

    pub(super) fn reset(&mut self) {
        self.next_row = self.first_row;
        self.base = start_of_row(self.first_row);
        self.held.clear();
        self.held.resize(-self.base as usize, 0.0);
        self.last_sample = 0.0;
        self.received = 0;
    }

    /// Samples taken since the start of the sound.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes samples at 16 kHz and hands out the rows that they complete, in order.
    pub(super) fn push(&mut self, samples: &[f32], sink: impl FnMut(&[f32; BANDS])) {
        self.held.reserve(samples.len());
        for &sample in samples {
            self.held.push(pre_emphasis(self.last_sample, sample));
            self.last_sample = sample;
        }
        self.received += samples.len() as u64;
        self.emit(i64::MAX, sink);
    }

    /// The sound has ended: hands out all rows before `end`, however far past the end of the sound that is.
    pub(super) fn finish(&mut self, end: i64, mut sink: impl FnMut(&[f32; BANDS])) {
        while self.next_row < end {
            self.held.resize(self.held.len() + FFT_LEN, 0.0);
            self.emit(end, &mut sink);
        }
    }

    fn emit(&mut self, end: i64, mut sink: impl FnMut(&[f32; BANDS])) {
        let mut row = [0.0; BANDS];
        while self.next_row < end {
            let from = (start_of_row(self.next_row) - self.base) as usize;
            let Some(frame) = self.held.get(from..from + FFT_LEN) else {
                break;
            };
            self.kernel.row(frame, &mut row);
            sink(&row);
            self.next_row += 1;
        }
        let unused = ((start_of_row(self.next_row) - self.base) as usize).min(self.held.len());
        self.held.drain(..unused);
        self.base += unused as i64;
    }
}

/// The position of the first sample of a row's frame.
fn start_of_row(row: i64) -> i64 {
    row * HOP as i64 - (FFT_LEN / 2) as i64
}

/// The mel rows of a whole sound: `1 + len / 200` rows, row `r` centred on sample `200 r`, bands -4..=4.
///
/// `samples` are at 16 kHz, full scale 1.
pub fn mel_rows(samples: &[f32]) -> Vec<[f32; BANDS]> {
    let count = 1 + samples.len() / HOP;
    let mut rows = Vec::with_capacity(count);
    let mut stream = MelStream::new(0);
    stream.push(samples, |row| rows.push(*row));
    stream.finish(count as i64, |row| rows.push(*row));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::read_recording;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!(
            "{}/tests/data/audio/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    }

    /// The values of a two-dimensional little-endian f32 file of numpy.
    fn numpy(bytes: &[u8]) -> Vec<f32> {
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[10 + header..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn unit(samples: &[i16]) -> Vec<f32> {
        samples.iter().map(|s| f32::from(*s) / 32_768.0).collect()
    }

    fn largest_difference(a: impl IntoIterator<Item = f32>, b: &[f32]) -> f32 {
        a.into_iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn rows_equal_those_of_an_independent_implementation() {
        let wav = read_recording(&fixture("speech_like_16k.wav")[..]).unwrap();
        let golden = numpy(&fixture("speech_like_16k.mel_from_row_-4.npy"));
        let mut rows = Vec::new();
        let mut stream = MelStream::new(-4);
        stream.push(&unit(&wav.samples), |row| rows.extend_from_slice(row));
        let count = 1 + wav.samples.len() / HOP;
        stream.finish(count as i64 + 4, |row| rows.extend_from_slice(row));
        assert_eq!(rows.len(), golden.len());
        let error = largest_difference(rows.iter().copied(), &golden);
        assert!(error < 1e-5, "{error}");
        let whole = mel_rows(&unit(&wav.samples));
        assert_eq!(whole.as_flattened(), &rows[4 * BANDS..][..count * BANDS]);
    }

    #[test]
    fn the_same_sound_at_24_khz_has_the_same_rows_within_tolerance() {
        let golden = mel_rows(&unit(
            &read_recording(&fixture("speech_like_16k.wav")[..])
                .unwrap()
                .samples,
        ));
        let wav = read_recording(&fixture("speech_like_24k.wav")[..]).unwrap();
        let mut resampled = Vec::new();
        let mut resampler = crate::audio::Resampler::new(wav.rate_hz).unwrap();
        resampler.process(&unit(&wav.samples), &mut resampled);
        resampler.finish(&mut resampled);
        let rows = mel_rows(&resampled);
        assert_eq!(rows.len(), golden.len());
        // Bands that end below 7 kHz, and are not at the noise of 16-bit samples (which differs): within 0.02 of 8.
        let (mut worst, mut compared) = (0.0f32, 0);
        for (row, golden) in rows.iter().zip(&golden) {
            for band in 0..76 {
                if golden[band] > -2.0 {
                    worst = worst.max((row[band] - golden[band]).abs());
                    compared += 1;
                }
            }
        }
        assert!(
            compared > 1_000 && worst < 0.02,
            "{worst} over {compared} values"
        );
    }

    #[test]
    fn silence_is_the_floor_and_full_scale_is_no_more_than_the_ceiling() {
        assert!(
            mel_rows(&[0.0; 1000])
                .iter()
                .flatten()
                .all(|value| *value == MEL_FLOOR)
        );
        let square: Vec<f32> = (0..4000)
            .map(|n| if n / 20 % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        assert!(
            mel_rows(&square)
                .iter()
                .flatten()
                .all(|value| (-4.0..=4.0).contains(value))
        );
        assert_eq!(mel_rows(&[]).len(), 1);
    }

    #[test]
    fn the_highest_band_compared_above_ends_below_7_khz() {
        let bank = filter_bank();
        let last_bin = |band: usize| bank[band].first + bank[band].weights.len() - 1;
        assert!(last_bin(75) * 20 < 7_000, "{}", last_bin(75) * 20);
        assert_eq!(bank.len(), BANDS);
    }
}
