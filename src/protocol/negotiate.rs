//! Which protocol a connection speaks: the client's offers against what the server has switched on.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How a message, or the binary messages of a connection, are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// JSON text messages: understood on every connection.
    Json,
    /// Binary version 1.
    Binary,
    /// Binary version 1 with the processing time in the replies.
    BinaryTimed,
    /// Protobuf, package `lipsyncsrv`.
    Protobuf,
    /// Stream mode, version 2.
    Stream,
}

impl Protocol {
    /// What a connection's binary messages may be, in the server's order of preference.
    pub const PREFERENCE: [Protocol; 4] = [
        Protocol::Stream,
        Protocol::BinaryTimed,
        Protocol::Binary,
        Protocol::Protobuf,
    ];

    /// One protocol for each word of `--protocols`.
    const SWITCHES: [Protocol; 4] = [
        Protocol::Json,
        Protocol::Binary,
        Protocol::Protobuf,
        Protocol::Stream,
    ];

    /// The WebSocket subprotocol that chooses this protocol; none for JSON, which needs no choosing.
    pub const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Protocol::Json => None,
            Protocol::Binary => Some("lipsync.v1"),
            Protocol::BinaryTimed => Some("lipsync.v1.timed"),
            Protocol::Protobuf => Some("lipsync.protobuf"),
            Protocol::Stream => Some("lipsync.v2"),
        }
    }

    /// The word for `--protocols`, for statistics and for the `protocol` field of replies.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Json => "json",
            Protocol::Binary | Protocol::BinaryTimed => "binary",
            Protocol::Protobuf => "protobuf",
            Protocol::Stream => "stream",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Protocol::Json => 1,
            Protocol::Binary | Protocol::BinaryTimed => 2,
            Protocol::Protobuf => 4,
            Protocol::Stream => 8,
        }
    }
}

/// The protocols that are switched on (`--protocols`).
///
/// `json` is about inference and batch requests: control messages are JSON and always answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolSet(u8);

impl ProtocolSet {
    /// Everything on.
    pub const ALL: ProtocolSet = ProtocolSet(15);
    /// The words that [`FromStr`] takes.
    pub const NAMES: &'static str = "json, binary, protobuf, stream";

    /// Whether `protocol` is on.
    pub const fn contains(self, protocol: Protocol) -> bool {
        self.0 & protocol.bit() != 0
    }

    /// The words of the protocols that are on.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let on = move |protocol: &Protocol| self.contains(*protocol);
        Protocol::SWITCHES
            .into_iter()
            .filter(on)
            .map(Protocol::name)
    }
}

impl Default for ProtocolSet {
    fn default() -> Self {
        ProtocolSet::ALL
    }
}

impl fmt::Display for ProtocolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(&names.join(","))
    }
}

/// Why a list of protocols was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolSetError {
    /// A word that names no protocol.
    #[error("there is no protocol {0:?}; choose from: {names}", names = ProtocolSet::NAMES)]
    Unknown(String),
    /// No protocol at all.
    #[error("name at least one protocol of: {names}", names = ProtocolSet::NAMES)]
    Empty,
}

impl FromStr for ProtocolSet {
    type Err = ProtocolSetError;

    /// Reads a list of words with commas between them, such as `json,binary`.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let mut set = ProtocolSet(0);
        for word in list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let protocol = Protocol::SWITCHES
                .into_iter()
                .find(|protocol| protocol.name() == word)
                .ok_or_else(|| ProtocolSetError::Unknown(word.to_owned()))?;
            set.0 |= protocol.bit();
        }
        if set.0 == 0 {
            Err(ProtocolSetError::Empty)
        } else {
            Ok(set)
        }
    }
}

/// What a connection's handshake settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// What the connection's binary messages are.
    pub protocol: Protocol,
    /// The subprotocol to name in the handshake's answer.
    pub subprotocol: Option<&'static str>,
    /// False where the client asked only for what is switched off. The connection is then accepted all the
    /// same (a browser could not read a refusal), told so by an error at once, and can go on in JSON;
    /// its binary messages are refused by [`super::Decoder::binary`].
    pub enabled: bool,
}

/// Settles a connection's protocol from the subprotocols that the client offers, in any order.
///
/// The first of [`Protocol::PREFERENCE`] that is offered and switched on wins. No offer, or none that this
/// server knows, means binary version 1 without a named subprotocol.
pub fn negotiate<'a>(
    offers: impl IntoIterator<Item = &'a str>,
    enabled: ProtocolSet,
) -> Negotiated {
    let offers: Vec<&str> = offers.into_iter().map(str::trim).collect();
    let is_offered = |protocol: &Protocol| {
        let subprotocol = protocol.subprotocol();
        offers.iter().any(|offer| subprotocol == Some(*offer))
    };
    let choices = || Protocol::PREFERENCE.into_iter().filter(is_offered);
    let chosen = choices()
        .find(|protocol| enabled.contains(*protocol))
        .or_else(|| choices().next());
    let (protocol, subprotocol) = match chosen {
        Some(protocol) => (protocol, protocol.subprotocol()),
        None => (Protocol::Binary, None),
    };
    Negotiated {
        protocol,
        subprotocol,
        enabled: enabled.contains(protocol) || subprotocol.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_offer_is_binary_version_1() {
        for offers in [vec![], vec!["chat"]] {
            let settled = negotiate(offers, ProtocolSet::ALL);
            assert_eq!(
                settled,
                Negotiated {
                    protocol: Protocol::Binary,
                    subprotocol: None,
                    enabled: true
                }
            );
        }
    }

    #[test]
    fn the_first_enabled_choice_of_the_server_wins() {
        let offers = ["lipsync.protobuf", "lipsync.v1", " lipsync.v2"];
        assert_eq!(
            negotiate(offers, ProtocolSet::ALL).protocol,
            Protocol::Stream
        );
        let without_stream: ProtocolSet = "json,binary,protobuf".parse().unwrap();
        assert_eq!(
            negotiate(offers, without_stream).subprotocol,
            Some("lipsync.v1")
        );
        let only_protobuf: ProtocolSet = "protobuf".parse().unwrap();
        assert_eq!(
            negotiate(offers, only_protobuf).protocol,
            Protocol::Protobuf
        );
    }

    #[test]
    fn what_is_off_is_accepted_and_marked() {
        let settled = negotiate(["lipsync.v2"], "json".parse().unwrap());
        assert_eq!(settled.subprotocol, Some("lipsync.v2"));
        assert!(!settled.enabled);
    }

    #[test]
    fn lists_of_protocols() {
        assert_eq!(
            "json, stream".parse::<ProtocolSet>().unwrap().to_string(),
            "json,stream"
        );
        assert_eq!("json,binary,protobuf,stream".parse(), Ok(ProtocolSet::ALL));
        assert_eq!(
            "jsn".parse::<ProtocolSet>(),
            Err(ProtocolSetError::Unknown("jsn".into()))
        );
        assert_eq!(" ,".parse::<ProtocolSet>(), Err(ProtocolSetError::Empty));
    }
}
