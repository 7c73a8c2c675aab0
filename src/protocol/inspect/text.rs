//! JSON messages, field by field.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::report::{Direction, Field, Report};
use crate::protocol::decoder::Decoder;
use crate::protocol::error::DecodeErrorKind;
use crate::protocol::negotiate::Protocol;

/// Characters of a string that are shown: images are long.
const SHOWN_CHARS: usize = 60;

/// Takes a JSON message apart: a field for each of its keys.
pub fn inspect_text(protocol: Protocol, direction: Direction, text: &str) -> Report {
    let mut fields = Vec::new();
    let mut title = "JSON".to_owned();
    if let Ok(Value::Object(object)) = serde_json::from_str(text) {
        if let Some(Value::String(kind)) = object.get("type") {
            title = format!("JSON {kind}");
        }
        for (name, value) in object {
            let value = shorten(value).to_string();
            fields.push(Field {
                offset: None,
                bytes: Bytes::new(),
                name,
                value,
            });
        }
    }
    let error = match direction {
        Direction::Sent => Decoder::default().text(protocol, text).err(),
        Direction::Received => serde_json::from_str::<IgnoredAny>(text).err().map(|error| {
            let kind = DecodeErrorKind::Json {
                line: error.line(),
                column: error.column(),
                reason: error.to_string(),
            };
            kind.into()
        }),
    };
    Report {
        title,
        length: text.len(),
        fields,
        error,
    }
}

/// The value with its long strings cut.
fn shorten(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN_CHARS => {
            let shown: String = text.chars().take(SHOWN_CHARS).collect();
            Value::String(format!("{shown}… ({} bytes)", text.len()))
        }
        Value::Array(values) => Value::Array(values.into_iter().map(shorten).collect()),
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(key, value)| (key, shorten(value)))
                .collect(),
        ),
        other => other,
    }
}
