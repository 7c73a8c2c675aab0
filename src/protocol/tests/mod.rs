//! The protocol against its golden messages, its document and made-up input.

mod document;
mod faults;
mod golden;
mod random;
mod wrong_dress;

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

use super::*;

/// The bodies of the fuzz targets, which name this crate from outside.
mod fuzz {
    use crate as lipsyncd;
    include!("../../../fuzz/bodies.rs");
}

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
        jpeg: JPEG.to_vec().into(),
        processing_us: 20_700,
        own_audio: false,
    }
}

fn error_reply(frame_id: u32) -> ErrorReply {
    ErrorReply {
        frame_id: Some(frame_id),
        request_id: Some(RequestId::Client("r1".into())),
        processing_us: 20_700,
        ..ErrorReply::new(ErrorCode::Busy, "try again")
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

fn binary_of(message: Encoded) -> Bytes {
    match message {
        Encoded::Binary(bytes) => bytes,
        Encoded::Text(text) => panic!("a text message: {text}"),
    }
}

fn json_of(message: Encoded) -> Value {
    match message {
        Encoded::Text(text) => serde_json::from_str(&text).unwrap(),
        Encoded::Binary(_) => panic!("a binary message"),
    }
}

fn decode(protocol: Protocol, message: impl Into<Bytes>) -> Result<ClientMessage, DecodeError> {
    Decoder::default().binary(protocol, message.into())
}

fn decode_text(message: &Value) -> Result<ClientMessage, DecodeError> {
    Decoder::default().text(Protocol::Stream, &message.to_string())
}

fn refused(result: Result<ClientMessage, DecodeError>) -> (ErrorCode, Option<u32>) {
    let error = result.unwrap_err();
    (error.code(), error.ids.frame_id)
}
