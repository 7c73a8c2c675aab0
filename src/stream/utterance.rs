//! The sound of one epoch that waits to be heard, by position.

use std::collections::VecDeque;

use super::SharedPackage;
use super::clock::Micros;

/// What a chunk of samples does to an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Samples at its start that are there already.
    pub(super) duplicate: u64,
    /// Samples missing before it.
    pub(super) gap: u64,
}

/// One epoch: its sound as far as it has come, and its place in time.
#[derive(Debug)]
pub(super) struct Utterance<P> {
    pub(super) epoch: u32,
    /// The package that shows it.
    pub(super) package: SharedPackage<P>,
    /// Samples that have come and were not heard yet.
    pub(super) waiting: VecDeque<i16>,
    /// Position of the next sample to come.
    pub(super) received: u64,
    /// No more samples come.
    pub(super) ended: bool,
    /// When its first sample is heard. Its arrival, at first; later for one that waits for the one before it.
    pub(super) anchor: Micros,
    /// Place on the idle walk of its first frame, where the client has said it.
    pub(super) start: Option<u32>,
}

impl<P> Utterance<P> {
    pub(super) fn new(
        epoch: u32,
        package: SharedPackage<P>,
        anchor: Micros,
        start: Option<u32>,
    ) -> Self {
        Self {
            epoch,
            package,
            waiting: VecDeque::new(),
            received: 0,
            ended: false,
            anchor,
            start,
        }
    }

    /// How `count` samples from position `first` on fit to what is there, of which the next is `received`.
    pub(super) fn fit(received: u64, first: u64, count: u64) -> Fit {
        Fit {
            duplicate: received.saturating_sub(first).min(count),
            gap: first.saturating_sub(received),
        }
    }

    /// Takes little-endian PCM16 after a gap, which is filled with silence.
    pub(super) fn append(&mut self, gap: u64, pcm: &[u8]) {
        let samples = crate::base::pcm16::samples(pcm);
        self.received += gap + samples.len() as u64;
        self.waiting.extend(std::iter::repeat_n(0, gap as usize));
        self.waiting.extend(samples);
    }

    /// Takes up to `count` samples out, in order, and hands them to `hear`.
    pub(super) fn hear(&mut self, count: usize, mut hear: impl FnMut(&[i16])) {
        let count = count.min(self.waiting.len());
        let (first, second) = self.waiting.as_slices();
        let split = count.min(first.len());
        hear(&first[..split]);
        if count > split {
            hear(&second[..count - split]);
        }
        self.waiting.drain(..count);
        // A burst of speech sent ahead leaves a large buffer; it is given back once it is used up.
        if self.waiting.is_empty() && self.waiting.capacity() > 1 << 16 {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::StreamPackage;
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
        let mut utterance = Utterance::new(0, Arc::new(package), 0, None);
        utterance.append(0, &[1, 0, 2, 0]);
        utterance.append(2, &[0xff, 0xff]);
        assert_eq!(utterance.received, 5);
        let mut heard = Vec::new();
        while !utterance.waiting.is_empty() {
            utterance.hear(3, |samples| heard.extend_from_slice(samples));
        }
        assert_eq!(heard, [1, 2, 0, 0, -1]);
    }
}
