//! What is checked before a stream is opened or taken up again.

use super::StreamError;
use crate::audio::FRAMES_PER_SECOND;
use crate::protocol::stream::{ImageKind, Open};

/// What a stream must be taken up again as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeFacts {
    /// The package of epochs still to come.
    pub model_name: String,
    /// The rate of the sound, Hz.
    pub rate_hz: u32,
    /// Which picture its frames carry: what the machine was found to have room for.
    pub image: ImageKind,
}

impl ResumeFacts {
    /// Whether `open` asks for the same stream.
    ///
    /// # Errors
    /// [`StreamError::ResumedAsAnother`]
    pub fn check(&self, open: &Open) -> Result<(), StreamError> {
        let asked = (&open.model_name, open.sample_rate_hz, open.image);
        if asked == (&self.model_name, self.rate_hz, self.image) {
            return Ok(());
        }
        Err(StreamError::ResumedAsAnother {
            model_name: self.model_name.clone(),
            rate_hz: self.rate_hz,
            image: self.image,
        })
    }
}

/// Checks what a client may ask of any stream.
///
/// # Errors
/// [`StreamError::FrameRate`]
pub fn check_open(open: &Open) -> Result<(), StreamError> {
    match open.frame_rate {
        Some(asked) if asked != FRAMES_PER_SECOND => Err(StreamError::FrameRate { asked }),
        _ => Ok(()),
    }
}
