//! The header of an AVI file, and where in it the values are that are known at the end only.

const HAS_INDEX: u32 = 0x10;
const IS_INTERLEAVED: u32 = 0x100;
/// Segments of a file, 1 GiB each: as many places are kept in the header's indexes.
pub(super) const MAX_SEGMENTS: usize = 256;
/// The chunk of an index of indexes: id and size, head, entries.
const INDEX_BYTES: u64 = 8 + 24 + 16 * MAX_SEGMENTS as u64;
/// `LIST`, size, type.
const LIST_BYTES: u64 = 12;
const AVIH_BYTES: u64 = 8 + 56;
const STRH_BYTES: u64 = 8 + 56;
const DMLH_BYTES: u64 = 8 + 248;
const VIDEO_FORMAT_BYTES: u64 = 8 + 40;
const AUDIO_FORMAT_BYTES: u64 = 8 + 16;
/// Of a stream's length in its header.
const LENGTH_IN_STRH: u64 = 8 + 32;

/// Behind `RIFF`, size, `AVI ` and the head of the list.
const AVIH_AT: u64 = 12 + LIST_BYTES;
const VIDEO_AT: u64 = AVIH_AT + AVIH_BYTES;
const AUDIO_AT: u64 = VIDEO_INDEX_AT + INDEX_BYTES;
const ODML_AT: u64 = AUDIO_INDEX_AT + INDEX_BYTES;

/// Pictures of the first RIFF chunk.
pub(super) const FIRST_RIFF_FRAMES_AT: u64 = AVIH_AT + 8 + 16;
pub(super) const VIDEO_LENGTH_AT: u64 = VIDEO_AT + LIST_BYTES + LENGTH_IN_STRH;
pub(super) const VIDEO_INDEX_AT: u64 = VIDEO_AT + LIST_BYTES + STRH_BYTES + VIDEO_FORMAT_BYTES;
pub(super) const AUDIO_LENGTH_AT: u64 = AUDIO_AT + LIST_BYTES + LENGTH_IN_STRH;
pub(super) const AUDIO_INDEX_AT: u64 = AUDIO_AT + LIST_BYTES + STRH_BYTES + AUDIO_FORMAT_BYTES;
/// Pictures of the file.
pub(super) const TOTAL_FRAMES_AT: u64 = ODML_AT + LIST_BYTES + 8;
/// The type of the list of pictures and sound.
pub(super) const FIRST_MOVI_AT: u64 = ODML_AT + LIST_BYTES + DMLH_BYTES + 8;

/// What an AVI file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AviFormat {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub frames_per_second: u32,
    /// Of the mono sound.
    pub sample_rate_hz: u32,
}

/// Everything before the first picture. Lengths are zero, to be filled in at the end.
pub(super) fn header(format: AviFormat) -> Vec<u8> {
    let (width, height) = (format.width, format.height);
    let frame_us = 1_000_000 / format.frames_per_second;
    let flags = HAS_INDEX | IS_INTERLEAVED;
    let picture_bytes = format.picture_bytes();
    let avih = [
        frame_us,
        0,
        0,
        flags,
        0,
        0,
        2,
        picture_bytes,
        width,
        height,
        0,
        0,
        0,
        0,
    ];
    let parts = [
        chunk(b"avih", &words(&avih)),
        list(b"strl", &video_stream(format)),
        list(b"strl", &audio_stream(format)),
        list(b"odml", &chunk(b"dmlh", &[0; 248])),
    ];
    let mut out = b"RIFF\0\0\0\0AVI ".to_vec();
    out.extend(list(b"hdrl", &parts.concat()));
    out.extend_from_slice(b"LIST\0\0\0\0movi");
    out
}

impl AviFormat {
    fn picture_bytes(self) -> u32 {
        self.width.saturating_mul(self.height).saturating_mul(3)
    }
}

fn video_stream(format: AviFormat) -> Vec<u8> {
    let (width, height) = (format.width, format.height);
    let (rate, bytes) = (format.frames_per_second, format.picture_bytes());
    let header = stream_header(b"vidsMJPG", rate, bytes, 0, [width, height]);
    // BITMAPINFOHEADER: 1 plane, 24 bits a pixel.
    let bitmap = [40, width, height, 1 | 24 << 16];
    let bitmap = [
        words(&bitmap),
        b"MJPG".to_vec(),
        words(&[bytes, 0, 0, 0, 0]),
    ];
    let parts = [
        chunk(b"strh", &header),
        chunk(b"strf", &bitmap.concat()),
        chunk(b"indx", &empty_index(b"00dc")),
    ];
    parts.concat()
}

fn audio_stream(format: AviFormat) -> Vec<u8> {
    let rate = format.sample_rate_hz;
    let header = stream_header(b"auds\0\0\0\0", rate, rate * 2, 2, [0, 0]);
    // WAVEFORMAT: PCM, 1 channel; 2 bytes a block, 16 bits.
    let wave = [1 | 1 << 16, rate, rate * 2, 2 | 16 << 16];
    let parts = [
        chunk(b"strh", &header),
        chunk(b"strf", &words(&wave)),
        chunk(b"indx", &empty_index(b"01wb")),
    ];
    parts.concat()
}

fn stream_header(
    kind_and_handler: &[u8; 8],
    rate: u32,
    buffer_bytes: u32,
    sample_bytes: u32,
    [width, height]: [u32; 2],
) -> Vec<u8> {
    let (scale, quality) = (1, u32::MAX);
    let values = [
        0,
        0,
        0,
        scale,
        rate,
        0,
        0,
        buffer_bytes,
        quality,
        sample_bytes,
        0,
        (width & 0xffff) | height << 16,
    ];
    [kind_and_handler.to_vec(), words(&values)].concat()
}

/// The head of an index: longs per entry, sub-type 0 and type (0 of indexes, 1 of chunks), entries, whose.
pub(super) fn index_head(longs: u16, kind: u8, entries: u32, id: &[u8; 4]) -> Vec<u8> {
    let mut out = longs.to_le_bytes().to_vec();
    out.extend_from_slice(&[0, kind]);
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(id);
    out
}

fn empty_index(id: &[u8; 4]) -> Vec<u8> {
    let mut out = index_head(4, 0, 0, id);
    out.resize(INDEX_BYTES as usize - 8, 0);
    out
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [id.as_slice(), &(data.len() as u32).to_le_bytes(), data].concat()
}

fn list(kind: &[u8; 4], parts: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[kind, parts].concat())
}
