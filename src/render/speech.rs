//! A whole recording's features.

use crate::audio::{AudioError, FeatureSlot, FrontEndSpec, Outside, RollingFrontEnd, Sound};
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
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum SpeechError {
    Audio(#[from] AudioError),
    Model(#[from] ModelError),
}

impl SpeechFeatures {
    /// Runs the encoder over a recording. `progress` is told the number of rows done after each.
    ///
    /// # Errors
    /// When the sound's rate or `spec` is out of range, the encoder does not fit `spec`, or the engine fails.
    pub fn compute(
        spec: FrontEndSpec,
        encoder: &Network,
        sound: &Sound,
        mut progress: impl FnMut(u64),
    ) -> Result<SpeechFeatures, SpeechError> {
        let mut front_end = RollingFrontEnd::new(spec, sound.rate_hz)?;
        let mut state = encoder.new_state()?;
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
        front_end.push(&sound.samples, &mut row);
        let end = front_end.finish(&mut row);
        if let Some(error) = failed {
            return Err(error.into());
        }
        // Rows that a finished sound no longer has, though a running one gave them out.
        rows.truncate((end - first).max(0) as usize * spec.width);
        let end = first + (rows.len() / spec.width) as i64;
        Ok(SpeechFeatures {
            spec,
            rows,
            first,
            end,
            frames: sound.frames(),
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
