//! Reads JSON messages of clients: one function for each type of message.

use super::value::{JsonObject, JsonValue};
use crate::protocol::error::{DecodeError, DecodeErrorKind, MessageIds};
use crate::protocol::limits::{MessageLimits, is_base64_text};
use crate::protocol::message::{
    BatchFrame, BatchRequest, ClientMessage, Control, ControlRequest, InferenceRequest,
};
use crate::protocol::model_name::ModelName;
use crate::protocol::negotiate::{Protocol, ProtocolSet};
use crate::protocol::resemblance::Resemblance;
use crate::protocol::stream::{ImageKind, Open, StreamControl, StreamRequest};

/// Characters of a message that an error about it repeats.
const ECHOED_CHARS: usize = 64;

/// Types that are understood on every connection.
const TYPES: &str = "inference, batch, get_stats, switch_to_binary, configure, list_models, get_metadata, \
                     get_video_frame, load_model, unload_model";
/// Types that are understood in stream mode besides.
const STREAM_TYPES: &str =
    "open, start, end, interrupt, pause, resume, credit, change, stats, close";

type Read<T> = Result<T, DecodeErrorKind>;

/// A message and what it is read by.
struct Message<'a> {
    fields: JsonObject<'a>,
    limits: &'a MessageLimits,
    protocol: Protocol,
    enabled: ProtocolSet,
    request_id: Option<Box<str>>,
}

/// Reads one text message of a connection whose binary messages are `protocol`.
pub(in crate::protocol) fn decode(
    text: &str,
    protocol: Protocol,
    enabled: ProtocolSet,
    limits: &MessageLimits,
) -> Result<ClientMessage, DecodeError> {
    // A byte order mark says what is known: text messages are UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fields = match serde_json::from_str(text) {
        Ok(JsonValue::Object(fields)) => fields,
        Ok(other) => return Err(no_object(&other)),
        Err(error) => return Err(no_json(text, &error, limits)),
    };
    let ids = ids_of(&fields, limits);
    let request_id = fields.request_id(limits).map_err(|kind| ids.error(kind))?;
    let message = Message {
        fields,
        limits,
        protocol,
        enabled,
        request_id,
    };
    message.read().map_err(|kind| ids.error(kind))
}

/// Whose message a JSON text is, as far as its first value tells.
pub(in crate::protocol) fn ids(text: &str, limits: &MessageLimits) -> Option<MessageIds> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    match values.next() {
        Some(Ok(JsonValue::Object(fields))) => Some(ids_of(&fields, limits)),
        _ => None,
    }
}

fn ids_of(fields: &JsonObject<'_>, limits: &MessageLimits) -> MessageIds {
    let number = |field, max| fields.number(field, 0, max).ok().flatten();
    MessageIds {
        frame_id: number("frame_id", u32::MAX),
        request_id: fields.request_id(limits).ok().flatten(),
        stream: number("stream", u16::MAX.into()).map(|stream| stream as u16),
    }
}

impl Message<'_> {
    fn read(&self) -> Read<ClientMessage> {
        let kind = self.fields.text("type")?;
        let control = match kind {
            None | Some("inference" | "batch") => return self.frames(kind),
            Some("get_stats") => Control::Stats {
                subscribe: self.fields.flag("subscribe")?,
            },
            Some("switch_to_binary") => Control::SwitchToBinary,
            Some("list_models") => Control::ListModels,
            Some("configure") => Control::Configure {
                sample_rate_hz: self.sample_rate()?,
            },
            Some("get_metadata") => Control::Metadata {
                model_name: self.model_name()?,
            },
            Some("get_video_frame") => Control::VideoFrame {
                model_name: self.model_name()?,
                frame_id: self.fields.needed("frame_id")?,
            },
            Some("load_model") => Control::LoadModel {
                model_name: self.model_name()?,
            },
            Some("unload_model") => Control::UnloadModel {
                model_name: self.model_name()?,
            },
            Some(kind) => return self.stream(kind).map(ClientMessage::Stream),
        };
        Ok(ClientMessage::Control(ControlRequest {
            control,
            request_id: self.request_id.clone(),
        }))
    }

    /// A request for one frame or several, named by its type or by its fields.
    fn frames(&self, kind: Option<&str>) -> Read<ClientMessage> {
        self.check_enabled(Protocol::Json)?;
        let frames = self.fields.get("batch_frames");
        if kind == Some("batch") || frames.is_some() {
            return self.batch(frames).map(ClientMessage::Batch);
        }
        let has = |field| self.fields.get(field).is_some();
        if kind.is_none() && !has("model_name") {
            return Err(DecodeErrorKind::NoType {
                field: if has("frame_id") {
                    "model_name"
                } else {
                    "type"
                },
                understood: self.understood(),
            });
        }
        self.inference().map(ClientMessage::Inference)
    }

    fn inference(&self) -> Read<InferenceRequest> {
        Ok(InferenceRequest {
            model_name: ModelName::from(self.fields.model_name(self.limits)?),
            frame_id: self.fields.needed("frame_id")?,
            audio: self.fields.audio(self.limits)?,
            sample_rate_hz: self.fields.sample_rate()?,
            request_id: self.request_id.clone(),
        })
    }

    fn batch(&self, frames: Option<&JsonValue<'_>>) -> Read<BatchRequest> {
        const FIELD: &str = "batch_frames";
        const WRONG: DecodeErrorKind = DecodeErrorKind::Type {
            field: FIELD,
            expected: "an array of objects with a frame_id",
        };
        let list = match frames {
            None => &[][..],
            Some(JsonValue::List(list)) => list,
            Some(_) => return Err(WRONG),
        };
        self.limits.check_batch(FIELD, list.len())?;
        let frame = |value: &JsonValue<'_>| match value {
            JsonValue::Object(fields) => Ok(BatchFrame {
                frame_id: fields.needed("frame_id")?,
                audio: fields.audio(self.limits)?,
            }),
            _ => Err(WRONG),
        };
        let frames = list.iter().map(frame).collect::<Read<_>>()?;
        Ok(BatchRequest {
            model_name: ModelName::from(self.fields.model_name(self.limits)?),
            frames,
            sample_rate_hz: self.fields.sample_rate()?,
            request_id: self.request_id.clone(),
        })
    }

    /// A stream's control message.
    fn stream(&self, kind: &str) -> Read<StreamRequest> {
        if !STREAM_TYPES.split(", ").any(|known| known == kind) {
            return Err(self.unknown_type(kind));
        }
        if self.protocol != Protocol::Stream {
            let needed = "lipsync.v2";
            return Err(DecodeErrorKind::WrongMode { needed });
        }
        self.check_enabled(Protocol::Stream)?;
        let stream = self.fields.number("stream", 0, u16::MAX.into())?;
        let stream = stream.ok_or(DecodeErrorKind::Missing { field: "stream" })? as u16;
        let epoch = || self.fields.needed("epoch");
        let body = match kind {
            "open" => StreamControl::Open(self.open()?),
            "start" => StreamControl::Start {
                epoch: epoch()?,
                avatar_frame: self.fields.needed("avatar_frame")?,
            },
            "end" => StreamControl::End { epoch: epoch()? },
            "interrupt" => StreamControl::Interrupt { epoch: epoch()? },
            "pause" => StreamControl::Pause,
            "resume" => StreamControl::Resume,
            "credit" => StreamControl::Credit {
                frames: self
                    .fields
                    .number("frames", 1, u32::MAX)?
                    .ok_or(DecodeErrorKind::Missing { field: "frames" })?,
            },
            "change" => StreamControl::Change {
                model_name: self.model_name()?,
            },
            "stats" => StreamControl::Stats,
            "close" => StreamControl::Close,
            _ => return Err(self.unknown_type(kind)),
        };
        Ok(StreamRequest { stream, body })
    }

    fn open(&self) -> Read<Open> {
        let fields = &self.fields;
        let image = match fields.text("image")? {
            None | Some("mouth") => ImageKind::Mouth,
            Some("full") => ImageKind::Full,
            Some(other) => {
                return Err(DecodeErrorKind::Choice {
                    field: "image",
                    value: other.chars().take(ECHOED_CHARS).collect(),
                    choices: "mouth, full",
                });
            }
        };
        let token = fields.text("token")?;
        token.map_or(Ok(()), |token| self.limits.check_id("token", token))?;
        Ok(Open {
            model_name: self.model_name()?,
            sample_rate_hz: self.sample_rate()?,
            image,
            quality: fields
                .number("quality", 1, 100)?
                .map(|quality| quality as u8),
            frame_rate: fields.number("frame_rate", 1, 60)?,
            credits: fields.needed("credits")?,
            avatar_frame: fields.number("avatar_frame", 0, u32::MAX)?.unwrap_or(0),
            max_delay_ms: fields.number("max_delay_ms", 0, 60_000)?,
            token: token.map(Into::into),
        })
    }

    fn model_name(&self) -> Read<String> {
        self.fields.model_name(self.limits).map(str::to_owned)
    }

    /// A sample rate that must be there.
    fn sample_rate(&self) -> Read<u32> {
        let field = "sample_rate";
        self.fields
            .sample_rate()?
            .ok_or(DecodeErrorKind::Missing { field })
    }

    fn check_enabled(&self, protocol: Protocol) -> Read<()> {
        if self.enabled.contains(protocol) {
            return Ok(());
        }
        let protocol = protocol.name();
        Err(DecodeErrorKind::Disabled { protocol })
    }

    fn unknown_type(&self, kind: &str) -> DecodeErrorKind {
        DecodeErrorKind::UnknownType {
            name: kind.chars().take(ECHOED_CHARS).collect(),
            understood: self.understood(),
        }
    }

    /// The types that this connection understands.
    fn understood(&self) -> String {
        match self.protocol {
            Protocol::Stream => format!("{STREAM_TYPES}, {TYPES}"),
            _ => TYPES.to_owned(),
        }
    }
}

/// The error for JSON that is no object.
fn no_object(value: &JsonValue<'_>) -> DecodeError {
    let (found, resemblance) = match value {
        JsonValue::Text(text) if text.trim_start().starts_with('{') => {
            ("a string", Some(Resemblance::EncodedTwice))
        }
        JsonValue::Text(text) if is_base64_text(text.as_bytes()) => {
            ("a string", Some(Resemblance::Base64Text))
        }
        JsonValue::Text(_) => ("a string", None),
        JsonValue::List(_) => ("an array", None),
        _ => ("a single value", None),
    };
    DecodeError {
        resemblance,
        ..DecodeErrorKind::Json {
            line: 1,
            column: 1,
            reason: format!("{found}, where an object is expected"),
        }
        .into()
    }
}

/// The error for text that is no JSON, with what it looks like.
fn no_json(text: &str, error: &serde_json::Error, limits: &MessageLimits) -> DecodeError {
    let trimmed = text.trim();
    let is_object = trimmed.starts_with('{');
    let resemblance = if is_object && trimmed.ends_with('\0') {
        Some(Resemblance::NulAtEnd)
    } else if is_object && ids(text, limits).is_some() {
        Some(Resemblance::SeveralMessages)
    } else if trimmed
        .trim_start_matches('{')
        .trim_start()
        .starts_with('\'')
    {
        Some(Resemblance::SingleQuotes)
    } else if is_base64_text(trimmed.as_bytes()) {
        Some(Resemblance::Base64Text)
    } else if !trimmed.starts_with(['{', '[', '"']) {
        Some(Resemblance::PlainText)
    } else {
        None
    };
    // What serde_json says, without the position, which is told beside it.
    let reason = error.to_string();
    let end = reason.rfind(" at line ").unwrap_or(reason.len());
    DecodeError {
        kind: DecodeErrorKind::Json {
            line: error.line(),
            column: error.column(),
            reason: reason[..end].chars().take(200).collect(),
        },
        resemblance,
        ids: ids(text, limits).unwrap_or_default(),
    }
}
