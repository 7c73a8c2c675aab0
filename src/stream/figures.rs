//! What a stream counts, and what it expects of the time to come.

use std::collections::VecDeque;

use super::clock::Micros;
use crate::protocol::stream::DropReason;

/// Compute times kept for the percentiles: the last ten seconds.
const KEPT: usize = 250;

/// Counters of a stream, over all its epochs and connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) samples: u64,
    pub(super) frames_sent: u64,
    pub(super) idle_frames: u64,
    pub(super) held_frames: u64,
    pub(super) dropped_late: u64,
    pub(super) dropped_no_credit: u64,
    pub(super) dropped_interrupted: u64,
    pub(super) dropped_failed: u64,
    pub(super) duplicate_samples: u64,
    pub(super) filled_samples: u64,
    /// When the last frame was ready, after its instant and the look-ahead.
    pub(super) lag: Micros,
    compute: VecDeque<u32>,
}

impl Figures {
    /// Counts frames (or samples) that were given up.
    pub(super) fn dropped(&mut self, reason: DropReason, count: u64) {
        match reason {
            DropReason::Late => self.dropped_late += count,
            DropReason::NoCredit => self.dropped_no_credit += count,
            DropReason::Interrupted => self.dropped_interrupted += count,
            DropReason::Failed => self.dropped_failed += count,
            DropReason::OldEpoch | DropReason::Duplicate => self.duplicate_samples += count,
        }
    }

    /// A frame took so long to compute.
    pub(super) fn computed(&mut self, compute_us: u32) {
        if self.compute.len() == KEPT {
            self.compute.pop_front();
        }
        self.compute.push_back(compute_us);
    }

    /// The time that `share` (0..=1) of the last frames did not exceed, in ms; 0 while there are none.
    pub(super) fn compute_ms(&self, share: f64) -> f64 {
        let mut sorted: Vec<u32> = self.compute.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

/// How long a job is expected to take, from its submission to its result.
///
/// A smoothed mean and deviation, as TCP estimates its round trips: expected is the mean and twice the deviation.
#[derive(Debug, Clone, Default)]
pub(super) struct Estimate {
    mean: f64,
    deviation: f64,
}

impl Estimate {
    /// A job took so long.
    pub(super) fn observe(&mut self, took: Micros) {
        let took = took as f64;
        if self.mean == 0.0 {
            self.mean = took;
            self.deviation = took / 4.0;
        } else {
            self.deviation += ((took - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (took - self.mean) / 8.0;
        }
    }

    /// The time to be expected; 0 while nothing is known.
    pub(super) fn expected(&self) -> Micros {
        (self.mean + 2.0 * self.deviation) as Micros
    }

    /// A frame was given up because of the estimate, and no job is running that could correct it. It is
    /// trusted a little less each time, so that a passing overload is found to have passed.
    pub(super) fn doubt(&mut self) {
        self.mean *= 0.9;
        self.deviation *= 0.9;
    }
}

/// How many jobs a stream has in the engine at a time: as many as keep it busy, and no more than finish in
/// time.
///
/// One more for each round of frames that were in time, half as many after one that was not (as TCP
/// probes a network), so that an overloaded machine computes few frames, but those to their end.
#[derive(Debug, Clone)]
pub(super) struct Window {
    jobs: f64,
    most: f64,
}

impl Window {
    /// Begins with the most, 1 at least.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { jobs: most, most }
    }

    /// Jobs that may run now.
    pub(super) fn jobs(&self) -> usize {
        self.jobs as usize
    }

    /// A frame was done in time.
    pub(super) fn in_time(&mut self) {
        self.jobs = (self.jobs + 1.0 / self.jobs).min(self.most);
    }

    /// A frame was too late after its job had begun.
    pub(super) fn late(&mut self) {
        self.jobs = (self.jobs / 2.0).max(1.0);
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

    #[test]
    fn an_estimate_follows_what_jobs_take_and_is_doubted_when_it_stops_them() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.expected(), 0);
        (0..50).for_each(|_| estimate.observe(20_000));
        assert!((20_000..21_000).contains(&estimate.expected()));
        (0..50).for_each(|_| estimate.observe(900_000));
        assert!(estimate.expected() > 890_000);
        (0..40).for_each(|_| estimate.doubt());
        assert!(estimate.expected() < 20_000);
    }
}
