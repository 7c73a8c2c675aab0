//! The window of a version 1 request: one request brings the sound around one frame.
//!
//! The middle sample of the sound is the frame's instant (the usual 640 ms are 16 chunks of 40 ms, and the frame is at the
//! start of chunk 8). Neighbouring requests overlap, so their feature frames should be shared. Two choices make that work:
//!
//! - **The grid of mel rows is laid by `frame_id`.** A frame is 3.2 mel rows, so that rows laid from the start of each
//!   request would never fall on those of its neighbour. Frame `i` of a sound begins `i mod 5` fifths into a mel row; a
//!   client that counts its frames from the start of its sound (as all do) gets the rows of the whole sound, bit for
//!   bit. For one that counts otherwise the grid is off by at most 10 ms, which is within what training saw.
//! - **Rows that need samples from outside the request do not exist** with [`Outside::ZeroFeatures`]; what is missing is
//!   then as at the ends of a sound in training: the nearest row again (`edge_rows`), then zeros. A row computed from
//!   part of its samples would be another row in each request, and never be found again. Only when no row is complete is
//!   the middle one computed, with silence around the sound. With [`Outside::Silence`] all rows exist, and silence
//!   surrounds the sound.
//!
//! A row's key is a hash of all that it depends on: its samples, where they lie between the inputs of the resampler, the
//! rate. Equal keys mean equal bits. The hash is keyed at random, so that no client can aim at another's rows.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use super::mel::pre_emphasis;
use super::rolling::to_unit;
use super::{
    AudioError, BANDS, FFT_LEN, FRAME_SAMPLES, FeatureSlot, FrontEndSpec, HOP, MelKernel, Outside,
    SincKernel, check_rate,
};

/// Resampling tables kept by one front end; one is enough while clients use one rate.
const KEPT_KERNELS: usize = 4;

/// A feature frame of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRow {
    /// Hash of all that the row's input depends on.
    pub key: u64,
    /// Samples at 16 kHz that the row sees, from the frame's instant.
    start: i64,
    end: i64,
}

/// What one request needs: which rows, and where each goes in the frame's window.
#[derive(Debug, Default, Clone)]
pub struct RequestPlan {
    rows: Vec<RequestRow>,
    slots: Vec<Option<usize>>,
    input_hz: u32,
}

impl RequestPlan {
    /// The rows to be found in a cache or computed, each once.
    pub fn rows(&self) -> &[RequestRow] {
        &self.rows
    }

    /// For each row of the frame's window, in order: which of [`Self::rows`] stands there, or `None` for zeros.
    pub fn slots(&self) -> &[Option<usize>] {
        &self.slots
    }
}

/// Plans requests and computes their rows. One for each worker; the buffers are reused.
pub struct RequestFrontEnd {
    spec: FrontEndSpec,
    hash: RandomState,
    kernels: Vec<Arc<SincKernel>>,
    mel: MelKernel,
    unit: Vec<f32>,
    emphasised: Vec<f64>,
}

impl RequestFrontEnd {
    /// A front end whose keys are made with `hash`: those that share a cache must share it.
    ///
    /// # Errors
    /// [`AudioError::Spec`] when a number is out of range.
    pub fn new(spec: FrontEndSpec, hash: RandomState) -> Result<Self, AudioError> {
        spec.validate()?;
        Ok(Self {
            spec,
            hash,
            kernels: Vec::new(),
            mel: MelKernel::new(),
            unit: Vec::new(),
            emphasised: Vec::new(),
        })
    }

    /// The front end's numbers.
    pub fn spec(&self) -> &FrontEndSpec {
        &self.spec
    }

    /// Finds out which rows the frame `frame_id` needs, whose instant is the middle of `samples` (any length, at
    /// `input_hz`).
    ///
    /// # Errors
    /// [`AudioError::Rate`] outside 8–48 kHz.
    pub fn plan(
        &mut self,
        samples: &[i16],
        input_hz: u32,
        frame_id: u32,
        plan: &mut RequestPlan,
    ) -> Result<(), AudioError> {
        let kernel = self.kernel(input_hz)?;
        plan.rows.clear();
        plan.slots.clear();
        plan.input_hz = input_hz;
        let sound = Sound::new(&kernel, samples);
        let phase = i64::from(frame_id % 5);
        let first = i64::from(self.spec.first_row);
        let window = first..first + self.spec.rows as i64;
        let reach = |row: i64| {
            let samples = self.spec.samples(phase + row);
            let instant = phase * i64::from(FRAME_SAMPLES);
            samples.start - instant..samples.end - instant
        };
        let (low, end) = match self.spec.outside {
            Outside::Silence => (window.start, window.end),
            Outside::ZeroFeatures => {
                let mut complete = window.clone().filter(|row| sound.is_complete(&reach(*row)));
                match (complete.next(), complete.next_back()) {
                    (Some(low), last) => (low, last.unwrap_or(low) + 1),
                    (None, _) if samples.is_empty() => (0, 0),
                    (None, _) => {
                        let middle = |row: &i64| (reach(*row).start + reach(*row).end).abs();
                        let nearest = window.clone().min_by_key(middle).unwrap_or(0);
                        (nearest, nearest + 1)
                    }
                }
            }
        };
        for row in low..end {
            let reach = reach(row);
            let key = self.key(&sound, &reach);
            plan.rows.push(RequestRow {
                key,
                start: reach.start,
                end: reach.end,
            });
        }
        plan.slots.extend(
            window.map(|row| match self.spec.window_row(row, low, Some(end)) {
                FeatureSlot::Frame(row) => Some((row - low) as usize),
                FeatureSlot::Zero => None,
            }),
        );
        Ok(())
    }

    /// Computes the encoder's input of a planned row: `[BANDS][mel_rows]`, -4..=4, time last.
    ///
    /// # Errors
    /// [`AudioError::Rate`] when the plan was never made.
    ///
    /// # Panics
    /// When `input` is not [`FrontEndSpec::input_len`] long.
    pub fn input(
        &mut self,
        samples: &[i16],
        plan: &RequestPlan,
        row: &RequestRow,
        input: &mut [f32],
    ) -> Result<(), AudioError> {
        assert_eq!(input.len(), self.spec.input_len());
        let kernel = self.kernel(plan.input_hz)?;
        let sound = Sound::new(&kernel, samples);
        let present = sound.present(&(row.start..row.end));
        self.unit.clear();
        self.emphasised.clear();
        self.emphasised.resize((row.end - row.start) as usize, 0.0);
        if !present.is_empty() {
            let from = kernel.inputs(present.start).start;
            let to = kernel.inputs(present.end - 1).start + kernel.taps() as i64;
            self.unit.extend((from..to).map(|at| sound.at(at)));
            // The first sample that a row sees is weighted by zero, so what was before it does not matter; where the
            // sound begins within the row, it was silence.
            let mut before = 0.0;
            for output in present {
                let offset = (kernel.inputs(output).start - from) as usize;
                let value = kernel.output(output, &self.unit[offset..]);
                self.emphasised[(output - row.start) as usize] = pre_emphasis(before, value);
                before = value;
            }
        }
        let mut mel = [0.0; BANDS];
        for column in 0..self.spec.mel_rows {
            self.mel
                .row(&self.emphasised[column * HOP..][..FFT_LEN], &mut mel);
            for (band, value) in mel.iter().enumerate() {
                input[band * self.spec.mel_rows + column] = *value;
            }
        }
        Ok(())
    }

    fn key(&self, sound: &Sound<'_>, reach: &std::ops::Range<i64>) -> u64 {
        let mut hasher = self.hash.build_hasher();
        let present = sound.present(reach);
        sound.kernel.input_hz().hash(&mut hasher);
        (present.start - reach.start, reach.end - present.end).hash(&mut hasher);
        if !present.is_empty() {
            sound.kernel.fraction(present.start).hash(&mut hasher);
            let inputs =
                sound.kernel.inputs(present.start).start..sound.kernel.inputs(present.end - 1).end;
            let (from, to) = (sound.clamp(inputs.start), sound.clamp(inputs.end));
            // Where the filter reaches past the ends it reads silence: how far belongs to the key.
            (from - inputs.start, inputs.end - to).hash(&mut hasher);
            sound.slice(from, to).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn kernel(&mut self, input_hz: u32) -> Result<Arc<SincKernel>, AudioError> {
        if let Some(at) = self
            .kernels
            .iter()
            .position(|kernel| kernel.input_hz() == input_hz)
        {
            self.kernels[..=at].rotate_right(1);
        } else {
            check_rate(input_hz)?;
            let kernel = Arc::new(SincKernel::new(input_hz)?);
            self.kernels.truncate(KEPT_KERNELS - 1);
            self.kernels.insert(0, kernel);
        }
        Ok(self.kernels[0].clone())
    }
}

/// A request's samples; position 0 is the frame's instant, the middle.
struct Sound<'a> {
    kernel: &'a SincKernel,
    samples: &'a [i16],
    before: i64,
    /// Outputs of the resampler that stand within the sound.
    outputs: std::ops::Range<i64>,
}

impl<'a> Sound<'a> {
    fn new(kernel: &'a SincKernel, samples: &'a [i16]) -> Self {
        let before = (samples.len() / 2) as i64;
        let after = samples.len() as i64 - before;
        // The first output at or after the first sample, and the first after the last.
        let outputs = kernel.first_output_at(-before)..kernel.first_output_at(after);
        Self {
            kernel,
            samples,
            before,
            outputs,
        }
    }

    /// Whether every output in `reach` can be computed from samples of this sound alone.
    fn is_complete(&self, reach: &std::ops::Range<i64>) -> bool {
        self.kernel.inputs(reach.start).start >= -self.before
            && self.kernel.inputs(reach.end - 1).end <= self.samples.len() as i64 - self.before
    }

    /// The part of `reach` that stands within the sound; empty, and within `reach`, where there is none.
    fn present(&self, reach: &std::ops::Range<i64>) -> std::ops::Range<i64> {
        let start = self.outputs.start.clamp(reach.start, reach.end);
        start..self.outputs.end.clamp(start, reach.end)
    }

    fn clamp(&self, position: i64) -> i64 {
        position.clamp(-self.before, self.samples.len() as i64 - self.before)
    }

    fn slice(&self, from: i64, to: i64) -> &[i16] {
        &self.samples[(from + self.before) as usize..(to + self.before) as usize]
    }

    fn at(&self, position: i64) -> f32 {
        let index = position + self.before;
        usize::try_from(index)
            .ok()
            .and_then(|index| self.samples.get(index))
            .map_or(0.0, |sample| to_unit(*sample))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RATE_HZ, RollingFrontEnd};
    use super::*;

    const SILENT: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

    fn noise(len: usize) -> Vec<i16> {
        let mut state = 11u32;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16 / 3
            })
            .collect()
    }

    fn front_end(spec: FrontEndSpec, hash: &RandomState) -> RequestFrontEnd {
        RequestFrontEnd::new(spec, hash.clone()).unwrap()
    }

    /// The rows of frame `frame`'s window, from 640 ms of `sound`.
    fn request(
        front_end: &mut RequestFrontEnd,
        sound: &[i16],
        rate: u32,
        frame: usize,
    ) -> (RequestPlan, Vec<Vec<f32>>) {
        let chunk = rate as usize / 25;
        let window = &sound[(frame - 8) * chunk..(frame + 8) * chunk];
        let mut plan = RequestPlan::default();
        front_end
            .plan(window, rate, frame as u32, &mut plan)
            .unwrap();
        let inputs = plan.rows().iter().map(|row| {
            let mut input = vec![0.0; front_end.spec().input_len()];
            front_end.input(window, &plan, row, &mut input).unwrap();
            input
        });
        let inputs = inputs.collect();
        (plan, inputs)
    }

    fn whole(spec: FrontEndSpec, sound: &[i16], rate: u32) -> Vec<Vec<f32>> {
        let mut rows = Vec::new();
        let mut front_end = RollingFrontEnd::new(spec, rate).unwrap();
        front_end.push(sound, |_, input| rows.push(input.to_vec()));
        front_end.finish(|_, input| rows.push(input.to_vec()));
        rows
    }

    #[test]
    fn rows_of_requests_are_those_of_the_whole_sound_bit_for_bit() {
        for rate in [8_000, 24_000, 44_100] {
            let sound = noise(rate as usize * 2);
            for spec in [FrontEndSpec::AVE, SILENT] {
                let rows = whole(spec, &sound, rate);
                let mut front_end = front_end(spec, &RandomState::new());
                for frame in 10..16 {
                    let (plan, inputs) = request(&mut front_end, &sound, rate, frame);
                    let first = frame as i64 + i64::from(spec.first_row);
                    for (index, input) in inputs.iter().enumerate() {
                        // A copy of the first row stands before it, a copy of the last one after it.
                        let is_row = |slot: &Option<usize>| *slot == Some(index);
                        let at = match index {
                            0 => plan.slots().iter().rposition(is_row),
                            _ => plan.slots().iter().position(is_row),
                        };
                        let row = first + at.unwrap() as i64;
                        assert!(
                            *input == rows[row as usize],
                            "{rate} Hz, frame {frame}, row {row}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_steady_client_brings_one_new_row_a_frame() {
        for rate in [24_000, 44_100] {
            let sound = noise(rate as usize * 2);
            for spec in [FrontEndSpec::AVE, SILENT] {
                let mut front_end = front_end(spec, &RandomState::new());
                let mut known = std::collections::HashMap::new();
                for frame in 8..20 {
                    let (plan, inputs) = request(&mut front_end, &sound, rate, frame);
                    let before = known.len();
                    for (row, input) in plan.rows().iter().zip(inputs) {
                        let first = known.entry(row.key).or_insert_with(|| input.clone());
                        assert!(*first == input, "equal keys, equal bits");
                    }
                    let expected = if frame == 8 { plan.rows().len() } else { 1 };
                    assert_eq!(known.len() - before, expected, "{rate} Hz, frame {frame}");
                }
            }
        }
    }

    #[test]
    fn of_640_ms_the_ave_family_has_ten_rows_and_the_edges_are_as_in_training() {
        let sound = noise(48_000);
        let (plan, _) = request(
            &mut front_end(FrontEndSpec::AVE, &RandomState::new()),
            &sound,
            24_000,
            8,
        );
        assert_eq!(plan.rows().len(), 10);
        let mut slots = vec![None, Some(0)];
        slots.extend((0..10).map(Some));
        slots.extend([Some(9), None, None, None]);
        assert_eq!(plan.slots(), slots);
    }

    #[test]
    fn any_length_has_a_window_and_none_panics() {
        let sound = noise(40_000);
        for spec in [FrontEndSpec::AVE, SILENT] {
            let mut front_end = front_end(spec, &RandomState::new());
            let mut plan = RequestPlan::default();
            let mut input = vec![0.0; spec.input_len()];
            for len in [0, 1, 2, 3, 100, 959, 960, 961, 4_000, 7_001, 39_999] {
                for frame_id in [0, 1, 4, u32::MAX] {
                    front_end
                        .plan(&sound[..len], 24_000, frame_id, &mut plan)
                        .unwrap();
                    assert_eq!(plan.slots().len(), spec.rows);
                    assert_eq!(
                        plan.rows().is_empty(),
                        len == 0 && spec.outside == Outside::ZeroFeatures
                    );
                    for row in plan.rows() {
                        front_end
                            .input(&sound[..len], &plan, row, &mut input)
                            .unwrap();
                        assert!(input.iter().all(|value| (-4.0..=4.0).contains(value)));
                        // With some sound in view the row is not that of silence.
                        assert!(len < 960 || input.iter().any(|value| *value > -4.0));
                    }
                }
            }
            assert_eq!(
                front_end.plan(&[], 7_999, 0, &mut plan),
                Err(AudioError::Rate { hz: 7_999 })
            );
        }
    }

    #[test]
    fn short_requests_with_silence_around_equal_the_short_sound_itself() {
        let sound = noise(5_000);
        let rows = whole(SILENT, &sound, RATE_HZ);
        let mut front_end = front_end(SILENT, &RandomState::new());
        let mut plan = RequestPlan::default();
        // Frame 2 of a sound of four frames: its window is the whole sound.
        let sound_of_four = &sound[..2_560];
        front_end
            .plan(sound_of_four, RATE_HZ, 2, &mut plan)
            .unwrap();
        let mut input = vec![0.0; SILENT.input_len()];
        front_end
            .input(sound_of_four, &plan, &plan.rows()[0], &mut input)
            .unwrap();
        assert!(input == whole(SILENT, sound_of_four, RATE_HZ)[2]);
        assert!(input != rows[2]);
    }
}
