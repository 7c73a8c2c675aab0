//! The sound of one epoch that waits for the analysis, by position.

use std::collections::VecDeque;

use super::SharedPackage;
use super::clock::{FRAME_US, MediaTime, Micros, sample_us};

/// What a chunk of samples does to an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Samples at its start that are there already.
    pub duplicate: u64,
    /// Samples missing before it.
    pub gap: u64,
}

/// How the frames of one package stand to their instants.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameTiming {
    /// How much sound after a frame's instant its picture needs.
    pub look_ahead: Micros,
    /// How long after its instant a frame is of use.
    pub max_delay: Micros,
}

/// One epoch: its sound as far as it has come, and its place in time.
#[derive(Debug)]
pub(super) struct Utterance<P> {
    epoch: u32,
    package: SharedPackage<P>,
    rate_hz: u32,
    timing: FrameTiming,
    /// Samples that have come and were not analysed yet.
    waiting: VecDeque<i16>,
    /// Position of the next sample to come.
    received: u64,
    ended: bool,
    /// When its first sample is heard. Its arrival, at first; later for one that waits for the one before it.
    anchor: MediaTime,
    /// When a client that plays the sound as it comes has played all of it.
    played_at: MediaTime,
    /// Place on the idle walk of its first frame, where the client has said it.
    start: Option<u32>,
}

impl<P> Utterance<P> {
    pub(super) fn new(
        epoch: u32,
        package: SharedPackage<P>,
        rate_hz: u32,
        timing: FrameTiming,
        now: MediaTime,
        start: Option<u32>,
    ) -> Self {
        Self {
            epoch,
            package,
            rate_hz,
            timing,
            waiting: VecDeque::new(),
            received: 0,
            ended: false,
            anchor: now,
            played_at: now,
            start,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The package that shows it.
    pub(super) fn package(&self) -> &SharedPackage<P> {
        &self.package
    }

    pub(super) fn timing(&self) -> FrameTiming {
        self.timing
    }

    /// Position of the next sample to come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Samples that have come and were not analysed yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no more samples come.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// When its first sample is heard.
    pub(super) fn anchor(&self) -> MediaTime {
        self.anchor
    }

    /// When all that has come has been heard.
    pub(super) fn heard_at(&self) -> MediaTime {
        self.played_at.max(self.instant(self.received))
    }

    /// How `count` samples from position `first` on fit to what is there, of which the next is `received`.
    pub(super) fn fit(received: u64, first: u64, count: u64) -> Fit {
        Fit {
            duplicate: received.saturating_sub(first).min(count),
            gap: first.saturating_sub(received),
        }
    }

    /// Takes little-endian PCM16 after a gap, which is filled with silence.
    pub(super) fn append(&mut self, gap: u64, pcm: &[u8], now: MediaTime) {
        let samples = pcm
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        let count = gap + samples.len() as u64;
        self.received += count;
        self.played_at = self.played_at.max(now) + sample_us(count, self.rate_hz);
        self.waiting.extend(std::iter::repeat_n(0, gap as usize));
        self.waiting.extend(samples);
    }

    /// No more samples come.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// It is the next to be heard, and the one before it is heard until `busy_until`. Returns where on the idle walk it
    /// begins, if the client has said so.
    pub(super) fn begin(&mut self, busy_until: MediaTime) -> Option<u32> {
        self.anchor = self.anchor.max(busy_until);
        self.start.take()
    }

    /// What is heard from position `first` on is known only now. Where that is so late that its frames, whose computation
    /// takes `latency`, could not be in time, the clock is set anew: better late than never, and a client's sound card
    /// that runs slow must not stop its face.
    pub(super) fn set_clock(&mut self, first: u64, latency: Micros, now: MediaTime) {
        let timing = self.timing;
        let late = now - self.instant(first);
        let spare = timing.max_delay - timing.look_ahead - latency.min(FRAME_US) - FRAME_US / 2;
        if late > spare {
            self.anchor += late;
        }
    }

    /// Takes up to `count` samples out, in order, and hands them to `sink`.
    pub(super) fn take(&mut self, count: usize, mut sink: impl FnMut(&[i16])) {
        let count = count.min(self.waiting.len());
        let (first, second) = self.waiting.as_slices();
        let split = count.min(first.len());
        sink(&first[..split]);
        if count > split {
            sink(&second[..count - split]);
        }
        self.waiting.drain(..count);
        // A burst of speech sent ahead leaves a large buffer; it is given back once it is used up.
        if self.waiting.is_empty() && self.waiting.capacity() > 1 << 16 {
            self.waiting = VecDeque::new();
        }
    }

    fn instant(&self, sample: u64) -> MediaTime {
        self.anchor + sample_us(sample, self.rate_hz)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::StreamPackage;
    use super::super::clock::MediaClock;
    use super::*;
    use crate::audio::FrontEndSpec;

    #[test]
    fn chunks_fit_by_position() {
        let fit = |received, first, count| Utterance::<()>::fit(received, first, count);
        assert_eq!(
            fit(10, 10, 5),
            Fit {
                duplicate: 0,
                gap: 0
            }
        );
        assert_eq!(
            fit(10, 8, 5),
            Fit {
                duplicate: 2,
                gap: 0
            }
        );
        assert_eq!(
            fit(10, 2, 5),
            Fit {
                duplicate: 5,
                gap: 0
            }
        );
        assert_eq!(
            fit(10, 13, 5),
            Fit {
                duplicate: 0,
                gap: 3
            }
        );
        assert_eq!(
            fit(0, u64::MAX, 5),
            Fit {
                duplicate: 0,
                gap: u64::MAX
            }
        );
    }

    #[test]
    fn samples_come_out_in_order_with_silence_for_gaps() {
        let package = StreamPackage {
            handle: (),
            name: "face".into(),
            spec: FrontEndSpec::AVE,
            frame_count: 1,
            frame_size: [1, 1],
            image_size: [1, 1],
        };
        let timing = FrameTiming {
            look_ahead: 0,
            max_delay: 0,
        };
        let now = MediaClock::default().at(0).media;
        let mut utterance = Utterance::new(0, Arc::new(package), 1_000, timing, now, None);
        utterance.append(0, &[1, 0, 2, 0], now + 500);
        utterance.append(2, &[0xff, 0xff], now + 600);
        assert_eq!(
            (utterance.received(), utterance.heard_at() - now),
            (5, 5_500)
        );
        let mut heard = Vec::new();
        while utterance.waiting() > 0 {
            utterance.take(3, |samples| heard.extend_from_slice(samples));
        }
        assert_eq!(heard, [1, 2, 0, 0, -1]);
    }
}
