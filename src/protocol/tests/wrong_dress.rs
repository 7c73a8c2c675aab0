//! Well-known data where something else belongs: the error says what it looks like and what to do, and whose it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::protocol::stream::{AudioChunk, StreamFrame};

/// A second of a voice: tones below 1 kHz.
fn speech() -> Vec<u8> {
    let sample = |n: usize| {
        let phase = n as f64 / 24_000.0 * std::f64::consts::TAU;
        (6000.0 * (phase * 140.0).sin() + 3000.0 * (phase * 700.0).sin()) as i16
    };
    (0..15_360).flat_map(|n| sample(n).to_le_bytes()).collect()
}

fn v1(numbers: impl Fn(u64) -> Vec<u8>, frame_id: u64, audio: &[u8]) -> Vec<u8> {
    let name = b"default_model";
    [
        numbers(name.len() as u64).as_slice(),
        name,
        &numbers(frame_id),
        &numbers(audio.len() as u64),
        audio,
    ]
    .concat()
}

fn chunk(stream: u16, pcm: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let chunk = AudioChunk {
        stream,
        epoch: 3,
        first_sample: 4800,
        pcm: Bytes::copy_from_slice(pcm),
    };
    chunk.encode(&mut message);
    message
}

/// The error of a binary message.
fn binary(protocol: Protocol, message: &[u8]) -> DecodeError {
    decode(protocol, message.to_vec()).unwrap_err()
}

/// The error of a text message.
fn text(message: &str) -> DecodeError {
    Decoder::default()
        .text(Protocol::Binary, message)
        .unwrap_err()
}

const V1: Protocol = Protocol::Binary;
const V2: Protocol = Protocol::Stream;
const PROTOBUF: Protocol = Protocol::Protobuf;

/// Unity's and .NET's `Send` make binary frames of everything.
#[test]
fn json_in_a_binary_message_says_to_send_it_as_text() {
    let json = r#"{"type": "open", "stream": 5, "frame_id": 7, "request_id": "mine"}"#;
    for message in [json.to_owned(), format!("\u{feff} {json}\r\n")] {
        for protocol in Protocol::PREFERENCE {
            let error = binary(protocol, message.as_bytes());
            assert_eq!(
                error.resemblance,
                Some(Resemblance::JsonInBinary),
                "{protocol:?}"
            );
            assert_eq!(error.code(), ErrorCode::WrongMode);
            assert!(error.to_string().starts_with(
                "this looks like JSON in a binary message: send it as a text message"
            ));
            assert_eq!((error.ids.frame_id, error.ids.stream), (Some(7), Some(5)));
            assert_eq!(error.ids.request_id.as_deref(), Some("mine"));
        }
    }
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(binary(V1, &utf16).resemblance, Some(Resemblance::Utf16));
}

#[test]
fn json_behind_a_byte_order_mark_is_taken() {
    let message = "\u{feff}{\"type\": \"list_models\"}";
    assert!(Decoder::default().text(V1, message).is_ok());
}

/// Java's ByteBuffer and Python's struct without "<".
#[test]
fn numbers_of_another_order_or_width_are_told_with_the_frame() {
    let big = |n: u64| (n as u32).to_be_bytes().to_vec();
    let wide = |n: u64| n.to_le_bytes().to_vec();
    let wide_big = |n: u64| n.to_be_bytes().to_vec();
    let narrow = |n: u64| (n as u16).to_le_bytes().to_vec();
    for audio in [speech(), Vec::new()] {
        let cases = [
            (v1(big, 8, &audio), Resemblance::BigEndian),
            (v1(wide, 8, &audio), Resemblance::NumberWidth { bits: 64 }),
            (
                v1(wide_big, 8, &audio),
                Resemblance::NumberWidth { bits: 64 },
            ),
            (v1(narrow, 8, &audio), Resemblance::NumberWidth { bits: 16 }),
        ];
        for (message, expected) in cases {
            for protocol in [V1, Protocol::BinaryTimed] {
                let error = binary(protocol, &message);
                assert_eq!(error.resemblance, Some(expected));
                assert_eq!(error.ids.frame_id, Some(8), "{error}");
            }
        }
    }
    let error = binary(V1, &v1(big, 8, &speech()));
    assert_eq!(error.code(), ErrorCode::BadLength);
    assert!(error.to_string().contains("little-endian"), "{error}");
}

#[test]
fn messages_of_another_protocol_name_its_subprotocol() {
    let request = golden("v1-request");
    let protobuf = golden("protobuf-request");
    let batch = golden("protobuf-batch-request");
    let audio = chunk(9, &speech());
    let cases = [
        (V1, audio.clone(), Resemblance::StreamAudio, "lipsync.v2"),
        (PROTOBUF, audio, Resemblance::StreamAudio, "lipsync.v2"),
        (V2, request.to_vec(), Resemblance::VersionOne, "lipsync.v1"),
        (
            PROTOBUF,
            request.to_vec(),
            Resemblance::VersionOne,
            "lipsync.v1",
        ),
        (
            V1,
            protobuf.to_vec(),
            Resemblance::Protobuf,
            "lipsync.protobuf",
        ),
        (
            V2,
            protobuf.to_vec(),
            Resemblance::Protobuf,
            "lipsync.protobuf",
        ),
        (
            V1,
            batch.to_vec(),
            Resemblance::Protobuf,
            "lipsync.protobuf",
        ),
    ];
    for (protocol, message, expected, subprotocol) in cases {
        let error = binary(protocol, &message);
        assert_eq!(error.resemblance, Some(expected), "{protocol:?}: {error}");
        assert_eq!(error.code(), ErrorCode::WrongMode);
        assert!(
            error.to_string().contains(&format!("{subprotocol:?}")),
            "{error}"
        );
        let told = (error.ids.frame_id.is_some(), error.ids.stream);
        let is_audio = expected == Resemblance::StreamAudio;
        let is_batch = message == batch;
        assert_eq!(told, (!is_audio && !is_batch, is_audio.then_some(9)));
    }
    assert_eq!(binary(V1, &batch).ids.request_id.as_deref(), Some("r1"));
}

/// Replies of older servers have a number more than plain ones; a client that copied that into its requests, one that
/// sends replies back, and `inspect` of a reply by the wrong one of the two layouts.
#[test]
fn timed_and_plain_layouts_are_told_apart() {
    let mut timed = golden("v1-request").to_vec();
    timed.splice(12..12, 20u32.to_le_bytes());
    let error = binary(V1, &timed);
    assert_eq!(error.resemblance, Some(Resemblance::TimedRequest));
    assert_eq!(error.ids.frame_id, Some(7));
    for reply in ["v1-reply", "v1-timed-reply", "v1-error", "v2-frame"] {
        for protocol in [V1, V2] {
            let error = binary(protocol, &golden(reply));
            assert_eq!(error.resemblance, Some(Resemblance::FromServer), "{reply}");
        }
    }
    let received = |protocol, name| {
        let report = inspect::inspect(protocol, inspect::Direction::Received, golden(name));
        report.error.and_then(|error| error.resemblance)
    };
    for (plain, timed) in [
        ("v1-reply", "v1-timed-reply"),
        ("v1-error", "v1-timed-error"),
    ] {
        assert_eq!(received(V1, timed), Some(Resemblance::TimedReply));
        assert_eq!(
            received(Protocol::BinaryTimed, plain),
            Some(Resemblance::PlainReply)
        );
        assert_eq!(received(V1, plain), None);
    }
}

#[test]
fn base64_where_bytes_are_meant_is_told() {
    let base64 = STANDARD.encode(speech());
    for protocol in Protocol::PREFERENCE {
        let error = binary(protocol, base64.as_bytes());
        assert_eq!(
            error.resemblance,
            Some(Resemblance::Base64InBinary),
            "{protocol:?}"
        );
    }
    let little = |n: u64| (n as u32).to_le_bytes().to_vec();
    let error = binary(V1, &v1(little, 8, base64.as_bytes()));
    assert_eq!(
        (error.code(), error.ids.frame_id),
        (ErrorCode::BadValue, Some(8))
    );
    assert_eq!(
        error.kind,
        DecodeErrorKind::Base64Samples { field: "audio" }
    );
    let error = binary(V2, &chunk(2, base64.as_bytes()));
    assert_eq!(error.ids.stream, Some(2));
    assert!(error.to_string().contains("looks like base64"), "{error}");

    let error = text(&base64);
    assert_eq!(error.resemblance, Some(Resemblance::Base64Text));
    assert_eq!(error.code(), ErrorCode::BadJson);
}

/// Samples, and files of sound, that were sent without a message around them.
#[test]
fn samples_and_sound_files_alone_are_told() {
    for protocol in [V1, V2, PROTOBUF] {
        let error = binary(protocol, &speech());
        assert_eq!(
            error.resemblance,
            Some(Resemblance::BareSamples),
            "{protocol:?}"
        );
        for (start, container) in [
            (&b"RIFF\x24\x78\0\0WAVE"[..], "WAV"),
            (b"\x1a\x45\xdf\xa3", "WebM"),
        ] {
            let error = binary(protocol, &[start, &speech()].concat());
            assert_eq!(
                error.resemblance,
                Some(Resemblance::SoundFile { container })
            );
        }
    }
    // Silence is samples, too.
    assert_eq!(
        binary(V1, &[0; 30_720]).resemblance,
        Some(Resemblance::BareSamples)
    );
    // What is cut is not mistaken for something else.
    assert_eq!(binary(V1, &golden("v1-request")[..18]).resemblance, None);
    assert_eq!(binary(V2, b"\x02").resemblance, None);
}

#[test]
fn text_that_is_not_json_says_what_it_looks_like() {
    let ask = r#"{"type": "list_models", "request_id": "a", "frame_id": 4}"#;
    let cases = [
        (format!("{ask}\0"), Some(Resemblance::NulAtEnd), Some("a")),
        (
            format!("{ask}\n{ask}"),
            Some(Resemblance::SeveralMessages),
            Some("a"),
        ),
        (ask.replace('"', "'"), Some(Resemblance::SingleQuotes), None),
        (
            Value::from(ask).to_string(),
            Some(Resemblance::EncodedTwice),
            None,
        ),
        ("hello".to_owned(), Some(Resemblance::PlainText), None),
        (ask[..30].to_owned(), None, None),
    ];
    for (message, expected, id) in cases {
        let error = text(&message);
        assert_eq!(error.code(), ErrorCode::BadJson);
        assert_eq!(error.resemblance, expected, "{message}");
        assert_eq!(error.ids.request_id.as_deref(), id, "{message}");
    }
    assert!(
        text("[1]")
            .to_string()
            .contains("an array, where an object is expected")
    );
}

#[test]
fn an_unknown_type_is_answered_with_what_would_be_understood() {
    let unknown = |protocol, message: &str| {
        let error = Decoder::default().text(protocol, message).unwrap_err();
        (error.code(), error.to_string())
    };
    let message = r#"{"type": "dance"}"#;
    let (code, words) = unknown(V1, message);
    assert_eq!(code, ErrorCode::UnknownType);
    assert!(
        words.contains("\"dance\"") && words.contains("list_models"),
        "{words}"
    );
    assert!(!words.contains("credit"), "{words}");
    assert!(unknown(V2, message).1.contains("interrupt"));
    let (code, words) = unknown(V1, r#"{"action": "infer"}"#);
    assert_eq!(code, ErrorCode::BadField);
    assert!(
        words.starts_with("type is missing") && words.contains("get_stats"),
        "{words}"
    );
}

#[test]
fn base64_of_another_dialect_is_told() {
    let request = |audio: &str| {
        let message =
            serde_json::json!({"model_name": "face", "frame_id": 7, "audio_override": audio});
        text(&message.to_string()).to_string()
    };
    assert!(request("data:audio/wav;base64,AAAA").contains("what follows the comma"));
    assert!(request("AA-_").contains("URL-safe"));
    assert!(request("AAAA\nAAAA").contains("without spaces and line ends"));
}

/// Every message that a client may send is read as what it is, whatever it resembles.
#[test]
fn good_messages_are_never_mistaken() {
    let little = |n: u64| (n as u32).to_le_bytes().to_vec();
    for audio in [speech(), vec![0; 640], b"+/=-".to_vec()] {
        assert!(decode(V1, v1(little, 8, &audio)).is_ok());
        assert!(decode(V2, chunk(1, &audio)).is_ok());
    }
    assert!(StreamFrame::decode(golden("v2-frame")).is_ok());
}
