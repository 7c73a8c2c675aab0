//! PCM16 from the wire, and WAV files.

use std::io::Read;

use super::{AudioError, check_rate};

/// A WAV file as one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Wav {
    /// Samples a second, within the range that [`check_rate`] accepts.
    pub rate_hz: u32,
    /// Mono samples, full scale 16 bits. Several channels are averaged, other depths are scaled.
    pub samples: Vec<i16>,
}

/// Reads little-endian PCM16 into `out`, which is cleared first.
///
/// # Errors
/// [`AudioError::OddLength`] when a byte is left over.
pub fn decode_pcm16(bytes: &[u8], out: &mut Vec<i16>) -> Result<(), AudioError> {
    out.clear();
    if !bytes.len().is_multiple_of(2) {
        return Err(AudioError::OddLength { bytes: bytes.len() });
    }
    out.extend(
        bytes
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]])),
    );
    Ok(())
}

/// Reads a whole WAV file: 8- to 32-bit integers or 32-bit floats, any number of channels.
///
/// # Errors
/// [`AudioError::Wav`] when it is not a WAV file or ends early, [`AudioError::WavFormat`] and [`AudioError::Rate`] when
/// it is of a kind that is not read.
pub fn read_wav(reader: impl Read) -> Result<Wav, AudioError> {
    let wrong = |error: hound::Error| AudioError::Wav(error.to_string());
    let reader = hound::WavReader::new(reader).map_err(wrong)?;
    let header = reader.spec();
    let float = header.sample_format == hound::SampleFormat::Float;
    let channels = usize::from(header.channels);
    if channels == 0
        || (float && header.bits_per_sample != 32)
        || !(8..=32).contains(&header.bits_per_sample)
    {
        let (bits, channels) = (header.bits_per_sample, header.channels);
        return Err(AudioError::WavFormat {
            bits,
            float,
            channels,
        });
    }
    check_rate(header.sample_rate)?;
    let values: Result<Vec<f32>, _> = if float {
        reader.into_samples::<f32>().collect()
    } else {
        let scale = 1.0 / (1i64 << (header.bits_per_sample - 1)) as f32;
        reader
            .into_samples::<i32>()
            .map(|sample| sample.map(|value| value as f32 * scale))
            .collect()
    };
    let samples = values
        .map_err(wrong)?
        .chunks_exact(channels)
        .map(mean_as_i16)
        .collect();
    Ok(Wav {
        rate_hz: header.sample_rate,
        samples,
    })
}

/// The mean of one sample of every channel (-1..1), as a 16-bit value. `as` saturates, and takes NaN to 0.
fn mean_as_i16(channels: &[f32]) -> i16 {
    let mean = channels.iter().sum::<f32>() / channels.len() as f32;
    (mean * 32_768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(
        spec: hound::WavSpec,
        write: impl Fn(&mut hound::WavWriter<&mut std::io::Cursor<Vec<u8>>>),
    ) -> Vec<u8> {
        let mut file = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        write(&mut writer);
        writer.finalize().unwrap();
        file.into_inner()
    }

    fn spec(
        channels: u16,
        bits_per_sample: u16,
        sample_format: hound::SampleFormat,
    ) -> hound::WavSpec {
        hound::WavSpec {
            channels,
            sample_rate: 24_000,
            bits_per_sample,
            sample_format,
        }
    }

    #[test]
    fn pcm16_is_little_endian_and_even() {
        let mut out = vec![9];
        decode_pcm16(&[1, 0, 0, 0x80], &mut out).unwrap();
        assert_eq!(out, [1, i16::MIN]);
        assert_eq!(
            decode_pcm16(&[1, 0, 0], &mut out),
            Err(AudioError::OddLength { bytes: 3 })
        );
    }

    #[test]
    fn a_16_bit_file_keeps_its_samples() {
        let values = [0, 1, -1, i16::MAX, i16::MIN];
        let file = wav(spec(1, 16, hound::SampleFormat::Int), |w| {
            values.iter().for_each(|v| w.write_sample(*v).unwrap())
        });
        assert_eq!(
            read_wav(&file[..]).unwrap(),
            Wav {
                rate_hz: 24_000,
                samples: values.to_vec()
            }
        );
    }

    #[test]
    fn channels_are_averaged_and_floats_clipped() {
        let file = wav(spec(2, 32, hound::SampleFormat::Float), |w| {
            [0.5f32, 0.0, 3.0, 3.0, f32::NAN, 0.0]
                .iter()
                .for_each(|v| w.write_sample(*v).unwrap());
        });
        assert_eq!(read_wav(&file[..]).unwrap().samples, [8192, i16::MAX, 0]);
        let file = wav(spec(1, 24, hound::SampleFormat::Int), |w| {
            w.write_sample(-(1i32 << 22)).unwrap()
        });
        assert_eq!(read_wav(&file[..]).unwrap().samples, [-16_384]);
    }

    #[test]
    fn a_file_cut_short_is_an_error_and_not_a_panic() {
        let file = wav(spec(1, 16, hound::SampleFormat::Int), |w| {
            (0..50i16).for_each(|v| w.write_sample(v).unwrap())
        });
        for end in 0..file.len() {
            assert!(
                read_wav(&file[..end]).is_err(),
                "{end} of {} bytes",
                file.len()
            );
        }
    }
}
