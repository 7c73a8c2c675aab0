//! Reads JSON messages of clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::loose::{FrameFields, Frames, Loose, Message};
use crate::protocol::error::{Fault, ProtocolError};
use crate::protocol::message::{
    BatchFrame, BatchRequest, ClientMessage, Control, ControlRequest, InferenceRequest,
    MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ,
};
use crate::protocol::stream::{ImageKind, Open, StreamControl, StreamRequest};
use crate::protocol::{Decoder, Limits, Protocol, checked_audio, checked_name};

/// Characters of a message that an error about it repeats.
const ECHOED_CHARS: usize = 64;

/// Reads one text message of a connection whose binary messages are `protocol`.
pub(in crate::protocol) fn decode(
    protocol: Protocol,
    text: &str,
    decoder: &Decoder,
) -> Result<ClientMessage, ProtocolError> {
    let Message(fields) = serde_json::from_str(text).map_err(|error| Fault::Json {
        line: error.line(),
        column: error.column(),
        reason: reason(&error),
    })?;
    let limits = &decoder.limits;

    // Whose request it is, as far as that can be read: every later error tells it.
    let frame_id = fields
        .frame_id
        .whole("frame_id", 0, u32::MAX.into())
        .ok()
        .flatten()
        .map(|id| id as u32);
    let stream = fields
        .stream
        .whole("stream", 0, u16::MAX.into())
        .ok()
        .flatten()
        .map(|id| id as u16);
    let request_id = request_id(&fields.request_id, limits);
    let told = |fault: Fault| ProtocolError {
        fault,
        frame_id,
        request_id: request_id.as_ref().ok().cloned().flatten(),
        stream,
    };
    let request_id = request_id.clone().map_err(told)?;

    let kind = match &fields.kind {
        Loose::Absent => None,
        Loose::Text(kind) => Some(kind.as_ref()),
        _ => {
            return Err(told(Fault::Type {
                field: "type",
                expected: "a string",
            }));
        }
    };
    let name = || fields.model_name.name("model_name", limits);
    let frame = || {
        fields
            .frame_id
            .needed("frame_id", 0, u32::MAX.into())
            .map(|id| id as u32)
    };
    let rate = |rate: &Loose| {
        rate.whole(
            "sample_rate",
            MIN_SAMPLE_RATE_HZ.into(),
            MAX_SAMPLE_RATE_HZ.into(),
        )
        .map(|rate| rate.map(|rate| rate as u32))
    };
    let control = |control: Control| {
        ClientMessage::Control(ControlRequest {
            control,
            request_id: request_id.clone(),
        })
    };

    let message = || -> Result<ClientMessage, Fault> {
        Ok(match kind {
            None | Some("inference" | "batch") => {
                if !decoder.enabled.contains(Protocol::Json) {
                    return Err(Fault::Disabled {
                        protocol: Protocol::Json.name(),
                    });
                }
                let batch = match &fields.batch_frames {
                    Frames::Absent if kind == Some("batch") => {
                        return Err(Fault::Missing {
                            field: "batch_frames",
                        });
                    }
                    Frames::Absent => None,
                    frames => Some(batch(frames, limits)?),
                };
                match batch {
                    Some(frames) => ClientMessage::Batch(BatchRequest {
                        model_name: name()?,
                        frames,
                        sample_rate_hz: rate(&fields.sample_rate)?,
                        request_id: request_id.clone(),
                    }),
                    None => ClientMessage::Inference(InferenceRequest {
                        model_name: name()?,
                        frame_id: frame()?,
                        audio: fields.audio_override.audio("audio_override", limits)?,
                        sample_rate_hz: rate(&fields.sample_rate)?,
                        request_id: request_id.clone(),
                    }),
                }
            }
            Some("get_stats") => control(Control::Stats {
                subscribe: fields.subscribe.bool("subscribe")?,
            }),
            Some("switch_to_binary") => control(Control::SwitchToBinary),
            Some("list_models") => control(Control::ListModels),
            Some("configure") => control(Control::Configure {
                sample_rate_hz: rate(&fields.sample_rate)?.ok_or(Fault::Missing {
                    field: "sample_rate",
                })?,
            }),
            Some("get_metadata") => control(Control::Metadata {
                model_name: name()?,
            }),
            Some("get_video_frame") => control(Control::VideoFrame {
                model_name: name()?,
                frame_id: frame()?,
            }),
            Some("load_model") => control(Control::LoadModel {
                model_name: name()?,
            }),
            Some("unload_model") => control(Control::UnloadModel {
                model_name: name()?,
            }),
            Some(kind) => {
                let epoch = || {
                    fields
                        .epoch
                        .needed("epoch", 0, u32::MAX.into())
                        .map(|epoch| epoch as u32)
                };
                let count = |value: &Loose, field, min, max| -> Result<Option<u32>, Fault> {
                    Ok(value.whole(field, min, max)?.map(|value| value as u32))
                };
                let known = match kind {
                    "open" => StreamKind::Open,
                    "start" => StreamKind::Start,
                    "end" => StreamKind::End,
                    "interrupt" => StreamKind::Interrupt,
                    "pause" => StreamKind::Pause,
                    "resume" => StreamKind::Resume,
                    "credit" => StreamKind::Credit,
                    "change" => StreamKind::Change,
                    "stats" => StreamKind::Stats,
                    "close" => StreamKind::Close,
                    _ => {
                        return Err(Fault::UnknownType {
                            name: kind.chars().take(ECHOED_CHARS).collect(),
                        });
                    }
                };
                if protocol != Protocol::Stream {
                    return Err(Fault::WrongMode {
                        needed: "lipsync.v2",
                    });
                }
                if !decoder.enabled.contains(Protocol::Stream) {
                    return Err(Fault::Disabled {
                        protocol: Protocol::Stream.name(),
                    });
                }
                let id = fields.stream.needed("stream", 0, u16::MAX.into())? as u16;
                let body = match known {
                    StreamKind::Open => StreamControl::Open(Open {
                        model_name: name()?,
                        sample_rate_hz: rate(&fields.sample_rate)?.ok_or(Fault::Missing {
                            field: "sample_rate",
                        })?,
                        image: match fields.image.text("image")? {
                            None | Some("mouth") => ImageKind::Mouth,
                            Some("full") => ImageKind::Full,
                            Some(other) => {
                                return Err(Fault::Choice {
                                    field: "image",
                                    value: other.chars().take(ECHOED_CHARS).collect(),
                                    choices: "mouth, full",
                                });
                            }
                        },
                        quality: fields
                            .quality
                            .whole("quality", 1, 100)?
                            .map(|quality| quality as u8),
                        frame_rate: count(&fields.frame_rate, "frame_rate", 1, 60)?,
                        credits: count(&fields.credits, "credits", 0, u32::MAX.into())?
                            .ok_or(Fault::Missing { field: "credits" })?,
                        avatar_frame: count(
                            &fields.avatar_frame,
                            "avatar_frame",
                            0,
                            u32::MAX.into(),
                        )?
                        .unwrap_or(0),
                        max_delay_ms: count(&fields.max_delay_ms, "max_delay_ms", 0, 60_000)?,
                        token: match fields.token.text("token")? {
                            Some(token) if token.len() > limits.max_request_id_bytes => {
                                return Err(Fault::TooLarge {
                                    field: "token",
                                    value: token.len(),
                                    limit: limits.max_request_id_bytes,
                                    unit: "bytes",
                                });
                            }
                            token => token.map(Into::into),
                        },
                    }),
                    StreamKind::Start => StreamControl::Start {
                        epoch: epoch()?,
                        avatar_frame: fields.avatar_frame.needed(
                            "avatar_frame",
                            0,
                            u32::MAX.into(),
                        )? as u32,
                    },
                    StreamKind::End => StreamControl::End { epoch: epoch()? },
                    StreamKind::Interrupt => StreamControl::Interrupt { epoch: epoch()? },
                    StreamKind::Pause => StreamControl::Pause,
                    StreamKind::Resume => StreamControl::Resume,
                    StreamKind::Credit => StreamControl::Credit {
                        frames: fields.frames.needed("frames", 1, u32::MAX.into())? as u32,
                    },
                    StreamKind::Change => StreamControl::Change {
                        model_name: name()?,
                    },
                    StreamKind::Stats => StreamControl::Stats,
                    StreamKind::Close => StreamControl::Close,
                };
                ClientMessage::Stream(StreamRequest { stream: id, body })
            }
        })
    };
    message().map_err(told)
}

#[derive(Clone, Copy)]
enum StreamKind {
    Open,
    Start,
    End,
    Interrupt,
    Pause,
    Resume,
    Credit,
    Change,
    Stats,
    Close,
}

/// What serde_json says, without the position, which is told beside it.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].chars().take(200).collect()
}

fn request_id(value: &Loose, limits: &Limits) -> Result<Option<Box<str>>, Fault> {
    let id: Box<str> = match value {
        Loose::Absent => return Ok(None),
        Loose::Integer(id) => id.to_string().into(),
        Loose::Text(id) => id.as_ref().into(),
        _ => {
            return Err(Fault::Type {
                field: "request_id",
                expected: "a string or an integer",
            });
        }
    };
    limits.check_request_id(&id)?;
    Ok(Some(id))
}

fn batch(frames: &Frames, limits: &Limits) -> Result<Vec<BatchFrame>, Fault> {
    let Frames::List(list, count) = frames else {
        return Err(Fault::Type {
            field: "batch_frames",
            expected: "an array of objects with a frame_id",
        });
    };
    if *count == 0 {
        return Err(Fault::Missing {
            field: "batch_frames",
        });
    }
    if *count > limits.max_batch_frames.min(super::loose::KEPT_BATCH_FRAMES) {
        let limit = limits.max_batch_frames.min(super::loose::KEPT_BATCH_FRAMES);
        return Err(Fault::TooLarge {
            field: "batch_frames",
            value: *count,
            limit,
            unit: "frames",
        });
    }
    let frame = |frame: &FrameFields| {
        Ok(BatchFrame {
            frame_id: frame
                .frame_id
                .needed("batch_frames: frame_id", 0, u32::MAX.into())? as u32,
            audio: frame
                .audio_override
                .audio("batch_frames: audio_override", limits)?,
        })
    };
    list.iter().map(frame).collect()
}

/// Base64 of PCM, as both JSON and protobuf carry it.
pub(in crate::protocol) fn decode_audio(
    field: &'static str,
    text: &str,
    limits: &Limits,
) -> Result<Option<Bytes>, Fault> {
    let audio = STANDARD.decode(text).map_err(|error| Fault::Base64 {
        field,
        reason: error.to_string(),
    })?;
    checked_audio(field, audio.into(), limits)
}

impl Loose<'_> {
    fn whole(&self, field: &'static str, min: i64, max: i64) -> Result<Option<i64>, Fault> {
        match *self {
            Loose::Absent => Ok(None),
            Loose::Integer(value) if (min..=max).contains(&value) => Ok(Some(value)),
            Loose::Integer(value) => Err(Fault::Range {
                field,
                value,
                min,
                max,
            }),
            _ => Err(Fault::Type {
                field,
                expected: "an integer",
            }),
        }
    }

    fn needed(&self, field: &'static str, min: i64, max: i64) -> Result<i64, Fault> {
        self.whole(field, min, max)?.ok_or(Fault::Missing { field })
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, Fault> {
        match self {
            Loose::Absent => Ok(None),
            Loose::Text(text) => Ok(Some(text)),
            _ => Err(Fault::Type {
                field,
                expected: "a string",
            }),
        }
    }

    fn bool(&self, field: &'static str) -> Result<Option<bool>, Fault> {
        match self {
            Loose::Absent => Ok(None),
            Loose::Bool(value) => Ok(Some(*value)),
            _ => Err(Fault::Type {
                field,
                expected: "true or false",
            }),
        }
    }

    fn name(&self, field: &'static str, limits: &Limits) -> Result<String, Fault> {
        checked_name(field, self.text(field)?.unwrap_or_default(), limits)
    }

    fn audio(&self, field: &'static str, limits: &Limits) -> Result<Option<Bytes>, Fault> {
        self.text(field)?
            .map_or(Ok(None), |text| decode_audio(field, text, limits))
    }
}
