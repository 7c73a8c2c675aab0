//! What the threads of one server have in common.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::base::limits::Limits;
use crate::base::log_throttle::{LogThrottle, Suppressed};
use crate::base::shutdown::Shutdown;

/// What all threads of the transport share.
pub(super) struct Shared<S> {
    pub(super) service: Arc<S>,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
    notices: LogThrottle<Notice>,
}

/// Lines of the log that any number of clients can cause: one of each kind a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Notice {
    /// As many connections are open as may.
    TooMany,
    /// The system gives no more threads.
    Threads,
    /// The system gives no more descriptors.
    Descriptors,
    /// A connection could not be accepted.
    Accept(io::ErrorKind),
    /// The listeners cannot be waited for.
    Wait,
}

impl<S> Shared<S> {
    pub(super) fn new(service: Arc<S>, limits: Limits, shutdown: Shutdown) -> Shared<S> {
        Shared {
            service,
            limits,
            shutdown,
            notices: LogThrottle::default(),
        }
    }

    /// Whether a line of this kind is logged now, and how many were not since the last.
    pub(super) fn notice(&self, notice: Notice) -> Option<Suppressed> {
        self.notices.admit(notice, Instant::now())
    }
}
