//! What is settled when a stream is opened.

use std::sync::Arc;

use super::clock::{FRAME_US, Micros};
use super::{StreamConfig, StreamPackage};
use crate::audio::FRAMES_PER_SECOND;
use crate::protocol::stream::{Changed, ImageKind, Open, Opened};

/// What the caller decides about a stream that is opened.
#[derive(Debug, Clone)]
pub struct StreamParams {
    /// The client's number of the stream.
    pub stream: u16,
    /// What the client resumes it by: unguessable.
    pub token: String,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// The limits.
    pub config: StreamConfig,
}

/// What never changes while a stream is on one connection; its parts share it.
pub(super) struct Settings {
    pub params: StreamParams,
    /// The rate of the sound, Hz.
    pub rate_hz: u32,
    pub image: ImageKind,
    /// As the client has asked for; a package may need more.
    max_delay: Micros,
}

impl Settings {
    pub(super) fn new(open: &Open, params: StreamParams) -> Arc<Self> {
        let max_delay_ms = open.max_delay_ms.unwrap_or(params.config.max_delay_ms);
        Arc::new(Self {
            params,
            rate_hz: open.sample_rate_hz,
            image: open.image,
            max_delay: Micros::from(max_delay_ms) * 1_000,
        })
    }
}

/// A package as a stream shows it.
pub(super) struct ShownPackage<P> {
    pub package: StreamPackage<P>,
    /// How much sound after a frame's instant its picture needs.
    pub look_ahead: Micros,
    /// How long after its instant a frame is of use. At least so long that one whose audio comes as it is spoken can be in
    /// time.
    pub max_delay: Micros,
}

impl<P> ShownPackage<P> {
    pub(super) fn new(package: StreamPackage<P>, settings: &Settings) -> Arc<Self> {
        let look_ahead_ms = package.spec.look_ahead_ms(settings.rate_hz);
        let look_ahead = (look_ahead_ms * 1_000.0).ceil() as Micros;
        Arc::new(Self {
            package,
            look_ahead,
            max_delay: settings.max_delay.max(look_ahead + 2 * FRAME_US),
        })
    }

    /// What a client is told of a stream that is open now.
    pub(super) fn opened(&self, epoch: u32, resumed: bool, settings: &Settings) -> Opened {
        let package = &self.package;
        Opened {
            success: true,
            model_name: package.name.clone(),
            token: settings.params.token.clone(),
            resumed,
            epoch,
            sample_rate: settings.rate_hz,
            frame_rate: FRAMES_PER_SECOND,
            image: settings.image,
            quality: settings.params.quality,
            look_ahead_ms: package.spec.look_ahead_ms(settings.rate_hz),
            max_delay_ms: (self.max_delay / 1_000) as u32,
            image_size: self.image_size(settings),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            limits: settings.params.config.limits.clone(),
        }
    }

    /// What a client is told of a stream that shows this package from `epoch` on.
    pub(super) fn changed(&self, epoch: u32, settings: &Settings) -> Changed {
        let package = &self.package;
        Changed {
            success: true,
            model_name: package.name.clone(),
            epoch,
            look_ahead_ms: package.spec.look_ahead_ms(settings.rate_hz),
            image_size: self.image_size(settings),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            frame_rate: FRAMES_PER_SECOND,
        }
    }

    fn image_size(&self, settings: &Settings) -> [u32; 2] {
        match settings.image {
            ImageKind::Mouth => self.package.image_size,
            ImageKind::Full => self.package.frame_size,
        }
    }
}
