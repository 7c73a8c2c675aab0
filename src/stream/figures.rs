//! What a stream counts.

use std::collections::VecDeque;

use super::clock::Micros;
use crate::protocol::stream::{DropReason, FLAG_HELD, FLAG_IDLE, StreamStats};

/// Compute times kept for the percentiles: the last ten seconds.
const KEPT: usize = 250;

/// Counters of a stream, over all its epochs and connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// The counters of what is told to the client; its other fields stay 0.
    counters: StreamStats,
    /// When the last frame was ready, after its instant and the look-ahead.
    lag: Micros,
    compute: VecDeque<u32>,
}

impl Figures {
    /// Samples were taken, after a hole of `filled` samples.
    pub(super) fn heard(&mut self, taken: u64, filled: u64) {
        self.counters.samples += taken;
        self.counters.filled_samples += filled;
    }

    /// A frame with these flags was sent, which was ready so long after its instant and the look-ahead.
    pub(super) fn sent(&mut self, flags: u8, lag: Micros) {
        self.counters.frames_sent += 1;
        self.counters.idle_frames += u64::from(flags & FLAG_IDLE != 0);
        self.counters.held_frames += u64::from(flags & FLAG_HELD != 0);
        self.lag = lag;
    }

    /// Counts frames (or samples) that were given up.
    pub(super) fn dropped(&mut self, reason: DropReason, count: u64) {
        let counters = &mut self.counters;
        match reason {
            DropReason::Late => counters.dropped_late += count,
            DropReason::NoCredit => counters.dropped_no_credit += count,
            DropReason::Interrupted => counters.dropped_interrupted += count,
            DropReason::Failed => counters.dropped_failed += count,
            DropReason::OldEpoch | DropReason::Duplicate => counters.duplicate_samples += count,
        }
    }

    /// A frame took so long to compute.
    pub(super) fn computed(&mut self, compute_us: u32) {
        if self.compute.len() == KEPT {
            self.compute.pop_front();
        }
        self.compute.push_back(compute_us);
    }

    /// How long after its instant and the look-ahead the last frame was ready; negative: ahead of time.
    pub(super) fn lag(&self) -> Micros {
        self.lag
    }

    /// All that is counted here; the rest is 0.
    pub(super) fn stats(&self) -> StreamStats {
        StreamStats {
            compute_p50_ms: self.compute_ms(0.5),
            compute_p99_ms: self.compute_ms(0.99),
            lag_ms: self.lag as f64 / 1_000.0,
            ..self.counters.clone()
        }
    }

    /// The time that `share` (0..=1) of the last frames did not exceed, in ms; 0 while there are none.
    fn compute_ms(&self, share: f64) -> f64 {
        let mut sorted: Vec<u32> = self.compute.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_frames() {
        let mut figures = Figures::default();
        assert_eq!(figures.compute_ms(0.5), 0.0);
        (0..1_000).for_each(|us| figures.computed(us));
        (1..=250).for_each(|ms| figures.computed(ms * 1_000));
        assert_eq!(
            (figures.compute_ms(0.5), figures.compute_ms(0.99)),
            (125.0, 248.0)
        );
    }
}
