//! From samples as they come to the inputs of the audio encoder, each computed once.

use super::mel::MelStream;
use super::{AudioError, BANDS, FrontEndSpec, Outside, Resampler};

/// Input samples that go through the stages at a time; bounds the buffers between them.
const SLICE: usize = 4_096;

/// The front end of a stream, or of a file pushed at once: PCM16 in, encoder inputs out.
///
/// A feature frame's input is `[BANDS][mel_rows]` f32 (-4..=4, time last). Rows come out in order, each as soon as its
/// last sample is in; nothing is allocated once the buffers have their size.
#[derive(Clone)]
pub struct RollingFrontEnd {
    spec: FrontEndSpec,
    resampler: Resampler,
    mel: MelStream,
    ring: MelRing,
    unit: Vec<f32>,
    resampled: Vec<f32>,
    received: u64,
}

impl RollingFrontEnd {
    /// A front end for a sound at `input_hz`.
    ///
    /// # Errors
    /// [`AudioError::Rate`] or [`AudioError::Spec`] when a number is out of range.
    pub fn new(spec: FrontEndSpec, input_hz: u32) -> Result<Self, AudioError> {
        spec.validate()?;
        let lowest = spec.first_mel_row(spec.lowest_row()).min(0);
        Ok(Self {
            spec,
            resampler: Resampler::new(input_hz)?,
            mel: MelStream::new(lowest),
            ring: MelRing::new(spec, lowest),
            unit: Vec::with_capacity(SLICE),
            resampled: Vec::new(),
            received: 0,
        })
    }

    /// The front end's numbers.
    pub fn spec(&self) -> &FrontEndSpec {
        &self.spec
    }

    /// The input's rate in Hz.
    pub fn input_hz(&self) -> u32 {
        self.resampler.kernel().input_hz()
    }

    /// Input samples taken since the start of the sound.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next feature frame that will come out.
    #[cfg(test)]
    fn next_row(&self) -> i64 {
        self.ring.next_row
    }

    /// Forgets the sound: the next sample is the first of another. Keeps its buffers.
    pub fn reset(&mut self) {
        self.resampler.reset();
        self.mel.reset();
        self.ring.reset();
        self.received = 0;
    }

    /// Takes samples and hands out the rows that they complete: `sink(row, input)`.
    pub fn push(&mut self, samples: &[i16], mut sink: impl FnMut(i64, &[f32])) {
        for slice in samples.chunks(SLICE) {
            self.unit.clear();
            self.unit
                .extend(slice.iter().map(|sample| to_unit(*sample)));
            self.resampled.clear();
            self.resampler.process(&self.unit, &mut self.resampled);
            let ring = &mut self.ring;
            self.mel
                .push(&self.resampled, |row| ring.push(row, &mut sink));
        }
        self.received += samples.len() as u64;
    }

    /// The sound has ended: hands out the rows that are left and returns [`FrontEndSpec::row_count`]. What follows must
    /// be [`Self::reset`].
    pub fn finish(&mut self, sink: impl FnMut(i64, &[f32])) -> i64 {
        self.finish_after(0, sink)
    }

    /// As [`Self::finish`], for a picture that goes on for `frames` frames after the sound. Where the sound is taken to
    /// be surrounded by silence, these have rows, too, and they are counted.
    pub fn finish_after(&mut self, frames: u32, mut sink: impl FnMut(i64, &[f32])) -> i64 {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled);
        let ring = &mut self.ring;
        self.mel
            .push(&self.resampled, |row| ring.push(row, &mut sink));
        let samples = self.mel.received();
        if samples == 0 {
            return self.spec.row_count(0);
        }
        let after = match self.spec.outside {
            Outside::Silence => i64::from(frames),
            Outside::ZeroFeatures => 0,
        };
        let end = self.spec.row_count(samples) + after;
        let mel_end = self.spec.first_mel_row_at_end(end - 1, samples) + self.spec.mel_rows as i64;
        self.mel.finish(mel_end, |row| ring.push(row, &mut sink));
        // What is left are rows shifted back: the mel rows that they would see are past the end.
        while ring.next_row < end {
            let first = self.spec.first_mel_row_at_end(ring.next_row, samples);
            ring.hand_out(first, &mut sink);
        }
        end
    }
}

/// A 16-bit sample as -1..1.
#[inline]
pub(super) fn to_unit(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// The latest mel rows, and the feature frame that waits for the next.
#[derive(Clone)]
struct MelRing {
    spec: FrontEndSpec,
    lowest: i64,
    /// Mel row `r` is at `r mod capacity`.
    rows: Vec<[f32; BANDS]>,
    next_mel: i64,
    next_row: i64,
    input: Vec<f32>,
}

impl MelRing {
    fn new(spec: FrontEndSpec, lowest: i64) -> Self {
        let mut ring = Self {
            spec,
            lowest,
            // One row more than are ever read together, and as many as a step between feature frames can leave unread.
            rows: vec![[0.0; BANDS]; spec.mel_rows + 8],
            next_mel: 0,
            next_row: 0,
            input: vec![0.0; spec.input_len()],
        };
        ring.reset();
        ring
    }

    fn reset(&mut self) {
        self.next_mel = self.lowest;
        self.next_row = self.spec.lowest_row();
    }

    fn push(&mut self, row: &[f32; BANDS], sink: &mut impl FnMut(i64, &[f32])) {
        let slot = self.slot(self.next_mel);
        self.rows[slot] = *row;
        self.next_mel += 1;
        let first = self.spec.first_mel_row(self.next_row);
        if self.next_mel == first + self.spec.mel_rows as i64 {
            self.hand_out(first, sink);
        }
    }

    fn hand_out(&mut self, first: i64, sink: &mut impl FnMut(i64, &[f32])) {
        let width = self.spec.mel_rows;
        for column in 0..width {
            let row = &self.rows[self.slot(first + column as i64)];
            for (band, value) in row.iter().enumerate() {
                self.input[band * width + column] = *value;
            }
        }
        sink(self.next_row, &self.input);
        self.next_row += 1;
    }

    fn slot(&self, mel_row: i64) -> usize {
        mel_row.rem_euclid(self.rows.len() as i64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{RATE_HZ, mel_rows};
    use super::*;

    const SILENT: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

    type Rows = Vec<(i64, Vec<f32>)>;

    fn noise(len: usize, seed: u32) -> Vec<i16> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16 / 4
            })
            .collect()
    }

    fn run<'a>(
        front_end: &mut RollingFrontEnd,
        pieces: impl IntoIterator<Item = &'a [i16]>,
    ) -> (Rows, i64) {
        let mut rows = Rows::new();
        for piece in pieces {
            front_end.push(piece, |row, input| rows.push((row, input.to_vec())));
        }
        let end = front_end.finish(|row, input| rows.push((row, input.to_vec())));
        (rows, end)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn pieces_of_any_size_give_the_same_bits(
            rate in prop_oneof![Just(24_000u32), Just(16_000), Just(48_000), Just(44_100), Just(8_000), 8_000u32..=48_000],
            cuts in proptest::collection::vec(1usize..3_000, 0..40),
            len in 0usize..16_000,
            seed: u32,
            ave: bool,
        ) {
            let spec = if ave { FrontEndSpec::AVE } else { SILENT };
            let samples = noise(len, seed);
            let mut front_end = RollingFrontEnd::new(spec, rate).unwrap();
            let (whole, end) = run(&mut front_end, [&samples[..]]);
            front_end.reset();
            let mut rest = &samples[..];
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (pieced, pieced_end) = run(&mut front_end, pieces);
            prop_assert_eq!(end, pieced_end);
            prop_assert!(whole == pieced);
            prop_assert!(whole.iter().map(|(row, _)| *row).eq(spec.lowest_row()..end));
        }
    }

    #[test]
    fn inputs_are_the_mel_rows_of_the_definition_bands_first() {
        let samples = noise(20_000, 3);
        let unit: Vec<f32> = samples.iter().map(|s| to_unit(*s)).collect();
        let mel = mel_rows(&unit);
        let (rows, end) = run(
            &mut RollingFrontEnd::new(FrontEndSpec::AVE, RATE_HZ).unwrap(),
            [&samples[..]],
        );
        assert_eq!(end, 28);
        for (row, input) in rows {
            let first = ((row * 16 / 5) as usize).min(mel.len() - 16);
            for (at, value) in input.iter().enumerate() {
                assert_eq!(*value, mel[first + at % 16][at / 16], "row {row}");
            }
        }
    }

    #[test]
    fn a_row_comes_out_with_its_last_sample_and_not_before() {
        let mut front_end = RollingFrontEnd::new(SILENT, RATE_HZ).unwrap();
        let samples = noise(4_000, 5);
        let needed = SILENT.samples(0).end as usize;
        let mut rows = 0;
        front_end.push(&samples[..needed - 1], |_, _| rows += 1);
        assert_eq!(rows, 0);
        front_end.push(&samples[needed - 1..needed], |_, _| rows += 1);
        assert_eq!(rows, 1);
        assert_eq!(front_end.next_row(), 1);
    }
}
