//! The protocol against its golden messages, its document and made-up input.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::inspect::{Direction, Entry, Payload, inspect, inspect_unknown};
use super::stream::{self, AudioChunk, StreamFrame};
use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> Bytes {
    let path = root().join(format!("tests/data/protocol/{name}.bin"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap()
}

const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xd9];
const PCM: &[u8] = &[1, 0, 0xff, 0xff];
const BOUNDS: [f32; 4] = [1.5, 2.0, 3.25, 4.0];

fn request() -> InferenceRequest {
    InferenceRequest {
        model_name: "face".into(),
        frame_id: 7,
        audio: Some(Bytes::from_static(PCM)),
        sample_rate_hz: None,
        request_id: None,
    }
}

fn frame_reply() -> FrameReply {
    FrameReply {
        request_id: RequestId::Client("r1".into()),
        model_name: "face".into(),
        frame_id: 7,
        avatar_frame: 3,
        bounds: BOUNDS,
        image_size: (160, 160),
        jpeg: Bytes::from_static(JPEG),
        processing_us: 20_700,
        own_audio: false,
    }
}

fn error_reply(frame_id: u32) -> ErrorReply {
    ErrorReply {
        frame_id: Some(frame_id),
        request_id: Some(RequestId::Client("r1".into())),
        processing_us: 20_700,
        ..ErrorReply::new(Code::Busy, "try again")
    }
}

fn batch_reply() -> BatchReply {
    BatchReply {
        request_id: RequestId::Client("r1".into()),
        model_name: "face".into(),
        frames: vec![Ok(frame_reply()), Err(error_reply(300))],
        processing_us: 41_900,
    }
}

fn encoded(reply: Reply, protocol: Protocol) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    reply.encode(protocol, &mut out);
    assert_eq!(&out[..4], b"kept", "encoding appends");
    out.split_off(4)
}

fn encoded_json(reply: Reply) -> Value {
    let mut out = Vec::new();
    assert_eq!(reply.encode(Protocol::Json, &mut out), Opcode::Text);
    serde_json::from_slice(&out).unwrap()
}

fn decode(protocol: Protocol, message: impl Into<Bytes>) -> Result<ClientMessage, ProtocolError> {
    Decoder::default().binary(protocol, message.into())
}

fn decode_text(message: &Value) -> Result<ClientMessage, ProtocolError> {
    Decoder::default().text(Protocol::Stream, &message.to_string())
}

fn fault(result: Result<ClientMessage, ProtocolError>) -> (Code, Option<u32>) {
    let error = result.unwrap_err();
    (error.code(), error.frame_id)
}

#[test]
fn golden_requests_decode() {
    let own_audio = InferenceRequest {
        audio: None,
        ..request()
    };
    for protocol in [Protocol::Binary, Protocol::BinaryTimed] {
        assert_eq!(
            decode(protocol, golden("v1-request")),
            Ok(ClientMessage::Inference(request()))
        );
        let decoded = decode(protocol, golden("v1-request-own-audio"));
        assert_eq!(decoded, Ok(ClientMessage::Inference(own_audio.clone())));
    }
    let with_id = InferenceRequest {
        sample_rate_hz: Some(16_000),
        request_id: Some("r1".into()),
        ..request()
    };
    let decoded = decode(Protocol::Protobuf, golden("protobuf-request"));
    assert_eq!(decoded, Ok(ClientMessage::Inference(with_id)));
    let decoded = decode(Protocol::Protobuf, golden("protobuf-request-base64"));
    assert_eq!(decoded, Ok(ClientMessage::Inference(request())));
    let frame = |frame_id| BatchFrame {
        frame_id,
        audio: None,
    };
    let batch = BatchRequest {
        model_name: "face".into(),
        frames: vec![frame(7), frame(300)],
        sample_rate_hz: None,
        request_id: Some("r1".into()),
    };
    let decoded = decode(Protocol::Protobuf, golden("protobuf-batch-request"));
    assert_eq!(decoded, Ok(ClientMessage::Batch(batch)));
    let chunk = AudioChunk {
        stream: 1,
        epoch: 2,
        first_sample: 48_000,
        pcm: Bytes::from_static(PCM),
    };
    let decoded = decode(Protocol::Stream, golden("v2-audio"));
    assert_eq!(decoded, Ok(ClientMessage::Audio(chunk.clone())));
    let mut again = Vec::new();
    chunk.encode(&mut again);
    assert_eq!(again, golden("v2-audio"));
}

#[test]
fn golden_replies_encode() {
    let frame = || Reply::Frame(frame_reply());
    let error = || Reply::Error(error_reply(7));
    assert_eq!(encoded(frame(), Protocol::Binary), golden("v1-reply"));
    assert_eq!(
        encoded(frame(), Protocol::BinaryTimed),
        golden("v1-timed-reply")
    );
    assert_eq!(encoded(error(), Protocol::Binary), golden("v1-error"));
    assert_eq!(
        encoded(error(), Protocol::BinaryTimed),
        golden("v1-timed-error")
    );
    assert_eq!(
        encoded(frame(), Protocol::Protobuf),
        golden("protobuf-response")
    );
    assert_eq!(
        encoded(error(), Protocol::Protobuf),
        golden("protobuf-error")
    );
    let batch = encoded(Reply::Batch(batch_reply()), Protocol::Protobuf);
    assert_eq!(batch, golden("protobuf-batch-response"));

    let frame = StreamFrame {
        stream: 1,
        flags: stream::FLAG_LAST,
        epoch: 2,
        sequence: 3,
        avatar_frame: 9,
        sample: 2880,
        sample_rate_hz: 24_000,
        compute_us: 17_500,
        bounds: BOUNDS,
        jpeg: Bytes::from_static(JPEG),
    };
    assert_eq!(
        encoded(Reply::StreamFrame(frame.clone()), Protocol::Stream),
        golden("v2-frame")
    );
    assert_eq!(StreamFrame::decode(golden("v2-frame")), Ok(frame.clone()));
    let idle = StreamFrame {
        flags: stream::FLAG_IDLE,
        compute_us: 0,
        jpeg: Bytes::new(),
        ..frame
    };
    assert_eq!(
        encoded(Reply::StreamFrame(idle), Protocol::Stream),
        golden("v2-frame-idle")
    );
}

/// A message that is cut at any byte is refused, or is another whole message; nothing panics.
#[test]
fn every_cut_is_a_clean_error() {
    for (protocol, name) in [
        (Protocol::Binary, "v1-request"),
        (Protocol::Binary, "v1-request-own-audio"),
        (Protocol::Protobuf, "protobuf-request"),
        (Protocol::Protobuf, "protobuf-request-base64"),
        (Protocol::Protobuf, "protobuf-batch-request"),
        (Protocol::Stream, "v2-audio"),
    ] {
        let whole = golden(name);
        for cut in 0..whole.len() {
            let result = decode(protocol, whole.slice(..cut));
            if protocol == Protocol::Binary {
                // The frame is told from the moment that it was there to read.
                let frame = (cut >= 12).then_some(7);
                assert_eq!(
                    fault(result),
                    (Code::BadLength, frame),
                    "{name} cut at {cut}"
                );
            } else if protocol == Protocol::Stream {
                let expected = if cut < 16 {
                    Some(Code::BadLength)
                } else {
                    None
                };
                let odd = (cut % 2 == 1).then_some(Code::OddPcm);
                assert_eq!(
                    result.err().map(|error| error.code()),
                    expected.or(odd),
                    "{name} at {cut}"
                );
            }
            fuzz::binary(&whole[..cut]);
            fuzz::inspector(&whole[..cut]);
        }
    }
    for text in [r#"{"model_name":"face","frame_id":7,"audio_override":"AQD//w=="}"#] {
        for cut in 0..text.len() {
            let result = Decoder::default().text(Protocol::Binary, &text[..cut]);
            assert_eq!(fault(result), (Code::BadJson, None), "cut at {cut}");
        }
    }
}

#[test]
fn bad_binary_requests_tell_what_is_wrong_and_whose_they_are() {
    let name = |name: &[u8]| {
        let mut message = (name.len() as u32).to_le_bytes().to_vec();
        message.extend_from_slice(name);
        message
    };
    let after = |mut message: Vec<u8>, rest: &[u8]| {
        message.extend_from_slice(rest);
        decode(Protocol::Binary, message)
    };
    let frame_7 = [7, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        fault(after(name(b"\xc3("), &frame_7)),
        (Code::BadUtf8, Some(7))
    );
    assert_eq!(fault(after(name(b""), &frame_7)), (Code::BadField, Some(7)));
    assert_eq!(
        fault(after(name(&[b'x'; 129]), &frame_7)),
        (Code::TooLarge, Some(7))
    );
    assert_eq!(
        fault(after(name(b"face"), &[7, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3])),
        (Code::OddPcm, Some(7))
    );
    assert_eq!(
        fault(after(name(b"face"), &[7, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3])),
        (Code::BadLength, Some(7))
    );
    let huge = [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        fault(after(name(b"face"), &huge)),
        (Code::BadLength, Some(7))
    );
    assert_eq!(
        fault(decode(Protocol::Binary, vec![0xff; 12])),
        (Code::BadLength, None)
    );
    let limits = Limits {
        max_audio_bytes: 2,
        ..Limits::default()
    };
    let decoder = Decoder {
        limits,
        ..Decoder::default()
    };
    let long = decoder.binary(Protocol::Binary, golden("v1-request"));
    assert_eq!(fault(long), (Code::TooLarge, Some(7)));
}

#[test]
fn audio_is_borrowed_from_the_message() {
    let inside = |message: &Bytes, audio: &Bytes| message.as_ptr_range().contains(&audio.as_ptr());
    for (protocol, name) in [
        (Protocol::Binary, "v1-request"),
        (Protocol::Protobuf, "protobuf-request"),
    ] {
        let message = golden(name);
        let Ok(ClientMessage::Inference(request)) = decode(protocol, message.clone()) else {
            panic!()
        };
        assert!(inside(&message, &request.audio.unwrap()), "{name}");
    }
    let message = golden("v2-audio");
    let Ok(ClientMessage::Audio(chunk)) = decode(Protocol::Stream, message.clone()) else {
        panic!()
    };
    assert!(inside(&message, &chunk.pcm));
}

#[test]
fn what_is_switched_off_is_refused_and_control_goes_on() {
    let decoder = Decoder {
        enabled: "protobuf".parse().unwrap(),
        ..Decoder::default()
    };
    let off = |result| assert_eq!(fault(result).0, Code::ProtocolDisabled);
    off(decoder.binary(Protocol::Binary, golden("v1-request")));
    off(decoder.binary(Protocol::Stream, golden("v2-audio")));
    off(decoder.text(Protocol::Binary, r#"{"model_name":"face","frame_id":7}"#));
    off(decoder.text(Protocol::Stream, r#"{"type":"pause","stream":1}"#));
    assert!(
        decoder
            .text(Protocol::Binary, r#"{"type":"list_models"}"#)
            .is_ok()
    );
    assert!(
        decoder
            .binary(Protocol::Protobuf, golden("protobuf-request"))
            .is_ok()
    );
}

#[test]
fn json_requests_decode() {
    let with_id = InferenceRequest {
        sample_rate_hz: Some(16_000),
        request_id: Some("5".into()),
        ..request()
    };
    let message = json!({"model_name": "face", "frame_id": 7.0, "audio_override": "AQD//w==",
        "sample_rate": 16000, "request_id": 5, "unheard_of": [{}]});
    assert_eq!(decode_text(&message), Ok(ClientMessage::Inference(with_id)));
    let escaped = r#"{"model_name":"f\u0061ce","frame_id":7,"audio_override":"AQD\/\/w=="}"#;
    let decoded = Decoder::default().text(Protocol::Binary, escaped);
    assert_eq!(decoded, Ok(ClientMessage::Inference(request())));

    let message = json!({"model_name": "face", "batch_frames": [{"frame_id": 7, "audio_override": "AQD//w=="},
        {"frame_id": 8, "audio_override": null}]});
    let frames = vec![
        BatchFrame {
            frame_id: 7,
            audio: Some(Bytes::from_static(PCM)),
        },
        BatchFrame {
            frame_id: 8,
            audio: None,
        },
    ];
    let batch = BatchRequest {
        model_name: "face".into(),
        frames,
        sample_rate_hz: None,
        request_id: None,
    };
    assert_eq!(decode_text(&message), Ok(ClientMessage::Batch(batch)));

    let name = || "face".to_owned();
    for (message, control) in [
        (
            json!({"type": "get_stats", "subscribe": true}),
            Control::Stats {
                subscribe: Some(true),
            },
        ),
        (json!({"type": "switch_to_binary"}), Control::SwitchToBinary),
        (
            json!({"type": "configure", "sample_rate": 48000}),
            Control::Configure {
                sample_rate_hz: 48_000,
            },
        ),
        (json!({"type": "list_models"}), Control::ListModels),
        (
            json!({"type": "get_metadata", "model_name": "face"}),
            Control::Metadata { model_name: name() },
        ),
        (
            json!({"type": "get_video_frame", "model_name": "face", "frame_id": 3}),
            Control::VideoFrame {
                model_name: name(),
                frame_id: 3,
            },
        ),
        (
            json!({"type": "load_model", "model_name": "face"}),
            Control::LoadModel { model_name: name() },
        ),
        (
            json!({"type": "unload_model", "model_name": "face"}),
            Control::UnloadModel { model_name: name() },
        ),
    ] {
        let expected = ControlRequest {
            control,
            request_id: None,
        };
        assert_eq!(
            decode_text(&message),
            Ok(ClientMessage::Control(expected)),
            "{message}"
        );
    }
}

#[test]
fn bad_json_tells_what_is_wrong_and_whose_it_is() {
    let text = |text: &str| fault(Decoder::default().text(Protocol::Binary, text));
    assert_eq!(text(""), (Code::BadJson, None));
    assert_eq!(text("hello"), (Code::BadJson, None));
    assert_eq!(text("[1]"), (Code::BadJson, None));
    assert_eq!(text("7"), (Code::BadJson, None));
    assert_eq!(text(&"[".repeat(100_000)), (Code::BadJson, None));
    assert_eq!(
        text(&format!(r#"{{"model_name":{}"#, "[".repeat(100_000))),
        (Code::BadJson, None)
    );
    assert_eq!(text(r#"{"frame_id":7}"#), (Code::BadField, Some(7)));
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":4}"#),
        (Code::BadField, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":-1,"model_name":"face"}"#),
        (Code::BadValue, None)
    );
    assert_eq!(
        text(r#"{"frame_id":1e99,"model_name":"face"}"#),
        (Code::BadField, None)
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","sample_rate":7999}"#),
        (Code::BadValue, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","audio_override":"?"}"#),
        (Code::BadBase64, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","audio_override":"AAAA"}"#),
        (Code::OddPcm, Some(7))
    );
    assert_eq!(
        text(r#"{"type":"dance","frame_id":7}"#),
        (Code::UnknownType, Some(7))
    );
    assert_eq!(text(r#"{"type":1}"#), (Code::BadField, None));
    assert_eq!(
        text(r#"{"model_name":"face","batch_frames":[]}"#),
        (Code::BadField, None)
    );
    assert_eq!(
        text(r#"{"model_name":"face","batch_frames":[[7]]}"#),
        (Code::BadField, None)
    );
    assert_eq!(
        text(r#"{"type":"open","stream":1}"#),
        (Code::WrongMode, None)
    );
    let many = format!(
        r#"{{"model_name":"face","batch_frames":[{}{{}}]}}"#,
        "{},".repeat(5000)
    );
    assert_eq!(text(&many), (Code::TooLarge, None));

    let message = json!({"type": "pause", "stream": 70_000, "request_id": "mine"});
    let error = decode_text(&message).unwrap_err();
    assert_eq!(
        (error.code(), error.request_id.as_deref()),
        (Code::BadValue, Some("mine"))
    );
    let error = decode_text(&json!({"type": "end", "stream": 3})).unwrap_err();
    assert_eq!((error.code(), error.stream), (Code::BadField, Some(3)));
}

#[test]
fn bad_protobuf_tells_whose_it_is_where_that_can_be_read() {
    let protobuf = |message: &[u8]| fault(decode(Protocol::Protobuf, message.to_vec()));
    assert_eq!(
        protobuf(b"\x0a\x04face\x10\x07\x22\x01x"),
        (Code::OddPcm, Some(7))
    );
    assert_eq!(protobuf(b"\x10\x07"), (Code::BadField, Some(7)));
    assert_eq!(
        protobuf(b"\x0a\x04face\x28\x01\x10\x07"),
        (Code::BadValue, Some(7))
    );
    assert_eq!(protobuf(b"\x0a\x04fa\xffe"), (Code::BadProtobuf, None));
    assert_eq!(
        protobuf(b"\x0a\xff\xff\xff\xff\x0fx"),
        (Code::BadLength, None)
    );
    assert_eq!(protobuf(b"\x0b"), (Code::BadProtobuf, None));
    let negative = [b"\x0a\x04face\x10".as_slice(), &[0xff; 9], &[1]].concat();
    assert_eq!(protobuf(&negative), (Code::BadValue, None));
    let many = [b"\x0a\x04face\x12\x41".as_slice(), &[1; 65]].concat();
    assert_eq!(protobuf(&many), (Code::TooLarge, None));
}

#[test]
fn json_replies_have_the_fields_that_the_document_lists() {
    let frame = encoded_json(Reply::Frame(frame_reply()));
    let expected = json!({"success": true, "model_name": "face", "frame_id": 7, "prediction_data": "/9j/2Q==",
        "bounds": [1.5, 2.0, 3.25, 4.0], "processing_time_ms": 20.7,
        "metadata": {"avatar_frame": 3, "image_size": [160, 160], "audio": "request"},
        "request_id": "r1", "protocol": "json"});
    assert_eq!(frame, expected);

    let error = encoded_json(Reply::Error(error_reply(7)));
    let expected = json!({"success": false, "type": "error", "error": "try again", "code": "busy",
        "frame_id": 7, "processing_time_ms": 20.7, "request_id": "r1", "protocol": "json"});
    assert_eq!(error, expected);

    let batch = encoded_json(Reply::Batch(batch_reply()));
    assert_eq!(batch["success"], false);
    assert_eq!(batch["batch_size"], 2);
    assert_eq!(batch["frames"][0]["prediction_data"], "/9j/2Q==");
    assert_eq!(batch["frames"][1]["code"], "busy");
    assert_eq!(batch["total_processing_time_ms"], 41.9);
    assert_eq!(batch["average_frame_time_ms"], 20.95);

    let body = ControlBody::Configured(Configured {
        success: true,
        sample_rate: 16_000,
    });
    let reply = ControlReply {
        request_id: Some(RequestId::Serial(4)),
        body,
    };
    let expected =
        json!({"type": "configured", "success": true, "sample_rate": 16000, "request_id": "4"});
    assert_eq!(encoded_json(Reply::Control(reply)), expected);
}

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

#[test]
fn inspect_tells_every_field_and_the_fault() {
    let cases = [
        (Protocol::Binary, Direction::Sent, "v1-request"),
        (Protocol::Binary, Direction::Received, "v1-reply"),
        (Protocol::BinaryTimed, Direction::Received, "v1-timed-reply"),
        (Protocol::Binary, Direction::Received, "v1-error"),
        (Protocol::BinaryTimed, Direction::Received, "v1-timed-error"),
        (Protocol::Protobuf, Direction::Sent, "protobuf-request"),
        (
            Protocol::Protobuf,
            Direction::Sent,
            "protobuf-batch-request",
        ),
        (Protocol::Protobuf, Direction::Received, "protobuf-response"),
        (
            Protocol::Protobuf,
            Direction::Received,
            "protobuf-batch-response",
        ),
        (Protocol::Protobuf, Direction::Received, "protobuf-error"),
        (Protocol::Stream, Direction::Sent, "v2-audio"),
        (Protocol::Stream, Direction::Received, "v2-frame"),
        (Protocol::Stream, Direction::Received, "v2-frame-idle"),
    ];
    for (protocol, direction, name) in cases {
        let message = golden(name);
        let report = inspect(protocol, direction, message.clone());
        assert_eq!(report.fault, None, "{name}");
        assert_eq!(report.covered(), message.len(), "{name}");
        let guessed = inspect_unknown(&message);
        assert_eq!(guessed.fault, None, "{name}");
        let entry = Entry {
            t_ms: 1.5,
            direction,
            protocol,
            payload: Payload::Binary(message),
        };
        assert_eq!(Entry::parse(&entry.to_line()), Ok(entry));
    }
    let cut = inspect(
        Protocol::Binary,
        Direction::Sent,
        golden("v1-request").slice(..18),
    );
    let text = cut.to_string();
    assert!(text.contains("frame_id              7"), "{text}");
    assert!(
        text.contains("WRONG (bad_length): audio needs 4 bytes at offset 16"),
        "{text}"
    );
}

/// Inputs that a fuzzer found interesting, and seeds for it.
#[test]
fn the_fuzz_corpus_holds() {
    let targets: [(&str, fn(&[u8])); 3] = [
        ("binary", fuzz::binary),
        ("text", fuzz::text),
        ("inspector", fuzz::inspector),
    ];
    for (target, body) in targets {
        let folder = root().join("fuzz/corpus").join(target);
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for entry in entries {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }
}

fn any_audio() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(
        proptest::collection::vec(any::<[u8; 2]>(), 1..64)
            .prop_map(|samples| Bytes::from(samples.concat())),
    )
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz::binary(&data);
        fuzz::inspector(&data);
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,100}", field in "[a-z_]{1,14}", value in "\\PC{0,9}") {
        fuzz::text(text.as_bytes());
        fuzz::text(format!(r#"{{"type":"open","stream":1,"{field}":{value}}}"#).as_bytes());
    }

    #[test]
    fn requests_survive_the_wire(name in "\\PC{1,40}", frame_id: u32, audio in any_audio()) {
        prop_assume!(name.len() <= Limits::default().max_model_name_bytes);
        let request = InferenceRequest {
            model_name: name, frame_id, audio, sample_rate_hz: None, request_id: None,
        };
        let mut message = Vec::new();
        encode_request(&request, &mut message);
        prop_assert_eq!(decode(Protocol::Binary, message), Ok(ClientMessage::Inference(request)));
    }

    #[test]
    fn frames_survive_the_wire(
        ids: (u16, u8, u32, u32, u32), sample: u64, rates: (u32, u32), bounds in any::<[i16; 4]>(),
        jpeg in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let (stream, flags, epoch, sequence, avatar_frame) = ids;
        let frame = StreamFrame {
            stream, flags, epoch, sequence, avatar_frame, sample, sample_rate_hz: rates.0,
            compute_us: rates.1, bounds: bounds.map(|edge| f32::from(edge) / 7.0), jpeg: jpeg.into(),
        };
        let mut message = Vec::new();
        frame.encode(&mut message);
        prop_assert_eq!(StreamFrame::decode(message.into()), Ok(frame));
    }
}
