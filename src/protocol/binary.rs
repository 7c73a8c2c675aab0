//! Binary version 1, plain and timed. The layouts are fixed, byte for byte; integers are little-endian.

use bytes::Bytes;

use super::error::{DecodeError, MessageIds};
use super::layout::{Content, FieldSpec, FieldType, Layout, Surround, Value, constant, field};
use super::limits::MessageLimits;
use super::message::InferenceRequest;
use super::model_name::ModelName;
use super::reply::{ErrorReply, FrameReply, millis};

const STATUS_ERROR: u32 = 0;
const STATUS_FRAME: u32 = 1;
/// Bytes of four f32.
const BOUNDS_BYTES: u32 = 16;

const FRAME_ID: FieldSpec = field("frame_id", FieldType::U32);
const PROCESSING_MS: FieldSpec = field("processing_ms", FieldType::U32);

pub(super) const REQUEST: &Layout = &Layout {
    title: "v1 request",
    fields: &[
        field("name_len", FieldType::U32),
        field("name", FieldType::Counted(Content::Text)),
        FRAME_ID,
        field("audio_len", FieldType::U32),
        field("audio", FieldType::Counted(Content::Pcm)),
    ],
};

const IMAGE_LEN: FieldSpec = field("image_len", FieldType::U32);
const IMAGE: FieldSpec = field("image", FieldType::Counted(Content::Jpeg));
const BOUNDS_LEN: FieldSpec = constant("bounds_len", FieldType::U32, BOUNDS_BYTES);
const BOUNDS: FieldSpec = field("bounds", FieldType::Bounds);
const IS_FRAME: FieldSpec = constant("status", FieldType::U8, STATUS_FRAME);
const IS_ERROR: FieldSpec = constant("status", FieldType::U8, STATUS_ERROR);
const MESSAGE_LEN: FieldSpec = field("message_len", FieldType::U32);
const MESSAGE: FieldSpec = field("message", FieldType::Counted(Content::Text));

pub(super) const REPLY: &Layout = &Layout {
    title: "v1 reply",
    fields: &[IS_FRAME, FRAME_ID, IMAGE_LEN, IMAGE, BOUNDS_LEN, BOUNDS],
};

pub(super) const TIMED_REPLY: &Layout = &Layout {
    title: "v1 timed reply",
    fields: &[
        IS_FRAME,
        FRAME_ID,
        PROCESSING_MS,
        IMAGE_LEN,
        IMAGE,
        BOUNDS_LEN,
        BOUNDS,
    ],
};

pub(super) const ERROR: &Layout = &Layout {
    title: "v1 error",
    fields: &[IS_ERROR, FRAME_ID, MESSAGE_LEN, MESSAGE],
};

pub(super) const TIMED_ERROR: &Layout = &Layout {
    title: "v1 timed error",
    fields: &[IS_ERROR, FRAME_ID, PROCESSING_MS, MESSAGE_LEN, MESSAGE],
};

/// The layout of a server's message, told by its first byte.
pub(super) fn reply_layout(message: &[u8], timed: bool) -> &'static Layout {
    let is_error = message.first().copied().map(u32::from) == Some(STATUS_ERROR);
    match (is_error, timed) {
        (false, false) => REPLY,
        (false, true) => TIMED_REPLY,
        (true, false) => ERROR,
        (true, true) => TIMED_ERROR,
    }
}

/// Reads a [`REQUEST`].
pub(super) fn decode(
    message: &Bytes,
    limits: &MessageLimits,
) -> Result<InferenceRequest, DecodeError> {
    const NAME: usize = REQUEST.index("name");
    const FRAME: usize = REQUEST.index("frame_id");
    const AUDIO: usize = REQUEST.index("audio");
    let parsed = REQUEST.parse(message);
    let ids = MessageIds {
        frame_id: parsed.u32(FRAME),
        ..MessageIds::default()
    };
    let part = |index| message.slice(parsed.range(index).unwrap_or_default());
    let read = || {
        parsed.check()?;
        limits.check_name("name", parsed.bytes(NAME))?;
        Ok(InferenceRequest {
            model_name: ModelName::of_text(part(NAME)),
            frame_id: parsed.u32(FRAME).unwrap_or(0),
            audio: limits.checked_audio("audio", part(AUDIO))?,
            sample_rate_hz: None,
            request_id: None,
        })
    };
    read().map_err(|kind| ids.error(kind))
}

/// Appends a request: what a client does.
pub fn encode_request(request: &InferenceRequest, out: &mut Vec<u8>) {
    let audio = request.audio.as_deref().unwrap_or_default();
    let values = [
        Value::Bytes(request.model_name.as_bytes()),
        Value::U32(request.frame_id),
        Value::Bytes(audio),
    ];
    REQUEST.write(&values, out);
}

/// A frame, in the buffer that its image lies in.
pub(super) fn encode_frame(reply: FrameReply, timed: bool) -> Bytes {
    let (frame_id, image) = (Value::U32(reply.frame_id), Value::Bytes(&reply.jpeg));
    let (ms, bounds) = (
        Value::U32(millis(reply.processing_us)),
        Value::Bounds(reply.bounds),
    );
    let surround = if timed {
        Surround::of(TIMED_REPLY, &[frame_id, ms, image, bounds])
    } else {
        Surround::of(REPLY, &[frame_id, image, bounds])
    };
    reply.jpeg.into_framed(surround.front(), surround.back())
}

/// An error; frame 0 where the request's could not be read.
pub(super) fn encode_error(reply: &ErrorReply, timed: bool) -> Bytes {
    let message = format!("{}: {}", reply.code, reply.text);
    let (frame_id, ms) = (
        Value::U32(reply.frame_id.unwrap_or(0)),
        Value::U32(millis(reply.processing_us)),
    );
    let message = Value::Bytes(message.as_bytes());
    let mut out = Vec::new();
    if timed {
        TIMED_ERROR.write(&[frame_id, ms, message], &mut out);
    } else {
        ERROR.write(&[frame_id, message], &mut out);
    }
    out.into()
}
