//! The way from the workers to one connection: a bounded channel and an eventfd that wakes its thread.
//!
//! A worker puts a value into the channel and then rings; the connection's thread polls its socket and
//! the eventfd together, so a finished frame is sent at once and no thread waits for another.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// The receiving end. Dropping it tells every sender that the connection is gone.
pub struct Mailbox<T> {
    receiver: flume::Receiver<T>,
    bell: Arc<OwnedFd>,
}

/// A sending end; clones share the mailbox.
pub struct MailboxSender<T> {
    sender: flume::Sender<T>,
    bell: Arc<OwnedFd>,
}

/// Why a value was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is gone: nobody waits for the value.
    Gone,
    /// The mailbox holds as many values as it may. Its owner admits no more work than its mailbox
    /// holds, so this is a fault of the server's own.
    Full,
}

/// Makes a mailbox for at most `capacity` values that wait.
///
/// # Errors
/// The system has no descriptor left.
pub fn mailbox<T>(capacity: usize) -> io::Result<(MailboxSender<T>, Mailbox<T>)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = flume::bounded(capacity.max(1));
    let sender = MailboxSender {
        sender,
        bell: bell.clone(),
    };
    Ok((sender, Mailbox { receiver, bell }))
}

impl<T> Mailbox<T> {
    /// The next value, if one is there.
    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Stops the ringing. Call it before the values are taken: a value that comes later rings again.
    pub fn silence(&self) {
        let mut count = [0u8; 8];
        // An error means that the bell was not ringing.
        let _ = rustix::io::read(&self.bell, &mut count);
    }

    /// Waits for a value at most `limit`: for connections without a socket, as tests have them.
    pub fn wait(&self, limit: std::time::Duration) -> Option<T> {
        self.receiver.recv_timeout(limit).ok()
    }
}

impl<T> AsFd for Mailbox<T> {
    /// Readable while the bell rings.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> MailboxSender<T> {
    /// Puts `value` into the mailbox and rings. Never waits.
    ///
    /// # Errors
    /// [`SendError`]: the value is dropped.
    pub fn send(&self, value: T) -> Result<(), SendError> {
        match self.sender.try_send(value) {
            Ok(()) => {
                // It fails only when the bell has rung 2^64 times unheard.
                let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
                Ok(())
            }
            Err(flume::TrySendError::Full(_)) => Err(SendError::Full),
            Err(flume::TrySendError::Disconnected(_)) => Err(SendError::Gone),
        }
    }

    /// Whether the connection is gone, so that work for it is in vain.
    pub fn is_gone(&self) -> bool {
        self.sender.is_disconnected()
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        MailboxSender {
            sender: self.sender.clone(),
            bell: self.bell.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings<T>(mailbox: &Mailbox<T>) -> bool {
        let mut fds = [PollFd::new(mailbox, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).unwrap() == 1
    }

    #[test]
    fn it_rings_until_it_is_silenced() {
        let (sender, mailbox) = mailbox(2).unwrap();
        assert!(!rings(&mailbox));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(sender.send(3), Err(SendError::Full));
        assert!(rings(&mailbox));
        mailbox.silence();
        assert!(!rings(&mailbox));
        assert_eq!(
            (mailbox.take(), mailbox.take(), mailbox.take()),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn a_sender_learns_that_the_connection_is_gone() {
        let (sender, mailbox) = mailbox::<u32>(2).unwrap();
        assert!(!sender.is_gone());
        drop(mailbox);
        assert!(sender.is_gone());
        assert_eq!(sender.send(1), Err(SendError::Gone));
    }
}
