//! Protobuf messages, field by field.

use bytes::Bytes;

use super::report::{Field, Report};
use super::show;
use crate::protocol::error::{DecodeError, DecodeErrorKind};
use crate::protocol::layout::{check_pcm, check_utf8};
use crate::protocol::reader::{Reader, WireValue};

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Kind {
    Varint,
    Text,
    Pcm,
    Jpeg,
    Floats,
    /// Numbers, packed or one by one.
    Varints,
    /// Messages, each with these fields.
    Messages(&'static [(&'static str, Kind)]),
}

type Fields = &'static [(&'static str, Kind)];

/// The fields of each message in the order of their numbers, from 1 on.
pub(in crate::protocol) const INFERENCE_REQUEST: Fields = &[
    ("model_name", Kind::Text),
    ("frame_id", Kind::Varint),
    ("audio_override", Kind::Text),
    ("audio_pcm", Kind::Pcm),
    ("sample_rate", Kind::Varint),
    ("request_id", Kind::Text),
];
pub(in crate::protocol) const BATCH_REQUEST: Fields = &[
    ("model_name", Kind::Text),
    ("frame_ids", Kind::Varints),
    ("audio_override", Kind::Text),
    ("audio_pcm", Kind::Pcm),
    ("sample_rate", Kind::Varint),
    ("request_id", Kind::Text),
];
pub(in crate::protocol) const INFERENCE_RESPONSE: Fields = &[
    ("success", Kind::Varint),
    ("prediction_data", Kind::Jpeg),
    ("bounds", Kind::Floats),
    ("processing_time_ms", Kind::Varint),
    ("model_name", Kind::Text),
    ("frame_id", Kind::Varint),
    ("auto_loaded", Kind::Varint),
    ("prediction_shape", Kind::Text),
    ("error", Kind::Text),
    ("code", Kind::Text),
    ("request_id", Kind::Text),
];
pub(in crate::protocol) const BATCH_RESPONSE: Fields = &[
    ("responses", Kind::Messages(INFERENCE_RESPONSE)),
    ("total_processing_time_ms", Kind::Varint),
    ("request_id", Kind::Text),
];

pub(super) fn request(message: Bytes) -> Report {
    let single = inspect("protobuf InferenceRequest", &message, INFERENCE_REQUEST);
    let is_batch = single
        .fields
        .iter()
        .any(|field| field.bytes.first() == Some(&0x12));
    match is_batch {
        true => inspect("protobuf BatchInferenceRequest", &message, BATCH_REQUEST),
        false => single,
    }
}

pub(super) fn response(message: Bytes) -> Report {
    match message.first() {
        Some(0x0a) => inspect("protobuf BatchInferenceResponse", &message, BATCH_RESPONSE),
        _ => inspect("protobuf InferenceResponse", &message, INFERENCE_RESPONSE),
    }
}

fn inspect(title: &str, message: &Bytes, known: Fields) -> Report {
    let mut fields = Vec::new();
    let error = read(message, known, "", 0, &mut fields)
        .err()
        .map(DecodeError::from);
    Report::covering(title, message.clone(), fields, error)
}

/// Reads `message`, which begins at `base` of the whole, and adds its fields.
fn read(
    message: &Bytes,
    known: Fields,
    prefix: &str,
    base: usize,
    fields: &mut Vec<Field>,
) -> Result<(), DecodeErrorKind> {
    let mut reader = Reader::new(message);
    while reader.left() > 0 {
        let start = reader.offset();
        let (number, value) = reader.protobuf_field()?;
        let end = reader.offset();
        let spec = usize::try_from(number - 1)
            .ok()
            .and_then(|index| known.get(index));
        let name = format!(
            "{prefix}{} ({number})",
            spec.map_or("unknown", |spec| spec.0)
        );
        let mut add = |end: usize, value: String| {
            fields.push(Field {
                offset: Some(base + start),
                bytes: message.slice(start..end),
                name: name.clone(),
                value,
            });
        };
        match (spec, value) {
            (Some((field, kind)), value) if !fits(*kind, value) => {
                let reason = format!("{field} at offset {} has the wrong wire type", base + start);
                return Err(DecodeErrorKind::Protobuf { reason });
            }
            (Some((_, Kind::Messages(inner))), WireValue::Bytes(bytes)) => {
                let inner_start = end - bytes.len();
                add(inner_start, format!("{} bytes", bytes.len()));
                let part = message.slice(inner_start..end);
                read(&part, inner, "responses.", base + inner_start, fields)?;
            }
            (Some((field, kind)), WireValue::Bytes(bytes)) => {
                add(end, show_bytes(*kind, bytes));
                let offset = base + end - bytes.len();
                match kind {
                    Kind::Text => check_utf8(field, offset, bytes)?,
                    Kind::Pcm => check_pcm(field, bytes)?,
                    _ => {}
                }
            }
            (None, WireValue::Bytes(bytes)) => add(end, show::text(bytes)),
            (_, WireValue::Varint(number) | WireValue::Fixed64(number)) => {
                add(end, number.to_string())
            }
            (_, WireValue::Fixed32(bits)) => add(end, f32::from_bits(bits).to_string()),
        }
    }
    Ok(())
}

fn fits(kind: Kind, value: WireValue<'_>) -> bool {
    match kind {
        Kind::Varint => matches!(value, WireValue::Varint(_)),
        Kind::Varints => matches!(value, WireValue::Varint(_) | WireValue::Bytes(_)),
        _ => matches!(value, WireValue::Bytes(_)),
    }
}

fn show_bytes(kind: Kind, bytes: &[u8]) -> String {
    match kind {
        Kind::Pcm => show::pcm(bytes),
        Kind::Jpeg => show::jpeg(bytes),
        Kind::Floats => show::floats(bytes),
        Kind::Varint | Kind::Varints => show::varints(bytes),
        Kind::Text | Kind::Messages(_) => show::text(bytes),
    }
}
