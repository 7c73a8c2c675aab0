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
    /// The line is no JSON object with the fields of an entry.
    #[error("no entry of a recording: {0}")]
    Json(String),
    /// A field has a word that it cannot have.
    #[error("{field} cannot be {value:?}; docs/PROTOCOL.md tells what it may be")]
    Word { field: &'static str, value: String },
    /// `data` is not base64.
    #[error("data is not base64: {0}")]
    Base64(String),
}

#[derive(Serialize, Deserialize)]
struct Line {
    t_ms: f64,
    direction: String,
    protocol: String,
    kind: String,
    data: String,
}

impl Entry {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, EntryError> {
        let line: Line =
            serde_json::from_str(line).map_err(|error| EntryError::Json(error.to_string()))?;
        let direction = match line.direction.as_str() {
            "sent" => Direction::Sent,
            "received" => Direction::Received,
            _ => {
                return Err(EntryError::Word {
                    field: "direction",
                    value: line.direction,
                });
            }
        };
        let protocol = if line.protocol.is_empty() {
            Protocol::Binary
        } else {
            Protocol::PREFERENCE
                .into_iter()
                .find(|protocol| protocol.subprotocol() == Some(&line.protocol))
                .ok_or(EntryError::Word {
                    field: "protocol",
                    value: line.protocol,
                })?
        };
        let payload = match line.kind.as_str() {
            "text" => Payload::Text(line.data),
            "binary" => {
                let data = STANDARD.decode(line.data);
                Payload::Binary(
                    data.map_err(|error| EntryError::Base64(error.to_string()))?
                        .into(),
                )
            }
            _ => {
                return Err(EntryError::Word {
                    field: "kind",
                    value: line.kind,
                });
            }
        };
        Ok(Entry {
            t_ms: line.t_ms,
            direction,
            protocol,
            payload,
        })
    }

    /// The entry as one line, without the line's end.
    pub fn to_line(&self) -> String {
        let (kind, data) = match &self.payload {
            Payload::Binary(bytes) => ("binary", STANDARD.encode(bytes)),
            Payload::Text(text) => ("text", text.clone()),
        };
        let direction = match self.direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
        };
        let line = Line {
            t_ms: self.t_ms,
            direction: direction.to_owned(),
            protocol: self.protocol.subprotocol().unwrap_or_default().to_owned(),
            kind: kind.to_owned(),
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
