//! What a message that cannot be read looks like: well-known data in the wrong place, with the words that help.

use thiserror::Error;

use super::code::ErrorCode;

/// Well-known data where something else is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Resemblance {
    /// JSON in a binary message.
    #[error("this looks like JSON in a binary message: send it as a text message")]
    JsonInBinary,
    /// Text in UTF-16.
    #[error("this looks like text in UTF-16: send JSON as a text message, in UTF-8")]
    Utf16,
    /// A version 1 request with its numbers in network byte order.
    #[error(
        "this looks like a request with big-endian numbers: write them little-endian, lowest byte first"
    )]
    BigEndian,
    /// A version 1 request with numbers of another width.
    #[error(
        "this looks like a request with numbers of {bits} bits: name_len, frame_id and audio_len are u32"
    )]
    NumberWidth { bits: u8 },
    /// A request with a field of the timed reply.
    #[error(
        "this looks like a request with a number between frame_id and audio_len: only replies of lipsync.v1.timed have processing_ms there"
    )]
    TimedRequest,
    /// A reply with the processing time, read as one without.
    #[error("this looks like a reply of lipsync.v1.timed: processing_ms follows frame_id")]
    TimedReply,
    /// A reply without the processing time, read as one with it.
    #[error("this looks like a reply of plain lipsync.v1: no processing_ms follows frame_id")]
    PlainReply,
    /// A message that servers send.
    #[error("this looks like a message of the server: a client sends requests and audio")]
    FromServer,
    /// A version 1 request on a connection of another protocol.
    #[error(
        "this looks like a request of binary version 1: open the connection with the WebSocket subprotocol \"lipsync.v1\", or with none"
    )]
    VersionOne,
    /// A stream's audio on a connection of another protocol.
    #[error(
        "this looks like audio of a stream (version 2): open the connection with the WebSocket subprotocol \"lipsync.v2\""
    )]
    StreamAudio,
    /// A protobuf request on a connection of another protocol.
    #[error(
        "this looks like a protobuf request: open the connection with the WebSocket subprotocol \"lipsync.protobuf\""
    )]
    Protobuf,
    /// Base64 where the bytes themselves belong.
    #[error("this looks like base64 text: binary messages carry the PCM16 samples as they are")]
    Base64InBinary,
    /// A file of sound.
    #[error(
        "this looks like a {container} file: send its samples as PCM16 mono, in a message of the protocol"
    )]
    SoundFile { container: &'static str },
    /// Samples without a header.
    #[error(
        "this looks like samples alone: audio goes behind the header of a message (docs/PROTOCOL.md)"
    )]
    BareSamples,
    /// Base64 alone in a text message.
    #[error(
        "this looks like base64 alone: audio goes into the field audio_override of a JSON object, or as bytes into a binary message"
    )]
    Base64Text,
    /// A C string with its end.
    #[error("a NUL character follows the JSON: do not send the end of a C string")]
    NulAtEnd,
    /// Several JSON messages in one.
    #[error("more than one JSON value is in the message: send each as a message of its own")]
    SeveralMessages,
    /// JSON that was encoded twice.
    #[error("this is a JSON string that contains JSON: it was encoded twice")]
    EncodedTwice,
    /// A dictionary of Python or JavaScript printed.
    #[error("this looks like an object with single quotes: JSON has double quotes")]
    SingleQuotes,
    /// Text that is no JSON at all.
    #[error(
        "this is not JSON: text messages are JSON objects, such as {{\"type\": \"list_models\"}}"
    )]
    PlainText,
}

impl Resemblance {
    /// The code that says it better than the reader's own.
    pub(super) const fn code(self) -> Option<ErrorCode> {
        match self {
            Resemblance::JsonInBinary
            | Resemblance::FromServer
            | Resemblance::VersionOne
            | Resemblance::StreamAudio
            | Resemblance::Protobuf => Some(ErrorCode::WrongMode),
            _ => None,
        }
    }
}
