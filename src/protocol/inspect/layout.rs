//! The layouts of all binary messages, as `inspect` tells them.

use bytes::Bytes;

use super::{Field, NOT_UNDERSTOOD, Report};
use crate::protocol::error::Fault;
use crate::protocol::reader::Reader;
use crate::protocol::stream::{FLAG_HELD, FLAG_IDLE, FLAG_LAST, TYPE_AUDIO, TYPE_FRAME};

/// A reader that notes every field it reads.
struct Trace {
    message: Bytes,
    reader: Reader,
    fields: Vec<Field>,
}

impl Trace {
    fn new(message: Bytes) -> Self {
        Trace {
            reader: Reader::new(message.clone()),
            message,
            fields: Vec::new(),
        }
    }

    /// Notes the bytes read since `offset` as one field.
    fn note(&mut self, offset: usize, name: &str, value: String) {
        let bytes = self.message.slice(offset..self.reader.offset());
        self.fields.push(Field {
            offset: Some(offset),
            bytes,
            name: name.to_owned(),
            value,
        });
    }

    /// Reads a number and notes it.
    fn number<T: ToString + Copy>(
        &mut self,
        name: &'static str,
        read: impl Fn(&mut Reader, &'static str) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let offset = self.reader.offset();
        let value = read(&mut self.reader, name)?;
        self.note(offset, name, value.to_string());
        Ok(value)
    }

    /// Reads bytes and notes what `describe` makes of them.
    fn bytes(
        &mut self,
        name: &'static str,
        count: usize,
        describe: fn(&[u8]) -> String,
    ) -> Result<Bytes, Fault> {
        let offset = self.reader.offset();
        let bytes = self.reader.bytes(name, count)?;
        self.note(offset, name, describe(&bytes));
        Ok(bytes)
    }

    fn bounds(&mut self) -> Result<(), Fault> {
        for edge in ["x1", "y1", "x2", "y2"] {
            self.number(edge, Reader::f32)?;
        }
        Ok(())
    }

    /// Ends the message and reports.
    fn report(mut self, title: impl Into<String>, read: Result<(), Fault>) -> Report {
        let fault = read.and_then(|()| self.reader.clone().finish()).err();
        let noted: usize = self.fields.iter().map(|field| field.bytes.len()).sum();
        if noted < self.message.len() {
            let bytes = self.message.slice(noted..);
            let value = format!("{} bytes", bytes.len());
            let name = NOT_UNDERSTOOD.to_owned();
            self.fields.push(Field {
                offset: Some(noted),
                bytes,
                name,
                value,
            });
        }
        Report {
            title: title.into(),
            length: self.message.len(),
            fields: self.fields,
            fault,
        }
    }
}

pub(super) fn v1_request(title: &str, message: Bytes) -> Report {
    let mut trace = Trace::new(message);
    let read = read_v1_request(&mut trace);
    trace.report(title, read)
}

fn read_v1_request(trace: &mut Trace) -> Result<(), Fault> {
    let length = trace.number("name_len", Reader::u32)?;
    let offset = trace.reader.offset();
    let name = trace.bytes("name", length as usize, text)?;
    trace.number("frame_id", Reader::u32)?;
    let length = trace.number("audio_len", Reader::u32)?;
    let audio = trace.bytes("audio", length as usize, pcm)?;
    utf8("name", offset, &name)?;
    even("audio", &audio)
}

pub(super) fn v1_reply(timed: bool, message: Bytes) -> Report {
    let mut trace = Trace::new(message);
    let read = read_v1_reply(&mut trace, timed);
    trace.report(if timed { "v1 timed reply" } else { "v1 reply" }, read)
}

fn read_v1_reply(trace: &mut Trace, timed: bool) -> Result<(), Fault> {
    let status = trace.number("status", Reader::u8)?;
    trace.number("frame_id", Reader::u32)?;
    if timed {
        trace.number("processing_ms", Reader::u32)?;
    }
    match status {
        1 => {
            let length = trace.number("image_len", Reader::u32)?;
            trace.bytes("image", length as usize, jpeg)?;
            let length = trace.number("bounds_len", Reader::u32)?;
            if length != 16 {
                return Err(Fault::Range {
                    field: "bounds_len",
                    value: length.into(),
                    min: 16,
                    max: 16,
                });
            }
            trace.bounds()
        }
        0 => {
            let length = trace.number("message_len", Reader::u32)?;
            let offset = trace.reader.offset();
            let message = trace.bytes("message", length as usize, text)?;
            utf8("message", offset, &message)
        }
        _ => Err(Fault::Range {
            field: "status",
            value: status.into(),
            min: 0,
            max: 1,
        }),
    }
}

pub(super) fn stream(message: Bytes) -> Report {
    let kind = message.first().copied();
    let mut trace = Trace::new(message);
    let (title, read) = match kind {
        Some(TYPE_AUDIO) => ("v2 audio", read_stream_audio(&mut trace)),
        Some(TYPE_FRAME) => ("v2 frame", read_stream_frame(&mut trace)),
        Some(kind) => (
            "v2 message",
            Err(Fault::UnknownType {
                name: format!("0x{kind:02x}"),
            }),
        ),
        None => ("v2 message", trace.number("type", Reader::u8).map(|_| ())),
    };
    trace.report(title, read)
}

fn read_stream_audio(trace: &mut Trace) -> Result<(), Fault> {
    trace.number("type", Reader::u8)?;
    let flags = trace.number("flags", Reader::u8)?;
    trace.number("stream", Reader::u16)?;
    trace.number("epoch", Reader::u32)?;
    trace.number("first_sample", Reader::u64)?;
    let audio = trace.bytes("audio", trace.reader.left(), pcm)?;
    if flags != 0 {
        return Err(Fault::Range {
            field: "flags",
            value: flags.into(),
            min: 0,
            max: 0,
        });
    }
    even("audio", &audio)
}

fn read_stream_frame(trace: &mut Trace) -> Result<(), Fault> {
    trace.number("type", Reader::u8)?;
    let offset = trace.reader.offset();
    let flags = trace.reader.u8("flags")?;
    let names: Vec<_> = [
        (FLAG_IDLE, "idle"),
        (FLAG_HELD, "held"),
        (FLAG_LAST, "last"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .map(|(_, name)| name)
    .collect();
    trace.note(offset, "flags", format!("{flags} {}", names.join(" ")));
    trace.number("stream", Reader::u16)?;
    trace.number("epoch", Reader::u32)?;
    trace.number("sequence", Reader::u32)?;
    trace.number("avatar_frame", Reader::u32)?;
    trace.number("sample", Reader::u64)?;
    trace.number("sample_rate", Reader::u32)?;
    trace.number("compute_us", Reader::u32)?;
    trace.bounds()?;
    trace.bytes("image", trace.reader.left(), jpeg).map(|_| ())
}

const INFERENCE_REQUEST: &[&str] = &[
    "model_name",
    "frame_id",
    "audio_override",
    "audio_pcm",
    "sample_rate",
    "request_id",
];
const BATCH_REQUEST: &[&str] = &[
    "model_name",
    "frame_ids",
    "audio_override",
    "audio_pcm",
    "sample_rate",
    "request_id",
];
const INFERENCE_RESPONSE: &[&str] = &[
    "success",
    "prediction_data",
    "bounds",
    "processing_time_ms",
    "model_name",
    "frame_id",
    "auto_loaded",
    "prediction_shape",
    "error",
    "code",
    "request_id",
];
const BATCH_RESPONSE: &[&str] = &["responses", "total_processing_time_ms", "request_id"];

/// The fields above that are varints; the others have a length.
const VARINTS: &[&str] = &[
    "frame_id",
    "sample_rate",
    "success",
    "processing_time_ms",
    "auto_loaded",
    "total_processing_time_ms",
];

pub(super) fn protobuf_request(message: Bytes) -> Report {
    let as_single = protobuf(
        "protobuf InferenceRequest",
        message.clone(),
        INFERENCE_REQUEST,
        "",
    );
    let packed = as_single
        .fields
        .iter()
        .any(|field| field.bytes.first() == Some(&0x12));
    if packed {
        protobuf("protobuf BatchInferenceRequest", message, BATCH_REQUEST, "")
    } else {
        as_single
    }
}

pub(super) fn protobuf_response(message: Bytes) -> Report {
    if message.first() == Some(&0x0a) {
        protobuf(
            "protobuf BatchInferenceResponse",
            message,
            BATCH_RESPONSE,
            "",
        )
    } else {
        protobuf(
            "protobuf InferenceResponse",
            message,
            INFERENCE_RESPONSE,
            "",
        )
    }
}

fn protobuf(title: &str, message: Bytes, names: &[&'static str], prefix: &str) -> Report {
    let mut trace = Trace::new(message);
    let read = read_protobuf(&mut trace, names, prefix);
    trace.report(title, read)
}

fn read_protobuf(trace: &mut Trace, names: &[&'static str], prefix: &str) -> Result<(), Fault> {
    while trace.reader.left() > 0 {
        let offset = trace.reader.offset();
        let key = trace.reader.varint("field's key")?;
        let number = (key >> 3) as usize;
        if number == 0 {
            let reason = format!("the key at offset {offset} is of field 0, which is none");
            return Err(Fault::Protobuf { reason });
        }
        let plain = number
            .checked_sub(1)
            .and_then(|index| names.get(index))
            .copied();
        let name = format!("{prefix}{} ({number})", plain.unwrap_or("unknown"));
        if let Some(known) = plain
            && known != "frame_ids"
            && key & 7 != if VARINTS.contains(&known) { 0 } else { 2 }
        {
            let reason = format!(
                "{known} at offset {offset} has the wrong wire type {}",
                key & 7
            );
            return Err(Fault::Protobuf { reason });
        }
        let value = match key & 7 {
            0 => trace.reader.varint("varint")?.to_string(),
            1 => trace.reader.u64("field of 8 bytes")?.to_string(),
            2 => {
                let length = trace.reader.varint("length")?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let bytes = trace.reader.bytes("field with a length", length)?;
                if plain == Some("responses") {
                    let start = trace.reader.offset() - bytes.len();
                    let inner = protobuf("", bytes, INFERENCE_RESPONSE, "responses.");
                    let lead = trace.message.slice(offset..start);
                    let value = format!("{length} bytes");
                    trace.fields.push(Field {
                        offset: Some(offset),
                        bytes: lead,
                        name,
                        value,
                    });
                    trace
                        .fields
                        .extend(inner.fields.into_iter().map(|field| Field {
                            offset: field.offset.map(|offset| start + offset),
                            ..field
                        }));
                    if let Some(fault) = inner.fault {
                        return Err(fault);
                    }
                    continue;
                }
                match plain {
                    Some("audio_pcm") => {
                        let value = pcm(&bytes);
                        trace.note(offset, &name, value);
                        even("audio_pcm", &bytes)?;
                        continue;
                    }
                    Some("prediction_data") => jpeg(&bytes),
                    Some("bounds") => floats(&bytes),
                    Some("frame_ids") => varints(bytes),
                    Some(text_field) => {
                        let value = text(&bytes);
                        trace.note(offset, &name, value);
                        utf8(text_field, trace.reader.offset() - bytes.len(), &bytes)?;
                        continue;
                    }
                    None => text(&bytes),
                }
            }
            5 => trace.reader.f32("field of 4 bytes")?.to_string(),
            wire_type => {
                let reason = format!(
                    "wire type {wire_type} of field {number} at offset {offset} is not used"
                );
                return Err(Fault::Protobuf { reason });
            }
        };
        trace.note(offset, &name, value);
    }
    Ok(())
}

fn utf8(field: &'static str, offset: usize, bytes: &[u8]) -> Result<(), Fault> {
    std::str::from_utf8(bytes)
        .map(|_| ())
        .map_err(|error| Fault::Utf8 {
            field,
            offset: offset + error.valid_up_to(),
        })
}

fn even(field: &'static str, bytes: &[u8]) -> Result<(), Fault> {
    let bytes = bytes.len();
    if bytes.is_multiple_of(2) {
        Ok(())
    } else {
        Err(Fault::OddPcm { field, bytes })
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn pcm(bytes: &[u8]) -> String {
    let peak = crate::base::pcm16::samples(bytes)
        .map(|sample| i32::from(sample).abs())
        .max()
        .unwrap_or(0);
    format!("{} samples, peak {peak}", bytes.len() / 2)
}

/// The size of the picture, from the JPEG's start-of-frame segment.
fn jpeg(bytes: &[u8]) -> String {
    let length = bytes.len();
    if length == 0 {
        return "none".to_owned();
    }
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return format!("{length} bytes, no JPEG");
    }
    let mut at = 2;
    while let Some(&[0xff, marker, high, low, ref rest @ ..]) = bytes.get(at..) {
        let baseline_or_progressive = matches!(marker, 0xc0..=0xc2);
        if let (true, [_, y1, y0, x1, x0, ..]) = (baseline_or_progressive, rest) {
            let (width, height) = (
                u16::from_be_bytes([*x1, *x0]),
                u16::from_be_bytes([*y1, *y0]),
            );
            return format!("JPEG {width}x{height}, {length} bytes");
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    format!("JPEG, {length} bytes")
}

fn floats(bytes: &[u8]) -> String {
    let values = bytes.chunks_exact(4).take(16).map(|chunk| {
        let value = chunk.first_chunk::<4>().copied().unwrap_or_default();
        f32::from_le_bytes(value).to_string()
    });
    values.collect::<Vec<_>>().join(", ")
}

fn varints(bytes: Bytes) -> String {
    let mut reader = Reader::new(bytes);
    let mut values = Vec::new();
    while values.len() < 64
        && let Ok(value) = reader.varint("frame_ids")
    {
        values.push(value.to_string());
    }
    if reader.left() > 0 {
        values.push("…".to_owned());
    }
    values.join(", ")
}
