//! Frames, samples and microseconds, in integers.

use crate::audio::FRAMES_PER_SECOND;
pub use crate::audio::{frame_count, frame_sample};

/// Microseconds on the caller's clock, from any origin, never going back.
pub type Micros = i64;

/// From one frame to the next.
pub(super) const FRAME_US: Micros = 1_000_000 / FRAMES_PER_SECOND as Micros;

/// The instant of a sample, from the start of its utterance.
pub(super) fn sample_us(sample: u64, rate_hz: u32) -> Micros {
    (sample as i128 * 1_000_000 / i128::from(rate_hz)) as Micros
}

/// The instant of a frame, from the start of its utterance.
pub(super) fn frame_us(frame: u64) -> Micros {
    frame as Micros * FRAME_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_24_hours_a_frame_is_where_it_belongs_to_the_sample() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000] {
            // A day, frame by frame: the steps must add up to exactly 86,400 s, and none be a sample off.
            let step = rate / FRAMES_PER_SECOND;
            let mut sample = 0;
            for frame in 0..24 * 3_600 * u64::from(FRAMES_PER_SECOND) {
                assert_eq!(frame_sample(frame, rate), sample);
                sample += u64::from(step);
            }
            assert_eq!(sample, 86_400 * u64::from(rate));
        }
        // A rate that is no multiple of 25 is at most one sample early, and not more of it after a day.
        let day = 86_400 * 25;
        assert_eq!(frame_sample(day, 12_345), 86_400 * 12_345);
        assert_eq!(frame_sample(day - 1, 12_345), 86_400 * 12_345 - 494);
    }

    #[test]
    fn frames_of_a_sound_are_those_within_it() {
        assert_eq!(frame_count(0, 24_000), 0);
        assert_eq!(frame_count(1, 24_000), 1);
        assert_eq!(frame_count(960, 24_000), 1);
        assert_eq!(frame_count(961, 24_000), 2);
        for rate in [8_000, 11_111, 48_000] {
            for samples in 0..4_000 {
                let frames = frame_count(samples, rate);
                assert!(frames == 0 || frame_sample(frames - 1, rate) < samples);
                assert!(frame_sample(frames, rate) >= samples);
            }
        }
    }
}
