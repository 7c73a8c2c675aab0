//! How a WAV file's samples are written: its `fmt ` chunk.

use crate::recording::WavFault;

/// What one sample's bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Integers; of one byte unsigned, else signed. Fewer bits than the bytes hold stand at their upper end.
    Pcm,
    Float,
    ALaw,
    MuLaw,
    /// An MP3 stream in place of samples.
    Mp3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WavFormat {
    pub(super) encoding: Encoding,
    pub(super) channels: u16,
    pub(super) rate_hz: u32,
    /// Of one channel.
    pub(super) sample_bytes: usize,
    big_endian: bool,
}

/// `WAVE_FORMAT_EXTENSIBLE`: the tag is the beginning of a GUID.
const EXTENSIBLE: u16 = 0xfffe;
/// What follows the tag in such a GUID: that of Microsoft, and that of ambisonic sound.
const GUIDS: [[u8; 14]; 2] = [
    [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71],
    [
        0, 0, 0x21, 0x07, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0,
    ],
];

impl WavFormat {
    /// Reads the chunk.
    ///
    /// # Errors
    /// [`WavFault`] when samples are written in a way that is not read.
    pub(super) fn parse(chunk: &[u8], big_endian: bool) -> Result<Self, WavFault> {
        let u16_at = |at: usize| -> Option<u16> {
            let bytes = chunk.get(at..at + 2)?.try_into().ok()?;
            Some(match big_endian {
                true => u16::from_be_bytes(bytes),
                false => u16::from_le_bytes(bytes),
            })
        };
        let missing = WavFault::Missing { chunk: "fmt " };
        let (Some(mut tag), Some(channels), Some(low), Some(high), Some(block_bytes), Some(bits)) = (
            u16_at(0),
            u16_at(2),
            u16_at(4),
            u16_at(6),
            u16_at(12),
            u16_at(14),
        ) else {
            return Err(missing);
        };
        let (low, high) = if big_endian { (high, low) } else { (low, high) };
        let rate_hz = u32::from(low) | u32::from(high) << 16;
        if let (EXTENSIBLE, Some(guid)) = (tag, chunk.get(26..40)) {
            if !GUIDS.iter().any(|known| known == guid) {
                let name = "of a kind that only its GUID names";
                return Err(WavFault::Codec { tag, name });
            }
            tag = u16_at(24).unwrap_or(tag);
        }
        let encoding = encoding(tag)?;
        let layout = WavFault::Layout {
            channels,
            bits,
            block_bytes,
        };
        let sample_bytes = sample_bytes(encoding, channels, bits, block_bytes).ok_or(layout)?;
        Ok(Self {
            encoding,
            channels,
            rate_hz,
            sample_bytes,
            big_endian,
        })
    }

    /// Appends the values of whole samples; full scale is -1..1.
    pub(super) fn decode(&self, bytes: &[u8], out: &mut Vec<f32>) {
        let samples = bytes.chunks_exact(self.sample_bytes);
        match self.encoding {
            Encoding::Pcm if self.sample_bytes == 1 => {
                let value = |byte: &u8| (f32::from(*byte) - 128.0) / 128.0;
                out.extend(bytes.iter().map(value));
            }
            Encoding::Pcm => {
                let value = |sample| i64::from_le_bytes(self.upper(sample)) as f32;
                let scale = 1.0 / (1u64 << 63) as f32;
                out.extend(samples.map(|sample| value(sample) * scale));
            }
            Encoding::Float if self.sample_bytes == 4 => {
                let value = |sample| (u64::from_le_bytes(self.upper(sample)) >> 32) as u32;
                out.extend(samples.map(|sample| f32::from_bits(value(sample))));
            }
            Encoding::Float => {
                let value = |sample| f64::from_le_bytes(self.upper(sample)) as f32;
                out.extend(samples.map(value));
            }
            Encoding::ALaw => out.extend(bytes.iter().map(|byte| unit(a_law(*byte)))),
            Encoding::MuLaw => out.extend(bytes.iter().map(|byte| unit(mu_law(*byte)))),
            Encoding::Mp3 => {}
        }
    }

    /// A sample as the upper bytes of a little-endian number of 64 bits.
    fn upper(&self, sample: &[u8]) -> [u8; 8] {
        let mut bytes = [0; 8];
        let upper = &mut bytes[8 - sample.len()..];
        upper.copy_from_slice(sample);
        if self.big_endian {
            upper.reverse();
        }
        bytes
    }
}

fn encoding(tag: u16) -> Result<Encoding, WavFault> {
    let name = match tag {
        1 => return Ok(Encoding::Pcm),
        3 => return Ok(Encoding::Float),
        6 => return Ok(Encoding::ALaw),
        7 => return Ok(Encoding::MuLaw),
        0x55 => return Ok(Encoding::Mp3),
        2 => "Microsoft ADPCM",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x40 | 0x45 | 0x64 => "G.726 ADPCM",
        0x50 => "MPEG audio of layer I or II",
        0xff | 0x1600..=0x1610 => "AAC",
        0x160..=0x163 => "Windows Media Audio",
        0x2000 => "AC-3",
        0x674f..=0x6771 => "Vorbis",
        0x704f => "Opus",
        0xf1ac => "FLAC",
        EXTENSIBLE => "extensible, but cut short",
        _ => "of an unknown codec",
    };
    Err(WavFault::Codec { tag, name })
}

/// Bytes of one sample of one channel: those of the block where they divide evenly, else those that the bits need.
fn sample_bytes(encoding: Encoding, channels: u16, bits: u16, block_bytes: u16) -> Option<usize> {
    let needed = bits.div_ceil(8);
    let in_block = block_bytes.checked_div(channels)?;
    let is_whole = in_block * channels == block_bytes && (needed.max(1)..=8).contains(&in_block);
    let bytes = usize::from(if is_whole { in_block } else { needed });
    match encoding {
        Encoding::Pcm => (1..=8).contains(&bytes).then_some(bytes),
        Encoding::Float => (bytes == 4 || bytes == 8).then_some(bytes),
        Encoding::ALaw | Encoding::MuLaw | Encoding::Mp3 => Some(1),
    }
}

fn unit(value: i32) -> f32 {
    value as f32 / 32_768.0
}

/// G.711 A-law: sign, three bits of exponent, four of mantissa, every other bit inverted; 13 bits to the left of 16.
fn a_law(byte: u8) -> i32 {
    let code = byte ^ 0x55;
    let (exponent, mantissa) = (code >> 4 & 7, i32::from(code & 0x0f));
    let magnitude = match exponent {
        0 => 2 * mantissa + 1,
        _ => (2 * mantissa + 33) << (exponent - 1),
    };
    // The sign bit is set for positive values.
    8 * if code & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// G.711 µ-law: sign, three bits of exponent, four of mantissa, all inverted, with an offset of 33; 14 bits to the left of
/// 16.
fn mu_law(byte: u8) -> i32 {
    let code = !byte;
    let (exponent, mantissa) = (code >> 4 & 7, i32::from(code & 0x0f));
    let magnitude = ((2 * mantissa + 33) << exponent) - 33;
    4 * if code & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}
