//! Why something that a client asks of its streams is not done.

use crate::engine::Overloaded;
use crate::protocol::{ErrorCode, ErrorReply};
use crate::stream::StreamError;

use super::super::error::SessionError;
use super::super::registry::ClaimError;

/// A message about a stream that is not carried out. Other streams, and the connection, go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamRequestError {
    /// No stream of this number.
    #[error("stream {stream} is not open on this connection; open it first")]
    NotOpen { stream: u16 },
    /// A stream that another connection is still to hand over.
    #[error("stream {stream} is being taken over from another connection; wait for opened")]
    BeingTakenOver { stream: u16 },
    /// A stream of this number is open.
    #[error("stream {stream} is open already; choose another number, or close it")]
    Exists { stream: u16 },
    /// As many streams as may be.
    #[error("{limit} streams of this connection are open (--max-streams); close one first")]
    TooMany { limit: usize },
    /// The machine has no room for the stream.
    #[error(
        "this machine carries {} such streams and has {} open; try again when one has ended",
        .0.capacity, .0.active
    )]
    NoRoom(Overloaded),
    /// The machine has no room for the stream with another package.
    #[error(
        "this machine carries {} streams of {model_name:?} and has {} open; the stream keeps its package",
        .full.capacity, .full.active
    )]
    NoRoomToChange {
        model_name: String,
        full: Overloaded,
    },
    /// A package that does not hear.
    #[error(
        "the package {model_name:?} has no audio encoder, only audio of its own; a stream needs one that hears"
    )]
    NoEncoder { model_name: String },
    /// A stream that is not taken up.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A connection that did not hand a stream over.
    #[error(
        "the connection that has this stream did not hand it over within {limit_ms} ms; try again, or open one without a token"
    )]
    NotHandedOver { limit_ms: u128 },
    /// The system has no random numbers for a token.
    #[error("no token could be made: {0}")]
    NoToken(#[from] getrandom::Error),
    /// The stream itself refuses.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What any request may be refused for.
    #[error(transparent)]
    Session(Box<SessionError>),
}

impl StreamRequestError {
    /// The stable word for the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::NotOpen { .. } | Self::BeingTakenOver { .. } => ErrorCode::UnknownStream,
            Self::Exists { .. } => ErrorCode::StreamExists,
            Self::TooMany { .. } => ErrorCode::TooLarge,
            Self::NoRoom(_) | Self::NoRoomToChange { .. } => ErrorCode::Busy,
            Self::NoEncoder { .. } => ErrorCode::Unsupported,
            Self::Claim(ClaimError::Other(error)) | Self::Stream(error) => error.code(),
            Self::Claim(ClaimError::Unknown | ClaimError::Claimed) => ErrorCode::BadToken,
            Self::NotHandedOver { .. } => ErrorCode::BadToken,
            Self::NoToken(_) => ErrorCode::Internal,
            Self::Session(error) => error.code(),
        }
    }

    /// The error as the client is told it.
    pub(super) fn reply(&self, stream: u16) -> ErrorReply {
        ErrorReply {
            stream: Some(stream),
            ..ErrorReply::new(self.code(), self.to_string())
        }
    }
}

impl From<SessionError> for StreamRequestError {
    fn from(error: SessionError) -> Self {
        Self::Session(Box::new(error))
    }
}
