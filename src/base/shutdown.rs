//! The one signal that the server shuts down by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::poll::{Interest, until, wait};

/// A shutdown that every thread can wait for. Clones share it; it is triggered once and for good.
#[derive(Clone)]
pub struct Shutdown {
    // An eventfd that is written once and never read, so that it wakes every poll.
    wake: Arc<OwnedFd>,
    triggered_at: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// A shutdown that was not triggered yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Shutdown> {
        Ok(Shutdown {
            wake: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
            triggered_at: Arc::default(),
        })
    }

    /// Triggers it and wakes every waiter. `false` if it was triggered before.
    pub fn trigger(&self) -> bool {
        let first = self.triggered_at.set(Instant::now()).is_ok();
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        first
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.triggered_at().is_some()
    }

    /// When it was triggered: every limit of the shutdown counts from there.
    pub fn triggered_at(&self) -> Option<Instant> {
        self.triggered_at.get().copied()
    }

    /// Waits until it is triggered, at most `limit`. Returns whether it was.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let now = Instant::now();
            if self.is_triggered() {
                return true;
            }
            // A signal ends a wait early.
            if deadline.is_some_and(|deadline| now >= deadline)
                || wait([Interest::read(self)], until([deadline], now)).is_err()
            {
                return self.is_triggered();
            }
        }
    }
}

impl AsFd for Shutdown {
    /// Readable for ever once it was triggered.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
