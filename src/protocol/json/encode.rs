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
    let mut text = String::new();
    put_frame(
        frame,
        Some(&frame.model_name),
        Some(end(Some(&frame.request_id))),
        &mut text,
    );
    text
}

/// A reply with the frames of a batch.
pub(in crate::protocol) fn batch(batch: &BatchReply) -> String {
    let count = batch.frames.len();
    let total_ms = millis(batch.processing_us);
    let fps = if total_ms > 0.0 {
        count as f64 * 1000.0 / total_ms
    } else {
        0.0
    };
    let mut text = to_text(&BatchFields {
        success: batch.frames.iter().all(Result::is_ok),
        batch: true,
        model_name: &batch.model_name,
        batch_size: count,
        total_processing_time_ms: total_ms,
        average_frame_time_ms: total_ms / count.max(1) as f64,
        batch_fps: (fps * 10.0).round() / 10.0,
        end: end(Some(&batch.request_id)),
    });
    reopen(&mut text, "frames");
    text.push('[');
    for (index, frame) in batch.frames.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match frame {
            Ok(frame) => put_frame(frame, None, None, &mut text),
            Err(error) => text.push_str(&to_text(&error_fields(error, None, None))),
        }
    }
    text.push_str("]}");
    text
}

/// An error.
pub(in crate::protocol) fn error(error: &ErrorReply) -> String {
    let end = end(error.request_id.as_ref());
    to_text(&error_fields(error, Some("error"), Some(end)))
}

/// Any value as JSON.
pub(in crate::protocol) fn to_text<T: Serialize>(value: &T) -> String {
    // No type of the protocol has keys that are no strings, the only thing that could fail.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn put_frame<'a>(
    frame: &'a FrameReply,
    model_name: Option<&'a ModelName>,
    end: Option<ReplyEnd<'a>>,
    text: &mut String,
) {
    let fields = to_text(&FrameFields {
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
    });
    let image_chars = base64::encoded_len(frame.jpeg.len(), true).unwrap_or(0);
    text.reserve(fields.len() + image_chars + 32);
    text.push_str(&fields);
    reopen(text, "prediction_data");
    text.push('"');
    STANDARD.encode_string(&*frame.jpeg, text);
    text.push_str("\"}");
}

/// Makes room for one more field at the end of an object that has some.
fn reopen(object: &mut String, key: &str) {
    object.pop();
    object.push_str(",\"");
    object.push_str(key);
    object.push_str("\":");
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
