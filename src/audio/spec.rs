//! Which mel rows a feature frame sees, and which feature frames a frame needs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AudioError, BANDS, FFT_LEN, FRAME_SAMPLES, HOP, RATE_HZ, resample};

/// What the network was trained to see where there is no sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// Before and after the sound there is digital silence; every feature frame exists.
    Silence,
    /// Before and after the sound there are no feature frames: `edge_rows` copies of the nearest one, then zeros.
    #[default]
    ZeroFeatures,
}

/// An audio front end: from mel rows (80 a second) to feature frames (25 a second) to the window of a frame.
///
/// Feature frame `k` belongs to the instant `40 k` ms and sees the `mel_rows` mel rows from `floor(3.2 k) + mel_offset` on.
/// Frame `i` sees the feature frames `i + first_row .. i + first_row + rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontEndSpec {
    /// Mel rows in an encoder's input, 1..=128. The input is `[BANDS][mel_rows]`, time last.
    pub mel_rows: usize,
    /// First mel row of a feature frame, from its own instant, in mel rows, -128..=128.
    pub mel_offset: i32,
    /// Features that the encoder gives for a row, 1..=65536.
    pub width: usize,
    /// First feature frame of a frame's window, from the frame's own, -64..=64.
    pub first_row: i32,
    /// Feature frames in a frame's window, 1..=64.
    pub rows: usize,
    /// Copies of the first and of the last row beyond the ends of the sound, 0..=8; used with [`Outside::ZeroFeatures`].
    pub edge_rows: u32,
    /// What there is where there is no sound.
    pub outside: Outside,
}

/// One place in the window of features that a frame's picture is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureSlot<T> {
    /// Zeros: there is no sound there, and the network was trained to see none.
    Zero,
    /// A feature frame.
    Frame(T),
}

/// A feature frame: what the audio encoder gives for one instant, told by its input. The same feature frame in the window
/// of another picture is the same pair of pointers.
#[derive(Debug, PartialEq)]
pub struct FeatureFrame<F> {
    /// The encoder's input, `[BANDS][mel_rows]`, -4..=4, time last.
    pub input: Arc<[f32]>,
    /// The caller's place for the encoder's output, made with `F::default()`.
    pub features: Arc<F>,
}

impl<F: Default> FeatureFrame<F> {
    /// A feature frame that nobody has computed yet.
    pub fn new(input: impl Into<Arc<[f32]>>) -> Self {
        Self {
            input: input.into(),
            features: Arc::default(),
        }
    }
}

impl<F> Clone for FeatureFrame<F> {
    fn clone(&self) -> Self {
        Self {
            input: self.input.clone(),
            features: self.features.clone(),
        }
    }
}

impl FrontEndSpec {
    /// The front end of the SyncTalk_2D `ave` family: 16 rows of 512 features a frame, look-ahead 452.5 ms.
    pub const AVE: Self = Self {
        mel_rows: 16,
        mel_offset: 0,
        width: 512,
        first_row: -9,
        rows: 16,
        edge_rows: 1,
        outside: Outside::ZeroFeatures,
    };

    /// The front end of the default face: one row of ten features a frame, look-ahead 187.5 ms.
    pub const DEFAULT_FACE: Self = Self {
        mel_rows: 36,
        mel_offset: -22,
        width: 10,
        first_row: 0,
        rows: 1,
        edge_rows: 0,
        outside: Outside::Silence,
    };

    /// Checks every number against its range, so that nothing below can overflow or allocate without bound.
    ///
    /// # Errors
    /// [`AudioError::Spec`] names the first field out of range.
    pub fn validate(&self) -> Result<(), AudioError> {
        let check = |field, value: i64, low, high| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(AudioError::Spec {
                    field,
                    value,
                    low,
                    high,
                })
            }
        };
        check("mel_rows", self.mel_rows as i64, 1, 128)?;
        check("mel_offset", i64::from(self.mel_offset), -128, 128)?;
        check("width", self.width as i64, 1, 65_536)?;
        check("first_row", i64::from(self.first_row), -64, 64)?;
        check("rows", self.rows as i64, 1, 64)?;
        check("edge_rows", i64::from(self.edge_rows), 0, 8)
    }

    /// Values in an encoder's input.
    pub fn input_len(&self) -> usize {
        BANDS * self.mel_rows
    }

    /// Values in a frame's window of features.
    pub fn window_len(&self) -> usize {
        self.rows * self.width
    }

    /// The first mel row that feature frame `row` sees. 3.2 mel rows a frame, rounded down, also below zero.
    pub fn first_mel_row(&self, row: i64) -> i64 {
        (row * 16).div_euclid(5) + i64::from(self.mel_offset)
    }

    /// The samples at 16 kHz that feature frame `row` depends on, from the start of the sound: `start..end`.
    ///
    /// The first of a mel row's 800 samples is weighted by zero, but pre-emphasis reads it for the second.
    pub fn samples(&self, row: i64) -> std::ops::Range<i64> {
        let first = self.first_mel_row(row);
        let half = (FFT_LEN / 2) as i64;
        let hop = HOP as i64;
        first * hop - half..(first + self.mel_rows as i64 - 1) * hop + half
    }

    /// The first feature frame that exists.
    pub fn lowest_row(&self) -> i64 {
        match self.outside {
            Outside::Silence => i64::from(self.first_row).min(0),
            Outside::ZeroFeatures => 0,
        }
    }

    /// How many feature frames `samples` samples at 16 kHz have when the sound ends there: rows
    /// [`Self::lowest_row`]`..row_count`.
    ///
    /// With [`Outside::ZeroFeatures`] it is the count that the networks of this family were trained with: `2 + int((T -
    /// mel_rows) / 80 * 25)` for `T` mel rows, computed in the same floating point, whose rounding it inherits.
    pub fn row_count(&self, samples: u64) -> i64 {
        if samples == 0 {
            return self.lowest_row();
        }
        match self.outside {
            Outside::Silence => {
                let frames = samples.div_ceil(u64::from(FRAME_SAMPLES)) as i64;
                (frames + i64::from(self.first_row) + self.rows as i64 - 1).max(self.lowest_row())
            }
            Outside::ZeroFeatures => {
                let beyond = mel_row_count(samples) - self.mel_rows as i64;
                if beyond < 0 {
                    1
                } else {
                    (beyond as f64 / 80.0 * 25.0) as i64 + 2
                }
            }
        }
    }

    /// The first mel row of feature frame `row` in a sound of `samples` samples that has ended: the last row is shifted back
    /// where it would run past the end (with [`Outside::ZeroFeatures`]).
    pub fn first_mel_row_at_end(&self, row: i64, samples: u64) -> i64 {
        let first = self.first_mel_row(row);
        match self.outside {
            Outside::Silence => first,
            Outside::ZeroFeatures => {
                first.min((mel_row_count(samples) - self.mel_rows as i64).max(0))
            }
        }
    }

    /// The rows of frame `frame`'s window, in order; `end` is [`Self::row_count`] of a sound that has ended, `None` while
    /// it goes on (then every later row is taken to exist).
    pub fn window(
        &self,
        frame: i64,
        end: Option<i64>,
    ) -> impl ExactSizeIterator<Item = FeatureSlot<i64>> + use<> {
        let spec = *self;
        let first = frame + i64::from(spec.first_row);
        (0..spec.rows)
            .map(move |index| spec.window_row(first + index as i64, spec.lowest_row(), end))
    }

    /// What stands for row `row` when only rows `low..end` exist.
    pub(super) fn window_row(&self, row: i64, low: i64, end: Option<i64>) -> FeatureSlot<i64> {
        let edge = i64::from(self.edge_rows);
        let end = end.unwrap_or(i64::MAX);
        if low >= end {
            FeatureSlot::Zero
        } else if (low..end).contains(&row) {
            FeatureSlot::Frame(row)
        } else if row < low && row >= low - edge {
            FeatureSlot::Frame(low)
        } else if row >= end && row - edge < end {
            FeatureSlot::Frame(end - 1)
        } else {
            FeatureSlot::Zero
        }
    }

    /// Samples at 16 kHz after a frame's own instant that its window needs at most, the resampler not counted.
    pub fn look_ahead_samples(&self) -> u32 {
        // Five frames are sixteen mel rows: the pattern repeats from there.
        (0..5)
            .map(|frame: i64| {
                let last = frame + i64::from(self.first_row) + self.rows as i64 - 1;
                self.samples(last).end - frame * i64::from(FRAME_SAMPLES)
            })
            .max()
            .unwrap_or(0)
            .max(0) as u32
    }

    /// The time after a frame's own instant that its window needs at most, in ms, for input at `input_hz` (the
    /// resampler's reach included).
    pub fn look_ahead_ms(&self, input_hz: u32) -> f32 {
        self.look_ahead_samples() as f32 * 1000.0 / RATE_HZ as f32 + resample::reach_ms(input_hz)
    }
}

/// Mel rows of a sound of `samples` samples: one on every 200th sample, the first on sample 0.
fn mel_row_count(samples: u64) -> i64 {
    1 + (samples / HOP as u64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

    #[test]
    fn look_ahead_is_the_worst_of_the_five_phases() {
        assert_eq!(SHORT.look_ahead_ms(16_000), 187.5);
        assert_eq!(FrontEndSpec::AVE.look_ahead_ms(16_000), 452.5);
        assert!(SHORT.look_ahead_ms(24_000) < 191.0);
    }

    #[test]
    fn ave_counts_rows_as_its_training_did() {
        let spec = FrontEndSpec::AVE;
        // 864 mel rows: the golden file of this family has 267 rows, and 269 with the copies.
        assert_eq!(spec.row_count(863 * 200), 267);
        assert_eq!(spec.first_mel_row_at_end(265, 863 * 200), 848);
        assert_eq!(spec.first_mel_row_at_end(266, 863 * 200), 848);
        assert_eq!(spec.row_count(0), 0);
        assert_eq!(spec.row_count(1), 1);
        // (384 - 16) / 80 * 25 is 114.99… in floating point, and training rounded it down.
        assert_eq!(spec.row_count(383 * 200), 116);
    }

    #[test]
    fn ave_window_has_copies_at_the_edges_and_zeros_beyond() {
        let spec = FrontEndSpec::AVE;
        let rows: Vec<_> = spec.window(0, Some(4)).collect();
        let mut expected = vec![FeatureSlot::Zero; 8];
        expected.extend([0, 0, 1, 2, 3, 3].map(FeatureSlot::Frame));
        expected.extend([FeatureSlot::Zero; 2]);
        assert_eq!(rows, expected);
        assert!(spec.window(3, Some(0)).all(|row| row == FeatureSlot::Zero));
    }

    #[test]
    fn a_silent_surrounding_has_every_row() {
        assert_eq!(
            SHORT.window(7, None).collect::<Vec<_>>(),
            [FeatureSlot::Frame(7)]
        );
        assert_eq!(SHORT.row_count(640), 1);
        assert_eq!(SHORT.row_count(641), 2);
        assert_eq!(SHORT.first_mel_row(-1), -26);
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let error = FrontEndSpec { rows: 0, ..SHORT }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "audio front end: rows is 0, and must be within 1 to 64"
        );
    }
}
