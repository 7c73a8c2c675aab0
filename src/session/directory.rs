//! The sessions that are open, so that one client's request can reach the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::event_queue::EventSender;

use super::event::Event;

/// Every open session's event queue.
#[derive(Default)]
pub(super) struct SessionDirectory {
    open: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    last: u64,
    queues: HashMap<u64, EventSender<Event>>,
}

/// A session's place in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryEntry(u64);

impl SessionDirectory {
    /// A session was opened.
    pub fn add(&self, events: EventSender<Event>) -> DirectoryEntry {
        let mut open = self.lock();
        open.last += 1;
        let entry = open.last;
        open.queues.insert(entry, events);
        DirectoryEntry(entry)
    }

    /// A session has ended.
    pub fn remove(&self, entry: DirectoryEntry) {
        self.lock().queues.remove(&entry.0);
    }

    /// Tells every session that a package is no longer served.
    pub fn package_unloaded(&self, name: &str) {
        let name: Arc<str> = name.into();
        for events in self.lock().queues.values() {
            // A session whose queue is full, or that is about to end, goes on with the package that it has.
            let _ = events.send(Event::PackageUnloaded { name: name.clone() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
