//! The one signal that everything stops by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A stop that every thread can wait for. Clones share it; it is given once and never taken back.
#[derive(Clone)]
pub struct Stop {
    // An eventfd that is written once and never read, so that it wakes every poll.
    wake: Arc<OwnedFd>,
    given: Arc<AtomicBool>,
}

impl Stop {
    /// A stop that was not given yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Stop> {
        Ok(Stop {
            wake: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
            given: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Gives the stop. `false` if it was given before.
    pub fn give(&self) -> bool {
        let first = !self.given.swap(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        first
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    /// Waits until it is given, at most `limit`. Returns whether it was.
    pub fn wait(&self, limit: Option<std::time::Duration>) -> bool {
        let _ = super::poll::wait([super::poll::Interest::read(self)], limit);
        self.is_given()
    }
}

impl AsFd for Stop {
    /// Readable for ever, once the stop was given.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
