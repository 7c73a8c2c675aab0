//! What a WebSocket connection serves: a [`Session`], which knows neither sockets nor clocks.
//!
//! Messages, finished work and the time go in; messages for the client go into a bounded [`Outbox`]. The same session
//! runs over a real socket (`socket.rs`) and, in tests, over a connection in memory whose clock the test sets.

use std::time::Instant;

use bytes::Bytes;

use super::outbox::Outbox;

/// A whole message from the client.
#[derive(Clone, Debug)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message. Its bytes are shared, not copied.
    Binary(Bytes),
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
