//! Messages of a connection → requests.

use bytes::Bytes;

use super::error::{DecodeError, DecodeErrorKind};
use super::limits::MessageLimits;
use super::message::ClientMessage;
use super::negotiate::{Protocol, ProtocolSet};
use super::recognise::recognise;
use super::stream::AudioChunk;
use super::{binary, json, protobuf};

/// Turns a connection's messages into requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoder {
    /// What is switched on.
    pub enabled: ProtocolSet,
    /// How large things may be.
    pub limits: MessageLimits,
}

impl Decoder {
    /// Reads a binary message of a connection whose binary messages are `protocol`.
    ///
    /// Audio and the model's name in the result are borrowed from `message` where the protocol allows.
    ///
    /// # Errors
    /// [`DecodeError`], with the request's ids where they could be read. Nothing is allocated by a length
    /// that the message merely claims.
    pub fn binary(&self, protocol: Protocol, message: Bytes) -> Result<ClientMessage, DecodeError> {
        if !self.enabled.contains(protocol) {
            let protocol = protocol.name();
            return Err(DecodeErrorKind::Disabled { protocol }.into());
        }
        let decoded = match protocol {
            Protocol::Binary | Protocol::BinaryTimed => {
                binary::decode(&message, &self.limits).map(ClientMessage::Inference)
            }
            Protocol::Protobuf => protobuf::decode(message.clone(), &self.limits),
            Protocol::Stream => AudioChunk::decode(&message).map(ClientMessage::Audio),
            // Never settled by `negotiate`, so only for a caller's own use.
            Protocol::Json => Err(DecodeErrorKind::WrongMode {
                needed: "lipsync.v1",
            }
            .into()),
        };
        decoded.map_err(|error| {
            match recognise(protocol, &message, &error, &self.limits) {
                Some((resemblance, ids)) => DecodeError {
                    resemblance: Some(resemblance),
                    // Ids that were read by the wrong layout are not the message's.
                    ids,
                    ..error
                },
                None => error,
            }
        })
    }

    /// Reads a text message of a connection whose binary messages are `protocol`.
    ///
    /// # Errors
    /// As [`Decoder::binary`].
    pub fn text(&self, protocol: Protocol, message: &str) -> Result<ClientMessage, DecodeError> {
        json::decode(message, protocol, self.enabled, &self.limits)
    }
}
