//! Recordings of a connection: one JSON object a line, as the page's protocol debugger exports them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Direction, Report, inspect};
use crate::protocol::{Decoder, Protocol};

/// Characters of a string in a JSON message that are shown: images are long.
const SHOWN_CHARS: usize = 60;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryError {
    /// The line is no JSON object with the fields of an entry.
    Json(String),
    /// A field has a word that it cannot have.
    Word { field: &'static str, value: String },
    /// `data` is not base64.
    Base64(String),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::Json(reason) => write!(f, "no entry of a recording: {reason}"),
            EntryError::Word { field, value } => {
                write!(
                    f,
                    "{field} cannot be {value:?}; docs/PROTOCOL.md tells what it may be"
                )
            }
            EntryError::Base64(reason) => write!(f, "data is not base64: {reason}"),
        }
    }
}

impl std::error::Error for EntryError {}

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

/// Takes a JSON message apart: a field for each of its keys.
pub fn inspect_text(protocol: Protocol, direction: Direction, text: &str) -> Report {
    let mut fields = Vec::new();
    let mut title = "JSON".to_owned();
    if let Ok(Value::Object(object)) = serde_json::from_str(text) {
        if let Some(Value::String(kind)) = object.get("type") {
            title = format!("JSON {kind}");
        }
        for (name, value) in object {
            let value = shorten(value).to_string();
            fields.push(super::Field {
                offset: None,
                bytes: Bytes::new(),
                name,
                value,
            });
        }
    }
    let fault = match direction {
        Direction::Sent => Decoder::default()
            .text(protocol, text)
            .err()
            .map(|error| error.fault),
        Direction::Received => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .err()
            .map(|error| super::Fault::Json {
                line: error.line(),
                column: error.column(),
                reason: error.to_string(),
            }),
    };
    Report {
        title,
        length: text.len(),
        fields,
        fault,
    }
}

/// The value with its long strings cut.
fn shorten(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN_CHARS => {
            let shown: String = text.chars().take(SHOWN_CHARS).collect();
            Value::String(format!("{shown}… ({} bytes)", text.len()))
        }
        Value::Array(values) => Value::Array(values.into_iter().map(shorten).collect()),
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(key, value)| (key, shorten(value)))
                .collect(),
        ),
        other => other,
    }
}
