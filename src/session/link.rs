//! What all parts of one client's session have in common, lent to each of their calls.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;
use crate::engine::{Deliver, Job, JobAudio, PictureKind, Refused};
use crate::model::Package;
use crate::observe::RequestKind;
use crate::protocol::stream::{StreamFrame, StreamUpdate};
use crate::protocol::{
    BatchReply, ControlBody, ControlReply, Encoded, ErrorCode, ErrorReply, FrameReply, Protocol,
    RequestId,
};
use crate::transport::Outbox;

use super::context::Context;
use super::error::SessionError;
use super::event::Event;

/// Where an answer goes: how it is encoded, and which request it answers.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    /// The layout of the answer.
    pub protocol: Protocol,
    /// The id that the answer repeats.
    pub request_id: RequestId,
    /// When the request arrived.
    pub arrived: Instant,
}

impl ReplyTo {
    /// Microseconds since the request arrived.
    pub fn elapsed_us(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.arrived).as_micros()).unwrap_or(u64::MAX)
    }

    /// An error that answers this request.
    pub fn error(&self, error: SessionError, now: Instant) -> ErrorReply {
        ErrorReply {
            request_id: Some(self.request_id.clone()),
            processing_us: self.elapsed_us(now),
            ..ErrorReply::from(error)
        }
    }
}

/// One connection's tie to the server: its number, its event queue, its tickets, and how replies are written.
pub(super) struct ClientLink {
    context: Arc<Context>,
    connection: ConnectionId,
    events: EventSender<Event>,
    /// The same queue, as jobs take it.
    deliver: Arc<dyn Deliver>,
    last_ticket: u64,
    is_draining: bool,
}

impl ClientLink {
    pub fn new(
        context: Arc<Context>,
        connection: ConnectionId,
        events: EventSender<Event>,
    ) -> ClientLink {
        ClientLink {
            context,
            connection,
            deliver: Arc::new(events.clone()),
            events,
            last_ticket: 0,
            is_draining: false,
        }
    }

    /// What all sessions share.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The connection's number.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Where events for this session go.
    pub fn events(&self) -> &EventSender<Event> {
        &self.events
    }

    /// The same, as jobs take it: one for all jobs of the connection.
    pub fn deliver(&self) -> Arc<dyn Deliver> {
        self.deliver.clone()
    }

    /// A number that no other message or job of this connection has.
    pub fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// The server is stopping: no new work is taken.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// A frame was asked for, in this protocol.
    pub fn count_request(&self, protocol: Protocol) {
        self.context.stats.count_request(match protocol {
            Protocol::Binary | Protocol::BinaryTimed | Protocol::Stream => RequestKind::Binary,
            Protocol::Protobuf => RequestKind::Protobuf,
            Protocol::Json => RequestKind::Json,
        });
    }

    /// Gives one frame to the engine; the result comes as an event with `ticket`.
    pub fn submit(
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
            reply: self.deliver(),
        })
    }

    /// Answers a request for one frame.
    pub fn send_frame(&self, frame: FrameReply, protocol: Protocol, out: &mut Outbox) {
        self.send(frame.encode(protocol), out);
    }

    /// Answers a batch.
    pub fn send_batch(&self, batch: BatchReply, protocol: Protocol, out: &mut Outbox) {
        self.send(batch.encode(protocol), out);
    }

    /// Answers a control message.
    pub fn send_control(&self, body: ControlBody, reply_to: &ReplyTo, out: &mut Outbox) {
        let request_id = Some(reply_to.request_id.clone());
        self.send_text(ControlReply { request_id, body }.encode(), out);
    }

    /// Tells something that was not asked for by a message.
    pub fn broadcast(&self, body: ControlBody, out: &mut Outbox) {
        let request_id = None;
        self.send_text(ControlReply { request_id, body }.encode(), out);
    }

    /// Tells an error, which is counted.
    pub fn send_error(&self, error: ErrorReply, protocol: Protocol, out: &mut Outbox) {
        self.context.stats.error();
        if error.code == ErrorCode::Busy {
            self.context.stats.busy();
        }
        self.send(error.encode(protocol), out);
    }

    /// Sends a frame of a stream.
    pub fn send_stream_frame(&self, frame: StreamFrame, out: &mut Outbox) {
        self.send(Encoded::Binary(frame.encode()), out);
    }

    /// Tells something about a stream.
    pub fn send_update(&self, update: StreamUpdate, out: &mut Outbox) {
        self.send_text(update.encode(), out);
    }

    fn send_text(&self, text: String, out: &mut Outbox) {
        self.send(Encoded::Text(text), out);
    }

    fn send(&self, message: Encoded, out: &mut Outbox) {
        match message {
            Encoded::Binary(bytes) => {
                self.context.stats.sent(bytes.len());
                out.binary(bytes);
            }
            Encoded::Text(text) => {
                self.context.stats.sent(text.len());
                out.text(text);
            }
        }
    }
}
