//! docs/PROTOCOL.md against the code.

use std::collections::BTreeSet;

use super::*;
use crate::protocol::inspect::protobuf;
use crate::protocol::layout::{FieldType, Layout};
use crate::protocol::{binary, stream};

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
    for code in ErrorCode::ALL {
        assert!(
            document.contains(&format!("| `{code}` | ")),
            "docs/PROTOCOL.md does not tell of {code}"
        );
    }
    let limits = MessageLimits::default();
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

/// The tables of the document, each row as its cells.
fn tables(document: &str) -> Vec<Vec<Vec<String>>> {
    let blocks = document.split("\n\n").map(str::trim);
    let rows = |block: &str| {
        let lines = block.lines().filter(|line| line.starts_with('|'));
        let cells = lines.map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
        });
        cells.map(Iterator::collect).collect()
    };
    blocks
        .filter(|block| block.starts_with('|'))
        .map(rows)
        .collect()
}

fn type_in_document(kind: FieldType) -> &'static str {
    match kind {
        FieldType::U8 | FieldType::Flags(_) => "u8",
        FieldType::U16 => "u16",
        FieldType::U32 => "u32",
        FieldType::U64 => "u64",
        FieldType::Bounds => "f32 × 4",
        FieldType::Counted(_) | FieldType::Rest(_) => "bytes",
    }
}

/// The tables from which the code reads and writes binary messages are those of the document, field by field.
#[test]
fn layouts_of_the_document_are_those_of_the_code() {
    let tables = tables(&document());
    let has_table = |layout: &Layout, is_timed: bool, with_offsets: bool| {
        let mut offset = 0;
        let expected: Vec<Vec<String>> = layout
            .fields
            .iter()
            .map(|spec| {
                let place = with_offsets.then(|| offset.to_string());
                offset += spec.kind.size().unwrap_or(0);
                let told = [type_in_document(spec.kind).to_owned(), spec.name.to_owned()];
                place.into_iter().chain(told).collect()
            })
            .collect();
        tables.iter().any(|table| {
            let rows = table.iter().skip(2);
            let rows =
                rows.filter(|row| is_timed || !row.iter().any(|cell| cell.contains("only in")));
            let columns = if with_offsets { 3 } else { 2 };
            rows.map(|row| row[..columns].to_vec())
                .eq(expected.iter().cloned())
        })
    };
    for (layout, is_timed, with_offsets) in [
        (binary::REQUEST, false, false),
        (binary::REPLY, false, false),
        (binary::TIMED_REPLY, true, false),
        (binary::ERROR, false, false),
        (binary::TIMED_ERROR, true, false),
        (stream::AUDIO, false, true),
        (stream::FRAME, false, true),
    ] {
        assert!(
            has_table(layout, is_timed, with_offsets),
            "docs/PROTOCOL.md: {}",
            layout.title
        );
    }
}

/// The fields that `inspect` names in protobuf are those of the .proto file.
#[test]
fn protobuf_fields_are_those_of_the_proto_file() {
    let proto = std::fs::read_to_string(root().join("proto/lipsyncsrv.proto")).unwrap();
    for (message, fields) in [
        ("InferenceRequest", protobuf::INFERENCE_REQUEST),
        ("BatchInferenceRequest", protobuf::BATCH_REQUEST),
        ("InferenceResponse", protobuf::INFERENCE_RESPONSE),
        ("BatchInferenceResponse", protobuf::BATCH_RESPONSE),
    ] {
        let start = proto.find(&format!("message {message} {{")).unwrap();
        let body = proto[start..].split('}').next().unwrap();
        let declared: Vec<&str> = body.lines().filter(|line| line.contains(" = ")).collect();
        assert_eq!(declared.len(), fields.len(), "{message}");
        for (index, (name, _)) in fields.iter().enumerate() {
            let field = format!(" {name} = {};", index + 1);
            assert!(declared[index].ends_with(&field), "{message}: {field}");
        }
    }
}
