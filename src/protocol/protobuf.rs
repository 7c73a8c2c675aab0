//! Protobuf, package `lipsyncsrv` (proto/lipsyncsrv.proto), one message per binary WebSocket message.
//!
//! The kind of a request is told by the wire type of its field 2: a varint or nothing is an
//! `InferenceRequest`, length-delimited (packed) is a `BatchInferenceRequest`.

use bytes::Bytes;
use prost::Message;

use super::error::{Fault, ProtocolError};
use super::json::decode_audio;
use super::message::{
    BatchFrame, BatchRequest, ClientMessage, ErrorReply, FrameReply, InferenceRequest,
    MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Reply,
};
use super::reader::Reader;
use super::{Limits, checked_audio, checked_name, millis};

/// The generated types.
pub mod wire {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/lipsyncsrv.rs"));
}

/// Reads a single or batch request.
pub(super) fn decode(message: Bytes, limits: &Limits) -> Result<ClientMessage, ProtocolError> {
    let malformed = |error: prost::DecodeError| Fault::Protobuf {
        reason: error.to_string(),
    };
    if is_batch(message.clone(), limits)? {
        let request = wire::BatchInferenceRequest::decode(message).map_err(malformed)?;
        batch(request, limits).map(ClientMessage::Batch)
    } else {
        let request = wire::InferenceRequest::decode(message).map_err(malformed)?;
        single(request, limits).map(ClientMessage::Inference)
    }
}

fn single(
    request: wire::InferenceRequest,
    limits: &Limits,
) -> Result<InferenceRequest, ProtocolError> {
    let frame_id = frame_id(request.frame_id);
    let request_id = request_id(request.request_id, limits);
    let told = |fault: Fault| ProtocolError {
        fault,
        frame_id: frame_id.as_ref().ok().copied(),
        request_id: request_id.as_ref().ok().cloned().flatten(),
        stream: None,
    };
    Ok(InferenceRequest {
        model_name: checked_name("model_name", &request.model_name, limits).map_err(told)?,
        frame_id: frame_id.clone().map_err(told)?,
        audio: audio(request.audio_pcm, request.audio_override, limits).map_err(told)?,
        sample_rate_hz: sample_rate(request.sample_rate).map_err(told)?,
        request_id: request_id.clone().map_err(told)?,
    })
}

fn batch(
    request: wire::BatchInferenceRequest,
    limits: &Limits,
) -> Result<BatchRequest, ProtocolError> {
    let request_id = request_id(request.request_id, limits);
    let told = |fault: Fault| ProtocolError {
        fault,
        frame_id: None,
        request_id: request_id.as_ref().ok().cloned().flatten(),
        stream: None,
    };
    if request.frame_ids.is_empty() {
        return Err(told(Fault::Missing { field: "frame_ids" }));
    }
    let audio = audio(request.audio_pcm, request.audio_override, limits).map_err(told)?;
    let frame = |id: &i32| {
        Ok(BatchFrame {
            frame_id: frame_id(*id)?,
            audio: audio.clone(),
        })
    };
    Ok(BatchRequest {
        model_name: checked_name("model_name", &request.model_name, limits).map_err(told)?,
        frames: request
            .frame_ids
            .iter()
            .map(frame)
            .collect::<Result<_, Fault>>()
            .map_err(told)?,
        sample_rate_hz: sample_rate(request.sample_rate).map_err(told)?,
        request_id: request_id.clone().map_err(told)?,
    })
}

fn frame_id(id: i32) -> Result<u32, Fault> {
    u32::try_from(id).map_err(|_| Fault::Range {
        field: "frame_id",
        value: id.into(),
        min: 0,
        max: i32::MAX.into(),
    })
}

fn request_id(id: String, limits: &Limits) -> Result<Option<Box<str>>, Fault> {
    limits.check_request_id(&id)?;
    Ok((!id.is_empty()).then(|| id.into()))
}

fn audio(
    pcm: Option<Bytes>,
    base64: Option<String>,
    limits: &Limits,
) -> Result<Option<Bytes>, Fault> {
    match (pcm, base64) {
        (Some(pcm), _) => checked_audio("audio_pcm", pcm, limits),
        (None, Some(text)) => decode_audio("audio_override", &text, limits),
        (None, None) => Ok(None),
    }
}

fn sample_rate(rate: u32) -> Result<Option<u32>, Fault> {
    match rate {
        0 => Ok(None),
        MIN_SAMPLE_RATE_HZ..=MAX_SAMPLE_RATE_HZ => Ok(Some(rate)),
        _ => Err(Fault::Range {
            field: "sample_rate",
            value: rate.into(),
            min: MIN_SAMPLE_RATE_HZ.into(),
            max: MAX_SAMPLE_RATE_HZ.into(),
        }),
    }
}

/// Whether field 2 is length-delimited; refuses a batch of more frames than allowed before it is unpacked.
fn is_batch(message: Bytes, limits: &Limits) -> Result<bool, Fault> {
    let mut reader = Reader::new(message);
    let (mut batch, mut frames) = (false, 0usize);
    while reader.left() > 0 {
        let key = reader.varint("varint")?;
        let value = match key & 7 {
            0 => reader.varint("varint").map(|_| Bytes::new())?,
            1 => reader.bytes("field of 8 bytes", 8)?,
            2 => {
                let length = usize::try_from(reader.varint("varint")?).unwrap_or(usize::MAX);
                reader.bytes("field with a length", length)?
            }
            5 => reader.bytes("field of 4 bytes", 4)?,
            wire_type => {
                let reason = format!(
                    "wire type {wire_type} at offset {} is not used",
                    reader.offset()
                );
                return Err(Fault::Protobuf { reason });
            }
        };
        if key >> 3 == 2 && key & 7 == 2 {
            batch = true;
            // A packed varint ends at each byte without the continuation bit.
            frames += value.iter().filter(|&&byte| byte & 0x80 == 0).count();
        }
    }
    if frames > limits.max_batch_frames {
        let limit = limits.max_batch_frames;
        return Err(Fault::TooLarge {
            field: "frame_ids",
            value: frames,
            limit,
            unit: "frames",
        });
    }
    Ok(batch)
}

/// Appends a frame, a batch or an error. A request that fails as a whole, batches too, is answered by an
/// `InferenceResponse` with an error; a batch's response begins with byte 0x0a, any other does not.
pub(super) fn encode(reply: &Reply, out: &mut Vec<u8>) {
    // Encoding into a Vec can only fail for want of memory, which is no error here but an abort.
    let written = match reply {
        Reply::Frame(frame) => response(frame).encode(out),
        Reply::Error(error) => failure(error).encode(out),
        Reply::Batch(batch) => wire::BatchInferenceResponse {
            responses: batch
                .frames
                .iter()
                .map(|frame| frame.as_ref().map_or_else(failure, response))
                .collect(),
            total_processing_time_ms: signed(millis(batch.processing_us)),
            request_id: batch.request_id.to_string(),
        }
        .encode(out),
        _ => Ok(()), // has no protobuf layout; `Reply::encode` sends it as JSON
    };
    debug_assert!(written.is_ok());
}

fn response(frame: &FrameReply) -> wire::InferenceResponse {
    let (width, height) = frame.image_size;
    wire::InferenceResponse {
        success: true,
        prediction_data: frame.jpeg.clone(),
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
    wire::InferenceResponse {
        frame_id: signed(error.frame_id.unwrap_or(0)),
        processing_time_ms: signed(millis(error.processing_us)),
        error: Some(error.text.clone()),
        code: error.code.as_str().to_owned(),
        request_id: error
            .request_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..Default::default()
    }
}

/// Frames asked for in protobuf fit an i32; what else comes here is cut to fit.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
