//! Decoded crops, kept as long as a budget of bytes allows.

use crate::frame::Crop;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The crops of all packages of a server, the least recently used leaving first when the budget is full.
///
/// The lock is held for a look-up only, never while a crop is decoded: two workers that miss the same crop at once
/// both decode it, and one of the results is kept.
#[derive(Debug)]
pub struct CropCache {
    budget_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    crops: HashMap<(u64, u32), Entry>,
    bytes: usize,
    clock: u64,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Entry {
    crop: Arc<Crop>,
    last_used: u64,
}

/// What a cache holds and how often it helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropCacheStatistics {
    pub crops: usize,
    pub bytes: usize,
    pub budget_bytes: usize,
    pub hits: u64,
    pub misses: u64,
}

/// A number that no other package of this process has or will have: what caches are keyed by.
pub(super) fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl CropCache {
    /// A cache that holds at most `budget_bytes` of pixels. 0 keeps nothing.
    pub fn new(budget_bytes: usize) -> CropCache {
        CropCache {
            budget_bytes,
            kept: Mutex::default(),
        }
    }

    pub(super) fn find(&self, owner: u64, frame: u32) -> Option<Arc<Crop>> {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        match kept.crops.get_mut(&(owner, frame)) {
            Some(entry) => {
                entry.last_used = now;
                let crop = entry.crop.clone();
                kept.hits += 1;
                Some(crop)
            }
            None => {
                kept.misses += 1;
                None
            }
        }
    }

    pub(super) fn keep(&self, owner: u64, frame: u32, crop: &Arc<Crop>) {
        let bytes = crop.bgr.len();
        if bytes > self.budget_bytes {
            return;
        }
        let mut kept = self.lock();
        kept.clock += 1;
        let entry = Entry {
            crop: crop.clone(),
            last_used: kept.clock,
        };
        kept.bytes += bytes;
        if let Some(old) = kept.crops.insert((owner, frame), entry) {
            kept.bytes -= old.crop.bgr.len();
        }
        while kept.bytes > self.budget_bytes {
            let Some(oldest) = kept
                .crops
                .iter()
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(key, _)| *key)
            else {
                break;
            };
            if let Some(old) = kept.crops.remove(&oldest) {
                kept.bytes -= old.crop.bgr.len();
            }
        }
    }

    /// Forgets the crops of a package that is gone.
    pub(super) fn forget(&self, owner: u64) {
        let mut kept = self.lock();
        kept.crops.retain(|key, _| key.0 != owner);
        kept.bytes = kept.crops.values().map(|entry| entry.crop.bgr.len()).sum();
    }

    pub fn statistics(&self) -> CropCacheStatistics {
        let kept = self.lock();
        CropCacheStatistics {
            crops: kept.crops.len(),
            bytes: kept.bytes,
            budget_bytes: self.budget_bytes,
            hits: kept.hits,
            misses: kept.misses,
        }
    }

    /// Nothing that holds the lock can panic half-way through a change, so a poisoned lock is a good one.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(size: usize) -> Arc<Crop> {
        Arc::new(Crop {
            size,
            bgr: vec![0; size * size * 3],
        })
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let cache = CropCache::new(2 * 300);
        let owner = next_serial();
        cache.keep(owner, 1, &crop(10));
        cache.keep(owner, 2, &crop(10));
        assert!(cache.find(owner, 1).is_some());
        cache.keep(owner, 3, &crop(10));
        assert!(cache.find(owner, 1).is_some());
        assert!(cache.find(owner, 2).is_none());
        assert!(cache.find(owner, 3).is_some());
        assert_eq!(
            cache.statistics(),
            CropCacheStatistics {
                crops: 2,
                bytes: 600,
                budget_bytes: 600,
                hits: 3,
                misses: 1
            }
        );
    }

    #[test]
    fn the_budget_holds_when_a_crop_is_replaced_or_too_large() {
        let cache = CropCache::new(700);
        for _ in 0..5 {
            cache.keep(0, 1, &crop(10));
        }
        cache.keep(0, 2, &crop(100));
        assert_eq!(
            (cache.statistics().crops, cache.statistics().bytes),
            (1, 300)
        );
    }

    #[test]
    fn packages_do_not_see_each_others_crops() {
        let cache = CropCache::new(10_000);
        let (a, b) = (next_serial(), next_serial());
        cache.keep(a, 1, &crop(4));
        assert!(cache.find(b, 1).is_none());
        cache.keep(b, 1, &crop(5));
        cache.forget(a);
        assert!(cache.find(a, 1).is_none());
        assert_eq!(cache.find(b, 1).unwrap().size, 5);
        assert_eq!(cache.statistics().bytes, 75);
    }
}
