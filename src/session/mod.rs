//! What a client says and hears: requests are decoded, given to the engine, and answered as they finish.
//!
//! Knows no socket: [`crate::transport::Session`] is how it is spoken to.

mod batch;
mod control;
mod describe;
mod event;
mod resumable;
mod streams;
mod v1;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::limits::Limits;
use crate::config::Config;
use crate::engine::Engine;
use crate::model::{ModelError, Package};
use crate::observe::Stats;
use crate::protocol::{self, Code, Decoder, ErrorReply};

pub use describe::{metadata, model_list, stats_snapshot};
pub use event::Event;
pub use resumable::Resumable;
pub use v1::Conversation;

/// What all sessions of a server share.
pub struct Context {
    /// Computes.
    pub engine: Engine,
    /// Counts.
    pub stats: Arc<Stats>,
    /// Reads messages, within the limits.
    pub decoder: Decoder,
    /// Whether clients may load and unload packages.
    pub allow_load: bool,
    /// Bounds.
    pub limits: Limits,
    /// JPEG quality where a client does not say.
    pub jpeg_quality: u8,
    /// Streams by their tokens.
    pub resumable: Resumable,
    ready: AtomicBool,
}

impl Context {
    /// A context in which no package is loaded yet.
    pub fn new(config: &Config, engine: Engine) -> Context {
        let limits = config.limits.clone();
        Context {
            stats: engine.stats().clone(),
            engine,
            decoder: Decoder {
                enabled: config.protocols,
                limits: protocol::Limits {
                    // The limit is a time; at the highest rate it is as many bytes.
                    max_audio_bytes: limits.max_audio_ms as usize
                        * (protocol::MAX_SAMPLE_RATE_HZ as usize / 1000)
                        * size_of::<i16>(),
                    max_batch_frames: limits.max_batch as usize,
                    ..protocol::Limits::default()
                },
            },
            allow_load: config.allow_load,
            jpeg_quality: config.jpeg_quality,
            resumable: Resumable::new(limits.resume(), limits.max_resumable as usize),
            limits,
            ready: AtomicBool::new(false),
        }
    }

    /// Every package of the models folder has been loaded, or has failed to.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether [`Context::set_ready`] was called.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Events that may wait for one session: a result for each frame that it may have in the engine, and the
    /// loss of each stream.
    pub fn event_capacity(&self) -> usize {
        self.limits.max_in_flight as usize * batch::FRAMES_AT_A_TIME
            + self.max_stream_jobs()
            + self.limits.max_streams as usize
    }

    /// The package of that name, or the error that tells a client which there are.
    pub fn find(&self, name: &str) -> Result<Arc<Package>, ErrorReply> {
        self.engine
            .registry()
            .find(name)
            .map_err(|error| match error {
                ModelError::Unknown { .. } if !self.is_ready() => ErrorReply::new(
                    Code::NotLoaded,
                    format!("{error}; the server is still loading, try again in a moment"),
                ),
                error => ErrorReply::new(Code::UnknownModel, error.to_string()),
            })
    }
}
