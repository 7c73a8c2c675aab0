//! AVI files of JPEG pictures and 16-bit sound, which common players play.
//!
//! One RIFF chunk with an index at its end, so a file ends before 4 GiB (some 40 minutes of 720x720). Picture and sound
//! alternate: each picture is followed by the sound of its frame.

use std::io::{self, Seek, SeekFrom, Write};

const HAS_INDEX: u32 = 0x10;
const IS_INTERLEAVED: u32 = 0x100;
const KEY_FRAME: u32 = 0x10;
/// Where the sizes and counts lie that are only known at the end.
const RIFF_SIZE_AT: u64 = 4;
const TOTAL_FRAMES_AT: u64 = 48;
const VIDEO_LENGTH_AT: u64 = 140;
const AUDIO_LENGTH_AT: u64 = 264;
const MOVI_SIZE_AT: u64 = 316;
const MOVI_AT: u64 = 320;
/// A RIFF size is 32 bits; the index of the chunks (16 bytes each) must fit too.
const LARGEST: u64 = u32::MAX as u64;

/// Writes pictures and sound as they come. [`AviWriter::finish`] must be called, or the file has no index and no length.
#[derive(Debug)]
pub struct AviWriter<W: Write + Seek> {
    out: W,
    position: u64,
    index: Vec<u8>,
    frames: u32,
    samples: u64,
    largest_picture: u32,
}

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

impl<W: Write + Seek> AviWriter<W> {
    /// Begins a file: writes its headers.
    pub fn new(mut out: W, format: AviFormat) -> io::Result<AviWriter<W>> {
        let header = header(format);
        out.write_all(&header)?;
        let position = header.len() as u64;
        Ok(AviWriter {
            out,
            position,
            index: Vec::new(),
            frames: 0,
            samples: 0,
            largest_picture: 0,
        })
    }

    /// Appends one picture (a JPEG) and the sound that is heard while it is shown.
    ///
    /// # Errors
    /// Those of the writer, and [`io::ErrorKind::FileTooLarge`] when the file would pass 4 GiB.
    pub fn write_frame(&mut self, jpeg: &[u8], sound: &[i16]) -> io::Result<()> {
        let growth = jpeg.len() as u64 + 2 * sound.len() as u64 + 2 * (8 + 16) + 2;
        if self.position + self.index.len() as u64 + growth + 8 > LARGEST {
            let words = "an AVI file cannot pass 4 GiB: render a shorter recording, or to a folder of JPEGs";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
        }
        self.chunk(b"00dc", jpeg)?;
        self.frames += 1;
        self.largest_picture = self.largest_picture.max(jpeg.len() as u32);
        if !sound.is_empty() {
            let bytes: Vec<u8> = sound
                .iter()
                .flat_map(|sample| sample.to_le_bytes())
                .collect();
            self.chunk(b"01wb", &bytes)?;
            self.samples += sound.len() as u64;
        }
        Ok(())
    }

    /// Writes the index and the lengths, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        let movi_size = (self.position - MOVI_AT) as u32;
        self.out.write_all(b"idx1")?;
        self.out
            .write_all(&(self.index.len() as u32).to_le_bytes())?;
        self.out.write_all(&self.index)?;
        let riff_size = (self.position + 8 + self.index.len() as u64 - 8) as u32;
        let samples = self.samples as u32;
        for (at, value) in [
            (RIFF_SIZE_AT, riff_size),
            (TOTAL_FRAMES_AT, self.frames),
            (VIDEO_LENGTH_AT, self.frames),
            (AUDIO_LENGTH_AT, samples),
            (MOVI_SIZE_AT, movi_size),
        ] {
            self.out.seek(SeekFrom::Start(at))?;
            self.out.write_all(&value.to_le_bytes())?;
        }
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn chunk(&mut self, id: &[u8; 4], data: &[u8]) -> io::Result<()> {
        let size = (data.len() as u32).to_le_bytes();
        self.index.extend_from_slice(id);
        self.index.extend_from_slice(&KEY_FRAME.to_le_bytes());
        // Counted from the list's type.
        self.index
            .extend_from_slice(&((self.position - MOVI_AT) as u32).to_le_bytes());
        self.index.extend_from_slice(&size);
        self.out.write_all(id)?;
        self.out.write_all(&size)?;
        self.out.write_all(data)?;
        self.position += 8 + data.len() as u64;
        // Chunks begin at even positions.
        if data.len() % 2 == 1 {
            self.out.write_all(&[0])?;
            self.position += 1;
        }
        Ok(())
    }
}

/// Everything before the first picture. Lengths are zero, to be filled in at the end.
fn header(format: AviFormat) -> Vec<u8> {
    let AviFormat {
        width,
        height,
        frames_per_second,
        sample_rate_hz,
    } = format;
    let picture_bytes = width.saturating_mul(height).saturating_mul(3);
    let main = [
        1_000_000 / frames_per_second,
        0,
        0,
        HAS_INDEX | IS_INTERLEAVED,
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
    let mut avih = Vec::new();
    main.iter()
        .for_each(|value| avih.extend_from_slice(&value.to_le_bytes()));

    let video = stream_header(
        b"vids",
        b"MJPG",
        1,
        frames_per_second,
        picture_bytes,
        0,
        [width as u16, height as u16],
    );
    let mut video_format = Vec::new();
    for value in [40, width, height] {
        video_format.extend_from_slice(&value.to_le_bytes());
    }
    video_format.extend_from_slice(&1u16.to_le_bytes());
    video_format.extend_from_slice(&24u16.to_le_bytes());
    video_format.extend_from_slice(b"MJPG");
    video_format.extend_from_slice(&picture_bytes.to_le_bytes());
    video_format.extend_from_slice(&[0; 16]);

    let audio = stream_header(
        b"auds",
        &[0; 4],
        1,
        sample_rate_hz,
        sample_rate_hz * 2,
        2,
        [0, 0],
    );
    let mut audio_format = Vec::new();
    audio_format.extend_from_slice(&1u16.to_le_bytes());
    audio_format.extend_from_slice(&1u16.to_le_bytes());
    audio_format.extend_from_slice(&sample_rate_hz.to_le_bytes());
    audio_format.extend_from_slice(&(sample_rate_hz * 2).to_le_bytes());
    audio_format.extend_from_slice(&2u16.to_le_bytes());
    audio_format.extend_from_slice(&16u16.to_le_bytes());

    let streams = [
        list(
            b"strl",
            &[chunk(b"strh", &video), chunk(b"strf", &video_format)],
        ),
        list(
            b"strl",
            &[chunk(b"strh", &audio), chunk(b"strf", &audio_format)],
        ),
    ];
    let mut parts = vec![chunk(b"avih", &avih)];
    parts.extend(streams);
    let mut out = b"RIFF\0\0\0\0AVI ".to_vec();
    out.extend(list(b"hdrl", &parts));
    out.extend_from_slice(b"LIST\0\0\0\0movi");
    out
}

fn stream_header(
    kind: &[u8; 4],
    handler: &[u8; 4],
    scale: u32,
    rate: u32,
    buffer: u32,
    sample_size: u32,
    [width, height]: [u16; 2],
) -> Vec<u8> {
    let mut out = [*kind, *handler].concat();
    for value in [0, 0, 0, scale, rate, 0, 0, buffer, u32::MAX, sample_size] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for value in [0, 0, width, height] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [id.as_slice(), &(data.len() as u32).to_le_bytes(), data].concat()
}

fn list(kind: &[u8; 4], parts: &[Vec<u8>]) -> Vec<u8> {
    chunk(b"LIST", &[kind.to_vec(), parts.concat()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const FORMAT: AviFormat = AviFormat {
        width: 64,
        height: 48,
        frames_per_second: 25,
        sample_rate_hz: 24_000,
    };

    fn film(frames: usize) -> Vec<u8> {
        let mut avi = AviWriter::new(Cursor::new(Vec::new()), FORMAT).unwrap();
        for frame in 0..frames {
            avi.write_frame(&vec![frame as u8; 101 + frame], &[frame as i16; 960])
                .unwrap();
        }
        avi.finish().unwrap().into_inner()
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// Every chunk's id (lists by their type) and where its data lies, depth first.
    fn walk(bytes: &[u8], from: usize, to: usize, out: &mut Vec<(String, std::ops::Range<usize>)>) {
        let mut at = from;
        while at < to {
            let size = u32_at(bytes, at + 4) as usize;
            let id = String::from_utf8(bytes[at..at + 4].to_vec()).unwrap();
            let end = at + 8 + size;
            assert!(end <= to, "chunk {id} at {at} runs past its list");
            if id == "RIFF" || id == "LIST" {
                out.push((
                    String::from_utf8(bytes[at + 8..at + 12].to_vec()).unwrap(),
                    at + 12..end,
                ));
                walk(bytes, at + 12, end, out);
            } else {
                out.push((id, at + 8..end));
            }
            at = end + size % 2;
        }
    }

    #[test]
    fn the_chunks_fill_the_file_exactly() {
        let bytes = film(3);
        let mut chunks = Vec::new();
        walk(&bytes, 0, bytes.len(), &mut chunks);
        let names: Vec<&str> = chunks.iter().map(|(name, _)| name.as_str()).collect();
        let head = [
            "AVI ", "hdrl", "avih", "strl", "strh", "strf", "strl", "strh", "strf", "movi",
        ];
        let body = ["00dc", "01wb", "00dc", "01wb", "00dc", "01wb", "idx1"];
        assert_eq!(names, [&head[..], &body[..]].concat());
        assert_eq!(chunks[10].1.len(), 101);
        assert_eq!(chunks[11].1.len(), 1920);
    }

    #[test]
    fn counts_and_lengths_are_filled_in() {
        let bytes = film(5);
        let mut chunks = Vec::new();
        walk(&bytes, 0, bytes.len(), &mut chunks);
        assert_eq!(
            u32_at(&bytes, chunks[2].1.start + 16),
            5,
            "frames in the main header"
        );
        assert_eq!(
            u32_at(&bytes, chunks[4].1.start + 32),
            5,
            "frames in the video's header"
        );
        assert_eq!(
            u32_at(&bytes, chunks[7].1.start + 32),
            5 * 960,
            "samples in the sound's header"
        );
    }

    #[test]
    fn the_index_points_at_every_chunk() {
        let bytes = film(4);
        let mut chunks = Vec::new();
        walk(&bytes, 0, bytes.len(), &mut chunks);
        let index = &bytes[chunks.last().unwrap().1.clone()];
        let movi = chunks[9].1.start - 4;
        assert_eq!(index.len(), 8 * 16);
        for (entry, (name, data)) in index.chunks_exact(16).zip(&chunks[10..]) {
            assert_eq!(&entry[..4], name.as_bytes());
            assert_eq!(movi + u32_at(entry, 8) as usize + 8, data.start);
            assert_eq!(u32_at(entry, 12) as usize, data.len());
        }
    }

    #[test]
    fn a_film_without_frames_is_whole_too() {
        let bytes = film(0);
        let mut chunks = Vec::new();
        walk(&bytes, 0, bytes.len(), &mut chunks);
        assert_eq!(chunks.last().unwrap().0, "idx1");
    }
}
