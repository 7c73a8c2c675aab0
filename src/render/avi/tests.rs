use super::*;
use std::io::{Cursor, SeekFrom};

const FORMAT: AviFormat = AviFormat {
    width: 64,
    height: 48,
    frames_per_second: 25,
    sample_rate_hz: 24_000,
};

/// Chunks and lists before the first picture.
const HEAD: usize = 14;

fn film(frames: usize) -> Vec<u8> {
    let mut avi = AviWriter::new(Cursor::new(Vec::new()), FORMAT).unwrap();
    for frame in 0..frames {
        avi.write_frame(&vec![frame as u8; 101 + frame], &[frame as i16; 960])
            .unwrap();
    }
    avi.finish().unwrap().0.into_inner()
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
        "AVI ", "hdrl", "avih", "strl", "strh", "strf", "indx", "strl", "strh", "strf", "indx",
        "odml", "dmlh", "movi",
    ];
    let body = [
        "00dc", "01wb", "00dc", "01wb", "00dc", "01wb", "ix00", "ix01", "idx1",
    ];
    assert_eq!(names, [&head[..], &body[..]].concat());
    assert_eq!(chunks[HEAD].1.len(), 101);
    assert_eq!(chunks[HEAD + 1].1.len(), 1920);
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
        u32_at(&bytes, chunks[12].1.start),
        5,
        "frames of all RIFF chunks"
    );
    assert_eq!(
        u32_at(&bytes, chunks[4].1.start + 32),
        5,
        "frames in the video's header"
    );
    assert_eq!(
        u32_at(&bytes, chunks[8].1.start + 32),
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
    let movi = chunks[HEAD - 1].1.start - 4;
    assert_eq!(index.len(), 8 * 16);
    for (entry, (name, data)) in index.chunks_exact(16).zip(&chunks[HEAD..]) {
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

/// A film in RIFF chunks of 2,000 bytes each.
fn short_segments(frames: usize) -> AviWriter<Cursor<Vec<u8>>> {
    let mut avi = AviWriter::new(Cursor::new(Vec::new()), FORMAT).unwrap();
    avi.segment_bytes = avi.position + 2_000;
    for frame in 0..frames {
        avi.write_frame(&vec![frame as u8; 400 + frame], &[frame as i16; 100])
            .unwrap();
        avi.segment_bytes = if avi.segment.riff_at == 0 {
            avi.segment_bytes
        } else {
            2_000
        };
    }
    avi
}

/// Case of a film over 4 GiB: OpenDML, with a limit that is lowered from 1 GiB to 2,000 bytes.
#[test]
fn a_long_film_is_a_row_of_riff_chunks_and_its_indexes_point_at_every_picture_and_sound() {
    const FRAMES: usize = 11;
    let (file, frames) = short_segments(FRAMES).finish().unwrap();
    let bytes = file.into_inner();
    assert_eq!(frames, FRAMES as u64);
    let mut chunks = Vec::new();
    walk(&bytes, 0, bytes.len(), &mut chunks);
    let segments = chunks.iter().filter(|(name, _)| name == "AVIX").count();
    assert_eq!(segments, 3);
    assert_eq!(chunks.iter().filter(|(name, _)| name == "idx1").count(), 1);
    let first = chunks.iter().position(|(name, _)| name == "ix00").unwrap();
    let in_first = (first - HEAD) / 2;
    assert_eq!(u32_at(&bytes, chunks[2].1.start + 16), in_first as u32);
    assert_eq!(u32_at(&bytes, chunks[4].1.start + 32), FRAMES as u32);
    assert_eq!(u32_at(&bytes, chunks[12].1.start), FRAMES as u32);
    for (stream, id, size) in [(6, "00dc", 0), (10, "01wb", 200)] {
        let top = chunks[stream].1.start;
        assert_eq!(u32_at(&bytes, top + 4), segments as u32 + 1);
        let (mut found, mut duration) = (Vec::new(), 0);
        for segment in 0..=segments {
            let entry = top + 24 + 16 * segment;
            let at = u32_at(&bytes, entry) as usize;
            assert_eq!(&bytes[at..at + 2], b"ix");
            assert_eq!(u32_at(&bytes, at + 4) + 8, u32_at(&bytes, entry + 8));
            duration += u32_at(&bytes, entry + 12);
            let (count, base) = (u32_at(&bytes, at + 12) as usize, u32_at(&bytes, at + 20));
            for k in 0..count {
                let place = u32_at(&bytes, at + 32 + 8 * k) as usize + base as usize;
                assert_eq!(&bytes[place - 8..place - 4], id.as_bytes());
                assert_eq!(u32_at(&bytes, place - 4), u32_at(&bytes, at + 36 + 8 * k));
                found.push((bytes[place], u32_at(&bytes, place - 4)));
            }
        }
        let wanted = |k: usize| (k as u8, if size == 0 { 400 + k as u32 } else { size });
        assert_eq!(found, (0..FRAMES).map(wanted).collect::<Vec<_>>());
        let per_frame = if size == 0 { 1 } else { 100 };
        assert_eq!(duration as usize, per_frame * FRAMES);
    }
}

/// A disk of so many bytes.
struct Disk(Cursor<Vec<u8>>, usize);

impl Write for Disk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.1.saturating_sub(self.0.position() as usize);
        match room.min(data.len()) {
            0 if !data.is_empty() => Err(ErrorKind::StorageFull.into()),
            len => self.0.write(&data[..len]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn on_a_full_disk_the_film_ends_with_its_index() {
    let room = short_segments(0).position as usize;
    for room in [room + 1_000, room + 1_201, room + 3_000, room + 100] {
        let disk = Disk(Cursor::new(Vec::new()), room);
        let mut avi = AviWriter::new(disk, FORMAT).unwrap();
        let error = (0..).find_map(|_| avi.write_frame(&[9; 200], &[1; 50]).err());
        assert_eq!(error.unwrap().kind(), ErrorKind::StorageFull);
        let Ok((disk, frames)) = avi.finish() else {
            assert!(room < 10_000, "not even the index of no picture has room");
            continue;
        };
        let end = disk.0.position() as usize;
        let bytes = &disk.0.into_inner()[..end];
        let mut chunks = Vec::new();
        walk(bytes, 0, bytes.len(), &mut chunks);
        assert_eq!(chunks.last().unwrap().0, "idx1");
        let pictures = chunks.iter().filter(|(name, _)| name == "00dc").count();
        assert_eq!(pictures as u64, frames);
        assert_eq!(u64::from(u32_at(bytes, chunks[12].1.start)), frames);
    }
}
