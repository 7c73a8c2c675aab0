//! Inspection, and made-up messages.

use proptest::prelude::*;

use super::*;
use crate::protocol::inspect::{Direction, Entry, Payload, inspect, inspect_unknown};
use crate::protocol::stream::StreamFrame;

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
        assert_eq!(report.error, None, "{name}");
        assert_eq!(report.covered(), message.len(), "{name}");
        let guessed = inspect_unknown(&message);
        assert_eq!(guessed.error, None, "{name}");
        // A request is laid out alike in both versions of v1.
        let alike = name.starts_with("v1-request");
        assert!(alike || guessed.title == report.title, "{name}: {guessed}");
        let entry = Entry {
            t_ms: 1.5,
            direction,
            protocol,
            payload: Payload::Binary(message),
        };
        assert_eq!(Entry::parse(&entry.to_line()), Ok(entry));
    }
    let cut = inspect_unknown(&golden("v1-request").slice(..18));
    assert_eq!(cut.title, "v1 request");
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
    type Body = fn(&[u8]);
    let targets: [(&str, Body); 3] = [
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
        prop_assume!(name.len() <= MessageLimits::default().max_model_name_bytes);
        let request = InferenceRequest {
            model_name: name.into(), frame_id, audio, sample_rate_hz: None, request_id: None,
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
        prop_assert_eq!(StreamFrame::decode(frame.clone().encode()), Ok(frame));
    }
}
