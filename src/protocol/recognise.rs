//! Finds out what a binary message is that its connection's protocol cannot read: well-known data in the wrong place.

use bytes::Bytes;

use super::error::{DecodeError, DecodeErrorKind, MessageIds};
use super::json;
use super::limits::{MIN_JUDGED_BYTES, MessageLimits, is_base64_text};
use super::message::ClientMessage;
use super::negotiate::Protocol;
use super::reader::{Reader, little_endian};
use super::resemblance::Resemblance;
use super::stream::{self, AudioChunk};
use super::{binary, protobuf};

/// Streams, epochs and positions of an honest client's audio stay below this for years.
const PLAUSIBLE_EPOCH: u32 = 1 << 24;
const PLAUSIBLE_SAMPLE: u64 = 1 << 40;

/// The first bytes of files that browsers and speech services make.
const CONTAINERS: [(&[u8], &str); 8] = [
    (b"RIFF", "WAV"),
    (b"OggS", "Ogg"),
    (b"fLaC", "FLAC"),
    (b"ID3", "MP3"),
    (b"\xff\xfb", "MP3"),
    (b"\xff\xf3", "MP3"),
    (b"\x1a\x45\xdf\xa3", "WebM"),
    (b"FORM", "AIFF"),
];

/// What `message` looks like, and whose it is by that reading. Asked only where `protocol` could not read it, for the
/// reason `error`.
pub(super) fn recognise(
    protocol: Protocol,
    message: &Bytes,
    error: &DecodeError,
    limits: &MessageLimits,
) -> Option<(Resemblance, MessageIds)> {
    let is_understood = matches!(
        error.kind,
        DecodeErrorKind::Base64Samples { .. }
            | DecodeErrorKind::OddPcm { .. }
            | DecodeErrorKind::TooLarge { .. }
    );
    if is_understood {
        return None;
    }
    let no_ids = |resemblance| (resemblance, MessageIds::default());
    // A message whose head was read is no heap of samples; silence has a head of zeros.
    let has_head = error.ids != MessageIds::default() && !message.starts_with(&[0; 16]);
    text(message, limits)
        .or_else(|| other_protocol(protocol, message, limits))
        .or_else(|| request_in_other_numbers(message, limits))
        .or_else(|| from_server(message).map(no_ids))
        .or_else(|| sound(message).filter(|_| !has_head).map(no_ids))
}

/// JSON, base64 or other text in a binary message.
fn text(message: &[u8], limits: &MessageLimits) -> Option<(Resemblance, MessageIds)> {
    let is_utf16 = matches!(
        message,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]
    );
    if is_utf16 {
        return Some((Resemblance::Utf16, MessageIds::default()));
    }
    let text = std::str::from_utf8(message).ok()?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('{') {
        let ids = json::ids(text, limits).unwrap_or_default();
        return Some((Resemblance::JsonInBinary, ids));
    }
    is_base64_text(text.as_bytes()).then(|| (Resemblance::Base64InBinary, MessageIds::default()))
}

/// A message that another protocol reads.
fn other_protocol(
    protocol: Protocol,
    message: &Bytes,
    limits: &MessageLimits,
) -> Option<(Resemblance, MessageIds)> {
    let is_v1 = matches!(protocol, Protocol::Binary | Protocol::BinaryTimed);
    if !is_v1 && let Ok(request) = binary::decode(message, limits) {
        let ids = ids_of_frame(Some(request.frame_id), None);
        return Some((Resemblance::VersionOne, ids));
    }
    if protocol != Protocol::Stream
        && let Ok(chunk) = AudioChunk::decode(message)
        && chunk.epoch < PLAUSIBLE_EPOCH
        && chunk.first_sample < PLAUSIBLE_SAMPLE
    {
        let ids = MessageIds {
            stream: Some(chunk.stream),
            ..MessageIds::default()
        };
        return Some((Resemblance::StreamAudio, ids));
    }
    if protocol == Protocol::Protobuf {
        return None;
    }
    let ids = match protobuf::decode(message.clone(), limits).ok()? {
        ClientMessage::Inference(request) => {
            ids_of_frame(Some(request.frame_id), request.request_id)
        }
        ClientMessage::Batch(request) => ids_of_frame(None, request.request_id),
        _ => return None,
    };
    Some((Resemblance::Protobuf, ids))
}

fn ids_of_frame(frame_id: Option<u32>, request_id: Option<Box<str>>) -> MessageIds {
    MessageIds {
        frame_id,
        request_id,
        stream: None,
    }
}

/// A version 1 request whose numbers are of another width or byte order, or that has one too many.
fn request_in_other_numbers(
    message: &[u8],
    limits: &MessageLimits,
) -> Option<(Resemblance, MessageIds)> {
    let shapes = [
        (Resemblance::BigEndian, 4, true, false),
        (Resemblance::NumberWidth { bits: 64 }, 8, false, false),
        (Resemblance::NumberWidth { bits: 64 }, 8, true, false),
        (Resemblance::NumberWidth { bits: 16 }, 2, false, false),
        (Resemblance::NumberWidth { bits: 16 }, 2, true, false),
        (Resemblance::TimedRequest, 4, false, true),
    ];
    shapes
        .into_iter()
        .find_map(|(resemblance, width, is_big, is_timed)| {
            let frame_id = fits_request(message, limits, width, is_big, is_timed)?;
            Some((resemblance, ids_of_frame(Some(frame_id), None)))
        })
}

/// The frame of a request whose parts fill the message exactly.
fn fits_request(
    message: &[u8],
    limits: &MessageLimits,
    width: usize,
    is_big_endian: bool,
    is_timed: bool,
) -> Option<u32> {
    let mut reader = Reader::new(message);
    let number = |reader: &mut Reader<'_>| {
        let bytes = reader.bytes("number", width).ok()?;
        let mut ordered = [0; 8];
        ordered[..width].copy_from_slice(bytes);
        if is_big_endian {
            ordered[..width].reverse();
        }
        Some(little_endian(&ordered))
    };
    let name_len = usize::try_from(number(&mut reader)?).ok()?;
    if name_len == 0 || name_len > limits.max_model_name_bytes {
        return None;
    }
    let name = std::str::from_utf8(reader.bytes("name", name_len).ok()?).ok()?;
    if name.contains(char::is_control) {
        return None;
    }
    let frame_id = number(&mut reader)?;
    if is_timed {
        number(&mut reader)?;
    }
    let audio_len = usize::try_from(number(&mut reader)?).ok()?;
    reader.bytes("audio", audio_len).ok()?;
    reader.finish().ok()?;
    u32::try_from(frame_id).ok()
}

/// A message that only servers send.
fn from_server(message: &[u8]) -> Option<Resemblance> {
    const IMAGE: usize = stream::FRAME.index("image");
    let replies = [false, true].map(|timed| binary::reply_layout(message, timed));
    let frame = stream::FRAME.parse(message);
    let is_frame = frame.check().is_ok() && frame.bytes(IMAGE).starts_with(&[0xff, 0xd8]);
    let is_reply = replies
        .into_iter()
        .any(|reply| reply.parse(message).check().is_ok());
    (is_frame || is_reply).then_some(Resemblance::FromServer)
}

/// Sound without a message around it.
fn sound(message: &[u8]) -> Option<Resemblance> {
    let container = CONTAINERS
        .iter()
        .find(|(start, _)| message.starts_with(start));
    if let Some(&(_, container)) = container {
        return Some(Resemblance::SoundFile { container });
    }
    if message.len() < MIN_JUDGED_BYTES || !message.len().is_multiple_of(2) {
        return None;
    }
    // Speech moves little from sample to sample; text, noise and compressed data do not.
    let (mut size, mut change, mut before) = (0u64, 0u64, 0i16);
    for pair in message.chunks_exact(2) {
        let sample = little_endian(pair) as u16 as i16;
        size += u64::from(sample.unsigned_abs());
        change += u64::from(sample.abs_diff(before));
        before = sample;
    }
    (change <= size).then_some(Resemblance::BareSamples)
}
