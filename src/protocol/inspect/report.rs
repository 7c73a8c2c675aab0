//! What `inspect` tells of a message.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::error::DecodeError;

/// Bytes of a field that are shown; longer fields end with an ellipsis.
const SHOWN_BYTES: usize = 8;

/// Name of the field that holds what is left where a message is wrong.
const NOT_UNDERSTOOD: &str = "(not understood)";

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// By the client.
    Sent,
    /// By the server.
    Received,
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the message's beginning; `None` in JSON.
    pub offset: Option<usize>,
    /// The field's bytes; none in JSON.
    pub bytes: Bytes,
    pub name: String,
    /// The value as a person reads it.
    pub value: String,
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the message is.
    pub title: String,
    /// Bytes of the message.
    pub length: usize,
    /// Its fields as far as they could be read.
    pub fields: Vec<Field>,
    /// What is wrong, if anything is.
    pub error: Option<DecodeError>,
}

impl Report {
    /// A report whose fields cover the message: what could not be read is the last.
    pub(super) fn covering(
        title: &str,
        message: Bytes,
        mut fields: Vec<Field>,
        error: Option<DecodeError>,
    ) -> Report {
        let read: usize = fields.iter().map(|field| field.bytes.len()).sum();
        if read < message.len() {
            let bytes = message.slice(read..);
            fields.push(Field {
                offset: Some(read),
                value: format!("{} bytes", bytes.len()),
                name: NOT_UNDERSTOOD.to_owned(),
                bytes,
            });
        }
        Report {
            title: title.to_owned(),
            length: message.len(),
            fields,
            error,
        }
    }

    /// Bytes that the fields cover.
    pub fn covered(&self) -> usize {
        self.fields.iter().map(|field| field.bytes.len()).sum()
    }

    /// Fields that could be read.
    pub(super) fn understood(&self) -> usize {
        let read = |field: &&Field| field.name != NOT_UNDERSTOOD;
        self.fields.iter().filter(read).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} bytes", self.title, self.length)?;
        for field in &self.fields {
            let mut hex = String::new();
            for byte in field.bytes.iter().take(SHOWN_BYTES) {
                hex.push_str(&format!("{byte:02x} "));
            }
            if field.bytes.len() > SHOWN_BYTES {
                hex.push('…');
            }
            let Field {
                offset,
                name,
                value,
                ..
            } = field;
            match offset {
                Some(offset) => writeln!(f, "  {offset:>6}  {hex:<25}  {name:<20}  {value}")?,
                None => writeln!(f, "  {name:<20}  {value}")?,
            }
        }
        match &self.error {
            None => Ok(()),
            Some(error) => writeln!(f, "  WRONG ({}): {error}", error.code()),
        }
    }
}
