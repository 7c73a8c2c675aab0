//! WAV files as the world writes them: RIFF, big-endian RIFX, and RF64 or BW64 with 64-bit sizes.
//!
//! Programs that write to a pipe cannot know the length of what they write: sizes of 0, 0xFFFFFFFF, 0x7FFFFFFF or some
//! other large number stand in its place. So the samples go on to the end that the header tells or to the end of the file,
//! whichever comes first.

mod format;

use std::io::Read;

use crate::audio::Sound;

use super::coded::{self, Codec};
use super::input::Input;
use super::mono::{self, Mono};
use super::{RecordingError, WavFault};
use format::{Encoding, WavFormat};

/// What a file may begin with. RF64 and BW64 are one thing under two names.
const CONTAINERS: [&[u8]; 4] = [b"RIFF", b"RIFX", b"RF64", b"BW64"];
/// Bytes of a chunk that are looked at, of `fmt ` and `ds64`: what is defined of them ends before.
const CHUNK_BYTES: u64 = 64;
/// Sizes that stand for "not known", besides 0.
const PLACEHOLDERS: [u32; 2] = [u32::MAX, i32::MAX as u32];
/// Chunks that are known to stand beside samples.
const CHUNKS: &[&[u8; 4]] = &[
    b"fmt ", b"data", b"LIST", b"fact", b"bext", b"JUNK", b"junk", b"PAD ", b"FLLR", b"iXML",
    b"axml", b"chna", b"cue ", b"smpl", b"inst", b"PEAK", b"cart", b"id3 ", b"ID3 ", b"DISP",
    b"_PMX", b"afsp", b"ds64", b"acid", b"plst", b"note", b"labl", b"umid", b"levl", b"mext",
];
/// Bytes of samples that are decoded at a time, about.
const BLOCK_BYTES: usize = 1 << 16;

/// Whether these bytes are the beginning of a WAV file, cut off as it may be.
pub(super) fn begins(head: &[u8]) -> bool {
    CONTAINERS.iter().any(|id| head.starts_with(id))
        && b"WAVE".starts_with(&head[8.min(head.len())..12.min(head.len())])
}

/// Reads a file that [`begins`] as one. Where whole files follow each other, as of the sentences that a service has sent
/// one by one, their sounds do.
pub(super) fn read<R: Read + Send + Sync>(mut input: Input<R>) -> Result<Sound, RecordingError> {
    let mut sound = read_one(&mut input)?;
    loop {
        let next = input.peek(12)?;
        if next.len() < 12 || !begins(next) {
            return Ok(sound);
        }
        let next = read_one(&mut input)?;
        if next.rate_hz != sound.rate_hz {
            let (first_hz, next_hz) = (sound.rate_hz, next.rate_hz);
            return Err(WavFault::Joined { first_hz, next_hz }.into());
        }
        mono::check_length(sound.samples.len() + next.samples.len(), sound.rate_hz)?;
        sound.samples.extend(next.samples);
    }
}

fn read_one<R: Read + Send + Sync>(input: &mut Input<R>) -> Result<Sound, RecordingError> {
    let big_endian = input.peek(4)? == b"RIFX";
    input.skip(12)?;
    let mut format = None;
    let mut long_size = u64::MAX;
    while let Some((id, size)) = chunk(input, big_endian)? {
        match &id {
            b"data" => {
                // An empty chunk of samples, and no placeholder: another chunk follows.
                if size == 0 && is_chunk(input.peek(4)?) {
                    continue;
                }
                let missing = WavFault::Missing { chunk: "fmt " };
                let format: WavFormat = format.ok_or(missing)?;
                let size = match size {
                    0 => u64::MAX,
                    _ if PLACEHOLDERS.contains(&size) => long_size,
                    size => u64::from(size),
                };
                let sound = samples(input.take(size), &format)?;
                if size % 2 == 1 && !begins(input.peek(4)?) {
                    input.skip(1)?;
                }
                return Ok(sound);
            }
            b"fmt " => {
                let content = content(input, size)?;
                format = Some(WavFormat::parse(&content, big_endian)?);
            }
            b"ds64" => {
                let content = content(input, size)?;
                if let Some(Ok(bytes)) = content.get(8..16).map(<[u8; 8]>::try_from) {
                    long_size = match u64::from_le_bytes(bytes) {
                        0 => u64::MAX,
                        size => size,
                    };
                }
            }
            _ => input.skip(u64::from(size))?,
        }
        if size % 2 == 1 && is_padded(input.peek(5)?) {
            input.skip(1)?;
        }
    }
    let chunk = if format.is_some() { "data" } else { "fmt " };
    Err(WavFault::Missing { chunk }.into())
}

/// The id and the size of the next chunk; `None` at the end of the file.
fn chunk<R: Read>(
    input: &mut Input<R>,
    big_endian: bool,
) -> Result<Option<([u8; 4], u32)>, RecordingError> {
    let [id0, id1, id2, id3, a, b, c, d] = *input.peek(8)? else {
        return Ok(None);
    };
    input.skip(8)?;
    let size = [a, b, c, d];
    let size = match big_endian {
        true => u32::from_be_bytes(size),
        false => u32::from_le_bytes(size),
    };
    Ok(Some(([id0, id1, id2, id3], size)))
}

/// The first bytes of a chunk's content; the whole of it is left behind.
fn content<R: Read>(input: &mut Input<R>, size: u32) -> Result<Vec<u8>, RecordingError> {
    let size = u64::from(size);
    let mut content = Vec::new();
    input
        .take(size.min(CHUNK_BYTES))
        .read_to_end(&mut content)?;
    input.skip(size - size.min(CHUNK_BYTES))?;
    Ok(content)
}

fn is_chunk(id: &[u8]) -> bool {
    CHUNKS.iter().any(|known| *known == id)
}

/// Whether a chunk of odd length is followed by its padding byte, seen by the five bytes behind it. Some programs forget
/// it; that is certain only where a known chunk begins at once.
fn is_padded(next: &[u8]) -> bool {
    !is_chunk(&next[..next.len().min(4)]) || next.get(1..).is_some_and(is_chunk)
}

/// Decodes the samples. Part of a sample at the end is left out.
fn samples<R: Read + Send + Sync>(
    mut data: R,
    format: &WavFormat,
) -> Result<Sound, RecordingError> {
    if format.encoding == Encoding::Mp3 {
        return coded::read(data, Codec::Mp3);
    }
    let channels = usize::from(format.channels);
    let frame_bytes = channels * format.sample_bytes;
    let block_bytes = (BLOCK_BYTES / frame_bytes).max(1) * frame_bytes;
    let mut mono = Mono::new(format.rate_hz)?;
    let (mut block, mut values) = (Vec::new(), Vec::new());
    loop {
        block.clear();
        (&mut data)
            .take(block_bytes as u64)
            .read_to_end(&mut block)?;
        values.clear();
        let whole = block.len() / frame_bytes * frame_bytes;
        format.decode(&block[..whole], &mut values);
        mono.push(&values, channels)?;
        if block.len() < block_bytes {
            return Ok(mono.finish());
        }
    }
}
