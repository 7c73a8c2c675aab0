//! The wire: bytes of a client in, messages out, and back.
//!
//! Pure: no socket, file, clock or log. Every protocol decodes into [`ClientMessage`] and encodes from
//! [`Reply`], so a further one is one file more. docs/PROTOCOL.md describes the wire for clients.

mod binary;
mod error;
pub mod fuzz;
pub mod inspect;
mod json;
mod message;
mod negotiate;
pub mod protobuf;
mod reader;
pub mod stream;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use binary::encode_request;
pub use error::{Code, Fault, ProtocolError};
pub use message::*;
pub use negotiate::{Negotiated, Protocol, ProtocolSet, ProtocolSetError, negotiate};
pub use reader::Reader;

/// How large the parts of a message may be. The whole message is limited by the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a package's name.
    pub max_model_name_bytes: usize,
    /// Bytes of PCM that one frame's request may bring.
    pub max_audio_bytes: usize,
    /// Frames of one batch.
    pub max_batch_frames: usize,
    /// Bytes of a client's own request id, or of a resume token.
    pub max_request_id_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_model_name_bytes: 128,
            max_audio_bytes: 960_000, // 10 s at 48 kHz: a window is 0.64 s
            max_batch_frames: 64,
            max_request_id_bytes: 128,
        }
    }
}

impl Limits {
    /// Whether a client's own request id is short enough.
    fn check_request_id(&self, id: &str) -> Result<(), Fault> {
        if id.len() > self.max_request_id_bytes {
            return Err(Fault::TooLarge {
                field: "request_id",
                value: id.len(),
                limit: self.max_request_id_bytes,
                unit: "bytes",
            });
        }
        Ok(())
    }
}

/// Turns a connection's messages into requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoder {
    /// What is switched on.
    pub enabled: ProtocolSet,
    /// How large things may be.
    pub limits: Limits,
}

impl Decoder {
    /// Reads a binary message of a connection whose binary messages are `protocol`.
    ///
    /// Audio in the result is borrowed from `message`.
    ///
    /// # Errors
    /// [`ProtocolError`], with the request's frame where it could be read. Nothing is allocated by a length
    /// that the message merely claims.
    pub fn binary(
        &self,
        protocol: Protocol,
        message: Bytes,
    ) -> Result<ClientMessage, ProtocolError> {
        if !self.enabled.contains(protocol) {
            return Err(Fault::Disabled {
                protocol: protocol.name(),
            }
            .into());
        }
        match protocol {
            Protocol::Binary | Protocol::BinaryTimed => {
                binary::decode(message, &self.limits).map(ClientMessage::Inference)
            }
            Protocol::Protobuf => protobuf::decode(message, &self.limits),
            Protocol::Stream => stream::decode(message),
            // Never settled by `negotiate`, so only for a caller's own use.
            Protocol::Json => Err(Fault::WrongMode {
                needed: "lipsync.v1",
            }
            .into()),
        }
    }

    /// Reads a text message of a connection whose binary messages are `protocol`.
    ///
    /// # Errors
    /// As [`Decoder::binary`].
    pub fn text(&self, protocol: Protocol, message: &str) -> Result<ClientMessage, ProtocolError> {
        json::decode(protocol, message, self)
    }
}

/// Audio of a request as the engine wants it: `None` where there is none, else whole samples within the limit.
fn checked_audio(
    field: &'static str,
    audio: Bytes,
    limits: &Limits,
) -> Result<Option<Bytes>, Fault> {
    if audio.is_empty() {
        return Ok(None);
    }
    if audio.len() > limits.max_audio_bytes {
        let limit = limits.max_audio_bytes;
        return Err(Fault::TooLarge {
            field,
            value: audio.len(),
            limit,
            unit: "bytes of audio",
        });
    }
    if !audio.len().is_multiple_of(2) {
        return Err(Fault::OddPcm {
            field,
            bytes: audio.len(),
        });
    }
    Ok(Some(audio))
}

/// A name of a package that is neither empty nor too long.
fn checked_name(field: &'static str, name: &str, limits: &Limits) -> Result<String, Fault> {
    if name.is_empty() {
        return Err(Fault::Missing { field });
    }
    if name.len() > limits.max_model_name_bytes {
        let limit = limits.max_model_name_bytes;
        return Err(Fault::TooLarge {
            field,
            value: name.len(),
            limit,
            unit: "bytes",
        });
    }
    Ok(name.to_owned())
}

/// Microseconds as whole milliseconds, rounded.
fn millis(micros: u64) -> u32 {
    u32::try_from(micros.saturating_add(500) / 1000).unwrap_or(u32::MAX)
}

/// What kind of WebSocket message carries an encoded reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Binary,
}

impl Reply {
    /// Appends the reply to `out`, laid out as `protocol`: that of the request which it answers.
    ///
    /// Control replies and stream updates are JSON whatever `protocol` is, and so is everything that
    /// `protocol` has no binary layout for.
    pub fn encode(&self, protocol: Protocol, out: &mut Vec<u8>) -> Opcode {
        match (self, protocol) {
            (Reply::StreamFrame(frame), _) => frame.encode(out),
            (Reply::Frame(frame), Protocol::Binary) => binary::encode_frame(frame, false, out),
            (Reply::Frame(frame), Protocol::BinaryTimed) => binary::encode_frame(frame, true, out),
            (Reply::Error(error), Protocol::Binary) => binary::encode_error(error, false, out),
            (Reply::Error(error), Protocol::BinaryTimed) => binary::encode_error(error, true, out),
            (Reply::Frame(_) | Reply::Batch(_) | Reply::Error(_), Protocol::Protobuf) => {
                protobuf::encode(self, out);
            }
            _ => {
                json::encode(self, out);
                return Opcode::Text;
            }
        }
        Opcode::Binary
    }
}
