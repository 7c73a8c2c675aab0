//! Takes recorded messages apart for a person: every field with its offset, bytes and value, and where it is wrong.

mod layout;
mod recording;

use std::fmt;

use bytes::Bytes;

use super::error::Fault;
use super::negotiate::Protocol;

pub use recording::{Entry, EntryError, Payload, inspect_text};

/// Bytes of a field that are shown; longer fields end with an ellipsis.
const SHOWN_BYTES: usize = 8;

/// Name of the field that holds what is left where a message is wrong.
const NOT_UNDERSTOOD: &str = "(not understood)";

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    pub fault: Option<Fault>,
}

impl Report {
    /// Bytes that the fields cover.
    pub fn covered(&self) -> usize {
        self.fields.iter().map(|field| field.bytes.len()).sum()
    }

    /// Fields that could be read.
    fn understood(&self) -> usize {
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
        match &self.fault {
            None => Ok(()),
            Some(fault) => writeln!(f, "  WRONG ({}): {fault}", fault.code()),
        }
    }
}

/// Takes apart a binary message whose protocol and direction are known.
pub fn inspect(protocol: Protocol, direction: Direction, message: Bytes) -> Report {
    match (protocol, direction) {
        (Protocol::Binary | Protocol::Json, Direction::Sent) => {
            layout::v1_request("v1 request", message)
        }
        (Protocol::BinaryTimed, Direction::Sent) => layout::v1_request("v1 timed request", message),
        (Protocol::Binary | Protocol::Json, Direction::Received) => {
            layout::v1_reply(false, message)
        }
        (Protocol::BinaryTimed, Direction::Received) => layout::v1_reply(true, message),
        (Protocol::Protobuf, Direction::Sent) => layout::protobuf_request(message),
        (Protocol::Protobuf, Direction::Received) => layout::protobuf_response(message),
        (Protocol::Stream, _) => layout::stream(message),
    }
}

/// Takes apart a binary message of which nothing is known: as what it fits best.
pub fn inspect_unknown(message: &Bytes) -> Report {
    // Of layouts that fit equally well the last is taken: the likeliest.
    let protocols = [
        Protocol::Protobuf,
        Protocol::BinaryTimed,
        Protocol::Binary,
        Protocol::Stream,
    ];
    protocols
        .into_iter()
        .flat_map(|protocol| [(protocol, Direction::Received), (protocol, Direction::Sent)])
        .map(|(protocol, direction)| inspect(protocol, direction, message.clone()))
        .max_by_key(|report| (report.fault.is_none(), report.understood()))
        .unwrap_or_else(|| layout::stream(message.clone()))
}
