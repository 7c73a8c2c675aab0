//! What a client can do wrong with a stream, and what can go wrong with it.

use crate::audio::{AudioError, FRAMES_PER_SECOND};
use crate::protocol::ErrorCode;
use crate::protocol::stream::ImageKind;

/// Why something that was asked of a stream was not done. The stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// One message with more audio than may be.
    #[error(
        "{bytes} bytes of audio in one message; at most {limit} are taken, send smaller pieces"
    )]
    ChunkTooLarge { bytes: usize, limit: u32 },
    /// Another epoch while as many wait as may.
    #[error("{waiting} epochs wait already; wait for their frames, or interrupt them")]
    TooManyEpochs { waiting: usize },
    /// Audio of an epoch after its end.
    #[error("epoch {epoch} has ended; begin another for more audio")]
    EpochEnded { epoch: u32 },
    /// A hole in the audio, too long to be filled.
    #[error(
        "audio of epoch {epoch} goes on at sample {at}, and {missing} samples before it are missing; at most {limit_ms} ms are filled, begin another epoch"
    )]
    Gap {
        epoch: u32,
        at: u64,
        missing: u64,
        limit_ms: u32,
    },
    /// More audio than may wait for its frames.
    #[error(
        "more than {limit_ms} ms of audio wait for their frames; send it as frames come (this piece was not taken)"
    )]
    TooFarAhead { limit_ms: u32 },
    /// An interrupt that raises no epoch.
    #[error("interrupt must raise the epoch, which is {current} already")]
    EpochNotRaised { current: u32 },
    /// A start of an epoch whose audio has come.
    #[error("epoch {epoch} has begun already; start comes before its audio")]
    EpochBegun { epoch: u32 },
    /// A frame rate that the package does not have.
    #[error("frame_rate: this package has {FRAMES_PER_SECOND} frames a second, and not {asked}")]
    FrameRate { asked: u32 },
    /// A sample rate, or a package, that the front end does not take.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// A stream taken up again as another than it was.
    #[error(
        "the stream to be taken up is of {model_name} at {rate_hz} Hz, image {}; resume it so, or open another without a token",
        .image.as_str()
    )]
    ResumedAsAnother {
        model_name: String,
        rate_hz: u32,
        image: ImageKind,
    },
    /// A message that opens or changes a stream, given to one that is open.
    #[error("the stream is open already")]
    AlreadyOpen,
    /// A frame could not be computed; the text is the engine's.
    #[error("{reason}")]
    FrameFailed { reason: String },
}

impl StreamError {
    /// The code that a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ChunkTooLarge { .. } | Self::TooManyEpochs { .. } | Self::TooFarAhead { .. } => {
                ErrorCode::TooLarge
            }
            Self::EpochEnded { .. }
            | Self::Gap { .. }
            | Self::EpochNotRaised { .. }
            | Self::EpochBegun { .. } => ErrorCode::BadSequence,
            Self::FrameRate { .. } => ErrorCode::Unsupported,
            Self::Audio(_) | Self::ResumedAsAnother { .. } => ErrorCode::BadValue,
            Self::AlreadyOpen => ErrorCode::StreamExists,
            Self::FrameFailed { .. } => ErrorCode::Internal,
        }
    }
}
