//! Writes JSON replies. Images go as base64 straight into the text: serde would look at each of their bytes for escapes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::protocol::model_name::ModelName;
use crate::protocol::reply::{BatchReply, ErrorReply, FrameReply, RequestId};

/// The word for JSON in the field `protocol` of replies.
const PROTOCOL: &str = "json";

/// What a frame tells, alone and in a batch; its image is appended.
#[derive(Serialize)]
struct FrameFields<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_name: Option<&'a ModelName>,
    frame_id: u32,
    bounds: [f32; 4],
    processing_time_ms: f64,
    metadata: FrameMetadata,
    #[serde(flatten)]
    end: Option<ReplyEnd<'a>>,
}

#[derive(Serialize)]
struct FrameMetadata {
    avatar_frame: u32,
    image_size: (u32, u32),
    audio: &'static str,
}

/// What every reply that is not part of another ends with.
#[derive(Serialize)]
struct ReplyEnd<'a> {
    request_id: Option<&'a RequestId>,
    protocol: &'static str,
}

/// What an error tells, alone and in a batch.
#[derive(Serialize)]
struct ErrorFields<'a> {
    success: bool,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    error: &'a str,
    code: &'static str,
    frame_id: Option<u32>,
    processing_time_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u16>,
    #[serde(flatten)]
    end: Option<ReplyEnd<'a>>,
}

/// What a batch tells; its frames are appended.
#[derive(Serialize)]
struct BatchFields<'a> {
    success: bool,
    batch: bool,
    model_name: &'a ModelName,
    batch_size: usize,
    total_processing_time_ms: f64,
    average_frame_time_ms: f64,
    batch_fps: f64,
    #[serde(flatten)]
    end: ReplyEnd<'a>,
}

/// A reply with one frame.
pub(in crate::protocol) fn frame(frame: &FrameReply) -> String {
    let mut out = Vec::new();
    let end = end(Some(&frame.request_id));
    put_frame(frame, Some(&frame.model_name), Some(end), &mut out);
    into_text(out)
}

/// A reply with the frames of a batch.
pub(in crate::protocol) fn batch(batch: &BatchReply) -> String {
    let count = batch.frames.len();
    let total_ms = millis(batch.processing_us);
    let fps = match total_ms > 0.0 {
        true => count as f64 * 1000.0 / total_ms,
        false => 0.0,
    };
    let mut out = Vec::new();
    let fields = BatchFields {
        success: batch.frames.iter().all(Result::is_ok),
        batch: true,
        model_name: &batch.model_name,
        batch_size: count,
        total_processing_time_ms: total_ms,
        average_frame_time_ms: total_ms / count.max(1) as f64,
        batch_fps: (fps * 10.0).round() / 10.0,
        end: end(Some(&batch.request_id)),
    };
    put(&fields, &mut out);
    reopen(&mut out, "frames");
    out.push(b'[');
    for (index, frame) in batch.frames.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match frame {
            Ok(frame) => put_frame(frame, None, None, &mut out),
            Err(error) => put(&error_fields(error, None, None), &mut out),
        }
    }
    out.extend_from_slice(b"]}");
    into_text(out)
}

/// An error.
pub(in crate::protocol) fn error(error: &ErrorReply) -> String {
    let end = end(error.request_id.as_ref());
    to_text(&error_fields(error, Some("error"), Some(end)))
}

/// Any value as JSON.
pub(in crate::protocol) fn to_text<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    put(value, &mut out);
    into_text(out)
}

fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail, and no type of the protocol has keys that are no strings.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

fn into_text(out: Vec<u8>) -> String {
    // serde_json and base64 write nothing but UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

fn put_frame<'a>(
    frame: &'a FrameReply,
    model_name: Option<&'a ModelName>,
    end: Option<ReplyEnd<'a>>,
    out: &mut Vec<u8>,
) {
    let fields = FrameFields {
        success: true,
        model_name,
        frame_id: frame.frame_id,
        bounds: frame.bounds,
        processing_time_ms: millis(frame.processing_us),
        metadata: FrameMetadata {
            avatar_frame: frame.avatar_frame,
            image_size: frame.image_size,
            audio: if frame.own_audio { "own" } else { "request" },
        },
        end,
    };
    let image_chars = base64::encoded_len(frame.jpeg.len(), true).unwrap_or(0);
    out.reserve(image_chars + 512);
    put(&fields, out);
    reopen(out, "prediction_data");
    out.push(b'"');
    let start = out.len();
    out.resize(start + image_chars, b'=');
    let written = STANDARD.encode_slice(&*frame.jpeg, &mut out[start..]);
    out.truncate(start + written.unwrap_or(0));
    out.extend_from_slice(b"\"}");
}

/// Makes room for one more field at the end of an object that has some.
fn reopen(object: &mut Vec<u8>, key: &str) {
    object.pop();
    object.extend_from_slice(b",\"");
    object.extend_from_slice(key.as_bytes());
    object.extend_from_slice(b"\":");
}

fn end(request_id: Option<&RequestId>) -> ReplyEnd<'_> {
    ReplyEnd {
        request_id,
        protocol: PROTOCOL,
    }
}

fn error_fields<'a>(
    error: &'a ErrorReply,
    kind: Option<&'static str>,
    end: Option<ReplyEnd<'a>>,
) -> ErrorFields<'a> {
    ErrorFields {
        success: false,
        kind,
        error: &error.text,
        code: error.code.as_str(),
        frame_id: error.frame_id,
        processing_time_ms: millis(error.processing_us),
        stream: error.stream.filter(|_| end.is_some()),
        end,
    }
}

/// Milliseconds with three decimals.
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
