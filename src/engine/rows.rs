//! Feature frames, computed once.
//!
//! A row is the audio encoder's output for one instant. Neighbouring v1 requests share all but one of
//! their rows, and neighbouring frames of a stream, too: whoever needs a row first computes it, whoever
//! needs it meanwhile waits for it, and nobody computes it twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One row of features; its values once somebody has computed them.
#[derive(Debug, Default)]
pub struct Row {
    features: Mutex<Option<Arc<[f32]>>>,
}

impl Row {
    /// A row that nobody has computed yet.
    pub fn new() -> Arc<Row> {
        Arc::default()
    }

    /// The values, computed by `compute` if they are not there. Others who ask meanwhile wait.
    ///
    /// # Errors
    /// That of `compute`; the next who asks tries again.
    pub fn get<E>(&self, compute: impl FnOnce() -> Result<Arc<[f32]>, E>) -> Result<Arc<[f32]>, E> {
        // A panic in `compute` leaves the row empty, which is as good as new.
        let mut features = self.features.lock().unwrap_or_else(PoisonError::into_inner);
        match &*features {
            Some(values) => Ok(values.clone()),
            None => {
                let values = compute()?;
                *features = Some(values.clone());
                Ok(values)
            }
        }
    }
}

/// Rows by what they were made from, the oldest leaving when the budget is full.
pub struct RowCache {
    kept: Mutex<Kept>,
    budget_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Kept {
    rows: HashMap<(u64, u64), Arc<Row>>,
    order: VecDeque<((u64, u64), usize)>,
    bytes: usize,
}

/// Bytes of a row beside its values: two entries, two allocations' heads.
const ROW_OVERHEAD: usize = 128;

impl RowCache {
    /// A cache of at most `budget_bytes`.
    pub fn new(budget_bytes: usize) -> RowCache {
        RowCache {
            kept: Mutex::default(),
            budget_bytes,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The row `key` of the package `owner`; it may not be computed yet. `width` is the number of its
    /// values. The key is a hash with a secret of all that the row depends on: no client can make
    /// another's rows collide with its own.
    pub fn find(&self, owner: u64, key: u64, width: usize) -> Arc<Row> {
        let key = (owner, key);
        let bytes = width * size_of::<f32>() + ROW_OVERHEAD;
        let mut kept = self.lock();
        if let Some(row) = kept.rows.get(&key) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return row.clone();
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let row = Row::new();
        kept.rows.insert(key, row.clone());
        kept.order.push_back((key, bytes));
        kept.bytes += bytes;
        while kept.bytes > self.budget_bytes {
            let Some((oldest, bytes)) = kept.order.pop_front() else {
                break;
            };
            kept.rows.remove(&oldest);
            kept.bytes -= bytes;
        }
        row
    }

    /// How often a row was found, and how often it was new.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    /// Bytes that the kept rows hold.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn values(value: f32) -> Result<Arc<[f32]>, ()> {
        Ok(Arc::from([value]))
    }

    #[test]
    fn two_workers_do_not_compute_the_same_row() {
        let row = Row::new();
        let computed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let got = row.get(|| {
                        computed.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        values(2.0)
                    });
                    assert_eq!(*got.unwrap(), [2.0]);
                });
            }
        });
        assert_eq!(computed.into_inner(), 1);
    }

    #[test]
    fn a_row_that_failed_is_tried_again() {
        let row = Row::new();
        assert_eq!(row.get(|| Err("no")), Err("no"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            row.get(|| -> Result<Arc<[f32]>, ()> { panic!("deliberate") })
        }));
        assert!(panicked.is_err());
        assert_eq!(*row.get(|| values(1.0)).unwrap(), [1.0]);
    }

    #[test]
    fn rows_are_found_again_until_the_budget_is_full() {
        let cache = RowCache::new(3 * (4 + ROW_OVERHEAD));
        let first = cache.find(1, 7, 1);
        assert!(Arc::ptr_eq(&first, &cache.find(1, 7, 1)));
        assert!(!Arc::ptr_eq(&first, &cache.find(2, 7, 1)));
        for sample in 10..13 {
            cache.find(1, sample, 1);
        }
        assert!(!Arc::ptr_eq(&first, &cache.find(1, 7, 1)));
        assert!(cache.bytes() <= 3 * (4 + ROW_OVERHEAD));
        assert_eq!(cache.counts().0, 1);
    }
}
