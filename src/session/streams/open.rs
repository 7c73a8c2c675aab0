//! How a stream of a connection begins, anew or by its token, and how it changes its package.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::engine::PictureKind;
use crate::model::Package;
use crate::protocol::stream::{Open, StreamBody, StreamBusy, StreamUpdate};
use crate::protocol::{Code, ErrorReply};
use crate::stream::{Stream, StreamConfig, StreamPackage, Terms};
use crate::transport::Outbox;

use super::super::context::Context;
use super::super::link::ClientLink;
use super::super::resumable::{Live, LiveState, Owner, lock};
use super::{OpenStream, Streams, count, picture_kind, unknown};

/// Frames a second of a stream.
const FRAME_RATE: u32 = crate::audio::FRAMES_PER_SECOND;

fn stream_config(context: &Context, package: &Package, picture: PictureKind) -> StreamConfig {
    {
        let limits = &context.limits;
        let admission = context.engine.admission();
        let mut config = StreamConfig {
            max_delay_ms: limits.max_delay_ms as u32,
            max_jobs: context.stream_jobs(),
            max_utterances: limits.max_utterances as usize,
            idle_timeout_ms: limits.stream_idle_ms as u32,
            ..StreamConfig::default()
        };
        config.limits.max_chunk_bytes = context.decoder.limits.max_audio_bytes as u32;
        config.limits.max_credits = limits.max_credits as u32;
        config.limits.max_held_frames = limits.max_held_frames as u32;
        config.limits.max_ahead_ms = limits.max_ahead_ms as u32;
        config.limits.max_gap_ms = limits.max_gap_ms as u32;
        config.limits.resume_ms = limits.resume_ms as u32;
        config.limits.capacity = admission.capacity(package.name(), picture, FRAME_RATE);
        config
    }
}

impl Streams {
    pub(super) fn open_stream(
        &mut self,
        id: u16,
        open: &Open,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), ErrorReply> {
        let context = link.context().clone();
        if link.is_draining() {
            return Err(ErrorReply::new(
                Code::ShuttingDown,
                "the server is shutting down; connect again in a moment",
            ));
        }
        if self.open.contains_key(&id) {
            return Err(ErrorReply::new(
                Code::StreamExists,
                format!("stream {id} is open already; choose another number, or close it"),
            ));
        }
        let limit = context.limits.max_streams as usize;
        if self.open.len() >= limit {
            return Err(ErrorReply::new(
                Code::TooLarge,
                format!(
                    "{limit} streams of this connection are open (--max-streams); close one first"
                ),
            ));
        }
        let package = context.find(&open.model_name)?;
        let handle = stream_package(&package)?;
        let picture = picture_kind(open.image);
        let quality = open.quality.unwrap_or(context.jpeg_quality);
        let error = |(code, text): (Code, String)| ErrorReply::new(code, text);
        let at = self.micros(now);
        let config = stream_config(&context, &package, picture);
        let figures = &context.stats.streams;
        let resumable = &context.resumable;
        let (stream, permit) = match &open.token {
            Some(token) => {
                let Some((detached, permit)) = resumable.take(token, now) else {
                    return Err(ErrorReply::new(
                        Code::BadToken,
                        "no stream is kept by this token; open one without a token",
                    ));
                };
                detached.check(open).map_err(error)?;
                let terms = Terms {
                    stream: id,
                    token: resumable.token(),
                    quality,
                };
                let stream = Stream::resume(detached, open, config, terms, at).map_err(error)?;
                count(&figures.resumed, 1);
                (stream, permit)
            }
            None => {
                resumable.forget_expired(now);
                let admission = context.engine.admission();
                let admitted = loop {
                    match admission.admit(package.name(), picture, FRAME_RATE) {
                        // A page that was loaded again has left its stream behind.
                        Err(_) if resumable.forget_oldest() => {}
                        admitted => break admitted,
                    }
                };
                let permit = match admitted {
                    Ok(permit) => permit,
                    Err(full) => {
                        count(&figures.refused, 1);
                        context.stats.busy();
                        let error = format!(
                            "this machine carries {} such streams and has {} open; try again when one has ended",
                            full.capacity, full.active
                        );
                        let body = StreamBody::Busy(StreamBusy {
                            success: false,
                            code: Code::Busy.as_str(),
                            error,
                            capacity: full.capacity,
                            active: full.active,
                        });
                        let update = StreamUpdate { body, stream: id };
                        link.send_update(update, out);
                        return Ok(());
                    }
                };
                let terms = Terms {
                    stream: id,
                    token: resumable.token(),
                    quality,
                };
                let stream = Stream::open(open, handle, config, terms, at).map_err(error)?;
                count(&figures.opened, 1);
                (stream, Some(permit))
            }
        };
        let token = stream.token().to_owned();
        let live = Arc::new(Mutex::new(Live {
            state: LiveState::Attached(Box::new(stream)),
            permit,
            owner: Owner {
                events: link.events().clone(),
                stream: id,
            },
        }));
        resumable.insert(token, live.clone());
        let open = OpenStream::new(live, context.stats.clone());
        self.open.insert(id, open);
        self.with_stream(id, link, now, out, |_, _| {})
    }

    pub(super) fn change_stream(
        &mut self,
        id: u16,
        model_name: &str,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), ErrorReply> {
        let context = link.context().clone();
        let package = context.find(model_name)?;
        let handle = stream_package(&package)?;
        let admission = context.engine.admission().clone();
        let Some(live) = self.open.get(&id).map(|open| open.live.clone()) else {
            return Err(unknown(id));
        };
        {
            let mut live = lock(&live);
            let LiveState::Attached(stream) = &live.state else {
                drop(live);
                return self.with_stream(id, link, now, out, |_, _| {});
            };
            let picture = picture_kind(stream.image());
            // The old share is given back first: the stream is to go on, whichever face it shows.
            let old = live.permit.take();
            drop(old);
            match admission.admit(package.name(), picture, FRAME_RATE) {
                Ok(permit) => live.permit = Some(permit),
                Err(full) => {
                    let before = match &live.state {
                        LiveState::Attached(stream) => stream.package_name().to_owned(),
                        _ => String::new(),
                    };
                    live.permit = admission.admit(&before, picture, FRAME_RATE).ok();
                    return Err(ErrorReply::new(
                        Code::Busy,
                        format!(
                            "this machine carries {} streams of {model_name:?} and has {} open; the stream keeps its package",
                            full.capacity, full.active
                        ),
                    ));
                }
            }
        }
        self.with_stream(id, link, now, out, |stream, now| stream.change(handle, now))
    }
}

/// What a stream has to know of a package.
fn stream_package(package: &Arc<Package>) -> Result<StreamPackage<Arc<Package>>, ErrorReply> {
    let Some(spec) = package.front_end() else {
        return Err(ErrorReply::new(
            Code::Unsupported,
            format!(
                "the package {:?} has no audio encoder, only audio of its own; a stream needs one that hears",
                package.name()
            ),
        ));
    };
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
