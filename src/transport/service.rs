//! What the transport serves: answers to HTTP requests, and sessions.

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;

use super::http::{Head, Response};
use super::session::Session;

/// The answer to a WebSocket handshake.
#[derive(Debug)]
pub enum HandshakeDecision {
    /// Go on, with this subprotocol named in the response if any was offered.
    Accept(Option<&'static str>),
    /// Refuse with this response.
    Refuse(Response),
}

/// The events of a service's sessions.
pub type EventOf<S> = <<S as Service>::Session as Session>::Event;

/// Events that may wait for a session which does not say how many.
const DEFAULT_EVENT_CAPACITY: usize = 64;

/// What the transport serves: answers to GET, and sessions.
pub trait Service: Send + Sync + 'static {
    /// One client's side of it.
    type Session: Session;

    /// Answers a GET or HEAD request that is no WebSocket handshake.
    fn respond(&self, head: &Head) -> Response;

    /// Decides about a WebSocket handshake: its path, its origin, and the subprotocols that it offers.
    fn handshake(&self, head: &Head) -> HandshakeDecision;

    /// Opens a session. Work that it gives away comes back through `events`.
    fn open(
        &self,
        subprotocol: Option<&'static str>,
        connection: ConnectionId,
        events: EventSender<EventOf<Self>>,
    ) -> Self::Session;

    /// How many events may wait for a session: all that it may have given away.
    fn event_capacity(&self) -> usize {
        DEFAULT_EVENT_CAPACITY
    }

    /// A connection was refused because there were too many.
    fn on_refused(&self) {}
}
