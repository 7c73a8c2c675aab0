//! Messages as they must be, byte for byte.

use serde_json::json;

use super::*;
use crate::protocol::stream::{self, AudioChunk, StreamFrame};

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
    let frame = |protocol| binary_of(frame_reply().encode(protocol));
    let error = |protocol| binary_of(error_reply(7).encode(protocol));
    assert_eq!(frame(Protocol::Binary), golden("v1-reply"));
    assert_eq!(frame(Protocol::BinaryTimed), golden("v1-timed-reply"));
    assert_eq!(error(Protocol::Binary), golden("v1-error"));
    assert_eq!(error(Protocol::BinaryTimed), golden("v1-timed-error"));
    assert_eq!(frame(Protocol::Protobuf), golden("protobuf-response"));
    assert_eq!(error(Protocol::Protobuf), golden("protobuf-error"));
    let batch = binary_of(batch_reply().encode(Protocol::Protobuf));
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
        jpeg: JPEG.to_vec().into(),
    };
    assert_eq!(frame.clone().encode(), golden("v2-frame"));
    assert_eq!(StreamFrame::decode(golden("v2-frame")), Ok(frame.clone()));
    let idle = StreamFrame {
        flags: stream::FLAG_IDLE,
        compute_us: 0,
        jpeg: Vec::new().into(),
        ..frame
    };
    assert_eq!(idle.encode(), golden("v2-frame-idle"));
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
fn json_replies_have_the_fields_that_the_document_lists() {
    let frame = json_of(frame_reply().encode(Protocol::Json));
    let expected = json!({"success": true, "model_name": "face", "frame_id": 7, "prediction_data": "/9j/2Q==",
        "bounds": [1.5, 2.0, 3.25, 4.0], "processing_time_ms": 20.7,
        "metadata": {"avatar_frame": 3, "image_size": [160, 160], "audio": "request"},
        "request_id": "r1", "protocol": "json"});
    assert_eq!(frame, expected);

    let error = json_of(error_reply(7).encode(Protocol::Json));
    let expected = json!({"success": false, "type": "error", "error": "try again", "code": "busy",
        "frame_id": 7, "processing_time_ms": 20.7, "request_id": "r1", "protocol": "json"});
    assert_eq!(error, expected);

    let batch = json_of(batch_reply().encode(Protocol::Binary));
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
    assert_eq!(json_of(Encoded::Text(reply.encode())), expected);
}
