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
mod vad;

pub use mel::{MEL_FLOOR, MelKernel, mel_rows};
pub use pcm::{Wav, decode_pcm16, read_wav};
pub use request::{RequestFrontEnd, RequestPlan, RequestRow};
pub use resample::{Resampler, SincKernel};
pub use rolling::RollingFrontEnd;
pub use spec::{FeatureFrame, FeatureSlot, FrontEndSpec, Outside};
pub use vad::{LEVEL_BLOCK_MS, VadParams, VoiceActivityDetector};

/// The rate that everything after the resampler works at, in Hz.
pub const RATE_HZ: u32 = 16_000;
/// The lowest input rate accepted, in Hz (telephone speech).
pub const MIN_INPUT_HZ: u32 = 8_000;
/// The highest input rate accepted, in Hz (what sound cards deliver).
pub const MAX_INPUT_HZ: u32 = 48_000;
/// The rate of a version 1 request that names none, in Hz.
pub const DEFAULT_INPUT_HZ: u32 = 24_000;
/// Frames of video (and encoder rows) a second.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioError {
    /// A sample rate outside [`MIN_INPUT_HZ`]..=[`MAX_INPUT_HZ`].
    Rate { hz: u32 },
    /// PCM16 whose length in bytes is odd.
    OddLength { bytes: usize },
    /// A WAV file of a kind that is not read.
    WavFormat {
        bits: u16,
        float: bool,
        channels: u16,
    },
    /// A WAV file that cannot be read; the text is the reader's.
    Wav(String),
    /// A front end whose numbers are out of range.
    Spec {
        field: &'static str,
        value: i64,
        low: i64,
        high: i64,
    },
}

impl std::fmt::Display for AudioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rate { hz } => {
                write!(
                    f,
                    "sample rate {hz} Hz is outside {MIN_INPUT_HZ} to {MAX_INPUT_HZ} Hz"
                )
            }
            Self::OddLength { bytes } => {
                write!(
                    f,
                    "PCM16 audio of {bytes} bytes: the length must be even, two bytes a sample"
                )
            }
            Self::WavFormat {
                bits,
                float,
                channels,
            } => write!(
                f,
                "WAV file with {channels} channels of {bits}-bit {}: 8- to 32-bit integers or 32-bit floats are read",
                if *float { "floats" } else { "integers" }
            ),
            Self::Wav(text) => write!(f, "WAV file cannot be read: {text}"),
            Self::Spec {
                field,
                value,
                low,
                high,
            } => {
                write!(
                    f,
                    "audio front end: {field} is {value}, and must be within {low} to {high}"
                )
            }
        }
    }
}

impl std::error::Error for AudioError {}

/// Checks an input rate.
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
