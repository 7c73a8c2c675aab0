//! docs/PROTOCOL.md against the code.

use std::collections::BTreeSet;

use super::*;
use crate::protocol::stream;

/// Every message of the document's JSON examples is one that the code reads or writes.
#[test]
fn examples_of_the_document_are_true() {
    let document = document();
    let mut told = BTreeSet::new();
    for part in document.split("<!-- golden: ").skip(1) {
        let (name, rest) = part.split_once(".bin -->\n```\n").unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        let bytes: Vec<u8> = block
            .lines()
            .flat_map(|line| {
                line.split('#')
                    .next()
                    .unwrap_or_default()
                    .split_whitespace()
            })
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(bytes, golden(name), "{name}");
        told.insert(name);
    }
    for needed in [
        "v1-request",
        "v1-reply",
        "v1-timed-reply",
        "v1-error",
        "protobuf-request",
        "v2-audio",
        "v2-frame",
    ] {
        assert!(
            told.contains(needed),
            "docs/PROTOCOL.md shows no example of {needed}"
        );
    }
    let mut requests = 0;
    for line in document.split('`').filter(|code| code.starts_with("{\"")) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            panic!("no JSON: {line}")
        };
        let words = [
            "start",
            "end",
            "interrupt",
            "pause",
            "resume",
            "credit",
            "change",
            "stats",
            "close",
        ];
        if words.iter().any(|word| message["type"] == *word) {
            assert!(
                decode_text(&message).is_ok(),
                "{line}: {:?}",
                decode_text(&message)
            );
            requests += 1;
        }
    }
    assert_eq!(requests, 9);
    for part in document.split("```json\n").skip(1) {
        let block = part.split("```").next().unwrap();
        let message: Value =
            serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        if message["type"] == "open" {
            assert!(decode_text(&message).is_ok());
        }
    }
}

#[test]
fn tables_of_the_document_are_true() {
    let document = document();
    for code in Code::ALL {
        assert!(
            document.contains(&format!("| `{code}` | ")),
            "docs/PROTOCOL.md does not tell of {code}"
        );
    }
    let limits = Limits::default();
    for row in [
        format!("| model name | {} bytes |", limits.max_model_name_bytes),
        format!(
            "| audio of one frame's request | {} bytes ",
            limits.max_audio_bytes
        ),
        format!("| frames of a batch | {} |", limits.max_batch_frames),
        format!(
            "| request id, resume token | {} bytes |",
            limits.max_request_id_bytes
        ),
        format!(
            "| sample rate | {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz, {DEFAULT_SAMPLE_RATE_HZ} "
        ),
        format!("| 0 | u8 | type | `{:#04x}` |", stream::TYPE_AUDIO),
        format!("| 0 | u8 | type | `{:#04x}` |", stream::TYPE_FRAME),
        format!("| {} | bytes | PCM16 |", stream::AUDIO_HEADER_BYTES),
        format!("| {} | bytes | image |", stream::FRAME_HEADER_BYTES),
        format!(
            "{} idle, {} held, {} last",
            stream::FLAG_IDLE,
            stream::FLAG_HELD,
            stream::FLAG_LAST
        ),
    ] {
        assert!(
            document.contains(&row),
            "docs/PROTOCOL.md does not say: {row}"
        );
    }
    for protocol in Protocol::PREFERENCE {
        let subprotocol = protocol.subprotocol().unwrap();
        let word = format!("`{}` |", protocol.name());
        let row = document
            .lines()
            .find(|line| line.contains(&format!("`{subprotocol}`")) && line.ends_with(&word));
        assert!(
            row.is_some(),
            "docs/PROTOCOL.md does not tell of {subprotocol}"
        );
    }
}
