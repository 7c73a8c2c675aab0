//! Protobuf, package `lipsyncsrv` (proto/lipsyncsrv.proto), one message per binary WebSocket message.
//!
//! The kind of a request is told by the wire type of its field 2: a varint or nothing is an
//! `InferenceRequest`, length-delimited (packed) is a `BatchInferenceRequest`.

use bytes::Bytes;
use prost::Message;

use super::error::{DecodeError, DecodeErrorKind, MessageIds};
use super::limits::{MessageLimits, check_sample_rate};
use super::message::{BatchFrame, BatchRequest, ClientMessage, InferenceRequest};
use super::model_name::ModelName;
use super::reader::{Reader, WireValue};
use super::reply::{BatchReply, ErrorReply, FrameReply, millis};

/// The generated types.
pub mod wire {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/lipsyncsrv.rs"));
}

/// Reads a single or batch request.
pub(super) fn decode(message: Bytes, limits: &MessageLimits) -> Result<ClientMessage, DecodeError> {
    let malformed = |error: prost::DecodeError| DecodeErrorKind::Protobuf {
        reason: error.to_string(),
    };
    match batch_frames(&message)? {
        None => {
            let request = wire::InferenceRequest::decode(message).map_err(malformed)?;
            single(request, limits).map(ClientMessage::Inference)
        }
        // Refused before it is unpacked.
        Some(frames) => {
            limits.check_batch("frame_ids", frames)?;
            let request = wire::BatchInferenceRequest::decode(message).map_err(malformed)?;
            batch(request, limits).map(ClientMessage::Batch)
        }
    }
}

fn single(
    request: wire::InferenceRequest,
    limits: &MessageLimits,
) -> Result<InferenceRequest, DecodeError> {
    let request_id = request_id(request.request_id, limits);
    let ids = MessageIds {
        frame_id: frame_id(request.frame_id).ok(),
        request_id: request_id.clone().ok().flatten(),
        stream: None,
    };
    let read = || {
        limits.check_name("model_name", &request.model_name)?;
        Ok(InferenceRequest {
            model_name: ModelName::from(request.model_name),
            frame_id: frame_id(request.frame_id)?,
            audio: audio(request.audio_pcm, request.audio_override, limits)?,
            sample_rate_hz: sample_rate(request.sample_rate)?,
            request_id: request_id?,
        })
    };
    read().map_err(|kind| ids.error(kind))
}

fn batch(
    request: wire::BatchInferenceRequest,
    limits: &MessageLimits,
) -> Result<BatchRequest, DecodeError> {
    let request_id = request_id(request.request_id, limits);
    let ids = MessageIds {
        request_id: request_id.clone().ok().flatten(),
        ..MessageIds::default()
    };
    let read = || {
        limits.check_batch("frame_ids", request.frame_ids.len())?;
        let audio = audio(request.audio_pcm, request.audio_override, limits)?;
        let frame = |id: &i32| {
            Ok(BatchFrame {
                frame_id: frame_id(*id)?,
                audio: audio.clone(),
            })
        };
        limits.check_name("model_name", &request.model_name)?;
        Ok(BatchRequest {
            model_name: ModelName::from(request.model_name),
            frames: request
                .frame_ids
                .iter()
                .map(frame)
                .collect::<Result<_, _>>()?,
            sample_rate_hz: sample_rate(request.sample_rate)?,
            request_id: request_id?,
        })
    };
    read().map_err(|kind| ids.error(kind))
}

fn frame_id(id: i32) -> Result<u32, DecodeErrorKind> {
    u32::try_from(id).map_err(|_| DecodeErrorKind::Range {
        field: "frame_id",
        value: id.into(),
        min: 0,
        max: i32::MAX.into(),
    })
}

fn request_id(id: String, limits: &MessageLimits) -> Result<Option<Box<str>>, DecodeErrorKind> {
    limits.check_id("request_id", &id)?;
    Ok((!id.is_empty()).then(|| id.into()))
}

fn audio(
    pcm: Option<Bytes>,
    base64: Option<String>,
    limits: &MessageLimits,
) -> Result<Option<Bytes>, DecodeErrorKind> {
    match (pcm, base64) {
        (Some(pcm), _) => limits.checked_audio("audio_pcm", pcm),
        (None, Some(text)) => limits.audio_from_base64("audio_override", &text),
        (None, None) => Ok(None),
    }
}

fn sample_rate(rate: u32) -> Result<Option<u32>, DecodeErrorKind> {
    match rate {
        0 => Ok(None),
        rate => check_sample_rate(rate.into()).map(Some),
    }
}

/// How many frames a batch asks for; `None` where field 2 is no packed list and the message is no batch.
fn batch_frames(message: &[u8]) -> Result<Option<usize>, DecodeErrorKind> {
    let mut reader = Reader::new(message);
    let mut frames = None;
    while reader.left() > 0 {
        if let (2, WireValue::Bytes(packed)) = reader.protobuf_field()? {
            // A packed varint ends at each byte without the continuation bit.
            let count = packed.iter().filter(|&&byte| byte & 0x80 == 0).count();
            frames = Some(frames.unwrap_or(0) + count);
        }
    }
    Ok(frames)
}

/// A frame as an `InferenceResponse`.
pub(super) fn encode_frame(frame: FrameReply) -> Bytes {
    response(frame).encode_to_vec().into()
}

/// A request that failed as a whole, batches too, as an `InferenceResponse`.
pub(super) fn encode_error(error: &ErrorReply) -> Bytes {
    failure(error).encode_to_vec().into()
}

/// A batch. Its response begins with byte 0x0a, an `InferenceResponse` does not.
pub(super) fn encode_batch(batch: BatchReply) -> Bytes {
    let responses = batch.frames.into_iter().map(|frame| match frame {
        Ok(frame) => response(frame),
        Err(error) => failure(&error),
    });
    let response = wire::BatchInferenceResponse {
        responses: responses.collect(),
        total_processing_time_ms: signed(millis(batch.processing_us)),
        request_id: batch.request_id.to_string(),
    };
    response.encode_to_vec().into()
}

fn response(frame: FrameReply) -> wire::InferenceResponse {
    let (width, height) = frame.image_size;
    wire::InferenceResponse {
        success: true,
        prediction_data: frame.jpeg.into(),
        bounds: frame.bounds.to_vec(),
        processing_time_ms: signed(millis(frame.processing_us)),
        model_name: frame.model_name.to_string(),
        frame_id: signed(frame.frame_id),
        auto_loaded: false,
        prediction_shape: format!("{width}x{height}"),
        error: None,
        code: String::new(),
        request_id: frame.request_id.to_string(),
    }
}

fn failure(error: &ErrorReply) -> wire::InferenceResponse {
    let request_id = error.request_id.as_ref();
    wire::InferenceResponse {
        frame_id: signed(error.frame_id.unwrap_or(0)),
        processing_time_ms: signed(millis(error.processing_us)),
        error: Some(error.text.clone()),
        code: error.code.as_str().to_owned(),
        request_id: request_id.map(ToString::to_string).unwrap_or_default(),
        ..Default::default()
    }
}

/// Frames asked for in protobuf fit an i32; what else comes here is cut to fit.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
