//! Replies as WebSocket messages: each kind in the protocol of the request that it answers.

use bytes::Bytes;

use super::control::ControlReply;
use super::negotiate::Protocol;
use super::reply::{BatchReply, ErrorReply, FrameReply};
use super::stream::StreamUpdate;
use super::{binary, json, protobuf};

/// A message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    Text(String),
    Binary(Bytes),
}

impl FrameReply {
    /// The reply, in the buffer of its image where `protocol` is binary version 1. Stream mode has no binary layout
    /// for replies to requests: they are JSON there.
    pub fn encode(self, protocol: Protocol) -> Encoded {
        match protocol {
            Protocol::Binary => Encoded::Binary(binary::encode_frame(self, false)),
            Protocol::BinaryTimed => Encoded::Binary(binary::encode_frame(self, true)),
            Protocol::Protobuf => Encoded::Binary(protobuf::encode_frame(self)),
            Protocol::Json | Protocol::Stream => Encoded::Text(json::frame(&self)),
        }
    }
}

impl BatchReply {
    /// The reply; only protobuf has a binary layout for batches.
    pub fn encode(self, protocol: Protocol) -> Encoded {
        match protocol {
            Protocol::Protobuf => Encoded::Binary(protobuf::encode_batch(self)),
            _ => Encoded::Text(json::batch(&self)),
        }
    }
}

impl ErrorReply {
    /// The error; JSON in stream mode.
    pub fn encode(&self, protocol: Protocol) -> Encoded {
        match protocol {
            Protocol::Binary => Encoded::Binary(binary::encode_error(self, false)),
            Protocol::BinaryTimed => Encoded::Binary(binary::encode_error(self, true)),
            Protocol::Protobuf => Encoded::Binary(protobuf::encode_error(self)),
            Protocol::Json | Protocol::Stream => Encoded::Text(json::error(self)),
        }
    }
}

impl ControlReply {
    /// The reply as a text message.
    pub fn encode(&self) -> String {
        json::to_text(self)
    }
}

impl StreamUpdate {
    /// The update as a text message.
    pub fn encode(&self) -> String {
        json::to_text(self)
    }
}
