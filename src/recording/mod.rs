//! Sound files: whatever kind a recording is of, it becomes one channel of 16-bit samples.
//!
//! ```text
//! Input (looks ahead) ── sniff ──┬─ wav: chunks, PCM of every kind ──┬── Mono: mean of the channels, limit
//!                                └─ coded: FLAC, MP3, Ogg Vorbis ────┘
//!                                └─ anything else: an error that names what the file is
//! ```
//!
//! Files are read from front to back, once, so a pipe will do. No size that a file claims is believed: memory grows with
//! the bytes that are there, up to [`MAX_SAMPLES`].

mod coded;
mod error;
mod input;
mod mono;
mod sniff;
mod wav;

use std::io::Read;

use crate::audio::Sound;
pub use error::{RecordingError, WavFault};
use input::Input;
pub use mono::{MAX_SAMPLES, MAX_SECONDS};
use sniff::{Kind, sniff};

/// Reads a whole recording: WAV (RIFF, RIFX, RF64, BW64) of PCM, floats, A-law or µ-law, FLAC, MP3, or Ogg Vorbis; any
/// number of channels, 1 to 384 kHz. What is missing at the end of a file is left out.
///
/// # Errors
/// [`RecordingError`] says what the file is, or what is wrong with it, and what to do.
pub fn read_recording(reader: impl Read + Send + Sync) -> Result<Sound, RecordingError> {
    let mut input = Input::new(reader);
    let sound = match sniff(&mut input)? {
        Kind::Wav => wav::read(input)?,
        Kind::Coded(codec) => coded::read(input, codec)?,
    };
    match sound.samples.is_empty() {
        true => Err(RecordingError::Silent),
        false => Ok(sound),
    }
}

#[cfg(test)]
mod tests;
