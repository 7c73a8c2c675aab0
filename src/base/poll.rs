//! Waiting for several descriptors and a deadline at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What is awaited of one descriptor.
pub(crate) struct Interest<'a> {
    fd: BorrowedFd<'a>,
    flags: PollFlags,
}

impl<'a> Interest<'a> {
    /// Something to read.
    pub(crate) fn read(fd: &'a impl AsFd) -> Interest<'a> {
        Interest::new(fd, true, false)
    }

    /// Something to read, room to write, both, or neither (then only a broken connection wakes).
    pub(crate) fn new(fd: &'a impl AsFd, read: bool, write: bool) -> Interest<'a> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        Interest {
            fd: fd.as_fd(),
            flags,
        }
    }
}

/// What has come of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Both directions are gone.
    pub(crate) broken: bool,
}

/// Waits until one of the descriptors is ready, or `limit` has passed (`None`: for ever).
/// A signal may end the wait early, with nothing ready.
pub(crate) fn wait<const N: usize>(
    interests: [Interest<'_>; N],
    limit: Option<Duration>,
) -> io::Result<[Ready; N]> {
    let mut fds = interests.map(|i| PollFd::from_borrowed_fd(i.fd, i.flags));
    poll_for(&mut fds, limit)?;
    Ok(fds.map(|fd| Ready {
        broken: fd
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
    }))
}

/// As [`wait`], for a number of descriptors that is known at run time only, and without telling which are ready.
pub(crate) fn wait_any(interests: &[Interest<'_>], limit: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = interests
        .iter()
        .map(|i| PollFd::from_borrowed_fd(i.fd, i.flags))
        .collect();
    poll_for(&mut fds, limit)
}

fn poll_for(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().min(1 << 30) as i64,
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(fds, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a non-blocking call only has to be made again: at once, or when its descriptor is ready.
pub(crate) fn is_retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The time from `now` to the nearest of some deadlines; zero for one that has passed.
pub(crate) fn until(
    deadlines: impl IntoIterator<Item = Option<Instant>>,
    now: Instant,
) -> Option<Duration> {
    let nearest = deadlines.into_iter().flatten().min()?;
    Some(nearest.saturating_duration_since(now))
}
