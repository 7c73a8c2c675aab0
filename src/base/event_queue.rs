//! A bounded channel whose receiver can be polled together with a socket: an eventfd wakes its thread.
//!
//! A sender puts a value into the channel and then writes to the eventfd, so the receiver's thread needs no
//! second thread to wait for values, and no sender ever waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// The receiving end. Dropping it tells every sender that the connection is gone.
pub struct EventQueue<T> {
    receiver: flume::Receiver<T>,
    wakeup: Arc<OwnedFd>,
}

/// A sending end; clones share the queue.
pub struct EventSender<T> {
    sender: flume::Sender<T>,
    wakeup: Arc<OwnedFd>,
}

/// Why a value was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is gone: nobody waits for the value.
    Gone,
    /// The queue holds as many values as it may. Its owner admits no more work than the queue has room for,
    /// so this is a fault of the server's own.
    Full,
}

/// Makes a queue for at most `capacity` values that wait.
///
/// # Errors
/// The system has no descriptor left.
pub fn event_queue<T>(capacity: usize) -> io::Result<(EventSender<T>, EventQueue<T>)> {
    let wakeup = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = flume::bounded(capacity.max(1));
    let sender = EventSender {
        sender,
        wakeup: wakeup.clone(),
    };
    Ok((sender, EventQueue { receiver, wakeup }))
}

impl<T> EventQueue<T> {
    /// The next value, if one is there.
    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Takes the wake-up back. Call it before the values are taken: a value that comes later wakes again.
    pub fn clear_wakeup(&self) {
        let mut count = [0u8; 8];
        // An error means that nothing had woken it.
        let _ = rustix::io::read(&self.wakeup, &mut count);
    }

    /// Waits for a value at most `limit`: for connections without a socket, as tests have them.
    pub fn wait(&self, limit: std::time::Duration) -> Option<T> {
        self.receiver.recv_timeout(limit).ok()
    }
}

impl<T> AsFd for EventQueue<T> {
    /// Readable from a value's coming until [`EventQueue::clear_wakeup`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

impl<T> EventSender<T> {
    /// Puts `value` into the queue and wakes the receiver. Never waits.
    ///
    /// # Errors
    /// [`SendError`]: the value is dropped.
    pub fn send(&self, value: T) -> Result<(), SendError> {
        match self.sender.try_send(value) {
            Ok(()) => {
                // It fails only after 2^64 wake-ups that nobody has taken.
                let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
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

impl<T> Clone for EventSender<T> {
    fn clone(&self) -> Self {
        EventSender {
            sender: self.sender.clone(),
            wakeup: self.wakeup.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn wakes<T>(event_queue: &EventQueue<T>) -> bool {
        let mut fds = [PollFd::new(event_queue, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).unwrap() == 1
    }

    #[test]
    fn it_wakes_until_the_wakeup_is_cleared() {
        let (sender, event_queue) = event_queue(2).unwrap();
        assert!(!wakes(&event_queue));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(sender.send(3), Err(SendError::Full));
        assert!(wakes(&event_queue));
        event_queue.clear_wakeup();
        assert!(!wakes(&event_queue));
        assert_eq!(
            (event_queue.take(), event_queue.take(), event_queue.take()),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn a_sender_learns_that_the_connection_is_gone() {
        let (sender, event_queue) = event_queue::<u32>(2).unwrap();
        assert!(!sender.is_gone());
        drop(event_queue);
        assert!(sender.is_gone());
        assert_eq!(sender.send(1), Err(SendError::Gone));
    }
}
