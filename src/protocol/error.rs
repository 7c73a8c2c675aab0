//! What can be wrong with a client's message, and the stable words for it.

use std::fmt;

/// The stable word for a kind of error: what a client's program decides by.
///
/// JSON and protobuf errors carry it as `code`; the text of a binary error begins with it and a colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A length or count in the message does not fit the bytes that came.
    BadLength,
    /// Text that is not UTF-8.
    BadUtf8,
    /// Text that is not JSON, or JSON that is not an object.
    BadJson,
    /// A field that is missing or of the wrong type.
    BadField,
    /// A value outside its range.
    BadValue,
    /// Audio that is not base64.
    BadBase64,
    /// Audio of an odd number of bytes: PCM16 has two bytes a sample.
    OddPcm,
    /// A protobuf message that does not decode.
    BadProtobuf,
    /// A message type that this server does not know.
    UnknownType,
    /// More than a limit of the server allows.
    TooLarge,
    /// A protocol that the server's configuration switches off.
    ProtocolDisabled,
    /// A message that belongs to another subprotocol than the connection's.
    WrongMode,
    /// A package that is not there.
    UnknownModel,
    /// A package that is there but not ready to serve.
    NotLoaded,
    /// Something that this server, or this package, does not do.
    Unsupported,
    /// Only an administrator may do this.
    Forbidden,
    /// The server has more work than it can do in time; try again later.
    Busy,
    /// The server is shutting down.
    ShuttingDown,
    /// A stream that is not open on this connection.
    UnknownStream,
    /// A stream that is open already.
    StreamExists,
    /// A resume token that is unknown or too old.
    BadToken,
    /// Samples that do not fit what came before in the same epoch.
    BadSequence,
    /// A fault of the server; its log tells more.
    Internal,
}

impl Code {
    /// Every code, in the order of docs/PROTOCOL.md.
    pub const ALL: [Code; 23] = [
        Code::BadLength,
        Code::BadUtf8,
        Code::BadJson,
        Code::BadField,
        Code::BadValue,
        Code::BadBase64,
        Code::OddPcm,
        Code::BadProtobuf,
        Code::UnknownType,
        Code::TooLarge,
        Code::ProtocolDisabled,
        Code::WrongMode,
        Code::UnknownModel,
        Code::NotLoaded,
        Code::Unsupported,
        Code::Forbidden,
        Code::Busy,
        Code::ShuttingDown,
        Code::UnknownStream,
        Code::StreamExists,
        Code::BadToken,
        Code::BadSequence,
        Code::Internal,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::BadLength => "bad_length",
            Code::BadUtf8 => "bad_utf8",
            Code::BadJson => "bad_json",
            Code::BadField => "bad_field",
            Code::BadValue => "bad_value",
            Code::BadBase64 => "bad_base64",
            Code::OddPcm => "odd_pcm",
            Code::BadProtobuf => "bad_protobuf",
            Code::UnknownType => "unknown_type",
            Code::TooLarge => "too_large",
            Code::ProtocolDisabled => "protocol_disabled",
            Code::WrongMode => "wrong_mode",
            Code::UnknownModel => "unknown_model",
            Code::NotLoaded => "not_loaded",
            Code::Unsupported => "unsupported",
            Code::Forbidden => "forbidden",
            Code::Busy => "busy",
            Code::ShuttingDown => "shutting_down",
            Code::UnknownStream => "unknown_stream",
            Code::StreamExists => "stream_exists",
            Code::BadToken => "bad_token",
            Code::BadSequence => "bad_sequence",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a message. Always the client's fault; the connection survives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `field` needs `needed` bytes at `offset`, and only `left` are there.
    Truncated {
        field: &'static str,
        offset: usize,
        needed: usize,
        left: usize,
    },
    /// `count` bytes are left over after the message's end at `offset`.
    LeftOver { offset: usize, count: usize },
    /// `field` is not UTF-8; `offset` is the first bad byte, counted in the message.
    Utf8 { field: &'static str, offset: usize },
    /// The text is not JSON.
    Json {
        line: usize,
        column: usize,
        reason: String,
    },
    /// `field` is missing.
    Missing { field: &'static str },
    /// `field` is there, but not what it must be.
    Type {
        field: &'static str,
        expected: &'static str,
    },
    /// `field` is outside `min..=max`.
    Range {
        field: &'static str,
        value: i64,
        min: i64,
        max: i64,
    },
    /// `field` is none of the words it may be.
    Choice {
        field: &'static str,
        value: String,
        choices: &'static str,
    },
    /// `field` is not base64.
    Base64 { field: &'static str, reason: String },
    /// `field` is PCM16 of an odd number of bytes.
    OddPcm { field: &'static str, bytes: usize },
    /// The bytes are no protobuf message of the kind they claim.
    Protobuf { reason: String },
    /// A message type nobody knows.
    UnknownType { name: String },
    /// `field` has `value` of something of which `limit` are allowed.
    TooLarge {
        field: &'static str,
        value: usize,
        limit: usize,
        unit: &'static str,
    },
    /// The protocol is off on this server.
    Disabled { protocol: &'static str },
    /// The message belongs to another subprotocol.
    WrongMode { needed: &'static str },
}

impl Fault {
    /// The stable word for this fault.
    pub const fn code(&self) -> Code {
        match self {
            Fault::Truncated { .. } | Fault::LeftOver { .. } => Code::BadLength,
            Fault::Utf8 { .. } => Code::BadUtf8,
            Fault::Json { .. } => Code::BadJson,
            Fault::Missing { .. } | Fault::Type { .. } => Code::BadField,
            Fault::Range { .. } | Fault::Choice { .. } => Code::BadValue,
            Fault::Base64 { .. } => Code::BadBase64,
            Fault::OddPcm { .. } => Code::OddPcm,
            Fault::Protobuf { .. } => Code::BadProtobuf,
            Fault::UnknownType { .. } => Code::UnknownType,
            Fault::TooLarge { .. } => Code::TooLarge,
            Fault::Disabled { .. } => Code::ProtocolDisabled,
            Fault::WrongMode { .. } => Code::WrongMode,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Truncated {
                field,
                offset,
                needed,
                left,
            } => write!(
                f,
                "{field} needs {needed} bytes at offset {offset}, but only {left} are left in the message"
            ),
            Fault::LeftOver { offset, count } => {
                write!(
                    f,
                    "{count} bytes are left over after the end of the message at offset {offset}"
                )
            }
            Fault::Utf8 { field, offset } => {
                write!(f, "{field} is not UTF-8: first bad byte at offset {offset}")
            }
            Fault::Json {
                line,
                column,
                reason,
            } => {
                write!(
                    f,
                    "the text is not a JSON message: {reason} (line {line}, column {column})"
                )
            }
            Fault::Missing { field } => write!(f, "{field} is missing"),
            Fault::Type { field, expected } => write!(f, "{field} must be {expected}"),
            Fault::Range {
                field,
                value,
                min,
                max,
            } => {
                write!(f, "{field} is {value}; it must be from {min} to {max}")
            }
            Fault::Choice {
                field,
                value,
                choices,
            } => {
                write!(f, "{field} is {value:?}; it must be one of: {choices}")
            }
            Fault::Base64 { field, reason } => write!(f, "{field} is not base64: {reason}"),
            Fault::OddPcm { field, bytes } => write!(
                f,
                "{field} has {bytes} bytes; PCM16 has two bytes a sample, so the number must be even"
            ),
            Fault::Protobuf { reason } => {
                write!(
                    f,
                    "the bytes are no message of proto/lipsyncsrv.proto: {reason}"
                )
            }
            Fault::UnknownType { name } => {
                write!(
                    f,
                    "there is no message type {name:?}; docs/PROTOCOL.md lists them"
                )
            }
            Fault::TooLarge {
                field,
                value,
                limit,
                unit,
            } => {
                write!(
                    f,
                    "{field} has {value} {unit}; this server takes at most {limit}"
                )
            }
            Fault::Disabled { protocol } => write!(
                f,
                "the protocol {protocol:?} is switched off on this server (--protocols); JSON text messages and control messages are answered"
            ),
            Fault::WrongMode { needed } => {
                write!(
                    f,
                    "this message needs a connection opened with the WebSocket subprotocol {needed:?}"
                )
            }
        }
    }
}

/// A message that could not be taken, and as much of whose request it was as could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    /// What is wrong.
    pub fault: Fault,
    /// The request's frame, where it could be read.
    pub frame_id: Option<u32>,
    /// The request's own id, where the client gave one and it could be read.
    pub request_id: Option<Box<str>>,
    /// The stream (v2), where it could be read.
    pub stream: Option<u16>,
}

impl ProtocolError {
    /// The same error, knowing the frame it was about.
    pub(crate) fn with_frame(mut self, frame_id: Option<u32>) -> Self {
        self.frame_id = frame_id;
        self
    }

    /// The stable word for the fault.
    pub fn code(&self) -> Code {
        self.fault.code()
    }
}

impl From<Fault> for ProtocolError {
    fn from(fault: Fault) -> Self {
        ProtocolError {
            fault,
            frame_id: None,
            request_id: None,
            stream: None,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for ProtocolError {}
