//! What a JPEG says of itself before it is decoded: size, colours, orientation, and whether it has an end.

use super::FrameError;

/// Markers (the byte behind 0xFF) that are looked at, ITU-T T.81 table B.1.
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const APP1_EXIF: u8 = 0xE1;
const APP14_ADOBE: u8 = 0xEE;

/// Frame headers of baseline, extended and progressive JPEGs; lossless and arithmetic-coded ones nobody else reads.
const HUFFMAN_CODED: std::ops::RangeInclusive<u8> = 0xC0..=0xC2;
/// Adobe's colour transform in APP14: 0 means that the components are stored as they are, without YCbCr.
const ADOBE_NO_TRANSFORM: u8 = 0;
/// TIFF tag of the orientation, and the value of a picture that stands upright.
const TAG_ORIENTATION: u16 = 0x0112;
const UPRIGHT: u8 = 1;

/// The headers of a JPEG that is there from its first marker to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegHeader {
    /// Width in pixels, as stored.
    pub width: usize,
    /// Height in pixels, as stored.
    pub height: usize,
    /// 1: grey; 3: YCbCr or RGB; 4: CMYK or YCCK.
    pub components: u8,
    /// EXIF orientation, 1..=8; 1 where none is stated.
    pub orientation: u8,
    /// Three components that are, to one decoder or another, red, green and blue as they are.
    pub is_rgb: bool,
    /// The kind of compression: the second byte of the frame header's marker.
    pub coding: u8,
    /// Bytes up to and with the marker that ends the picture; more may follow.
    pub bytes: usize,
}

impl JpegHeader {
    /// Reads the headers, and looks for the end of the picture.
    ///
    /// # Errors
    /// [`FrameError::NotJpeg`] and [`FrameError::CutOff`], [`FrameError::Broken`] where a marker should be and is none.
    pub fn read(jpeg: &[u8]) -> Result<JpegHeader, FrameError> {
        if jpeg.get(..2) != Some(&[0xFF, START_OF_IMAGE]) {
            return Err(FrameError::NotJpeg { is: kind(jpeg) });
        }
        let mut found = Found::default();
        let mut at = 2;
        loop {
            let (marker, behind) = next_marker(jpeg, at)?;
            at = behind;
            match marker {
                END_OF_IMAGE => return found.header(at),
                // Restart markers and TEM stand alone.
                0xD0..=0xD7 | 0x01 => continue,
                _ => {}
            }
            let length: [u8; 2] = bytes(jpeg, at)?;
            let end = at + usize::from(u16::from_be_bytes(length));
            let segment = jpeg.get(at + 2..end).ok_or(FrameError::CutOff)?;
            found.segment(marker, segment)?;
            at = end;
            if marker == START_OF_SCAN {
                at = end_of_scan(jpeg, at)?;
            }
        }
    }

    /// Whether the server shows such a picture right: its own decoder and a browser's read it alike.
    ///
    /// # Errors
    /// [`FrameError::Turned`], [`FrameError::Coding`] and [`FrameError::Colours`].
    pub fn check_served(&self) -> Result<(), FrameError> {
        if self.orientation != UPRIGHT {
            let orientation = self.orientation;
            return Err(FrameError::Turned { orientation });
        }
        if !HUFFMAN_CODED.contains(&self.coding) {
            return Err(FrameError::Coding);
        }
        match self.components {
            1 => Ok(()),
            3 if !self.is_rgb => Ok(()),
            components => Err(FrameError::Colours { components }),
        }
    }
}

/// What the segments have said so far.
#[derive(Default)]
struct Found {
    frame: Option<(u8, u16, u16, u8)>,
    ids_are_rgb: bool,
    adobe_transform: Option<u8>,
    orientation: Option<u8>,
}

impl Found {
    fn segment(&mut self, marker: u8, segment: &[u8]) -> Result<(), FrameError> {
        match marker {
            // Start of frame; C4, C8 and CC are tables.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let [precision, h1, h0, w1, w0, components]: [u8; 6] = bytes(segment, 0)?;
                if precision != 8 {
                    return Err(FrameError::Depth { bits: precision });
                }
                let size = [[w1, w0], [h1, h0]].map(u16::from_be_bytes);
                self.frame = Some((marker, size[0], size[1], components));
                let ids = segment[6..].iter().step_by(3).copied();
                self.ids_are_rgb = ids.eq(*b"RGB");
            }
            APP14_ADOBE if segment.starts_with(b"Adobe") => {
                self.adobe_transform = segment.get(11).copied();
            }
            APP1_EXIF => {
                if let Some(tiff) = segment.strip_prefix(b"Exif\0\0") {
                    self.orientation = self.orientation.or(orientation(tiff));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn header(self, bytes: usize) -> Result<JpegHeader, FrameError> {
        let (coding, width, height, components) = self.frame.ok_or(FrameError::Broken)?;
        // To libjpeg JFIF has the first word, then Adobe, then the components' names; to others Adobe, or the names.
        let is_rgb = self.adobe_transform == Some(ADOBE_NO_TRANSFORM) || self.ids_are_rgb;
        Ok(JpegHeader {
            width: width.into(),
            height: height.into(),
            components,
            orientation: self.orientation.unwrap_or(UPRIGHT),
            is_rgb: components == 3 && is_rgb,
            coding,
            bytes,
        })
    }
}

/// `N` bytes at `at`.
fn bytes<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], FrameError> {
    let found = data.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or(FrameError::CutOff)
}

/// The marker at `at`, any number of fill bytes before it, and where its segment begins.
fn next_marker(jpeg: &[u8], mut at: usize) -> Result<(u8, usize), FrameError> {
    let [first]: [u8; 1] = bytes(jpeg, at)?;
    if first != 0xFF {
        return Err(FrameError::Broken);
    }
    loop {
        at += 1;
        let [byte]: [u8; 1] = bytes(jpeg, at)?;
        if byte != 0xFF {
            return Ok((byte, at + 1));
        }
    }
}

/// Where the marker behind compressed data stands: 0xFF not followed by a stuffed 0 or a restart marker.
fn end_of_scan(jpeg: &[u8], mut at: usize) -> Result<usize, FrameError> {
    loop {
        let rest = jpeg.get(at..).ok_or(FrameError::CutOff)?;
        at += rest
            .iter()
            .position(|&byte| byte == 0xFF)
            .ok_or(FrameError::CutOff)?;
        match bytes(jpeg, at + 1)? {
            [0 | 0xD0..=0xD7] => at += 2,
            [0xFF] => at += 1,
            _ => return Ok(at),
        }
    }
}

/// The orientation in the first directory of EXIF's TIFF data.
fn orientation(tiff: &[u8]) -> Option<u8> {
    let is_little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(match is_little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    };
    let offset = *tiff.get(4..)?.first_chunk()?;
    let directory = match is_little {
        true => u32::from_le_bytes(offset),
        false => u32::from_be_bytes(offset),
    } as usize;
    let entries = usize::from(u16_at(directory)?);
    let entry = (0..entries)
        .map(|entry| directory.saturating_add(2 + 12 * entry))
        .find(|&at| u16_at(at) == Some(TAG_ORIENTATION))?;
    let value = u8::try_from(u16_at(entry.saturating_add(8))?).ok()?;
    (1..=8).contains(&value).then_some(value)
}

/// What bytes that are no JPEG seem to be.
fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "is empty",
        [0x89, b'P', b'N', b'G', ..] => "is a PNG",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "is a WebP",
        [b'B', b'M', ..] => "is a BMP",
        [b'G', b'I', b'F', b'8', ..] => "is a GIF",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "is a TIFF",
        _ => "is no JPEG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::JpegEncoder;

    fn jpeg() -> Vec<u8> {
        let mut out = Vec::new();
        let pixels: Vec<u8> = (0..32 * 16 * 3u32).map(|i| (i * 7 % 251) as u8).collect();
        JpegEncoder::new(90)
            .encode_bgr(&pixels, 32, 16, &mut out)
            .unwrap();
        out
    }

    fn with_segment(marker: u8, segment: &[u8]) -> Vec<u8> {
        let mut out = jpeg();
        let length = (segment.len() as u16 + 2).to_be_bytes();
        let inserted = [&[0xFF, marker], &length[..], segment].concat();
        out.splice(2..2, inserted);
        out
    }

    fn exif(order: &[u8; 2], value: u16) -> Vec<u8> {
        let u16s = |value: u16| {
            if order == b"II" {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let u32s = |value: u32| {
            if order == b"II" {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut out = [&b"Exif\0\0"[..], order, &u16s(42), &u32s(8), &u16s(2)].concat();
        for (tag, value) in [(0x010F, 1), (TAG_ORIENTATION, value)] {
            out.extend([&u16s(tag)[..], &u16s(3), &u32s(1), &u16s(value), &[0, 0]].concat());
        }
        out
    }

    #[test]
    fn a_plain_jpeg_is_upright_and_served() {
        let header = JpegHeader::read(&jpeg()).unwrap();
        let expected = JpegHeader {
            width: 32,
            height: 16,
            components: 3,
            orientation: 1,
            is_rgb: false,
            coding: 0xC0,
            bytes: jpeg().len(),
        };
        assert_eq!(header, expected);
        header.check_served().unwrap();
    }

    #[test]
    fn every_cut_is_seen_and_what_follows_the_end_is_not_minded() {
        let whole = jpeg();
        for end in 2..whole.len() {
            assert_eq!(
                JpegHeader::read(&whole[..end]),
                Err(FrameError::CutOff),
                "{end} bytes"
            );
        }
        JpegHeader::read(&[&whole[..], b"trailing"].concat()).unwrap();
        // The end of a thumbnail in EXIF is not the picture's.
        let thumbnail = with_segment(APP1_EXIF, &[&b"Exif\0\0"[..], &jpeg()].concat());
        assert_eq!(
            JpegHeader::read(&thumbnail[..thumbnail.len() - 2]),
            Err(FrameError::CutOff)
        );
    }

    #[test]
    fn the_orientation_is_read_in_both_byte_orders() {
        for order in [b"II", b"MM"] {
            for value in 2..=8 {
                let header =
                    JpegHeader::read(&with_segment(APP1_EXIF, &exif(order, value))).unwrap();
                let error = FrameError::Turned {
                    orientation: value as u8,
                };
                assert_eq!(header.check_served(), Err(error));
            }
            for value in [0, 1, 9, 700] {
                let header =
                    JpegHeader::read(&with_segment(APP1_EXIF, &exif(order, value))).unwrap();
                header.check_served().unwrap();
            }
        }
        for end in 0..20 {
            JpegHeader::read(&with_segment(APP1_EXIF, &exif(b"II", 6)[..6 + end])).unwrap();
        }
    }

    #[test]
    fn colours_that_a_browser_and_the_decoder_read_differently_are_refused() {
        // With JFIF beside it, libjpeg reads it otherwise than other decoders do.
        let rgb = with_segment(APP14_ADOBE, b"Adobe\0\x64\0\0\0\0\0");
        let header = JpegHeader::read(&rgb).unwrap();
        assert!(header.is_rgb);
        assert_eq!(
            header.check_served(),
            Err(FrameError::Colours { components: 3 })
        );
        let mut cmyk = header;
        cmyk.components = 4;
        assert_eq!(
            cmyk.check_served(),
            Err(FrameError::Colours { components: 4 })
        );
        let mut lossless = jpeg();
        let frame = lossless.windows(2).position(|pair| pair == [0xFF, 0xC0]);
        lossless[frame.unwrap() + 1] = 0xC3;
        let header = JpegHeader::read(&lossless).unwrap();
        assert_eq!(header.check_served(), Err(FrameError::Coding));
    }

    #[test]
    fn other_files_are_named() {
        for (bytes, is) in [
            (&b""[..], "is empty"),
            (b"\x89PNG\r\n", "is a PNG"),
            (b"<html>", "is no JPEG"),
        ] {
            assert_eq!(JpegHeader::read(bytes), Err(FrameError::NotJpeg { is }));
        }
    }
}
