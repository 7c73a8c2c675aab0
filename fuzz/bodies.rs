// The bodies of the fuzz targets: any bytes go in, and what is promised of the protocol must hold.
//
// `fuzz_targets/` calls them with made-up bytes; `src/protocol/tests` includes this file and replays `corpus/`.

use bytes::Bytes;

use lipsyncd::protocol::inspect::{Direction, Entry, inspect, inspect_unknown};
use lipsyncd::protocol::stream::StreamFrame;
use lipsyncd::protocol::{ClientMessage, Decoder, ErrorReply, Protocol, encode_request};

/// Any bytes as a binary message, in every protocol: decoded or refused with an error that can be sent.
pub fn binary(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    for protocol in Protocol::PREFERENCE {
        let decoded = Decoder::default().binary(protocol, message.clone());
        let mut again = Vec::new();
        match decoded {
            Ok(ClientMessage::Inference(request)) if protocol != Protocol::Protobuf => {
                encode_request(&request, &mut again);
                assert_eq!(again, data, "a version 1 request is encoded as it came");
            }
            Ok(ClientMessage::Audio(chunk)) => {
                chunk.encode(&mut again);
                assert_eq!(again, data, "audio is encoded as it came");
            }
            Ok(_) => {}
            Err(error) => send_error(ErrorReply::from(error)),
        }
    }
    if let Ok(frame) = StreamFrame::decode(data) {
        assert_eq!(frame.encode(), data, "a frame is encoded as it came");
    }
}

/// Any text as a JSON message, on every kind of connection.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for protocol in Protocol::PREFERENCE {
        if let Err(error) = Decoder::default().text(protocol, text) {
            send_error(ErrorReply::from(error));
        }
    }
}

/// Any bytes for `inspect`: every byte of the message is in exactly one field.
pub fn inspector(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    for protocol in Protocol::PREFERENCE {
        for direction in [Direction::Sent, Direction::Received] {
            let report = inspect(protocol, direction, message.clone());
            assert_eq!(report.covered(), data.len(), "{report}");
            let _ = report.to_string();
        }
    }
    let _ = inspect_unknown(&message);
    if let Some(Ok(entry)) = std::str::from_utf8(data).ok().map(Entry::parse) {
        let _ = entry.report().to_string();
        let again = Entry::parse(&entry.to_line()).map(|entry| entry.payload);
        assert_eq!(again, Ok(entry.payload), "an entry is written as it came");
    }
}

fn send_error(error: ErrorReply) {
    for protocol in [Protocol::Json].into_iter().chain(Protocol::PREFERENCE) {
        let _ = error.encode(protocol);
    }
}
