//! The session of one client, as the transport speaks to it.

use std::sync::Arc;
use std::time::Instant;

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;
use crate::protocol::stream::CloseReason;
use crate::protocol::{
    ClientMessage, DecodeError, DecodeErrorKind, ErrorReply, Negotiated, Protocol, RequestId,
};
use crate::transport::{Incoming, Outbox, Session};

use super::batch::Batches;
use super::context::Context;
use super::control::ControlChannel;
use super::directory::DirectoryEntry;
use super::error::SessionError;
use super::event::Event;
use super::frames::FrameRequests;
use super::link::{ClientLink, ReplyTo};
use super::streams::Streams;

/// One client's requests, from message to reply.
pub struct ClientSession {
    link: ClientLink,
    entry: DirectoryEntry,
    negotiated: Negotiated,
    frames: FrameRequests,
    batches: Batches,
    control: ControlChannel,
    streams: Streams,
}

impl ClientSession {
    /// Opens a session; `negotiated` is what the handshake settled.
    pub fn new(
        context: Arc<Context>,
        negotiated: Negotiated,
        connection: ConnectionId,
        events: EventSender<Event>,
    ) -> ClientSession {
        context.stats.connected();
        ClientSession {
            entry: context.sessions.add(events.clone()),
            link: ClientLink::new(context, connection, events),
            negotiated,
            frames: FrameRequests::default(),
            batches: Batches::default(),
            control: ControlChannel::new(negotiated.protocol),
            streams: Streams::default(),
        }
    }

    fn dispatch(
        &mut self,
        message: Result<ClientMessage, DecodeError>,
        protocol: Protocol,
        now: Instant,
        out: &mut Outbox,
    ) {
        let ticket = self.link.next_ticket();
        let reply_to = |client: Option<Box<str>>| ReplyTo {
            protocol,
            request_id: RequestId::new(client, ticket),
            arrived: now,
        };
        match message {
            Ok(ClientMessage::Inference(mut request)) => {
                let (to, admitted) = (reply_to(request.request_id.take()), self.admit());
                self.frames
                    .on_request(request, to, ticket, admitted, &self.link, out);
            }
            Ok(ClientMessage::Batch(mut request)) => {
                let (to, admitted) = (reply_to(request.request_id.take()), self.admit());
                self.batches
                    .on_request(request, to, ticket, admitted, &mut self.link, out);
            }
            Ok(ClientMessage::Control(request)) => {
                let (to, admitted) = (reply_to(request.request_id), self.admit());
                self.control
                    .on_request(request.control, to, ticket, admitted, &self.link, out);
            }
            Ok(ClientMessage::Stream(request)) => {
                self.streams.on_request(request, &mut self.link, now, out);
            }
            Ok(ClientMessage::Audio(chunk)) => {
                self.streams.on_audio(&chunk, &mut self.link, now, out);
            }
            Err(error) => {
                let mut error = ErrorReply::from(error);
                error.request_id.get_or_insert(RequestId::Serial(ticket));
                self.link.send_error(error, protocol, out);
            }
        }
    }

    /// Whether a further request may be taken, and the sample rate of audio that names none.
    fn admit(&self) -> Result<u32, SessionError> {
        if self.link.is_draining() {
            return Err(SessionError::ShuttingDown);
        }
        let limit = self.link.context().limits.max_in_flight as usize;
        if self.in_flight() >= limit {
            return Err(SessionError::TooManyInFlight { limit });
        }
        Ok(self.control.sample_rate_hz())
    }
}

impl Session for ClientSession {
    type Event = Event;

    fn on_open(&mut self, _now: Instant, out: &mut Outbox) {
        if !self.negotiated.enabled {
            let kind = DecodeErrorKind::Disabled {
                protocol: self.negotiated.protocol.name(),
            };
            let error = DecodeError::from(kind).into();
            self.link.send_error(error, Protocol::Json, out);
        }
    }

    fn on_message(&mut self, message: Incoming<'_>, now: Instant, out: &mut Outbox) {
        let context = self.link.context();
        let protocol = self.negotiated.protocol;
        match message {
            Incoming::Text(text) => {
                context.stats.received(text.len());
                let decoded = context.decoder.text(protocol, text);
                self.dispatch(decoded, Protocol::Json, now, out);
            }
            Incoming::Binary(bytes) => {
                context.stats.received(bytes.len());
                let decoded = context.decoder.binary(protocol, bytes);
                self.dispatch(decoded, protocol, now, out);
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant, out: &mut Outbox) {
        let link = &mut self.link;
        match event {
            Event::Done(done) if self.streams.owns(done.ticket) => {
                self.streams.on_done(done, link, now, out);
            }
            Event::Done(done) if self.batches.owns(done.ticket) => {
                self.batches.on_done(done, link, now, out);
            }
            Event::Done(done) => self.frames.on_done(done, link, now, out),
            Event::Loaded {
                ticket,
                name,
                result,
            } => self.control.on_loaded(ticket, name, result, link, now, out),
            Event::PackageUnloaded { name } => self.streams.close_package(&name, link, now, out),
            Event::Stream(event) => self.streams.on_event(event, link, now, out),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.control.next_deadline(),
            self.batches.next_deadline(),
            self.streams.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_deadline(&mut self, now: Instant, out: &mut Outbox) {
        let link = &mut self.link;
        self.batches.on_deadline(link, now, out);
        if self.streams.next_deadline().is_some_and(|at| now >= at) {
            self.streams.on_deadline(link, now, out);
        }
        self.control.on_deadline(link, now, out);
    }

    fn on_writable(&mut self, now: Instant, out: &mut Outbox) {
        self.streams.on_writable(&mut self.link, now, out);
    }

    fn on_drain(&mut self, now: Instant, out: &mut Outbox) {
        self.link.drain();
        self.control.on_drain();
        let reason = CloseReason::ShuttingDown;
        self.streams.close_all(reason, &mut self.link, now, out);
    }

    fn in_flight(&self) -> usize {
        self.frames.len() + self.batches.len() + self.control.len()
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.streams.detach_all(&mut self.link, Instant::now());
        self.link.context().sessions.remove(self.entry);
        self.link.context().stats.disconnected();
    }
}
