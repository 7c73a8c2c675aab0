//! Frames, samples and microseconds, in integers; and the stream's clock, which a pause stops.

use std::ops::{Add, AddAssign, Sub};

use crate::audio::FRAMES_PER_SECOND;
pub use crate::audio::{frame_count, frame_sample};

/// Microseconds on the caller's clock, from any origin, never going back. Also a length of time.
pub type Micros = i64;

/// An instant of a stream's [`MediaClock`], in microseconds. Instants and deadlines of frames are of this type: none of
/// them moves when the stream is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MediaTime(Micros);

impl Add<Micros> for MediaTime {
    type Output = Self;

    fn add(self, time: Micros) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Micros> for MediaTime {
    fn add_assign(&mut self, time: Micros) {
        self.0 += time;
    }
}

impl Sub for MediaTime {
    type Output = Micros;

    fn sub(self, earlier: Self) -> Micros {
        self.0 - earlier.0
    }
}

/// One instant on both clocks. Work of the engine takes wall time; frames are due in media time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// On the caller's clock.
    pub wall: Micros,
    /// On the stream's clock.
    pub media: MediaTime,
}

/// The caller's clock less the time that the stream was paused.
#[derive(Debug, Default)]
pub(super) struct MediaClock {
    paused_at: Option<Micros>,
    /// The length of all pauses that are over.
    paused_for: Micros,
}

impl MediaClock {
    /// The time at `wall` on the caller's clock.
    pub(super) fn at(&self, wall: Micros) -> Now {
        let running = self.paused_at.map_or(wall, |at| at.min(wall));
        Now {
            wall,
            media: MediaTime(running - self.paused_for),
        }
    }

    /// When it will be `at`, on the caller's clock, if the stream is not paused until then; `None` while it is paused.
    pub(super) fn wall(&self, at: MediaTime) -> Option<Micros> {
        (!self.is_paused()).then_some(at.0 + self.paused_for)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// Stops; a second stop changes nothing.
    pub(super) fn pause(&mut self, wall: Micros) {
        self.paused_at.get_or_insert(wall);
    }

    /// Goes on, if it was stopped.
    pub(super) fn resume(&mut self, wall: Micros) {
        if let Some(at) = self.paused_at.take() {
            self.paused_for += wall - at;
        }
    }
}

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
    fn a_paused_clock_stands_still_and_loses_the_pause() {
        let mut clock = MediaClock::default();
        let start = clock.at(1_000).media;
        clock.pause(3_000);
        clock.pause(4_000);
        assert_eq!(clock.at(9_000).media - start, 2_000);
        assert_eq!((clock.wall(start), clock.at(9_000).wall), (None, 9_000));
        clock.resume(10_000);
        clock.resume(11_000);
        assert_eq!(clock.at(10_500).media - start, 2_500);
        assert_eq!(clock.wall(start + 2_500), Some(10_500));
    }

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
