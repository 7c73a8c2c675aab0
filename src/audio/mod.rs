//! From samples to the inputs of the audio encoder. Pure: no clock, no thread, no log, no file system.
//!
//! ```text
//! PCM16, 8–48 kHz ─ Resampler ─ 16 kHz ─ pre-emphasis ─ MelKernel ─ 80 rows/s ─ 25 encoder inputs/s
//!                                    └── VoiceActivityDetector                        (FrontEndSpec: which mel rows)
//! ```
//!
//! Two ways lead through it, and both give the same bits for the same sound:
//!
//! - [`RollingFrontEnd`]: samples come in pieces of any size (a stream) or at once (a file).
//! - [`RequestFrontEnd`]: one request brings the sound around one frame (wire version 1).
//!
//! Every stage computes each of its outputs from a fixed set of its inputs by the same operations in the same order,
//! so the way in which the input was cut cannot matter: there is no state but the samples themselves.

mod mel;
mod pcm;
mod request;
mod resample;
mod rolling;
mod spec;
mod time;
mod vad;

pub use mel::{MEL_FLOOR, MelKernel, mel_rows};
pub use pcm::{Sound, decode_pcm16};
pub use request::{RequestFrontEnd, RequestPlan, RequestRow};
pub use resample::{Resampler, SincKernel};
pub use rolling::RollingFrontEnd;
pub use spec::{FeatureFrame, FeatureSlot, FrontEndSpec, Outside};
pub use time::{frame_count, frame_sample};
pub use vad::{LEVEL_BLOCK_MS, VadParams, VoiceActivityDetector};

pub use crate::base::sample_rate::{
    DEFAULT_SAMPLE_RATE_HZ as DEFAULT_INPUT_HZ, MAX_SAMPLE_RATE_HZ as MAX_INPUT_HZ,
    MIN_SAMPLE_RATE_HZ as MIN_INPUT_HZ,
};

/// The rate that everything after the resampler works at, in Hz.
pub const RATE_HZ: u32 = 16_000;
/// The lowest rate of a recording, in Hz: below it nothing of speech is left.
pub const MIN_RECORDING_HZ: u32 = 1_000;
/// The highest rate of a recording, in Hz (studio equipment). The resampler's table grows with it: 5 MiB here.
pub const MAX_RECORDING_HZ: u32 = 384_000;
/// Frames of video (and feature frames) a second.
pub const FRAMES_PER_SECOND: u32 = 25;
/// Samples at [`RATE_HZ`] from one frame to the next.
pub const FRAME_SAMPLES: u32 = RATE_HZ / FRAMES_PER_SECOND;
/// Samples at [`RATE_HZ`] from one mel row to the next: 12.5 ms.
pub const HOP: usize = 200;
/// Length of the Fourier transform, in samples at [`RATE_HZ`]: 50 ms.
pub const FFT_LEN: usize = 800;
/// Mel bands in a row.
pub const BANDS: usize = 80;

/// What can be wrong with sound that was handed in. The sender is at fault in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// A sample rate outside [`MIN_INPUT_HZ`]..=[`MAX_INPUT_HZ`].
    #[error("sample rate {hz} Hz is outside {MIN_INPUT_HZ} to {MAX_INPUT_HZ} Hz")]
    Rate { hz: u32 },
    /// A sample rate of a recording outside [`MIN_RECORDING_HZ`]..=[`MAX_RECORDING_HZ`].
    #[error("sample rate {hz} Hz is outside {MIN_RECORDING_HZ} to {MAX_RECORDING_HZ} Hz")]
    RecordingRate { hz: u32 },
    /// PCM16 whose length in bytes is odd.
    #[error("PCM16 audio of {bytes} bytes: the length must be even, two bytes a sample")]
    OddLength { bytes: usize },
    /// A front end whose numbers are out of range.
    #[error("audio front end: {field} is {value}, and must be within {low} to {high}")]
    Spec {
        field: &'static str,
        value: i64,
        low: i64,
        high: i64,
    },
}

/// Checks the rate of sound that a client sends.
///
/// # Errors
/// [`AudioError::Rate`] outside [`MIN_INPUT_HZ`]..=[`MAX_INPUT_HZ`].
pub fn check_rate(hz: u32) -> Result<(), AudioError> {
    if (MIN_INPUT_HZ..=MAX_INPUT_HZ).contains(&hz) {
        Ok(())
    } else {
        Err(AudioError::Rate { hz })
    }
}

/// Checks the rate of a recording, which is there as a whole and may take the time it needs.
///
/// # Errors
/// [`AudioError::RecordingRate`] outside [`MIN_RECORDING_HZ`]..=[`MAX_RECORDING_HZ`].
pub fn check_recording_rate(hz: u32) -> Result<(), AudioError> {
    if (MIN_RECORDING_HZ..=MAX_RECORDING_HZ).contains(&hz) {
        Ok(())
    } else {
        Err(AudioError::RecordingRate { hz })
    }
}
