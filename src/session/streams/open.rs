//! How a stream begins, anew or where an earlier one was left, and how it changes its package.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::audio::FRAMES_PER_SECOND;
use crate::engine::{Overloaded, Permit};
use crate::model::Package;
use crate::protocol::stream::Open;
use crate::stream::{Micros, Stream, StreamConfig, StreamPackage, StreamParams};

use super::super::context::Context;
use super::super::link::ClientLink;
use super::super::registry::{KeptStream, new_token};
use super::error::StreamRequestError;
use super::jobs::picture_kind;
use super::served::ServedStream;

/// Opens a new stream, if the machine has room for it.
pub(super) fn open_new(
    open: &Open,
    package: &Arc<Package>,
    params: StreamParams,
    link: &ClientLink,
    at: Micros,
    now: Instant,
) -> Result<ServedStream, StreamRequestError> {
    let context = link.context();
    let handle = stream_package(package)?;
    let permit = match admit(context, package, open, now) {
        Ok(permit) => permit,
        Err(full) => {
            let figures = &context.stats.streams;
            figures.refused.fetch_add(1, Ordering::Relaxed);
            return Err(StreamRequestError::NoRoom(full));
        }
    };
    let id = params.stream;
    let stream = Stream::open(open, handle, params, at)?;
    let figures = &context.stats.streams;
    figures.opened.fetch_add(1, Ordering::Relaxed);
    Ok(ServedStream::new(id, stream, permit, link))
}

/// Goes on with a stream that was left, which `open` was found to fit.
pub(super) fn resume(
    open: &Open,
    params: StreamParams,
    kept: KeptStream,
    link: &ClientLink,
    at: Micros,
) -> Result<ServedStream, StreamRequestError> {
    let context = link.context();
    let KeptStream { detached, permit } = kept;
    let id = params.stream;
    let stream = Stream::resume(detached, open, params, at)?;
    let figures = &context.stats.streams;
    figures.resumed.fetch_add(1, Ordering::Relaxed);
    Ok(ServedStream::new(id, stream, permit, link))
}

/// Shows a stream by another package from its next epoch on, if the machine has room for that.
pub(super) fn change(
    served: &mut ServedStream,
    model_name: &str,
    link: &ClientLink,
    at: Micros,
) -> Result<(), StreamRequestError> {
    let context = link.context();
    let package = context.find(model_name)?;
    let handle = stream_package(&package)?;
    let picture = picture_kind(served.stream().facts().image);
    served
        .permit_mut()
        .change(package.name(), picture, FRAMES_PER_SECOND)
        .map_err(|full| StreamRequestError::NoRoomToChange {
            model_name: model_name.to_owned(),
            full,
        })?;
    served.stream_mut().change(handle, at);
    let stream = served.stream();
    context.streams.update(stream.token(), stream.facts());
    Ok(())
}

/// Finds room for a new stream, if need be in place of one that was left behind.
fn admit(
    context: &Context,
    package: &Package,
    open: &Open,
    now: Instant,
) -> Result<Permit, Overloaded> {
    context.streams.forget_expired(now);
    let admission = context.engine.admission();
    let picture = picture_kind(open.image);
    loop {
        match admission.admit(package.name(), picture, FRAMES_PER_SECOND) {
            // A page that was loaded again has left its stream behind.
            Err(_) if context.streams.forget_oldest() => {}
            admitted => return admitted,
        }
    }
}

/// What a stream is given here: a token, the limits.
pub(super) fn params(
    id: u16,
    open: &Open,
    package: &Package,
    context: &Context,
) -> Result<StreamParams, StreamRequestError> {
    Ok(StreamParams {
        stream: id,
        token: new_token()?,
        quality: open.quality.unwrap_or(context.jpeg_quality),
        config: stream_config(context, package, open),
    })
}

fn stream_config(context: &Context, package: &Package, open: &Open) -> StreamConfig {
    let limits = &context.limits;
    let admission = context.engine.admission();
    let picture = picture_kind(open.image);
    let mut config = StreamConfig {
        max_delay_ms: limits.max_delay_ms as u32,
        max_jobs: context.stream_jobs(),
        max_utterances: limits.max_utterances as usize,
        idle_timeout_ms: limits.stream_idle_ms as u32,
        stall_ms: limits.stall_ms as u32,
        ..StreamConfig::default()
    };
    config.limits.max_chunk_bytes = context.decoder.limits.max_audio_bytes as u32;
    config.limits.max_credits = limits.max_credits as u32;
    config.limits.max_held_frames = limits.max_held_frames as u32;
    config.limits.max_ahead_ms = limits.max_ahead_ms as u32;
    config.limits.max_gap_ms = limits.max_gap_ms as u32;
    config.limits.resume_ms = limits.resume_ms as u32;
    config.limits.capacity = admission.capacity(package.name(), picture, FRAMES_PER_SECOND);
    config
}

/// What a stream has to know of a package.
fn stream_package(
    package: &Arc<Package>,
) -> Result<StreamPackage<Arc<Package>>, StreamRequestError> {
    let spec = package
        .front_end()
        .ok_or_else(|| StreamRequestError::NoEncoder {
            model_name: package.name().to_owned(),
        })?;
    let (width, height) = package.frame_size();
    let side = package.manifest().geometry.inner_size as u32;
    Ok(StreamPackage {
        handle: package.clone(),
        name: package.name().to_owned(),
        spec,
        frame_count: package.frame_count(),
        frame_size: [width as u32, height as u32],
        image_size: [side, side],
    })
}
