//! The pool's threads: rayon's queue and stealing, with names, and joined at the end.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};

/// Stack of a worker. tract recurses little; the default of 2 MiB is kept on purpose.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// The engine cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The system gives no more threads.
    #[error("the workers cannot be started: {0}; try fewer with --workers")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The system has no descriptor left.
    #[error("the workers cannot be started: {0}")]
    Descriptors(#[from] std::io::Error),
}

/// A rayon pool whose threads are joined.
pub(super) struct Pool {
    pool: RwLock<Option<Arc<rayon::ThreadPool>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Starts `workers` threads.
    pub(super) fn start(workers: usize) -> Result<Pool, PoolError> {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let handles = threads.clone();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            // Jobs are fenced already. Should a panic get here all the same, rayon's default would end
            // the process.
            .panic_handler(|_| log::error!("a panic escaped a job; the worker goes on"))
            .spawn_handler(move |thread| {
                let handle = Builder::new()
                    .name(format!("worker {}", thread.index()))
                    .stack_size(STACK_BYTES)
                    .spawn(|| thread.run())?;
                handles
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(handle);
                Ok(())
            })
            .build()?;
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Pool {
            pool: RwLock::new(Some(Arc::new(pool))),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `work` on some worker, whose index it is given. After [`Pool::stop`] it is dropped.
    pub(super) fn spawn(&self, work: impl FnOnce(usize) + Send + 'static) {
        if let Some(pool) = self.pool() {
            pool.spawn_fifo(move || work(rayon::current_thread_index().unwrap_or(0)));
        }
    }

    /// Runs `work` on every worker, each when it is free, and waits for all of them.
    pub(super) fn everywhere(&self, work: impl Fn(usize) + Sync) {
        if let Some(pool) = self.pool() {
            pool.broadcast(|context| work(context.index()));
        }
    }

    fn pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        self.pool
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the threads once they have finished what was spawned, and waits for them.
    pub(super) fn stop(&self) {
        drop(
            self.pool
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last owner of a pool may be one of its own workers, which cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_no_worker_and_stopping_waits_for_the_work() {
        let pool = Pool::start(2).unwrap();
        let done = Arc::new(Mutex::new(0));
        for round in 0..20 {
            let done = done.clone();
            pool.spawn(move |_| {
                assert!(round % 2 == 0, "a deliberate panic");
                *done.lock().unwrap() += 1;
            });
        }
        let seen = Mutex::new(Vec::new());
        pool.everywhere(|worker| seen.lock().unwrap().push(worker));
        pool.stop();
        let mut seen = seen.into_inner().unwrap();
        seen.sort();
        assert_eq!((seen, *done.lock().unwrap()), (vec![0, 1], 10));
        pool.spawn(|_| unreachable!("the pool is stopped"));
    }
}
