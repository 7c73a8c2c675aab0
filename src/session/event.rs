//! What the connection's thread is told while it waits: results of jobs, packages loaded, streams taken over.

use std::sync::Arc;
use std::time::Duration;

use crate::base::event_queue::{EventSender, SendError};
use crate::engine::{Deliver, Done};
use crate::model::ModelError;

/// Something that has happened for a connection.
#[derive(Debug)]
pub enum Event {
    /// A job.
    Done(Done),
    /// A package that a client asked to be loaded.
    Loaded {
        /// The asker's number.
        ticket: u64,
        /// The package's name.
        name: String,
        /// How long it took, or why it failed.
        result: Result<Duration, ModelError>,
    },
    /// A package is no longer served.
    PackageUnloaded {
        /// The package's name.
        name: Arc<str>,
    },
    /// Streams that go from one connection to another.
    Stream(StreamEvent),
}

/// A takeover, as the two connections that take part in it are told.
#[derive(Debug)]
pub enum StreamEvent {
    /// To the connection that has the stream: another wants it, by its token.
    HandOver {
        /// The stream's number on this connection.
        stream: u16,
        /// Its token.
        token: String,
    },
    /// To the connection that waits for the stream: it can be collected, or is gone.
    HandedOver {
        /// The stream's number on this connection.
        stream: u16,
    },
}

impl Deliver for EventSender<Event> {
    fn deliver(&self, done: Done) -> Result<(), SendError> {
        self.send(Event::Done(done))
    }

    fn is_gone(&self) -> bool {
        EventSender::is_gone(self)
    }
}
