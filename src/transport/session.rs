//! What a connection serves: a [`Session`], which knows neither sockets nor clocks.
//!
//! Messages, finished work and the time go in; messages for the client go into a bounded [`Outbox`].
//! The same session runs over a real socket (`socket.rs`) and over a connection in memory
//! (`memory.rs`), where a test decides what time it is.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;

use super::http::{Head, Response};
use super::routes::Route;

/// A whole message from the client.
#[derive(Clone, Debug)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message. Its bytes are shared, not copied.
    Binary(Bytes),
}

/// A message for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Outgoing::Text(text) => text.len(),
            Outgoing::Binary(bytes) => bytes.len(),
        }
    }
}

/// Why and how the server closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code.
    pub code: u16,
    /// For people, at most 123 bytes.
    pub reason: String,
}

/// Messages that wait to be sent.
///
/// It is bounded by its two sides: a session answers what it was asked (its requests in flight are
/// limited), and the connection reads no further requests while [`Outbox::is_over`].
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    limit: usize,
    close: Option<Close>,
}

impl Outbox {
    /// An outbox that is over at `limit` bytes.
    pub fn new(limit: usize) -> Outbox {
        Outbox {
            queue: VecDeque::new(),
            bytes: 0,
            limit,
            close: None,
        }
    }

    /// Queues a text message.
    pub fn text(&mut self, text: String) {
        self.push(Outgoing::Text(text));
    }

    /// Queues a binary message.
    pub fn binary(&mut self, bytes: impl Into<Bytes>) {
        self.push(Outgoing::Binary(bytes.into()));
    }

    /// Asks for the connection to be closed once everything queued is sent. The first reason stays.
    pub fn close(&mut self, code: u16, reason: impl Into<String>) {
        self.close.get_or_insert(Close {
            code,
            reason: reason.into(),
        });
    }

    /// Whether a close was asked for.
    pub fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Outgoing> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// The close that was asked for, once nothing is left to send before it.
    pub fn closing(&self) -> Option<&Close> {
        self.close.as_ref().filter(|_| self.queue.is_empty())
    }

    /// Payload bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether so much waits that no further request should be read.
    pub fn is_over(&self) -> bool {
        self.bytes >= self.limit
    }

    fn push(&mut self, message: Outgoing) {
        // After a close was asked for nothing more is said.
        if self.close.is_none() {
            self.bytes += message.bytes();
            self.queue.push_back(message);
        }
    }
}

/// One client's conversation. All calls come from the thread of its connection.
pub trait Session: Send {
    /// What wakes it besides messages: results of work that it gave away.
    type Event: Send + 'static;

    /// The connection is open.
    fn on_open(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// A whole message has come.
    fn on_message(&mut self, message: Incoming<'_>, now: Instant, out: &mut Outbox);

    /// Work that the session gave away has finished.
    fn on_event(&mut self, event: Self::Event, now: Instant, out: &mut Outbox);

    /// When [`Session::on_deadline`] wants to be called; asked again after every other call.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The outbox is below its limit again after it was over it: there is room for more.
    fn on_writable(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// The deadline has come.
    fn on_deadline(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// The server is stopping: begin no new work. The connection is closed once
    /// [`Session::in_flight`] is 0.
    fn on_drain(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// Requests that were taken and not answered yet.
    fn in_flight(&self) -> usize {
        0
    }
}

/// The answer to a WebSocket handshake.
#[derive(Debug)]
pub enum Negotiated {
    /// Go on, with this subprotocol named in the response if any was offered.
    Accept(Option<&'static str>),
    /// Refuse with this response.
    Refuse(Response),
}

/// The events of a service's sessions.
pub type EventOf<S> = <<S as Service>::Session as Session>::Event;

/// What the transport serves: answers to GET, and sessions.
pub trait Service: Send + Sync + 'static {
    /// One client's side of it.
    type Session: Session;

    /// Answers a GET or HEAD request.
    fn get(&self, route: &Route, head: &Head) -> Response;

    /// Chooses among the subprotocols that a client offers, in the client's order.
    fn negotiate(&self, head: &Head, offered: &[&str]) -> Negotiated;

    /// Opens a session. Work that it gives away comes back through `events`.
    fn open(
        &self,
        subprotocol: Option<&'static str>,
        connection: ConnectionId,
        events: EventSender<EventOf<Self>>,
    ) -> Self::Session;

    /// How many events may wait for a session: all that it may have given away.
    fn event_capacity(&self) -> usize {
        64
    }

    /// A connection was refused because there were too many.
    fn on_refused(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_waits_for_the_messages_before_it() {
        let mut out = Outbox::new(4);
        out.text("abc".into());
        assert!(!out.is_over());
        out.close(1001, "bye");
        out.text("never said".into());
        assert_eq!(out.closing(), None);
        assert_eq!(out.pop(), Some(Outgoing::Text("abc".into())));
        assert_eq!(out.closing().unwrap().code, 1001);
        assert_eq!((out.bytes(), out.is_empty()), (0, true));
    }
}
