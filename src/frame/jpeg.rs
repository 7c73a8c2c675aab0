//! JPEG in (zune-jpeg) and out (mozjpeg). The only file that names mozjpeg.

use super::image::planes_to_bgr;
use super::{BgrImage, FrameError, JpegHeader};
use crate::base::panic::catch_panic;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace as ZuneColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Quality of the JPEGs sent to clients unless they or the operator say otherwise (1..=100).
///
/// At 90 the loss of a face's mouth cannot be seen at arm's length, and a 320x320 prediction is about 20 kB.
pub const DEFAULT_QUALITY: u8 = 90;

/// Qualities that the encoder takes.
pub const QUALITY_RANGE: std::ops::RangeInclusive<u8> = 1..=100;

/// Encodes pictures as baseline JPEG, 4:2:0, with mozjpeg's fastest profile.
///
/// One encoder per worker: it keeps the interleaved picture between calls.
#[derive(Debug)]
pub struct JpegEncoder {
    quality: u8,
    interleaved: Vec<u8>,
}

impl JpegEncoder {
    /// `quality` is clamped to [`QUALITY_RANGE`].
    pub fn new(quality: u8) -> JpegEncoder {
        JpegEncoder {
            quality: clamp_quality(quality),
            interleaved: Vec::new(),
        }
    }

    /// The quality in use.
    pub fn quality(&self) -> u8 {
        self.quality
    }

    /// Changes the quality for the pictures to come; clamped to [`QUALITY_RANGE`].
    pub fn set_quality(&mut self, quality: u8) {
        self.quality = clamp_quality(quality);
    }

    /// Encodes a network's output, `[3, height, width]` planes B, G, R in 0..1. Appends the JPEG to `out`.
    ///
    /// # Errors
    /// [`FrameError::WrongLength`] when `planes` is not `3 * width * height` long, [`FrameError::NotEncodable`] when
    /// the encoder fails; `out` is then as it was.
    pub fn encode_bgr_planes(
        &mut self,
        planes: &[f32],
        width: usize,
        height: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if planes.len() != width * height * 3 {
            return Err(FrameError::WrongLength {
                expected: width * height * 3,
                found: planes.len(),
            });
        }
        let mut interleaved = std::mem::take(&mut self.interleaved);
        planes_to_bgr(planes, &mut interleaved);
        let result = self.encode_bgr(&interleaved, width, height, out);
        self.interleaved = interleaved;
        result
    }

    /// Encodes interleaved BGR bytes. Appends the JPEG to `out`.
    ///
    /// # Errors
    /// As [`JpegEncoder::encode_bgr_planes`].
    pub fn encode_bgr(
        &mut self,
        bgr: &[u8],
        width: usize,
        height: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if bgr.len() != width * height * 3 {
            return Err(FrameError::WrongLength {
                expected: width * height * 3,
                found: bgr.len(),
            });
        }
        let start = out.len();
        // mozjpeg reports its errors by unwinding.
        let result = catch_panic(|| encode(bgr, width, height, self.quality, out));
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                out.truncate(start);
                Err(FrameError::NotEncodable {
                    reason: error.to_string(),
                })
            }
            Err(reason) => {
                out.truncate(start);
                Err(FrameError::NotEncodable { reason })
            }
        }
    }
}

fn encode(
    bgr: &[u8],
    width: usize,
    height: usize,
    quality: u8,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_EXT_BGR);
    // First of all settings: it resets the others.
    compress.set_fastest_defaults();
    compress.set_size(width, height);
    compress.set_quality(f32::from(quality));
    compress.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
    let mut started = compress.start_compress(out)?;
    started.write_scanlines(bgr)?;
    started.finish()?;
    Ok(())
}

fn clamp_quality(quality: u8) -> u8 {
    quality.clamp(*QUALITY_RANGE.start(), *QUALITY_RANGE.end())
}

/// Decodes a JPEG to interleaved BGR; a grey one to three equal colours.
///
/// # Errors
/// What [`JpegHeader::read`] and [`JpegHeader::check_served`] refuse, [`FrameError::WrongSize`] when the picture is not
/// `width` x `height` (its size is compared before anything is allocated for the pixels), and
/// [`FrameError::NotDecodable`] when a part of its data is missing or damaged.
pub fn decode_jpeg(jpeg: &[u8], width: usize, height: usize) -> Result<BgrImage, FrameError> {
    let header = JpegHeader::read(jpeg)?;
    header.check_served()?;
    let (expected, found) = ((width, height), (header.width, header.height));
    if found != expected {
        return Err(FrameError::WrongSize { expected, found });
    }
    decode(jpeg, &header, true)
}

/// Decodes a JPEG as [`decode_jpeg`] does, and makes sure that no part of its data is missing, which costs a second
/// decoding.
///
/// A decoder takes whatever follows for the data that is missing: a picture is whole when it stays the same although
/// something else stands before its end.
///
/// # Errors
/// Those of [`decode_jpeg`], and [`FrameError::CutOff`].
pub fn decode_whole_jpeg(jpeg: &[u8], width: usize, height: usize) -> Result<BgrImage, FrameError> {
    /// Codes of every length in most tables, and no marker.
    const FILLING: [u8; 64] = [0x5A; 64];
    const END: [u8; 2] = [0xFF, 0xD9];
    let image = decode_jpeg(jpeg, width, height)?;
    let header = JpegHeader::read(jpeg)?;
    let filled = [&jpeg[..header.bytes - END.len()], &FILLING, &END].concat();
    match decode(&filled, &header, false) {
        Ok(again) if again == image => Ok(image),
        _ => Err(FrameError::CutOff),
    }
}

/// Decodes a JPEG of a kind that is served. `is_strict`: damaged data is an error, not grey.
fn decode(jpeg: &[u8], header: &JpegHeader, is_strict: bool) -> Result<BgrImage, FrameError> {
    let is_grey = header.components == 1;
    let options = DecoderOptions::new_fast()
        .set_strict_mode(is_strict)
        .set_max_width(header.width)
        .set_max_height(header.height)
        .jpeg_set_out_colorspace(match is_grey {
            true => ZuneColorSpace::Luma,
            false => ZuneColorSpace::BGR,
        });
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let data = decoder.decode().map_err(|error| FrameError::NotDecodable {
        reason: format!("{error:?}"),
    })?;
    let data = match is_grey {
        true => data.iter().flat_map(|&grey| [grey; 3]).collect(),
        false => data,
    };
    BgrImage::from_data(header.width, header.height, data)
}

/// Whether mozjpeg was built with SIMD, as far as the build could tell (on x86 it needs nasm; six times slower without).
pub fn simd_at_build() -> bool {
    option_env!("LIPSYNCD_JPEG_SIMD") != Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Vec<u8> {
        let pixel = |i: usize| {
            let (x, y) = (i % width, i / width);
            [(x * 255 / width) as u8, (y * 255 / height) as u8, 128]
        };
        (0..width * height).flat_map(pixel).collect()
    }

    #[test]
    fn a_picture_survives_encoding() {
        let (width, height) = (50, 34);
        let bgr = gradient(width, height);
        let mut out = b"kept".to_vec();
        JpegEncoder::new(95)
            .encode_bgr(&bgr, width, height, &mut out)
            .unwrap();
        assert_eq!(&out[..4], b"kept");
        let back = decode_jpeg(&out[4..], width, height).unwrap();
        let worst = back
            .data
            .iter()
            .zip(&bgr)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(worst <= 12, "worst difference {worst}");
    }

    #[test]
    fn planes_and_bytes_give_the_same_jpeg() {
        let (width, height) = (32, 16);
        let bgr = gradient(width, height);
        let planes: Vec<f32> = (0..3)
            .flat_map(|c| bgr.iter().skip(c).step_by(3).map(|&b| f32::from(b) / 255.0))
            .collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut encoder = JpegEncoder::new(DEFAULT_QUALITY);
        encoder.encode_bgr(&bgr, width, height, &mut a).unwrap();
        encoder
            .encode_bgr_planes(&planes, width, height, &mut b)
            .unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn chroma_is_subsampled_and_the_stream_is_baseline() {
        let mut out = Vec::new();
        JpegEncoder::new(90)
            .encode_bgr(&gradient(64, 64), 64, 64, &mut out)
            .unwrap();
        let start = out
            .windows(2)
            .position(|w| w == [0xff, 0xc0])
            .expect("a baseline frame header");
        assert_eq!(out[start + 11], 0x22, "luma is sampled 2x2");
        assert_eq!(out[start + 14], 0x11, "chroma is sampled 1x1");
    }

    #[test]
    fn wrong_sizes_and_rubbish_are_errors() {
        let mut encoder = JpegEncoder::new(0);
        assert_eq!(encoder.quality(), 1);
        let mut out = Vec::new();
        assert!(matches!(
            encoder.encode_bgr(&[0; 5], 1, 2, &mut out),
            Err(FrameError::WrongLength { .. })
        ));
        assert!(matches!(
            encoder.encode_bgr(&[], 0, 0, &mut out),
            Err(FrameError::NotEncodable { .. })
        ));
        assert!(out.is_empty());
        encoder.encode_bgr(&gradient(8, 8), 8, 8, &mut out).unwrap();
        assert!(matches!(
            decode_jpeg(&out, 16, 8),
            Err(FrameError::WrongSize { .. })
        ));
        for end in 0..out.len() {
            let _ = decode_jpeg(&out[..end], 8, 8);
        }
        assert!(matches!(
            decode_jpeg(b"not a jpeg", 8, 8),
            Err(FrameError::NotJpeg { .. })
        ));
    }
}
