//! Messages of a session for its client, in order and bounded.

use std::collections::VecDeque;

use bytes::Bytes;

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
