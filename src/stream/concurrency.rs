//! How many jobs of a stream run at a time, and how long each is expected to take.

use super::clock::Micros;

/// How long a job is expected to take, from its submission to its result: its latency.
///
/// A smoothed mean and deviation, as TCP estimates its round trips (RFC 6298): expected is the mean and twice the
/// deviation.
#[derive(Debug, Clone, Default)]
pub(super) struct LatencyEstimator {
    mean: f64,
    deviation: f64,
}

impl LatencyEstimator {
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

    /// A frame was given up because of the estimate, and no job is running that could correct it. The estimate decays
    /// each time, so that a passing overload is found to have passed.
    pub(super) fn decay(&mut self) {
        self.mean *= 0.9;
        self.deviation *= 0.9;
    }
}

/// How many jobs a stream may have in the engine at a time: as many as keep it busy, and no more than finish in time.
///
/// Additive increase, multiplicative decrease (AIMD): one more for each round of frames that were in time, half as many
/// after one that was not. An overloaded machine then computes few frames, but those to their end.
#[derive(Debug, Clone)]
pub(super) struct ConcurrencyLimit {
    jobs: f64,
    most: f64,
}

impl ConcurrencyLimit {
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
    fn an_estimate_follows_what_jobs_take_and_decays_when_it_stops_them() {
        let mut estimate = LatencyEstimator::default();
        assert_eq!(estimate.expected(), 0);
        (0..50).for_each(|_| estimate.observe(20_000));
        assert!((20_000..21_000).contains(&estimate.expected()));
        (0..50).for_each(|_| estimate.observe(900_000));
        assert!(estimate.expected() > 890_000);
        (0..40).for_each(|_| estimate.decay());
        assert!(estimate.expected() < 20_000);
    }
}
