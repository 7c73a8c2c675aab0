//! The wire: bytes of a client in, messages out, and back.
//!
//! Pure: no socket, file, clock or log. Every protocol decodes into [`ClientMessage`] and is encoded from the replies.
//! Binary messages are described by tables of their fields (`layout.rs`), from which decoding, encoding and `inspect`
//! are made. docs/PROTOCOL.md describes the wire for clients.

mod binary;
mod code;
mod control;
mod decoder;
mod encode;
mod error;
pub mod inspect;
mod json;
mod layout;
mod limits;
mod message;
mod model_name;
mod negotiate;
pub mod protobuf;
mod reader;
mod recognise;
mod reply;
mod resemblance;
pub mod stream;
#[cfg(test)]
mod tests;

pub use crate::base::sample_rate::{
    DEFAULT_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ,
};
pub use binary::encode_request;
pub use code::ErrorCode;
pub use control::*;
pub use decoder::Decoder;
pub use encode::Encoded;
pub use error::{DecodeError, DecodeErrorKind, MessageIds};
pub use limits::MessageLimits;
pub use message::*;
pub use model_name::ModelName;
pub use negotiate::{Negotiated, Protocol, ProtocolSet, ProtocolSetError, negotiate};
pub use reply::{BatchReply, ErrorReply, FrameReply, RequestId};
pub use resemblance::Resemblance;
