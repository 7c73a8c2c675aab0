//! The conversation of one connection, version 1 of the wire: requests in, replies as they finish.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;
use crate::engine::{Deliver, Done, Job, JobAudio, JobError, Picture, PictureKind, Refused};
use crate::model::Package;
use crate::observe::Asked;
use crate::protocol::stream::CloseReason;
use crate::protocol::{
    ClientMessage, Code, ControlBody, ControlReply, DEFAULT_SAMPLE_RATE_HZ, ErrorReply, Fault,
    FrameReply, InferenceRequest, ModelLoaded, Opcode, Protocol, ProtocolError, Reply, RequestId,
    negotiate,
};
use crate::transport::{Incoming, Outbox, Session};

use super::batch::Batches;
use super::streams::Streams;
use super::{Context, Event, stats_snapshot};

/// Where an answer goes back to: how it is encoded, and which request it answers.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) protocol: Protocol,
    pub(super) request_id: RequestId,
    pub(super) at: Instant,
}

impl Origin {
    pub(super) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(u64::MAX)
    }
}

/// A frame that was asked for: all that its reply repeats.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) origin: Origin,
    pub(super) model_name: Arc<str>,
    pub(super) frame_id: u32,
    pub(super) own_audio: bool,
}

impl Wanted {
    pub(super) fn reply(
        self,
        result: Result<Picture, JobError>,
        now: Instant,
    ) -> Result<FrameReply, ErrorReply> {
        match result {
            Ok(picture) => Ok(FrameReply {
                processing_us: self.origin.micros(now),
                request_id: self.origin.request_id,
                model_name: self.model_name,
                frame_id: self.frame_id,
                avatar_frame: picture.avatar_frame,
                bounds: picture.bounds,
                image_size: picture.size,
                jpeg: picture.jpeg,
                own_audio: self.own_audio,
            }),
            Err(error) => Err(self.error(job_code(&error), error.to_string(), now)),
        }
    }

    pub(super) fn error(&self, code: Code, text: String, now: Instant) -> ErrorReply {
        ErrorReply {
            frame_id: Some(self.frame_id),
            request_id: Some(self.origin.request_id.clone()),
            processing_us: self.origin.micros(now),
            ..ErrorReply::new(code, text)
        }
    }
}

enum Pending {
    Frame(Wanted),
    /// A frame of a batch, by the batch's number and the frame's place in it.
    OfBatch {
        batch: u64,
        index: usize,
    },
    Load(Origin),
}

/// The session of one client.
pub struct Conversation {
    pub(super) context: Arc<Context>,
    pub(super) connection: ConnectionId,
    pub(super) events: EventSender<Event>,
    /// The same queue, as jobs take it.
    pub(super) reply: Arc<dyn Deliver>,
    /// What binary messages of this connection are.
    pub(super) protocol: Protocol,
    /// Whether that protocol is switched on.
    enabled: bool,
    pub(super) sample_rate_hz: u32,
    pending: HashMap<u64, Pending>,
    pub(super) batches: Batches,
    pub(super) streams: Streams,
    next_ticket: u64,
    pub(super) next_stats: Option<Instant>,
    draining: bool,
    scratch: Vec<u8>,
}

impl Conversation {
    /// Opens a conversation; `subprotocol` is what the handshake settled.
    pub fn new(
        context: Arc<Context>,
        subprotocol: Option<&str>,
        connection: ConnectionId,
        events: EventSender<Event>,
    ) -> Conversation {
        let settled = negotiate(subprotocol, context.decoder.enabled);
        context.stats.connected();
        Conversation {
            connection,
            reply: Arc::new(events.clone()),
            events,
            protocol: settled.protocol,
            enabled: settled.enabled,
            sample_rate_hz: DEFAULT_SAMPLE_RATE_HZ,
            pending: HashMap::new(),
            batches: Batches::default(),
            streams: Streams::default(),
            next_ticket: 0,
            next_stats: None,
            draining: false,
            scratch: Vec::new(),
            context,
        }
    }

    fn dispatch(
        &mut self,
        message: Result<ClientMessage, ProtocolError>,
        protocol: Protocol,
        now: Instant,
        out: &mut Outbox,
    ) {
        let ticket = self.ticket();
        let origin = |client: Option<Box<str>>| Origin {
            protocol,
            request_id: RequestId::new(client, ticket),
            at: now,
        };
        match message {
            Ok(ClientMessage::Inference(request)) => {
                let origin = origin(request.request_id.clone());
                self.infer(request, origin, ticket, now, out);
            }
            Ok(ClientMessage::Batch(request)) => {
                let origin = origin(request.request_id.clone());
                self.batch(request, origin, ticket, now, out);
            }
            Ok(ClientMessage::Control(request)) => {
                let origin = origin(request.request_id.clone());
                self.control(request.control, origin, ticket, now, out);
            }
            Ok(ClientMessage::Stream(request)) => self.stream_request(request, now, out),
            Ok(ClientMessage::Audio(chunk)) => self.stream_audio(&chunk, now, out),
            Err(error) => {
                let mut error = ErrorReply::from(error);
                error.request_id.get_or_insert(RequestId::Serial(ticket));
                self.error(error, protocol, out);
            }
        }
    }

    fn infer(
        &mut self,
        request: InferenceRequest,
        origin: Origin,
        ticket: u64,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.context.stats.asked(asked(origin.protocol));
        let wanted = Wanted {
            origin,
            model_name: Arc::from(request.model_name),
            frame_id: request.frame_id,
            own_audio: request.audio.is_none(),
        };
        let rate = request.sample_rate_hz.unwrap_or(self.sample_rate_hz);
        let submitted = self
            .admit()
            .and_then(|()| self.context.find(&wanted.model_name))
            .and_then(|package| {
                self.submit(ticket, &package, wanted.frame_id, request.audio, rate)
                    .map_err(|refused| ErrorReply::new(refusal_code(&refused), refused.to_string()))
            });
        match submitted {
            Ok(()) => {
                self.pending.insert(ticket, Pending::Frame(wanted));
            }
            Err(error) => {
                let error = wanted.error(error.code, error.text, now);
                self.error(error, wanted.origin.protocol, out);
            }
        }
    }

    /// Whether a further request may be taken.
    pub(super) fn admit(&self) -> Result<(), ErrorReply> {
        if self.draining {
            let text = JobError::Stopping.to_string();
            return Err(ErrorReply::new(Code::ShuttingDown, text));
        }
        let limit = self.context.limits.max_in_flight as usize;
        if self.in_flight() >= limit {
            let text = format!(
                "{limit} requests of this connection are in flight already; wait for a reply before the next"
            );
            return Err(ErrorReply::new(Code::Busy, text));
        }
        Ok(())
    }

    pub(super) fn submit(
        &self,
        ticket: u64,
        package: &Arc<Package>,
        frame_id: u32,
        audio: Option<Bytes>,
        rate_hz: u32,
    ) -> Result<(), Refused> {
        self.context.engine.submit(Job {
            connection: self.connection,
            ticket,
            package: package.clone(),
            frame_id,
            audio: match audio {
                Some(pcm) => JobAudio::Window { pcm, rate_hz },
                None => JobAudio::Own,
            },
            picture: PictureKind::Mouth,
            quality: None,
            cancel: None,
            reply: self.reply.clone(),
        })
    }

    fn done(&mut self, done: Done, now: Instant, out: &mut Outbox) {
        match self.pending.remove(&done.ticket) {
            Some(Pending::Frame(wanted)) => {
                let protocol = wanted.origin.protocol;
                self.context
                    .stats
                    .answered(now.saturating_duration_since(wanted.origin.at));
                match wanted.reply(done.result, now) {
                    Ok(frame) => self.send(&Reply::Frame(frame), protocol, out),
                    Err(error) => self.error(error, protocol, out),
                }
            }
            Some(Pending::OfBatch { batch, index }) => {
                self.batch_done(batch, index, done.result, now, out);
            }
            Some(Pending::Load(_)) | None => {
                log::error!(
                    "a result came for ticket {}, which nobody waits for",
                    done.ticket
                );
            }
        }
    }

    fn loaded(
        &mut self,
        ticket: u64,
        name: String,
        result: Result<Duration, crate::model::ModelError>,
        out: &mut Outbox,
    ) {
        let Some(Pending::Load(origin)) = self.pending.remove(&ticket) else {
            return;
        };
        match result {
            Ok(took) => {
                let body = ControlBody::ModelLoaded(ModelLoaded {
                    success: true,
                    model_name: name,
                    initialization_time_ms: took.as_secs_f64() * 1000.0,
                });
                self.answer(body, &origin, out);
            }
            Err(error) => {
                log::warn!("a client asked for the package {name:?}: {error}");
                let mut reply = ErrorReply::new(Code::NotLoaded, error.to_string());
                reply.request_id = Some(origin.request_id);
                self.error(reply, origin.protocol, out);
            }
        }
    }

    pub(super) fn await_batch_frame(&mut self, batch: u64, index: usize, ticket: u64) {
        self.pending
            .insert(ticket, Pending::OfBatch { batch, index });
    }

    pub(super) fn await_load(&mut self, ticket: u64, origin: Origin) {
        self.pending.insert(ticket, Pending::Load(origin));
    }

    /// Whether the server is stopping.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub(super) fn answer(&mut self, body: ControlBody, origin: &Origin, out: &mut Outbox) {
        let reply = ControlReply {
            request_id: Some(origin.request_id.clone()),
            body,
        };
        self.send(&Reply::Control(reply), origin.protocol, out);
    }

    pub(super) fn error(&mut self, error: ErrorReply, protocol: Protocol, out: &mut Outbox) {
        self.context.stats.error();
        if error.code == Code::Busy {
            self.context.stats.busy();
        }
        self.send(&Reply::Error(error), protocol, out);
    }

    pub(super) fn send(&mut self, reply: &Reply, protocol: Protocol, out: &mut Outbox) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let opcode = reply.encode(protocol, &mut bytes);
        self.context.stats.sent(bytes.len());
        match opcode {
            Opcode::Binary => out.binary(bytes),
            Opcode::Text => match String::from_utf8(bytes) {
                Ok(text) => out.text(text),
                Err(_) => log::error!("a text reply was not UTF-8"),
            },
        }
    }
}

impl Session for Conversation {
    type Event = Event;

    fn on_open(&mut self, _now: Instant, out: &mut Outbox) {
        if !self.enabled {
            let fault = Fault::Disabled {
                protocol: self.protocol.name(),
            };
            self.error(ProtocolError::from(fault).into(), Protocol::Json, out);
        }
    }

    fn on_message(&mut self, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        match message {
            Incoming::Text(text) => {
                self.context.stats.received(text.len());
                let decoded = self.context.decoder.text(self.protocol, text);
                self.dispatch(decoded, Protocol::Json, now, out);
            }
            Incoming::Binary(bytes) => {
                self.context.stats.received(bytes.len());
                let decoded = self.context.decoder.binary(self.protocol, bytes);
                self.dispatch(decoded, self.protocol, now, out);
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant, out: &mut Outbox) {
        match event {
            Event::Done(done) if self.streams.owns(done.ticket) => self.stream_done(done, now, out),
            Event::Done(done) => self.done(done, now, out),
            Event::Loaded {
                ticket,
                name,
                result,
            } => self.loaded(ticket, name, result, out),
            Event::StreamTaken { stream } => self.stream_taken(stream, now, out),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.next_stats,
            self.batches.retry_at(),
            self.streams.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_deadline(&mut self, now: Instant, out: &mut Outbox) {
        if self.batches.retry_at().is_some_and(|at| now >= at) {
            self.feed_batches(now, out);
        }
        if self.streams.next_deadline().is_some_and(|at| now >= at) {
            self.streams_deadline(now, out);
        }
        if let Some(at) = self.next_stats.filter(|at| now >= *at) {
            let period = self.context.limits.stats();
            // A loop that was held up does not send the missed ones, one after another.
            self.next_stats = Some((at + period).max(now));
            let reply = ControlReply {
                request_id: None,
                body: ControlBody::Stats(Box::new(stats_snapshot(&self.context))),
            };
            self.send(&Reply::Control(reply), Protocol::Json, out);
        }
    }

    fn on_drain(&mut self, now: Instant, out: &mut Outbox) {
        self.draining = true;
        self.next_stats = None;
        self.close_streams(CloseReason::ShuttingDown, now, out);
    }

    fn in_flight(&self) -> usize {
        let single = self
            .pending
            .values()
            .filter(|p| !matches!(p, Pending::OfBatch { .. }))
            .count();
        single + self.batches.len()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.detach_streams(Instant::now());
        self.context.stats.disconnected();
    }
}

pub(super) fn asked(protocol: Protocol) -> Asked {
    match protocol {
        Protocol::Binary | Protocol::BinaryTimed | Protocol::Stream => Asked::Binary,
        Protocol::Protobuf => Asked::Protobuf,
        Protocol::Json => Asked::Json,
    }
}

pub(super) fn refusal_code(refused: &Refused) -> Code {
    match refused {
        Refused::Busy { .. } => Code::Busy,
        Refused::Stopping => Code::ShuttingDown,
    }
}

fn job_code(error: &JobError) -> Code {
    match error {
        JobError::NoAudio | JobError::NoEncoder => Code::Unsupported,
        JobError::Audio(_) => Code::BadValue,
        JobError::Stopping => Code::ShuttingDown,
        JobError::Cancelled | JobError::Model(_) | JobError::Frame(_) | JobError::Panicked => {
            Code::Internal
        }
    }
}
