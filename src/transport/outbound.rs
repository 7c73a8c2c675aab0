//! Sending to one client: by when bytes on their way must have been taken, whatever carries them.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::base::limits::Limits;
use crate::base::poll::{Interest, is_retry, until, wait};
use crate::base::shutdown::Shutdown;

/// The time limit of what is being sent to one client. A stalled client ends its connection after `write_ms`, and the
/// server's shutdown ends every connection `drain_ms` after it began, plus `close_ms` to say goodbye.
pub(super) struct WriteDeadline<'a> {
    limits: &'a Limits,
    shutdown: &'a Shutdown,
    /// Since when bytes wait for the client to take them.
    pending_since: Option<Instant>,
}

impl<'a> WriteDeadline<'a> {
    pub(super) fn new(limits: &'a Limits, shutdown: &'a Shutdown) -> WriteDeadline<'a> {
        WriteDeadline {
            limits,
            shutdown,
            pending_since: None,
        }
    }

    /// Bytes wait from now on, if none did before.
    pub(super) fn begin(&mut self, now: Instant) {
        self.pending_since.get_or_insert(now);
    }

    /// Everything was taken.
    pub(super) fn finish(&mut self) {
        self.pending_since = None;
    }

    /// Whether bytes wait for the client.
    pub(super) fn is_pending(&self) -> bool {
        self.pending_since.is_some()
    }

    /// When the client is given up, if it has not taken what waits by then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stalled = self.pending_since? + self.limits.write();
        Some(match self.drain_by() {
            Some(drained) => stalled.min(drained + self.limits.close()),
            None => stalled,
        })
    }

    /// When requests in flight must have been answered; `None` while the server is not shutting down.
    pub(super) fn drain_by(&self) -> Option<Instant> {
        Some(self.shutdown.triggered_at()? + self.limits.drain())
    }

    /// When a goodbye that begins at `now` must be over.
    pub(super) fn close_by(&self, now: Instant) -> Instant {
        let end = now + self.limits.close();
        self.drain_by()
            .map_or(end, |drained| end.min(drained + self.limits.close()))
    }
}

/// Sends everything, with the pauses that the client makes. It may take `write_ms` without progress and `total` in all,
/// and no longer than the drain of a shutdown.
pub(super) fn send_all(
    stream: &TcpStream,
    mut bytes: &[u8],
    total: Duration,
    limits: &Limits,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let mut writer = stream;
    let end = Instant::now() + total;
    let mut deadline = WriteDeadline::new(limits, shutdown);
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                deadline.finish();
            }
            Err(error) if is_retry(&error) => {
                let now = Instant::now();
                deadline.begin(now);
                let ends = [deadline.deadline(), deadline.drain_by(), Some(end)];
                let left = until(ends, now);
                if left == Some(Duration::ZERO) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let writable = Interest::new(stream, false, true);
                if deadline.drain_by().is_some() {
                    wait([writable], left)?;
                } else {
                    wait([writable, Interest::read(shutdown)], left)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
