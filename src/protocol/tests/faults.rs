//! Messages as they must not be.

use serde_json::json;

use super::*;

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
                    refused(result),
                    (ErrorCode::BadLength, frame),
                    "{name} cut at {cut}"
                );
            } else if protocol == Protocol::Stream {
                let expected = if cut < 16 {
                    Some(ErrorCode::BadLength)
                } else {
                    None
                };
                let odd = (cut % 2 == 1).then_some(ErrorCode::OddPcm);
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
            assert_eq!(refused(result), (ErrorCode::BadJson, None), "cut at {cut}");
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
        refused(after(name(b"\xc3("), &frame_7)),
        (ErrorCode::BadUtf8, Some(7))
    );
    assert_eq!(
        refused(after(name(b""), &frame_7)),
        (ErrorCode::BadField, Some(7))
    );
    assert_eq!(
        refused(after(name(&[b'x'; 129]), &frame_7)),
        (ErrorCode::TooLarge, Some(7))
    );
    assert_eq!(
        refused(after(name(b"face"), &[7, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3])),
        (ErrorCode::OddPcm, Some(7))
    );
    assert_eq!(
        refused(after(name(b"face"), &[7, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3])),
        (ErrorCode::BadLength, Some(7))
    );
    let huge = [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        refused(after(name(b"face"), &huge)),
        (ErrorCode::BadLength, Some(7))
    );
    assert_eq!(
        refused(decode(Protocol::Binary, vec![0xff; 12])),
        (ErrorCode::BadLength, None)
    );
    let limits = MessageLimits {
        max_audio_bytes: 2,
        ..MessageLimits::default()
    };
    let decoder = Decoder {
        limits,
        ..Decoder::default()
    };
    let long = decoder.binary(Protocol::Binary, golden("v1-request"));
    assert_eq!(refused(long), (ErrorCode::TooLarge, Some(7)));
}

#[test]
fn what_is_switched_off_is_refused_and_control_goes_on() {
    let decoder = Decoder {
        enabled: "protobuf".parse().unwrap(),
        ..Decoder::default()
    };
    let off = |result| assert_eq!(refused(result).0, ErrorCode::ProtocolDisabled);
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
fn bad_json_tells_what_is_wrong_and_whose_it_is() {
    let text = |text: &str| refused(Decoder::default().text(Protocol::Binary, text));
    assert_eq!(text(""), (ErrorCode::BadJson, None));
    assert_eq!(text("hello"), (ErrorCode::BadJson, None));
    assert_eq!(text("[1]"), (ErrorCode::BadJson, None));
    assert_eq!(text("7"), (ErrorCode::BadJson, None));
    assert_eq!(text(&"[".repeat(100_000)), (ErrorCode::BadJson, None));
    assert_eq!(
        text(&format!(r#"{{"model_name":{}"#, "[".repeat(100_000))),
        (ErrorCode::BadJson, None)
    );
    assert_eq!(text(r#"{"frame_id":7}"#), (ErrorCode::BadField, Some(7)));
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":4}"#),
        (ErrorCode::BadField, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":-1,"model_name":"face"}"#),
        (ErrorCode::BadValue, None)
    );
    assert_eq!(
        text(r#"{"frame_id":1e99,"model_name":"face"}"#),
        (ErrorCode::BadField, None)
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","sample_rate":7999}"#),
        (ErrorCode::BadValue, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","audio_override":"?"}"#),
        (ErrorCode::BadBase64, Some(7))
    );
    assert_eq!(
        text(r#"{"frame_id":7,"model_name":"face","audio_override":"AAAA"}"#),
        (ErrorCode::OddPcm, Some(7))
    );
    assert_eq!(
        text(r#"{"type":"dance","frame_id":7}"#),
        (ErrorCode::UnknownType, Some(7))
    );
    assert_eq!(text(r#"{"type":1}"#), (ErrorCode::BadField, None));
    assert_eq!(
        text(r#"{"model_name":"face","batch_frames":[]}"#),
        (ErrorCode::BadField, None)
    );
    assert_eq!(
        text(r#"{"model_name":"face","batch_frames":[[7]]}"#),
        (ErrorCode::BadField, None)
    );
    assert_eq!(
        text(r#"{"type":"open","stream":1}"#),
        (ErrorCode::WrongMode, None)
    );
    let many = format!(
        r#"{{"model_name":"face","batch_frames":[{}{{}}]}}"#,
        "{},".repeat(5000)
    );
    assert_eq!(text(&many), (ErrorCode::TooLarge, None));

    let message = json!({"type": "pause", "stream": 70_000, "request_id": "mine"});
    let error = decode_text(&message).unwrap_err();
    assert_eq!(
        (error.code(), error.ids.request_id.as_deref()),
        (ErrorCode::BadValue, Some("mine"))
    );
    let error = decode_text(&json!({"type": "end", "stream": 3})).unwrap_err();
    assert_eq!(
        (error.code(), error.ids.stream),
        (ErrorCode::BadField, Some(3))
    );
}

#[test]
fn bad_protobuf_tells_whose_it_is_where_that_can_be_read() {
    let protobuf = |message: &[u8]| refused(decode(Protocol::Protobuf, message.to_vec()));
    assert_eq!(
        protobuf(b"\x0a\x04face\x10\x07\x22\x01x"),
        (ErrorCode::OddPcm, Some(7))
    );
    assert_eq!(protobuf(b"\x10\x07"), (ErrorCode::BadField, Some(7)));
    assert_eq!(
        protobuf(b"\x0a\x04face\x28\x01\x10\x07"),
        (ErrorCode::BadValue, Some(7))
    );
    assert_eq!(protobuf(b"\x0a\x04fa\xffe"), (ErrorCode::BadProtobuf, None));
    assert_eq!(
        protobuf(b"\x0a\xff\xff\xff\xff\x0fx"),
        (ErrorCode::BadLength, None)
    );
    assert_eq!(protobuf(b"\x0b"), (ErrorCode::BadProtobuf, None));
    let negative = [b"\x0a\x04face\x10".as_slice(), &[0xff; 9], &[1]].concat();
    assert_eq!(protobuf(&negative), (ErrorCode::BadValue, None));
    let many = [b"\x0a\x04face\x12\x41".as_slice(), &[1; 65]].concat();
    assert_eq!(protobuf(&many), (ErrorCode::TooLarge, None));
}
