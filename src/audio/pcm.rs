//! PCM16 from the wire, and whole sounds.

use super::{AudioError, frame_count, frame_sample};
use crate::base::pcm16;

/// A whole sound of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second, not 0.
    pub rate_hz: u32,
    /// Full scale is that of 16 bits.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Frames of video that the sound lasts, a begun one included.
    pub fn frames(&self) -> u32 {
        let frames = frame_count(self.samples.len() as u64, self.rate_hz);
        u32::try_from(frames).unwrap_or(u32::MAX)
    }

    /// The samples that are heard while frame `frame` is shown; none after the sound's end.
    pub fn of_frame(&self, frame: u32) -> &[i16] {
        let at = |frame: u64| {
            let sample = frame_sample(frame, self.rate_hz);
            usize::try_from(sample).map_or(self.samples.len(), |at| at.min(self.samples.len()))
        };
        &self.samples[at(u64::from(frame))..at(u64::from(frame) + 1)]
    }
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
    out.extend(pcm16::samples(bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_sounds_of_all_frames_are_the_sound() {
        for (rate_hz, len) in [(24_000, 2_500), (11_025, 1_000), (1_000, 39), (16_000, 0)] {
            let samples: Vec<i16> = (0..len).collect();
            let sound = Sound { rate_hz, samples };
            let pieces: Vec<i16> = (0..sound.frames())
                .flat_map(|frame| sound.of_frame(frame).to_vec())
                .collect();
            assert_eq!(pieces, sound.samples);
            assert!(sound.of_frame(sound.frames()).is_empty());
        }
    }
}
