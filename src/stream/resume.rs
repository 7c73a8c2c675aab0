//! What is left of a stream that has no connection.

use super::StreamError;
use super::StreamPackage;
use super::concurrency::LatencyEstimator;
use super::figures::Figures;
use crate::audio::VoiceActivityDetector;
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

/// A stream whose connection broke, kept for its client.
#[derive(Debug, Clone)]
pub struct Detached<P> {
    pub(super) facts: ResumeFacts,
    pub(super) package: StreamPackage<P>,
    /// The epoch that it goes on with, and where on the idle walk.
    pub(super) epoch: u32,
    pub(super) walk: u32,
    pub(super) figures: Figures,
    pub(super) latency: LatencyEstimator,
    pub(super) vad: Option<VoiceActivityDetector>,
}

impl<P> Detached<P> {
    /// What it must be taken up again as.
    pub fn facts(&self) -> &ResumeFacts {
        &self.facts
    }
}
