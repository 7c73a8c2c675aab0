//! A whole recording's features.

use crate::audio::{AudioError, FeatureSlot, FrontEndSpec, Outside, RollingFrontEnd, Wav};
use crate::model::{ModelError, Network};

/// The encoder's output for every row of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechFeatures {
    spec: FrontEndSpec,
    /// The rows `first..end`, one after another.
    rows: Vec<f32>,
    first: i64,
    end: i64,
    frames: u32,
}

/// Why a recording has no features.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpeechError {
    Audio(AudioError),
    Model(ModelError),
}

impl SpeechFeatures {
    /// Runs the encoder over a recording. `progress` is told the number of rows done after each.
    ///
    /// # Errors
    /// When the recording's rate or `spec` is out of range, the encoder does not fit `spec`, or the engine fails.
    pub fn compute(
        spec: FrontEndSpec,
        encoder: &Network,
        wav: &Wav,
        mut progress: impl FnMut(u64),
    ) -> Result<SpeechFeatures, SpeechError> {
        let mut front_end = RollingFrontEnd::new(spec, wav.rate_hz).map_err(SpeechError::Audio)?;
        let mut state = encoder.new_state().map_err(SpeechError::Model)?;
        for (specs, expected) in [
            (encoder.inputs(), spec.input_len()),
            (encoder.outputs(), spec.width),
        ] {
            if specs.len() != 1 || specs[0].values() != expected {
                return Err(SpeechError::Model(ModelError::WrongLength {
                    network: encoder.name().to_owned(),
                    tensor: specs
                        .first()
                        .map_or_else(String::new, |spec| spec.name.clone()),
                    expected: specs.first().map_or(0, |spec| spec.values()),
                    found: expected,
                }));
            }
        }
        let mut rows = Vec::new();
        let mut failed = None;
        let first = spec.lowest_row();
        let mut row = |_: i64, mel: &[f32]| {
            if failed.is_some() {
                return;
            }
            state.input_mut(0).copy_from_slice(mel);
            match state.execute() {
                Ok(()) => rows.extend_from_slice(state.output(0)),
                Err(error) => failed = Some(error),
            }
            progress((rows.len() / spec.width) as u64);
        };
        front_end.push(&wav.samples, &mut row);
        let end = front_end.finish(&mut row);
        if let Some(error) = failed {
            return Err(SpeechError::Model(error));
        }
        let frames = frame_count(wav);
        // Rows that a finished sound no longer has, though a running one gave them out.
        rows.truncate((end - first).max(0) as usize * spec.width);
        let end = first + (rows.len() / spec.width) as i64;
        Ok(SpeechFeatures {
            spec,
            rows,
            first,
            end,
            frames,
        })
    }

    /// Frames of video that the recording lasts, begun ones included.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Fills `out` (`rows * width` values) with what frame `frame` sees.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn window(&self, frame: u32, out: &mut [f32]) {
        assert_eq!(out.len(), self.spec.window_len());
        let window = self.spec.window(i64::from(frame), Some(self.end));
        for (slot, row) in out.chunks_exact_mut(self.spec.width).zip(window) {
            match row {
                FeatureSlot::Frame(row) => slot.copy_from_slice(self.row(row)),
                FeatureSlot::Zero => slot.fill(0.0),
            }
        }
    }

    /// The sequence as tools of this field store it: `[n, width]`, where the ends are repeated if the family does so.
    pub fn sequence(&self) -> (Vec<usize>, Vec<f32>) {
        let width = self.spec.width;
        let edges = match self.spec.outside {
            Outside::Silence => 0,
            Outside::ZeroFeatures if self.rows.is_empty() => 0,
            Outside::ZeroFeatures => self.spec.edge_rows as usize,
        };
        let mut values = Vec::with_capacity(self.rows.len() + 2 * edges * width);
        for _ in 0..edges {
            values.extend_from_slice(&self.rows[..width]);
        }
        values.extend_from_slice(&self.rows);
        for _ in 0..edges {
            values.extend_from_slice(&self.rows[self.rows.len() - width..]);
        }
        (vec![values.len() / width, width], values)
    }

    fn row(&self, row: i64) -> &[f32] {
        let at = (row - self.first) as usize * self.spec.width;
        &self.rows[at..at + self.spec.width]
    }
}

/// Frames of video that a recording lasts, a begun one included.
pub fn frame_count(wav: &Wav) -> u32 {
    let frames = wav.samples.len() as u64 * u64::from(crate::audio::FRAMES_PER_SECOND);
    frames
        .div_ceil(u64::from(wav.rate_hz))
        .min(u64::from(u32::MAX)) as u32
}

impl std::fmt::Display for SpeechError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpeechError::Audio(error) => error.fmt(f),
            SpeechError::Model(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SpeechError {}
