//! The queue of jobs: bounded, with fair turns between connections.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Jobs that wait, served in turns: one of each owner, then one of each again. An owner who sends
/// hundreds waits for them; the others wait for one of his at most.
pub struct FairQueue<K, T> {
    state: Mutex<State<K, T>>,
    limit: usize,
}

struct State<K, T> {
    waiting: HashMap<K, VecDeque<T>>,
    /// Owners who have jobs waiting, in the order of their turns.
    turns: VecDeque<K>,
    count: usize,
}

/// The queue holds as many jobs as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many that are.
    pub limit: usize,
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// A queue for at most `limit` jobs.
    pub fn new(limit: usize) -> Self {
        FairQueue {
            state: Mutex::new(State {
                waiting: HashMap::new(),
                turns: VecDeque::new(),
                count: 0,
            }),
            limit,
        }
    }

    /// Queues a job behind its owner's others.
    ///
    /// # Errors
    /// [`Full`], and the job is given back.
    pub fn push(&self, owner: K, job: T) -> Result<(), (Full, T)> {
        let mut state = self.lock();
        if state.count >= self.limit {
            return Err((Full { limit: self.limit }, job));
        }
        state.count += 1;
        let jobs = state.waiting.entry(owner).or_default();
        jobs.push_back(job);
        if jobs.len() == 1 {
            state.turns.push_back(owner);
        }
        Ok(())
    }

    /// Takes the job whose turn it is.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        let owner = state.turns.pop_front()?;
        let jobs = state.waiting.get_mut(&owner)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            state.waiting.remove(&owner);
        } else {
            state.turns.push_back(owner);
        }
        state.count -= 1;
        Some(job)
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.lock().count
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many jobs may wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        // Nothing that holds the lock can panic between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_take_turns() {
        let queue = FairQueue::new(10);
        for job in 0..4 {
            queue.push("flood", job).unwrap();
        }
        queue.push("b", 10).unwrap();
        queue.push("c", 20).unwrap();
        queue.push("b", 11).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 10, 20, 1, 11, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let queue = FairQueue::new(2);
        queue.push(1, 'a').unwrap();
        queue.push(2, 'b').unwrap();
        assert_eq!(queue.push(3, 'c'), Err((Full { limit: 2 }, 'c')));
        queue.pop();
        queue.push(3, 'c').unwrap();
        assert_eq!(queue.len(), 2);
    }
}
