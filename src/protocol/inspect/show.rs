//! Values as a person reads them.

use crate::protocol::layout::{Content, FieldType};
use crate::protocol::reader::{Reader, little_endian};

/// The value of a field of a binary message.
pub(super) fn field(kind: FieldType, bytes: &[u8]) -> String {
    match kind {
        FieldType::Flags(names) => {
            let flags = little_endian(bytes) as u8;
            let set = names.iter().filter(|(bit, _)| flags & bit != 0);
            let names: Vec<_> = set.map(|(_, name)| *name).collect();
            format!("{flags} {}", names.join(" "))
        }
        FieldType::Bounds => floats(bytes),
        FieldType::Counted(content) | FieldType::Rest(content) => match content {
            Content::Text => text(bytes),
            Content::Pcm => pcm(bytes),
            Content::Jpeg => jpeg(bytes),
        },
        FieldType::U8 | FieldType::U16 | FieldType::U32 | FieldType::U64 => {
            little_endian(bytes).to_string()
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

pub(super) fn pcm(bytes: &[u8]) -> String {
    let samples = bytes
        .chunks_exact(2)
        .map(|pair| little_endian(pair) as u16 as i16);
    let peak = samples
        .map(|sample| i32::from(sample).abs())
        .max()
        .unwrap_or(0);
    format!("{} samples, peak {peak}", bytes.len() / 2)
}

/// The size of the picture, from the JPEG's start-of-frame segment.
pub(super) fn jpeg(bytes: &[u8]) -> String {
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

pub(super) fn floats(bytes: &[u8]) -> String {
    let values = bytes
        .chunks_exact(4)
        .take(16)
        .map(|edge| f32::from_bits(little_endian(edge) as u32).to_string());
    values.collect::<Vec<_>>().join(", ")
}

pub(super) fn varints(bytes: &[u8]) -> String {
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
