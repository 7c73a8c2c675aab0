//! The stable words for errors.

use std::fmt;

/// Writes [`ErrorCode`] from one table.
macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident = $word:literal,)+) => {
        /// The stable word for a kind of error: what a client's program decides by.
        ///
        /// JSON and protobuf errors carry it as `code`; the text of a binary error begins with it and a colon.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code, in the order of docs/PROTOCOL.md.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $word,)+
                }
            }
        }
    };
}

error_codes! {
    /// A length or count in the message does not fit the bytes that came.
    BadLength = "bad_length",
    /// Text that is not UTF-8.
    BadUtf8 = "bad_utf8",
    /// Text that is not JSON, or JSON that is not an object.
    BadJson = "bad_json",
    /// A field that is missing or of the wrong type.
    BadField = "bad_field",
    /// A value outside its range.
    BadValue = "bad_value",
    /// Audio that is not base64.
    BadBase64 = "bad_base64",
    /// Audio of an odd number of bytes: PCM16 has two bytes a sample.
    OddPcm = "odd_pcm",
    /// A protobuf message that does not decode.
    BadProtobuf = "bad_protobuf",
    /// A message type that this server does not know.
    UnknownType = "unknown_type",
    /// More than a limit of the server allows.
    TooLarge = "too_large",
    /// A protocol that the server's configuration switches off.
    ProtocolDisabled = "protocol_disabled",
    /// A message that belongs to another subprotocol than the connection's, or to the other kind of WebSocket
    /// message.
    WrongMode = "wrong_mode",
    /// A package that is not there.
    UnknownModel = "unknown_model",
    /// A package that is there but not ready to serve.
    NotLoaded = "not_loaded",
    /// Something that this server, or this package, does not do.
    Unsupported = "unsupported",
    /// Only an administrator may do this.
    Forbidden = "forbidden",
    /// The server has more work than it can do in time; try again later.
    Busy = "busy",
    /// The server is shutting down.
    ShuttingDown = "shutting_down",
    /// A stream that is not open on this connection.
    UnknownStream = "unknown_stream",
    /// A stream that is open already.
    StreamExists = "stream_exists",
    /// A resume token that is unknown or too old.
    BadToken = "bad_token",
    /// Samples that do not fit what came before in the same epoch.
    BadSequence = "bad_sequence",
    /// A fault of the server; its log tells more.
    Internal = "internal",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
