//! The pool's threads: rayon's queue and stealing, with names, and joined at the end.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Stack of a worker. tract recurses little; the default of 2 MiB is kept on purpose.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// The system gives no more threads.
#[derive(Debug)]
pub struct PoolError(rayon::ThreadPoolBuildError);

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the workers cannot be started: {}; try fewer with --workers",
            self.0
        )
    }
}

impl std::error::Error for PoolError {}

/// A rayon pool whose threads are joined.
pub(super) struct Pool {
    pool: Mutex<Option<rayon::ThreadPool>>,
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
            .build()
            .map_err(PoolError)?;
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Pool {
            pool: Mutex::new(Some(pool)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `work` on some worker, whose index it is given. After [`Pool::stop`] it is dropped.
    pub(super) fn spawn(&self, work: impl FnOnce(usize) + Send + 'static) {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            pool.spawn_fifo(move || work(rayon::current_thread_index().unwrap_or(0)));
        }
    }

    /// Ends the threads once they have finished what was spawned, and waits for them.
    pub(super) fn stop(&self) {
        drop(
            self.pool
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}
