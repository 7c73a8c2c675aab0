//! AVI files of JPEG pictures and 16-bit sound, which common players play.
//!
//! Picture and sound alternate: each picture is followed by the sound of its frame. A file may be of any size: as OpenDML
//! (AVI 2.0) lays down, it is a row of RIFF chunks of about 1 GiB, each with an index of its own, and the header says
//! where these indexes are. The first RIFF chunk has the index of AVI 1.0, too, for old players.

mod header;

use crate::base::pcm16;
use header::{
    AUDIO_INDEX_AT, AUDIO_LENGTH_AT, FIRST_MOVI_AT, FIRST_RIFF_FRAMES_AT, MAX_SEGMENTS,
    TOTAL_FRAMES_AT, VIDEO_INDEX_AT, VIDEO_LENGTH_AT, header,
};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};

pub use header::AviFormat;

const KEY_FRAME: u32 = 0x10;
/// Where a RIFF chunk is to end. Players of AVI 1.0 read the first, and some of them no more than 1 GiB.
const SEGMENT_BYTES: u64 = 1 << 30;
/// Chunks of a stream, and the chunks of its indexes.
const CHUNKS: [(&[u8; 4], &[u8; 4]); 2] = [(b"00dc", b"ix00"), (b"01wb", b"ix01")];
/// Writes pictures and sound as they come. [`AviWriter::finish`] must be called, or the file has no index and no length;
/// a reader of a pipe, for which it cannot be called, does without.
#[derive(Debug)]
pub struct AviWriter<W> {
    out: W,
    /// Where the next frame goes.
    position: u64,
    segment: Segment,
    segment_bytes: u64,
    /// Where the indexes of the segments that have ended are, for each stream.
    ended: [Vec<IndexPlace>; 2],
    /// Sizes of these segments, and where in the file they are to be filled in.
    sizes: Vec<(u64, u32)>,
    totals: [u64; 2],
    first_riff_frames: u64,
}

/// One RIFF chunk on its way.
#[derive(Debug, Default)]
struct Segment {
    /// Where `RIFF` and where `movi` is.
    riff_at: u64,
    movi_at: u64,
    /// Every chunk: its stream, where it begins, and the size of its data.
    chunks: Vec<(usize, u64, u32)>,
    /// Pictures, and samples of sound.
    counts: [u64; 2],
}

#[derive(Debug, Clone, Copy)]
struct IndexPlace {
    at: u64,
    bytes: u32,
    /// Pictures or samples.
    duration: u64,
}

impl<W: Write> AviWriter<W> {
    /// Begins a file: writes its headers.
    pub fn new(mut out: W, format: AviFormat) -> io::Result<AviWriter<W>> {
        let header = header(format);
        out.write_all(&header)?;
        Ok(AviWriter {
            out,
            position: header.len() as u64,
            segment: Segment {
                movi_at: FIRST_MOVI_AT,
                ..Segment::default()
            },
            segment_bytes: SEGMENT_BYTES,
            ended: Default::default(),
            sizes: Vec::new(),
            totals: [0; 2],
            first_riff_frames: 0,
        })
    }

    /// Appends one picture (a JPEG) and the sound that is heard while it is shown.
    ///
    /// # Errors
    /// Those of the writer; what was written before stays as it is. [`ErrorKind::FileTooLarge`] beyond 256 GiB.
    pub fn write_frame(&mut self, jpeg: &[u8], sound: &[i16]) -> io::Result<()> {
        let sound = pcm16::bytes(sound);
        let growth = (jpeg.len() + sound.len()) as u64 + 2 * (8 + 1);
        let is_full = self.position - self.segment.riff_at + growth > self.segment_bytes;
        if is_full && !self.segment.chunks.is_empty() {
            self.next_segment()?;
        }
        let mut frame = Vec::with_capacity(growth as usize);
        let mut chunks = vec![(0, self.position, jpeg.len() as u32)];
        append_chunk(&mut frame, CHUNKS[0].0, jpeg);
        if !sound.is_empty() {
            chunks.push((1, self.position + frame.len() as u64, sound.len() as u32));
            append_chunk(&mut frame, CHUNKS[1].0, &sound);
        }
        self.out.write_all(&frame)?;
        self.position += frame.len() as u64;
        self.segment.chunks.extend(chunks);
        self.segment.counts[0] += 1;
        self.segment.counts[1] += sound.len() as u64 / 2;
        Ok(())
    }

    /// Ends the segment and begins another.
    fn next_segment(&mut self) -> io::Result<()> {
        // One place of the header's stays for the segment that is begun.
        if self.ended[0].len() + 1 >= MAX_SEGMENTS {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let mut bytes = self.segment.index();
        let riff_at = self.position + bytes.len() as u64;
        bytes.extend_from_slice(b"RIFF\0\0\0\0AVIXLIST\0\0\0\0movi");
        self.out.write_all(&bytes)?;
        self.end_segment();
        self.position += 24;
        self.segment = Segment {
            riff_at,
            movi_at: riff_at + 20,
            ..Segment::default()
        };
        Ok(())
    }

    /// Notes what is to be filled in for a segment whose index has been written.
    fn end_segment(&mut self) {
        let segment = &self.segment;
        let mut at = self.position;
        for stream in 0..2 {
            let bytes = segment.stream_index(stream).len() as u32;
            let duration = segment.counts[stream];
            self.ended[stream].push(IndexPlace {
                at,
                bytes,
                duration,
            });
            self.totals[stream] += duration;
            at += u64::from(bytes);
        }
        let size = |from: u64, to: u64| (from - 4, (to - from) as u32);
        self.sizes.push(size(segment.movi_at, at));
        self.position += segment.index().len() as u64;
        self.sizes.push(size(segment.riff_at + 8, self.position));
        if segment.riff_at == 0 {
            self.first_riff_frames = segment.counts[0];
        }
    }
}

impl<W: Write + Seek> AviWriter<W> {
    /// Writes the index and the lengths, and gives the writer back with the number of pictures. Where the disk is full,
    /// the last pictures make room for the index.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        match self.write_last_index() {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                self.drop_frames_for_index();
                self.write_last_index()?;
            }
            result => result?,
        }
        self.end_segment();
        let mut patches: Vec<(u64, Vec<u8>)> = [
            (FIRST_RIFF_FRAMES_AT, self.first_riff_frames),
            (TOTAL_FRAMES_AT, self.totals[0]),
            (VIDEO_LENGTH_AT, self.totals[0]),
            (AUDIO_LENGTH_AT, self.totals[1]),
        ]
        .map(|(at, value)| (at, (value as u32).to_le_bytes().to_vec()))
        .into();
        for (places, at) in self.ended.iter().zip([VIDEO_INDEX_AT, AUDIO_INDEX_AT]) {
            // After the chunk's head and its entries' kind.
            patches.push((at + 12, (places.len() as u32).to_le_bytes().to_vec()));
            patches.push((at + 32, places.iter().flat_map(IndexPlace::entry).collect()));
        }
        let size = |(at, size): &(u64, u32)| (*at, size.to_le_bytes().to_vec());
        patches.extend(self.sizes.iter().map(size));
        for (at, bytes) in patches {
            self.out.seek(SeekFrom::Start(at))?;
            self.out.write_all(&bytes)?;
        }
        self.out.seek(SeekFrom::Start(self.position))?;
        self.out.flush()?;
        Ok((self.out, self.totals[0]))
    }

    /// Behind the last whole frame, wherever a write that failed has left the writer.
    fn write_last_index(&mut self) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(self.position))?;
        self.out.write_all(&self.segment.index())
    }

    /// Gives up as many of the last frames as the index needs bytes.
    fn drop_frames_for_index(&mut self) {
        let end = self.position;
        while self.position + self.segment.index().len() as u64 > end {
            let Some((stream, at, bytes)) = self.segment.chunks.pop() else {
                return;
            };
            let count = if stream == 0 { 1 } else { u64::from(bytes) / 2 };
            self.segment.counts[stream] -= count;
            self.position = at;
        }
    }
}

impl Segment {
    /// The index of the segment's streams, and where the segment is the first, that of AVI 1.0.
    fn index(&self) -> Vec<u8> {
        let mut out = [self.stream_index(0), self.stream_index(1)].concat();
        if self.riff_at == 0 {
            // Offsets are counted from the list's type.
            let mut entries = Vec::with_capacity(16 * self.chunks.len());
            for (stream, at, bytes) in &self.chunks {
                entries.extend_from_slice(CHUNKS[*stream].0);
                for value in [KEY_FRAME, (at - self.movi_at) as u32, *bytes] {
                    entries.extend_from_slice(&value.to_le_bytes());
                }
            }
            append_chunk(&mut out, b"idx1", &entries);
        }
        out
    }

    /// A chunk with the places of one stream's chunks, from this segment's beginning on.
    fn stream_index(&self, stream: usize) -> Vec<u8> {
        let own = || self.chunks.iter().filter(|(of, ..)| *of == stream);
        let mut index = header::index_head(2, 1, own().count() as u32, CHUNKS[stream].0);
        index.extend_from_slice(&self.riff_at.to_le_bytes());
        index.extend_from_slice(&[0; 4]);
        for (_, at, bytes) in own() {
            // Of the data, behind the chunk's id and size.
            let place = (at + 8 - self.riff_at) as u32;
            index.extend_from_slice(&place.to_le_bytes());
            index.extend_from_slice(&bytes.to_le_bytes());
        }
        let mut out = Vec::with_capacity(index.len() + 8);
        append_chunk(&mut out, CHUNKS[stream].1, &index);
        out
    }
}

impl IndexPlace {
    fn entry(&self) -> Vec<u8> {
        let mut out = self.at.to_le_bytes().to_vec();
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&(self.duration as u32).to_le_bytes());
        out
    }
}

/// A chunk; the next begins at an even position.
fn append_chunk(out: &mut Vec<u8>, id: &[u8; 4], data: &[u8]) {
    out.extend_from_slice(id);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
    if data.len() % 2 == 1 {
        out.push(0);
    }
}

#[cfg(test)]
mod tests;
