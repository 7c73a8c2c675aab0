//! Writes JSON replies. Images go as base64 straight into the caller's buffer.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::protocol::message::{
    BatchReply, ControlReply, ErrorReply, FrameReply, Reply, RequestId,
};

/// Appends `reply` as one JSON object.
pub(in crate::protocol) fn encode(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Frame(frame) => encode_frame(frame, out),
        Reply::Batch(batch) => encode_batch(batch, out),
        Reply::Error(error) => encode_error(error, out),
        Reply::Control(control) => encode_control(control, out),
        Reply::Stream(update) => value(update, out),
        Reply::StreamFrame(frame) => frame.encode(out), // has no JSON layout
    }
}

fn encode_frame(frame: &FrameReply, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.field("success", &true);
    object.field("model_name", &*frame.model_name);
    object.frame(frame);
    object.request_id(&frame.request_id);
    object.field("protocol", "json");
    object.close();
}

fn encode_batch(batch: &BatchReply, out: &mut Vec<u8>) {
    let count = batch.frames.len();
    let total_ms = millis(batch.processing_us);
    let mut object = Object::open(out);
    object.field("success", &batch.frames.iter().all(Result::is_ok));
    object.field("batch", &true);
    object.field("model_name", &*batch.model_name);
    object.field("batch_size", &count);
    object.key("frames");
    object.out.push(b'[');
    for (index, frame) in batch.frames.iter().enumerate() {
        if index > 0 {
            object.out.push(b',');
        }
        let mut element = Object::open(object.out);
        element.field("success", &frame.is_ok());
        match frame {
            Ok(frame) => element.frame(frame),
            Err(error) => element.error(error),
        }
        element.close();
    }
    object.out.push(b']');
    object.field("total_processing_time_ms", &total_ms);
    object.field("average_frame_time_ms", &(total_ms / count.max(1) as f64));
    let fps = if total_ms > 0.0 {
        count as f64 * 1000.0 / total_ms
    } else {
        0.0
    };
    object.field("batch_fps", &((fps * 10.0).round() / 10.0));
    object.request_id(&batch.request_id);
    object.field("protocol", "json");
    object.close();
}

fn encode_error(error: &ErrorReply, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.field("success", &false);
    object.field("type", "error");
    object.error(error);
    if let Some(stream) = error.stream {
        object.field("stream", &stream);
    }
    match &error.request_id {
        Some(id) => object.request_id(id),
        None => object.field("request_id", &()),
    }
    object.field("protocol", "json");
    object.close();
}

fn encode_control(reply: &ControlReply, out: &mut Vec<u8>) {
    value(&reply.body, out);
    if let Some(id) = &reply.request_id {
        out.pop(); // the brace: an object is never empty, it has its type
        let mut object = Object { out, first: false };
        object.request_id(id);
        object.close();
    }
}

/// An object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, first: true }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    /// Writes a key that needs no escapes.
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, field: &T) {
        self.key(key);
        value(field, self.out);
    }

    fn request_id(&mut self, id: &RequestId) {
        self.key("request_id");
        match id {
            RequestId::Client(id) => value(id, self.out),
            RequestId::Serial(id) => value(&id.to_string(), self.out),
        }
    }

    /// The fields that a frame has alone and in a batch.
    fn frame(&mut self, frame: &FrameReply) {
        self.field("frame_id", &frame.frame_id);
        self.key("prediction_data");
        base64(&frame.jpeg, self.out);
        self.field("bounds", &frame.bounds);
        self.field("processing_time_ms", &millis(frame.processing_us));
        self.key("metadata");
        let (width, height) = frame.image_size;
        let mut metadata = Object::open(self.out);
        metadata.field("avatar_frame", &frame.avatar_frame);
        metadata.field("image_size", &[width, height]);
        metadata.field("audio", if frame.own_audio { "own" } else { "request" });
        metadata.close();
    }

    /// The fields that an error has alone and in a batch.
    fn error(&mut self, error: &ErrorReply) {
        self.field("error", &error.text);
        self.field("code", error.code.as_str());
        self.field("frame_id", &error.frame_id);
        self.field("processing_time_ms", &millis(error.processing_us));
    }
}

/// Milliseconds with three decimals.
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// Appends any value as JSON.
fn value<T: Serialize + ?Sized>(field: &T, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail, and no type of the protocol has keys that are no strings.
    if serde_json::to_writer(&mut *out, field).is_err() {
        let _ = out.write_all(b"null");
    }
}

/// Appends a string of base64.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + length, b'=');
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

/// Serialises bytes as base64.
pub(in crate::protocol) fn base64_field<S: Serializer>(
    bytes: &bytes::Bytes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}
