//! What a file is, by its first bytes. Names of files are not looked at: they are often wrong.

use std::io::{self, Read};

use super::coded::Codec;
use super::input::Input;
use super::{RecordingError, wav};

/// Bytes that are looked at. What a tool has put before a WAV file's header by mistake is found within them.
const HEAD_BYTES: usize = 4_096;
/// Characters of a text that are shown.
const SHOWN_CHARS: usize = 100;
/// Tags before the sound of which a file may have several.
const MAX_TAGS: usize = 8;

/// What is read, with the input standing at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Wav,
    Coded(Codec),
}

/// Kinds that are known and not read: where their mark is, the mark, the name.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (4, b"ftyp", "an MP4, M4A or MOV file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"caff", "a CAF file (Core Audio)"),
    (0, b".snd", "an AU file"),
    (0, b"riff\x2e\x91\xcf\x11", "a Sony Wave64 file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA or ASF file"),
    (0, b"FLV\x01", "an FLV film"),
    (0, b"MThd", "a MIDI file, notes and no sound"),
    (0, b"ADIF", "an AAC file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x93NUMPY", "a NumPy array"),
];

/// What an Ogg file may hold, by the mark of its first packet.
const IN_OGG: &[(&[u8], &str)] = &[
    (b"OpusHead", "an Opus file (in Ogg)"),
    (b"Speex   ", "a Speex file (in Ogg)"),
    (b"\x7fFLAC", "a FLAC stream in Ogg"),
    (b"\x80theora", "an Ogg film"),
];

/// Says what the file is and moves to where its sound begins.
///
/// # Errors
/// What it is, if it is nothing that is read.
pub(super) fn sniff<R: Read>(input: &mut Input<R>) -> Result<Kind, RecordingError> {
    let tagged = skip_id3(input)?;
    let head = input.peek(HEAD_BYTES)?;
    if head.is_empty() {
        return Err(RecordingError::Empty);
    }
    if let Some(other) = OTHERS
        .iter()
        .find(|(at, mark, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)))
    {
        return Err(RecordingError::Kind { kind: other.2 });
    }
    match head {
        _ if wav::begins(head) => Ok(Kind::Wav),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'A',
            b'V',
            b'I',
            b' ',
            ..,
        ] => Err(RecordingError::Kind {
            kind: "an AVI film",
        }),
        [b'f', b'L', b'a', b'C', ..] => Ok(Kind::Coded(Codec::Flac)),
        [b'O', b'g', b'g', b'S', ..] => ogg(head),
        // The header of an MPEG frame: 11 bits of ones, version, layer, bit rate, sample rate.
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 => match (second >> 1) & 3 {
            0 if second & 0xf0 == 0xf0 => Err(RecordingError::Kind {
                kind: "an AAC file (ADTS)",
            }),
            1 if third & 0xf0 != 0xf0 && third & 0x0c != 0x0c => Ok(Kind::Coded(Codec::Mp3)),
            2 | 3 if third & 0xf0 != 0xf0 && third & 0x0c != 0x0c => Err(RecordingError::Kind {
                kind: "MPEG audio of layer I or II",
            }),
            _ => Err(RecordingError::Unknown),
        },
        _ if tagged => Ok(Kind::Coded(Codec::Mp3)),
        _ => match (1..head.len()).find(|at| head.len() - at >= 12 && wav::begins(&head[*at..])) {
            Some(at) => {
                input.skip(at as u64)?;
                Ok(Kind::Wav)
            }
            None => Err(text_or_unknown(head)),
        },
    }
}

/// Leaves out ID3 tags before the sound.
fn skip_id3<R: Read>(input: &mut Input<R>) -> io::Result<bool> {
    for tags in 0..MAX_TAGS {
        let [b'I', b'D', b'3', _, _, flags, a, b, c, d] = *input.peek(10)? else {
            return Ok(tags > 0);
        };
        // Seven bits a byte, without the header and without the footer that a flag announces.
        let size = [a, b, c, d]
            .iter()
            .fold(0u64, |size, byte| size << 7 | u64::from(byte & 0x7f));
        input.skip(10 + size + if flags & 0x10 == 0 { 0 } else { 10 })?;
    }
    Ok(true)
}

fn ogg(head: &[u8]) -> Result<Kind, RecordingError> {
    // The first page: 27 bytes, a table of as many segments as the last of these says, then the first packet.
    let packet = head
        .get(26)
        .map_or(0, |segments| 27 + usize::from(*segments));
    let packet = head.get(packet..).unwrap_or_default();
    match IN_OGG.iter().find(|(mark, _)| packet.starts_with(mark)) {
        Some((_, kind)) => Err(RecordingError::Kind { kind }),
        None => Ok(Kind::Coded(Codec::OggVorbis)),
    }
}

fn text_or_unknown(head: &[u8]) -> RecordingError {
    if head.starts_with(b"UklGR") {
        return RecordingError::Base64;
    }
    let valid = match std::str::from_utf8(head) {
        Ok(_) => head.len(),
        // The last character may have been cut.
        Err(error) if head.len() - error.valid_up_to() < 4 => error.valid_up_to(),
        Err(_) => return RecordingError::Unknown,
    };
    let text = String::from_utf8_lossy(&head[..valid]);
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    match text.trim_start_matches('\u{feff}').trim() {
        "" => RecordingError::Unknown,
        text if text.chars().all(is_text) => RecordingError::Text {
            start: text.chars().take(SHOWN_CHARS).collect(),
        },
        _ => RecordingError::Unknown,
    }
}
