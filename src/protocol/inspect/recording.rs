//! Recordings of a connection: one JSON object a line, as the page's protocol debugger exports them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::message::inspect;
use super::report::{Direction, Report};
use super::text::inspect_text;
use crate::protocol::negotiate::Protocol;

/// One recorded message.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When, in milliseconds from the recording's start.
    pub t_ms: f64,
    pub direction: Direction,
    /// What the connection's binary messages were.
    pub protocol: Protocol,
    pub payload: Payload,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    Binary(Bytes),
    Text(String),
}

/// Why a line of a recording was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The line is no JSON object with the fields of an entry, or one of them has a word that it cannot have.
    #[error("no entry of a recording: {0}")]
    Json(String),
    /// `protocol` is no subprotocol of this server.
    #[error("protocol cannot be {0:?}; docs/PROTOCOL.md tells what it may be")]
    Protocol(String),
    /// `data` is not base64.
    #[error("data is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

#[derive(Serialize, Deserialize)]
struct Line {
    t_ms: f64,
    direction: Direction,
    protocol: String,
    kind: Kind,
    data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Binary,
    Text,
}

impl Entry {
    /// Reads one line.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn parse(line: &str) -> Result<Self, EntryError> {
        let line: Line =
            serde_json::from_str(line).map_err(|error| EntryError::Json(error.to_string()))?;
        let protocol = match line.protocol.as_str() {
            "" => Protocol::Binary,
            name => Protocol::PREFERENCE
                .into_iter()
                .find(|protocol| protocol.subprotocol() == Some(name))
                .ok_or_else(|| EntryError::Protocol(name.to_owned()))?,
        };
        Ok(Entry {
            t_ms: line.t_ms,
            direction: line.direction,
            protocol,
            payload: match line.kind {
                Kind::Text => Payload::Text(line.data),
                Kind::Binary => Payload::Binary(STANDARD.decode(line.data)?.into()),
            },
        })
    }

    /// The entry as one line, without the line's end.
    pub fn to_line(&self) -> String {
        let (kind, data) = match &self.payload {
            Payload::Binary(bytes) => (Kind::Binary, STANDARD.encode(bytes)),
            Payload::Text(text) => (Kind::Text, text.clone()),
        };
        let line = Line {
            t_ms: self.t_ms,
            direction: self.direction,
            protocol: self.protocol.subprotocol().unwrap_or_default().to_owned(),
            kind,
            data,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// The message taken apart.
    pub fn report(&self) -> Report {
        match &self.payload {
            Payload::Binary(message) => inspect(self.protocol, self.direction, message.clone()),
            Payload::Text(text) => inspect_text(self.protocol, self.direction, text),
        }
    }
}
