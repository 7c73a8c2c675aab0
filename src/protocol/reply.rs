//! What requests for frames are answered with, the same for every protocol.

use std::fmt;

use serde::{Serialize, Serializer};

use super::code::ErrorCode;
use super::error::DecodeError;
use super::model_name::ModelName;
use crate::base::padded::PaddedBytes;

/// The id that a reply carries: the client's own, or the server's count of this connection's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    Client(Box<str>),
    Serial(u64),
}

impl RequestId {
    /// The client's id where it gave one, else the server's.
    pub fn new(client: Option<Box<str>>, serial: u64) -> Self {
        client.map_or(RequestId::Serial(serial), RequestId::Client)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RequestId::Client(id) => serializer.serialize_str(id),
            RequestId::Serial(id) => serializer.collect_str(id),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Client(id) => f.write_str(id),
            RequestId::Serial(id) => write!(f, "{id}"),
        }
    }
}

/// One frame, computed.
#[derive(Debug, Clone)]
pub struct FrameReply {
    pub request_id: RequestId,
    /// The package's name.
    pub model_name: ModelName,
    /// As the client sent it.
    pub frame_id: u32,
    /// The idle frame that the image belongs to: `frame_id` walked to and fro over the package's frames.
    pub avatar_frame: u32,
    /// Where the image belongs: x1, y1, x2, y2 in pixels of the full frame.
    pub bounds: [f32; 4],
    /// Width and height of the image in pixels.
    pub image_size: (u32, u32),
    /// The image as JPEG.
    pub jpeg: PaddedBytes,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
    /// Whether the package's own audio was used.
    pub own_audio: bool,
}

/// The frames of a batch in the order asked for, each a frame or its own error.
#[derive(Debug, Clone)]
pub struct BatchReply {
    pub request_id: RequestId,
    pub model_name: ModelName,
    pub frames: Vec<Result<FrameReply, ErrorReply>>,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub code: ErrorCode,
    /// What was wrong and what to do next, for a person.
    pub text: String,
    /// The request's frame, where it could be read.
    pub frame_id: Option<u32>,
    /// `None` where the client gave none that could be read and the server counted none.
    pub request_id: Option<RequestId>,
    /// The stream, for errors of v2.
    pub stream: Option<u16>,
    /// From the request's arrival to the reply, in microseconds.
    pub processing_us: u64,
}

impl ErrorReply {
    /// An error that is not yet tied to a request.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        ErrorReply {
            code,
            text: text.into(),
            frame_id: None,
            request_id: None,
            stream: None,
            processing_us: 0,
        }
    }
}

impl From<DecodeError> for ErrorReply {
    fn from(error: DecodeError) -> Self {
        let reply = ErrorReply::new(error.code(), error.to_string());
        ErrorReply {
            frame_id: error.ids.frame_id,
            request_id: error.ids.request_id.map(RequestId::Client),
            stream: error.ids.stream,
            ..reply
        }
    }
}

/// Microseconds as whole milliseconds, rounded.
pub(super) fn millis(micros: u64) -> u32 {
    u32::try_from(micros.saturating_add(500) / 1000).unwrap_or(u32::MAX)
}
