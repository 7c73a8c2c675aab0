//! What is asked of the engine, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::audio::{AudioError, FeatureFrame, FeatureSlot};
use crate::base::event_queue::SendError;
use crate::base::ids::ConnectionId;
use crate::base::padded::PaddedBytes;
use crate::frame::FrameError;
use crate::model::{ModelError, Package};

use super::rows::Row;

/// One frame to be computed.
pub struct Job {
    /// Whose turn it takes.
    pub connection: ConnectionId,
    /// The asker's own number, given back with the result.
    pub ticket: u64,
    /// The package, which lives until its last job is done.
    pub package: Arc<Package>,
    /// The frame wanted, as the client counts; the package walks its idle frames to and fro.
    pub frame_id: u32,
    /// What it hears.
    pub audio: JobAudio,
    /// Which picture is wanted.
    pub picture: PictureKind,
    /// JPEG quality, 1..=100; `None`: the server's.
    pub quality: Option<u8>,
    /// Set when the result is no longer wanted; looked at before each part of the work.
    pub cancel: Option<Cancel>,
    /// Where the result goes: one for all jobs of a connection.
    pub reply: Arc<dyn Deliver>,
}

/// The sound of a job.
pub enum JobAudio {
    /// The package's own, at the job's frame.
    Own,
    /// A window of sound whose middle is the frame's instant.
    Window {
        /// PCM16, little-endian, mono, an even number of bytes.
        pcm: Bytes,
        /// Its rate in Hz, 8000..=48000.
        rate_hz: u32,
    },
    /// The feature frames that a stream's front end has made, in the window's order.
    Features(Vec<FeatureSlot<FeatureFrame<Row>>>),
}

/// Which picture a job makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureKind {
    /// The predicted square alone.
    #[default]
    Mouth,
    /// The full idle frame with the prediction in its place.
    Full,
}

/// A switch by which many jobs are given up at once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Gives up everything that carries this switch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was given up.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A picture, finished.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The JPEG.
    pub jpeg: PaddedBytes,
    /// Its width and height in pixels.
    pub size: (u32, u32),
    /// The idle frame that it belongs to.
    pub avatar_frame: u32,
    /// Where the predicted square belongs: x1, y1, x2, y2 in pixels of the full frame.
    pub bounds: [f32; 4],
}

/// Where the results of one connection's jobs go. Called by workers, so it must not wait.
pub trait Deliver: Send + Sync {
    /// Takes a result.
    ///
    /// # Errors
    /// [`SendError`]: the result is dropped.
    fn deliver(&self, done: Done) -> Result<(), SendError>;

    /// Whether nobody waits for results any more, so that jobs need not be computed.
    fn is_gone(&self) -> bool;
}

/// The result of a job.
#[derive(Debug)]
pub struct Done {
    /// The job's number.
    pub ticket: u64,
    /// The picture, or why there is none.
    pub result: Result<Picture, JobError>,
    /// From submission to the start of the work.
    pub queued: Duration,
    /// The work itself.
    pub compute: Duration,
    /// When it was finished.
    pub finished: Instant,
}

/// Why a job made no picture.
#[derive(Debug)]
pub enum JobError {
    /// Its asker gave it up.
    Cancelled,
    /// The package has no audio of its own, and the request brought none.
    NoAudio,
    /// The package has no audio encoder, and the request brought audio.
    NoEncoder,
    /// A network or an idle frame. The package's fault.
    Model(ModelError),
    /// A picture could not be made. The server's fault.
    Frame(FrameError),
    /// The sound. The client's fault.
    Audio(AudioError),
    /// The work panicked: a fault of the server, which its log tells.
    Panicked,
    /// The server is stopping.
    Stopping,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Cancelled => write!(f, "the request was given up"),
            JobError::NoAudio => write!(
                f,
                "this package has no audio of its own; send audio with the request"
            ),
            JobError::NoEncoder => write!(
                f,
                "this package has no audio encoder, only audio of its own; send no audio"
            ),
            JobError::Model(error) => error.fmt(f),
            JobError::Frame(error) => error.fmt(f),
            JobError::Audio(error) => error.fmt(f),
            JobError::Panicked => write!(
                f,
                "the server failed on this frame, and its log says how; other frames are not affected"
            ),
            JobError::Stopping => {
                write!(f, "the server is shutting down; connect again in a moment")
            }
        }
    }
}

impl std::error::Error for JobError {}

impl From<ModelError> for JobError {
    fn from(error: ModelError) -> Self {
        JobError::Model(error)
    }
}

impl From<FrameError> for JobError {
    fn from(error: FrameError) -> Self {
        JobError::Frame(error)
    }
}

impl From<AudioError> for JobError {
    fn from(error: AudioError) -> Self {
        JobError::Audio(error)
    }
}
