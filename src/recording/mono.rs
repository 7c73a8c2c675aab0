//! Samples of all channels in, one channel out.

use crate::audio::{Sound, check_recording_rate};

use super::RecordingError;

/// The longest recording, in samples of one channel: 1 GiB of memory, 3 hours at 48 kHz.
pub const MAX_SAMPLES: u64 = 1 << 29;
/// The longest recording, in seconds. At 1 kHz it is this that bounds what the resampler makes of it.
pub const MAX_SECONDS: u64 = 6 * 3_600;

/// The sound as far as it has been read.
pub(super) struct Mono {
    rate_hz: u32,
    samples: Vec<i16>,
}

impl Mono {
    /// # Errors
    /// [`RecordingError::Rate`].
    pub(super) fn new(rate_hz: u32) -> Result<Self, RecordingError> {
        check_recording_rate(rate_hz)?;
        Ok(Self {
            rate_hz,
            samples: Vec::new(),
        })
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Appends samples of `channels` channels in turns; full scale is -1..1.
    ///
    /// # Errors
    /// [`RecordingError::TooLong`].
    pub(super) fn push(
        &mut self,
        interleaved: &[f32],
        channels: usize,
    ) -> Result<(), RecordingError> {
        let frames = interleaved.len() / channels;
        check_length(self.samples.len() + frames, self.rate_hz)?;
        let frames = interleaved.chunks_exact(channels);
        self.samples.extend(frames.map(mean_as_i16));
        Ok(())
    }

    pub(super) fn finish(self) -> Sound {
        Sound {
            rate_hz: self.rate_hz,
            samples: self.samples,
        }
    }
}

/// Checks that a recording may have so many samples.
///
/// # Errors
/// [`RecordingError::TooLong`].
pub(super) fn check_length(samples: usize, rate_hz: u32) -> Result<(), RecordingError> {
    let limit = MAX_SAMPLES.min(MAX_SECONDS * u64::from(rate_hz));
    match samples as u64 > limit {
        true => Err(RecordingError::TooLong {
            rate_hz,
            max_seconds: limit / u64::from(rate_hz),
        }),
        false => Ok(()),
    }
}

/// The mean of one sample of every channel. `as` saturates, and takes NaN to 0.
fn mean_as_i16(channels: &[f32]) -> i16 {
    let mean = channels.iter().sum::<f32>() / channels.len() as f32;
    (mean * 32_768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_that_is_too_long_is_refused_by_its_seconds_and_by_its_samples() {
        let words = |samples, rate_hz| check_length(samples, rate_hz).unwrap_err().to_string();
        assert!(check_length(21_600_000, 1_000).is_ok());
        assert!(words(21_600_001, 1_000).contains("longer than 21600 s"));
        assert!(check_length(1 << 29, 384_000).is_ok());
        assert!(words((1 << 29) + 1, 384_000).contains("longer than 1398 s"));
    }
}
