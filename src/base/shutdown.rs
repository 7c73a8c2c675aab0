//! The one signal that the server shuts down by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A shutdown that every thread can wait for. Clones share it; it is triggered once and for good.
#[derive(Clone)]
pub struct Shutdown {
    // An eventfd that is written once and never read, so that it wakes every poll.
    wake: Arc<OwnedFd>,
    triggered: Arc<AtomicBool>,
}

impl Shutdown {
    /// A shutdown that was not triggered yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Shutdown> {
        Ok(Shutdown {
            wake: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
            triggered: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Triggers it and wakes every waiter. `false` if it was triggered before.
    pub fn trigger(&self) -> bool {
        let first = !self.triggered.swap(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        first
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.triggered.load(Ordering::SeqCst)
    }

    /// Waits until it is triggered, at most `limit`. Returns whether it was.
    pub fn wait(&self, limit: Option<std::time::Duration>) -> bool {
        let _ = super::poll::wait([super::poll::Interest::read(self)], limit);
        self.is_triggered()
    }
}

impl AsFd for Shutdown {
    /// Readable for ever once it was triggered.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
