//! Two ways to use the cores: one frame on each, or all of them for one frame.
//!
//! One frame per core makes the most frames. When frames come one at a time, with pauses between them, the
//! other cores would stand idle, and a frame that all of them work on is there sooner. A burst begins with a
//! job that is alone, too, so a frame gets all cores only after a run of such jobs.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Jobs in a row that found everything idle, after which a frame gets all cores.
const CALM_JOBS: usize = 5;

/// How busy the workers are.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Jobs that are being worked on.
    active: AtomicUsize,
    /// Jobs in a row that were alone.
    calm: AtomicUsize,
}

/// A job that is being worked on.
pub(super) struct Busy<'a> {
    load: &'a Load,
    calm: usize,
}

impl Load {
    /// A job begins; `queue_empty` when no other waits.
    pub(super) fn begin(&self, queue_empty: bool) -> Busy<'_> {
        let alone = self.active.fetch_add(1, Ordering::Relaxed) == 0 && queue_empty;
        let calm = if alone {
            self.calm.fetch_add(1, Ordering::Relaxed)
        } else {
            self.calm.store(0, Ordering::Relaxed);
            0
        };
        Busy { load: self, calm }
    }
}

impl Busy<'_> {
    /// Threads that this job's frame may use, of so many workers.
    pub(super) fn threads(&self, workers: usize) -> usize {
        if self.calm >= CALM_JOBS { workers } else { 1 }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.load.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gets_all_cores_once_it_has_been_calm_for_a_while() {
        let load = Load::default();
        for _ in 0..CALM_JOBS {
            assert_eq!(load.begin(true).threads(4), 1);
        }
        assert_eq!(load.begin(true).threads(4), 4);
        // Two at once, or one more that waits: one core each.
        let first = load.begin(true);
        assert_eq!(load.begin(true).threads(4), 1);
        drop(first);
        assert_eq!(load.begin(true).threads(4), 1);
        for _ in 0..=CALM_JOBS {
            load.begin(true);
        }
        assert_eq!(load.begin(false).threads(4), 1);
    }
}
