//! Stream mode (`lipsync.v2`): audio flows in, frames flow out, in time.
//!
//! A [`Stream`] is a state machine without input or output: what a client sends, what has been computed and what time it
//! is go in by calls; what is to be sent and computed comes out of [`Stream::poll_output`], and
//! [`Stream::next_deadline`] says when to call again though nothing happened. It knows no socket, thread, clock or log,
//! so whole sessions run in tests in no time.
//!
//! ```text
//! audio ─ Epochs (PCM by position, instants) ─ FeatureTimeline (features, speech or silence) ─ Scheduler ─ Output::Compute
//!                      MediaClock: time without pauses                                                  └ Output::Frame
//! ```
//!
//! Each part owns its state; [`Stream`] only passes on what comes between them.
//!
//! What holds:
//! - Frame n of an epoch belongs to sample ⌊n · rate / 25⌋ of it: integers, so no drift.
//! - Frames are sent in order of (epoch, sequence), each with a credit, none after its deadline but the one marked last.
//! - No frame of an epoch is sent after an interrupt of it was answered.
//! - A frame is computed only when it is expected to be in time, and what is dropped is counted and told.
//! - Whatever the client sends, the memory held is bounded by [`StreamConfig`].

mod clock;
mod concurrency;
mod envelope;
mod epochs;
mod error;
mod figures;
mod machine;
mod outputs;
mod resume;
mod scheduler;
mod settings;
#[cfg(test)]
mod tests;
mod timeline;

use crate::audio::{FeatureFrame, FeatureSlot, FrontEndSpec, VadParams};
use crate::base::padded::PaddedBytes;
use crate::protocol::stream::{ImageKind, StreamFrame, StreamLimits, StreamUpdate};

pub use clock::{Micros, frame_count, frame_sample};
pub use error::StreamError;
pub use machine::{Detached, Stream};
pub use resume::{ResumeFacts, check_open};
pub use settings::StreamParams;

/// The limits of a stream, and what it does in their bounds.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// What the client is told.
    pub limits: StreamLimits,
    /// How long after its instant a frame is still of use, where the client does not say, ms.
    pub max_delay_ms: u32,
    /// Frames of one stream that are computed at the same time: enough to keep every worker busy.
    pub max_jobs: usize,
    /// Utterances that may wait for the one before them.
    pub max_utterances: usize,
    /// A stream whose client is silent for so long is closed, ms.
    pub idle_timeout_ms: u32,
    /// The mouth is closed when so long no sound has come to follow what was heard, though its end was not told, ms. 0:
    /// never.
    pub stall_ms: u32,
    /// What counts as speech.
    pub vad: VadParams,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            limits: StreamLimits {
                max_chunk_bytes: 960_000,
                max_credits: 1_000,
                max_held_frames: 50,
                max_ahead_ms: 60_000,
                max_gap_ms: 1_000,
                resume_ms: 15_000,
                capacity: 1,
            },
            max_delay_ms: 1_000,
            max_jobs: 4,
            max_utterances: 16,
            idle_timeout_ms: 300_000,
            stall_ms: 500,
            vad: VadParams::default(),
        }
    }
}

/// What a stream has to know of a package. `P` is the caller's handle, given back with each job.
#[derive(Debug, Clone)]
pub struct StreamPackage<P> {
    /// The handle.
    pub handle: P,
    /// The model name.
    pub name: String,
    /// How its network hears.
    pub spec: FrontEndSpec,
    /// Frames of its idle video, 1 at least.
    pub frame_count: u32,
    /// Width and height of the full frame, pixels.
    pub frame_size: [u32; 2],
    /// Width and height of the predicted square, pixels.
    pub image_size: [u32; 2],
}

/// A frame to be computed. `R` is the caller's place for the features of a feature frame.
#[derive(Debug)]
pub struct FrameJob<P, R> {
    /// Names the job in [`Stream::on_done`], [`Stream::on_refused`] and [`Output::Cancel`].
    pub ticket: u64,
    /// The package.
    pub package: P,
    /// Position on the package's idle walk, which may run past its last frame.
    pub frame_id: u32,
    /// The feature frames that the frame hears, in order.
    pub window: Vec<FeatureSlot<FeatureFrame<R>>>,
    /// Which picture is wanted.
    pub image: ImageKind,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

impl<P: Clone, R> Clone for FrameJob<P, R> {
    fn clone(&self) -> Self {
        Self {
            package: self.package.clone(),
            window: self.window.clone(),
            ..*self
        }
    }
}

/// A computed picture.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPicture {
    /// The image.
    pub jpeg: PaddedBytes,
    /// Where the predicted square belongs: x1, y1, x2, y2 in pixels of the full frame.
    pub bounds: [f32; 4],
    /// The idle frame that it belongs to.
    pub avatar_frame: u32,
}

/// What a stream wants done.
#[derive(Debug)]
pub enum Output<P, R> {
    /// Send a frame.
    Frame(StreamFrame),
    /// Send a message about the stream.
    Update(StreamUpdate),
    /// Send an error that names the stream.
    Error(StreamError),
    /// Compute a frame, then call [`Stream::on_done`].
    Compute(FrameJob<P, R>),
    /// The result of this job is no longer wanted; no call is expected.
    Cancel {
        /// The job's.
        ticket: u64,
    },
    /// The stream is over: forget it.
    Closed,
}
