//! What all sessions of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::limits::Limits;
use crate::config::Config;
use crate::engine::Engine;
use crate::model::{ModelError, Package};
use crate::observe::Stats;
use crate::protocol::{Decoder, MAX_SAMPLE_RATE_HZ, MessageLimits};

use super::directory::SessionDirectory;
use super::error::SessionError;
use super::registry::StreamRegistry;

/// Frames of one batch that the engine has at a time: enough to keep the workers of a small box busy.
pub(super) const BATCH_FRAMES_AT_A_TIME: usize = 4;

/// The server's side of every session.
pub struct Context {
    /// Computes frames.
    pub engine: Engine,
    /// Counters and distributions of the server.
    pub stats: Arc<Stats>,
    /// Reads messages, within the limits.
    pub decoder: Decoder,
    /// Whether clients may load and unload packages.
    pub allow_load: bool,
    /// The server's limits on sizes, counts and times.
    pub limits: Limits,
    /// JPEG quality where a client does not say.
    pub jpeg_quality: u8,
    /// Streams by their tokens.
    pub streams: StreamRegistry,
    /// The sessions that are open.
    pub(super) sessions: SessionDirectory,
    ready: AtomicBool,
}

impl Context {
    /// A context in which no package is loaded yet.
    pub fn new(config: &Config, engine: Engine) -> Context {
        let limits = config.limits().clone();
        Context {
            stats: engine.stats().clone(),
            engine,
            decoder: Decoder {
                enabled: config.protocols(),
                limits: MessageLimits {
                    // The limit is a time; at the highest rate it is as many bytes.
                    max_audio_bytes: limits.max_audio_ms as usize
                        * (MAX_SAMPLE_RATE_HZ as usize / 1000)
                        * size_of::<i16>(),
                    max_batch_frames: limits.max_batch as usize,
                    ..MessageLimits::default()
                },
            },
            allow_load: config.allow_load(),
            jpeg_quality: config.jpeg_quality(),
            streams: StreamRegistry::new(limits.resume(), limits.max_resumable as usize),
            sessions: SessionDirectory::default(),
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

    /// Events that may wait for one session: a result for each frame that it may have in the engine, and for each stream
    /// that another connection wants it, or that it is there, and the loss of each package.
    pub fn event_capacity(&self) -> usize {
        self.limits.max_in_flight as usize * BATCH_FRAMES_AT_A_TIME
            + self.max_stream_jobs()
            + 2 * self.limits.max_streams as usize
            + self.limits.max_packages as usize
    }

    /// The package of that name.
    ///
    /// # Errors
    /// [`SessionError::StillLoading`] or [`SessionError::UnknownModel`], which names those that are served.
    pub fn find(&self, name: &str) -> Result<Arc<Package>, SessionError> {
        self.engine
            .registry()
            .find(name)
            .map_err(|error| match error {
                ModelError::Unknown { .. } if !self.is_ready() => SessionError::StillLoading(error),
                error => SessionError::UnknownModel(error),
            })
    }

    /// Frames of one stream that are in the engine at the same time: enough that no worker waits for the
    /// next.
    pub(super) fn stream_jobs(&self) -> usize {
        self.engine.workers() + 2
    }

    /// Jobs of streams that one connection may have in the engine, those given up and not yet found
    /// included.
    pub(super) fn max_stream_jobs(&self) -> usize {
        2 * self.limits.max_streams as usize * self.stream_jobs()
    }
}
