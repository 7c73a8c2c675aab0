//! A connection without a socket: a session, its outbox and event queue, and a clock that the test sets.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use lipsyncd::base::event_queue::{EventQueue, event_queue};
use lipsyncd::base::ids::ConnectionId;
use lipsyncd::base::limits::Limits;

use lipsyncd::transport::{Incoming, Outbox, Outgoing, Service, Session};

/// Runs a session as a real connection would, on a clock that stands still between calls.
pub struct MemoryConnection<S: Session> {
    session: S,
    events: EventQueue<S::Event>,
    outbox: Outbox,
    now: Instant,
}

impl<S: Session> MemoryConnection<S> {
    /// Opens a session of `service`.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn open(
        service: &impl Service<Session = S>,
        subprotocol: Option<&'static str>,
        id: ConnectionId,
        limits: &Limits,
    ) -> io::Result<MemoryConnection<S>> {
        let (sender, events) = event_queue(service.event_capacity())?;
        let now = Instant::now();
        let mut session = service.open(subprotocol, id, sender);
        let mut outbox = Outbox::new(limits.max_outbox_bytes as usize);
        session.on_open(now, &mut outbox);
        Ok(MemoryConnection {
            session,
            events,
            outbox,
            now,
        })
    }

    /// A text message comes.
    pub fn send_text(&mut self, text: &str) {
        self.session
            .on_message(Incoming::Text(text), self.now, &mut self.outbox);
    }

    /// A binary message comes.
    pub fn send_binary(&mut self, bytes: impl Into<Bytes>) {
        self.session
            .on_message(Incoming::Binary(bytes.into()), self.now, &mut self.outbox);
    }

    /// Time passes; deadlines that fall into it are served in their order, each at its own instant.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.session.next_deadline().filter(|d| *d <= end) {
            // A session that asks for the same deadline again would hold the clock for ever.
            self.now = deadline.max(self.now + Duration::from_nanos(1));
            self.session.on_deadline(self.now, &mut self.outbox);
        }
        self.now = self.now.max(end);
    }

    /// The server begins to stop.
    pub fn drain(&mut self) {
        self.session.on_drain(self.now, &mut self.outbox);
    }

    /// The next message for the client, if one is ready. Finished work is taken first.
    pub fn poll(&mut self) -> Option<Outgoing> {
        while let Some(event) = self.events.take() {
            self.session.on_event(event, self.now, &mut self.outbox);
        }
        let was_over = self.outbox.is_over();
        let message = self.outbox.pop();
        if was_over && !self.outbox.is_over() {
            self.session.on_writable(self.now, &mut self.outbox);
        }
        message
    }

    /// The next message for the client; waits in real time, at most `limit`, for work to finish.
    pub fn wait(&mut self, limit: Duration) -> Option<Outgoing> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.poll() {
                return Some(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.wait(left)?;
            self.session.on_event(event, self.now, &mut self.outbox);
        }
    }

    /// Requests that the session has taken and not answered.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight()
    }
}
