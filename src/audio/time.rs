//! The time base of video and sound: [`FRAMES_PER_SECOND`] frames, and samples at a sound's own rate, in integers.

use super::FRAMES_PER_SECOND;

/// The first sample of frame `frame`: ⌊frame · rate / 25⌋.
pub fn frame_sample(frame: u64, rate_hz: u32) -> u64 {
    // Frames that a u32 can count stay far below the range of u64: 2^32 · 384000.
    frame * u64::from(rate_hz) / u64::from(FRAMES_PER_SECOND)
}

/// Frames of a sound of `samples` samples, a begun one included.
pub fn frame_count(samples: u64, rate_hz: u32) -> u64 {
    (samples * u64::from(FRAMES_PER_SECOND)).div_ceil(u64::from(rate_hz))
}
