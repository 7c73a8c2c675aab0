//! What can be wrong with a client's message.

use std::fmt;

use thiserror::Error;

use super::code::ErrorCode;
use super::resemblance::Resemblance;

/// What is wrong with a message. Always the client's fault; the connection survives it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// `field` needs `needed` bytes at `offset`, and only `left` are there.
    #[error(
        "{field} needs {needed} bytes at offset {offset}, but only {left} are left in the message"
    )]
    Truncated {
        field: &'static str,
        offset: usize,
        needed: usize,
        left: usize,
    },
    /// `count` bytes are left over after the message's end at `offset`.
    #[error("{count} bytes are left over after the end of the message at offset {offset}")]
    LeftOver { offset: usize, count: usize },
    /// `field` is not UTF-8; `offset` is the first bad byte, counted in the message.
    #[error("{field} is not UTF-8: first bad byte at offset {offset}")]
    Utf8 { field: &'static str, offset: usize },
    /// The text is not JSON.
    #[error("the text is not a JSON message: {reason} (line {line}, column {column})")]
    Json {
        line: usize,
        column: usize,
        reason: String,
    },
    /// `field` is missing.
    #[error("{field} is missing")]
    Missing { field: &'static str },
    /// `field` is there, but not what it must be.
    #[error("{field} must be {expected}")]
    Type {
        field: &'static str,
        expected: &'static str,
    },
    /// `field` is outside `min..=max`.
    #[error("{field} is {value}; it must be {}", range(*min, *max))]
    Range {
        field: &'static str,
        value: i64,
        min: i64,
        max: i64,
    },
    /// `field` is none of the words it may be.
    #[error("{field} is {value:?}; it must be one of: {choices}")]
    Choice {
        field: &'static str,
        value: String,
        choices: &'static str,
    },
    /// `field` is not base64.
    #[error("{field} is not base64: {reason}")]
    Base64 { field: &'static str, reason: String },
    /// `field` is PCM16 of an odd number of bytes.
    #[error("{field} has {bytes} bytes; PCM16 has two bytes a sample, so the number must be even")]
    OddPcm { field: &'static str, bytes: usize },
    /// `field` is base64 where the samples themselves belong.
    #[error("{field} looks like base64 text; it must be the PCM16 samples as they are")]
    Base64Samples { field: &'static str },
    /// The bytes are no protobuf message of the kind they claim.
    #[error("the bytes are no message of proto/lipsyncsrv.proto: {reason}")]
    Protobuf { reason: String },
    /// A message type nobody knows, and those that are understood.
    #[error("there is no message type {name:?}; this connection understands {understood}")]
    UnknownType { name: String, understood: String },
    /// Text without a type, and without what a request for a frame has.
    #[error(
        "{field} is missing: a message without a type asks for a frame; with one, this connection understands {understood}"
    )]
    NoType {
        field: &'static str,
        understood: String,
    },
    /// `field` has `value` of something of which `limit` are allowed.
    #[error("{field} has {value} {unit}; this server takes at most {limit}")]
    TooLarge {
        field: &'static str,
        value: usize,
        limit: usize,
        unit: &'static str,
    },
    /// The protocol is off on this server.
    #[error(
        "the protocol {protocol:?} is switched off on this server (--protocols); JSON text messages and control messages are answered"
    )]
    Disabled { protocol: &'static str },
    /// The message belongs to another subprotocol.
    #[error("this message needs a connection opened with the WebSocket subprotocol {needed:?}")]
    WrongMode { needed: &'static str },
}

impl DecodeErrorKind {
    /// The stable word for this error.
    pub const fn code(&self) -> ErrorCode {
        match self {
            DecodeErrorKind::Truncated { .. } | DecodeErrorKind::LeftOver { .. } => {
                ErrorCode::BadLength
            }
            DecodeErrorKind::Utf8 { .. } => ErrorCode::BadUtf8,
            DecodeErrorKind::Json { .. } => ErrorCode::BadJson,
            DecodeErrorKind::Missing { .. }
            | DecodeErrorKind::NoType { .. }
            | DecodeErrorKind::Type { .. } => ErrorCode::BadField,
            DecodeErrorKind::Range { .. }
            | DecodeErrorKind::Choice { .. }
            | DecodeErrorKind::Base64Samples { .. } => ErrorCode::BadValue,
            DecodeErrorKind::Base64 { .. } => ErrorCode::BadBase64,
            DecodeErrorKind::OddPcm { .. } => ErrorCode::OddPcm,
            DecodeErrorKind::Protobuf { .. } => ErrorCode::BadProtobuf,
            DecodeErrorKind::UnknownType { .. } => ErrorCode::UnknownType,
            DecodeErrorKind::TooLarge { .. } => ErrorCode::TooLarge,
            DecodeErrorKind::Disabled { .. } => ErrorCode::ProtocolDisabled,
            DecodeErrorKind::WrongMode { .. } => ErrorCode::WrongMode,
        }
    }
}

fn range(min: i64, max: i64) -> String {
    if min == max {
        min.to_string()
    } else {
        format!("from {min} to {max}")
    }
}

/// Whose message it was, as far as that could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageIds {
    /// The request's frame.
    pub frame_id: Option<u32>,
    /// The client's own id of the request.
    pub request_id: Option<Box<str>>,
    /// The stream (v2).
    pub stream: Option<u16>,
}

impl MessageIds {
    /// An error about this message.
    pub(super) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            kind,
            resemblance: None,
            ids: self.clone(),
        }
    }
}

/// A message that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// What the message looks like, where it is something well known in the wrong place.
    pub resemblance: Option<Resemblance>,
    /// Whose message it was.
    pub ids: MessageIds,
}

impl DecodeError {
    /// The stable word for the error.
    pub fn code(&self) -> ErrorCode {
        self.resemblance
            .and_then(Resemblance::code)
            .unwrap_or(self.kind.code())
    }
}

impl From<DecodeErrorKind> for DecodeError {
    fn from(kind: DecodeErrorKind) -> Self {
        MessageIds::default().error(kind)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resemblance {
            Some(resemblance) => write!(f, "{resemblance} ({})", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}
