//! Frames asked for one by one.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::{Done, JobError, Picture};
use crate::protocol::{ErrorReply, FrameReply, InferenceRequest, ModelName};
use crate::transport::Outbox;

use super::error::SessionError;
use super::link::{ClientLink, ReplyTo};

/// A frame that was asked for: all that its reply repeats.
#[derive(Clone, Debug)]
pub(super) struct PendingFrame {
    pub reply_to: ReplyTo,
    pub model_name: ModelName,
    pub frame_id: u32,
    pub own_audio: bool,
}

impl PendingFrame {
    /// The reply to this request.
    pub fn reply(
        self,
        result: Result<Picture, JobError>,
        now: Instant,
    ) -> Result<FrameReply, ErrorReply> {
        match result {
            Ok(picture) => Ok(FrameReply {
                processing_us: self.reply_to.elapsed_us(now),
                request_id: self.reply_to.request_id,
                model_name: self.model_name,
                frame_id: self.frame_id,
                avatar_frame: picture.avatar_frame,
                bounds: picture.bounds,
                image_size: picture.size,
                jpeg: picture.jpeg,
                own_audio: self.own_audio,
            }),
            Err(error) => Err(self.error(error.into(), now)),
        }
    }

    /// An error that answers this request.
    pub fn error(&self, error: SessionError, now: Instant) -> ErrorReply {
        ErrorReply {
            frame_id: Some(self.frame_id),
            ..self.reply_to.error(error, now)
        }
    }
}

/// Requests for one frame each that wait for their pictures, by ticket.
#[derive(Default)]
pub(super) struct FrameRequests {
    pending: HashMap<u64, PendingFrame>,
}

impl FrameRequests {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a request whose admission is settled, at the session's sample rate where it names none.
    pub fn on_request(
        &mut self,
        request: InferenceRequest,
        reply_to: ReplyTo,
        ticket: u64,
        admitted: Result<u32, SessionError>,
        link: &ClientLink,
        out: &mut Outbox,
    ) {
        link.count_request(reply_to.protocol);
        let now = reply_to.arrived;
        let frame = PendingFrame {
            reply_to,
            model_name: request.model_name,
            frame_id: request.frame_id,
            own_audio: request.audio.is_none(),
        };
        let submitted = admitted.and_then(|session_rate_hz| {
            let package = link.context().find(&frame.model_name)?;
            let rate_hz = request.sample_rate_hz.unwrap_or(session_rate_hz);
            link.submit(ticket, &package, frame.frame_id, request.audio, rate_hz)?;
            Ok(())
        });
        match submitted {
            Ok(()) => {
                self.pending.insert(ticket, frame);
            }
            Err(error) => {
                link.send_error(frame.error(error, now), frame.reply_to.protocol, out);
            }
        }
    }

    /// A frame is done.
    pub fn on_done(&mut self, done: Done, link: &ClientLink, now: Instant, out: &mut Outbox) {
        let Some(frame) = self.pending.remove(&done.ticket) else {
            log::error!(
                "a result came for ticket {}, which nobody waits for",
                done.ticket
            );
            return;
        };
        let protocol = frame.reply_to.protocol;
        let waited = now.saturating_duration_since(frame.reply_to.arrived);
        link.context().stats.answered(waited);
        match frame.reply(done.result, now) {
            Ok(frame) => link.send_frame(frame, protocol, out),
            Err(error) => link.send_error(error, protocol, out),
        }
    }
}
