//! Why a session does not do what its client asks.

use thiserror::Error;

use crate::engine::{JobError, Loading, Refused};
use crate::model::ModelError;
use crate::protocol::{ErrorCode, ErrorReply};

/// A request that was understood and is not carried out. The connection goes on.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The server takes no new work.
    #[error("the server is shutting down; connect again in a moment")]
    ShuttingDown,
    /// The client waits for as many replies as it may.
    #[error(
        "{limit} requests of this connection are in flight already; wait for a reply before the next"
    )]
    TooManyInFlight { limit: usize },
    /// As many packages are served as may be.
    #[error("{limit} packages are served already (--max-packages)")]
    TooManyPackages { limit: usize },
    /// Packages are the administrator's.
    #[error(
        "packages are loaded by the administrator; start the server with --allow-load to let clients do it"
    )]
    LoadForbidden,
    /// No such package so far, and some are still to come.
    #[error("{0}; the server is still loading, try again in a moment")]
    StillLoading(#[source] ModelError),
    /// No such package.
    #[error("{0}")]
    UnknownModel(#[source] ModelError),
    /// A package could not be loaded.
    #[error("{0}")]
    NotLoaded(#[source] ModelError),
    /// Another package is being loaded.
    #[error(transparent)]
    LoadInProgress(#[from] Loading),
    /// The engine takes no further job.
    #[error(transparent)]
    Submit(#[from] Refused),
    /// The engine could not make the frame.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl SessionError {
    /// The stable word for the error.
    pub fn code(&self) -> ErrorCode {
        match self {
            SessionError::ShuttingDown | SessionError::Submit(Refused::Stopping) => {
                ErrorCode::ShuttingDown
            }
            SessionError::TooManyInFlight { .. }
            | SessionError::LoadInProgress(_)
            | SessionError::Submit(Refused::Busy { .. }) => ErrorCode::Busy,
            SessionError::TooManyPackages { .. } => ErrorCode::TooLarge,
            SessionError::LoadForbidden => ErrorCode::Forbidden,
            SessionError::StillLoading(_) | SessionError::NotLoaded(_) => ErrorCode::NotLoaded,
            SessionError::UnknownModel(_) => ErrorCode::UnknownModel,
            SessionError::Job(error) => match error {
                JobError::NoAudio | JobError::NoEncoder => ErrorCode::Unsupported,
                JobError::Audio(_) => ErrorCode::BadValue,
                JobError::Stopping => ErrorCode::ShuttingDown,
                JobError::Cancelled
                | JobError::Model(_)
                | JobError::Frame(_)
                | JobError::Panicked => ErrorCode::Internal,
            },
        }
    }
}

impl From<SessionError> for ErrorReply {
    fn from(error: SessionError) -> ErrorReply {
        ErrorReply::new(error.code(), error.to_string())
    }
}
