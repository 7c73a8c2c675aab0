//! Binary version 1, plain and timed. The layouts are fixed, byte for byte; integers are little-endian.

use bytes::Bytes;

use super::error::{Fault, ProtocolError};
use super::message::{ErrorReply, FrameReply, InferenceRequest};
use super::reader::Reader;
use super::{Limits, checked_audio, checked_name, millis};

const STATUS_ERROR: u8 = 0;
const STATUS_FRAME: u8 = 1;

/// Reads `u32 name_len | name | u32 frame_id | u32 audio_len | audio`.
pub(super) fn decode(message: Bytes, limits: &Limits) -> Result<InferenceRequest, ProtocolError> {
    let mut reader = Reader::new(message);
    let name_len = reader.u32("name_len")? as usize;
    let name_offset = reader.offset();
    let name = reader.bytes("name", name_len)?;

    // The frame is read before the name is judged, so that an error can tell whose it is.
    let frame_id = reader.u32("frame_id")?;
    let told = |fault: Fault| ProtocolError::from(fault).with_frame(Some(frame_id));

    let name = std::str::from_utf8(&name).map_err(|error| {
        told(Fault::Utf8 {
            field: "name",
            offset: name_offset + error.valid_up_to(),
        })
    })?;
    let model_name = checked_name("name", name, limits).map_err(told)?;
    let audio_len = reader.u32("audio_len").map_err(told)? as usize;
    let audio = reader.bytes("audio", audio_len).map_err(told)?;
    reader.finish().map_err(told)?;
    let audio = checked_audio("audio", audio, limits).map_err(told)?;
    Ok(InferenceRequest {
        model_name,
        frame_id,
        audio,
        sample_rate_hz: None,
        request_id: None,
    })
}

/// Appends a request: what a client does.
pub fn encode_request(request: &InferenceRequest, out: &mut Vec<u8>) {
    let audio = request.audio.as_deref().unwrap_or_default();
    put_sized(request.model_name.as_bytes(), out);
    out.extend_from_slice(&request.frame_id.to_le_bytes());
    put_sized(audio, out);
}

/// Appends `u8 1 | u32 frame_id | (timed: u32 processing_ms) | u32 image_len | JPEG | u32 bounds_len | f32[]`.
pub(super) fn encode_frame(reply: &FrameReply, timed: bool, out: &mut Vec<u8>) {
    out.reserve(33 + reply.jpeg.len());
    out.push(STATUS_FRAME);
    out.extend_from_slice(&reply.frame_id.to_le_bytes());
    if timed {
        out.extend_from_slice(&millis(reply.processing_us).to_le_bytes());
    }
    put_sized(&reply.jpeg, out);
    out.extend_from_slice(&(size_of_val(&reply.bounds) as u32).to_le_bytes());
    for edge in reply.bounds {
        out.extend_from_slice(&edge.to_le_bytes());
    }
}

/// Appends `u8 0 | u32 frame_id (0: unknown) | (timed: u32 processing_ms) | u32 message_len | message`.
pub(super) fn encode_error(reply: &ErrorReply, timed: bool, out: &mut Vec<u8>) {
    out.push(STATUS_ERROR);
    out.extend_from_slice(&reply.frame_id.unwrap_or(0).to_le_bytes());
    if timed {
        out.extend_from_slice(&millis(reply.processing_us).to_le_bytes());
    }
    let code = reply.code.as_str();
    out.extend_from_slice(&((code.len() + 2 + reply.text.len()) as u32).to_le_bytes());
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(reply.text.as_bytes());
}

fn put_sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
