//! The streams of all connections by their tokens, so that a client whose connection broke finds its own again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::event_queue::EventSender;
use crate::engine::{Permit, Row};
use crate::model::Package;
use crate::protocol::stream::StreamStats;
use crate::stream::{Detached, Micros, Stream};

use super::event::Event;

/// A stream of the server.
pub(super) type ServedStream = Stream<Arc<Package>, Row>;

/// One stream, wherever its client is. Its connection and one that takes it up share it.
pub(super) struct Live {
    pub(super) state: LiveState,
    /// Its share of the machine, kept while it may be resumed.
    pub(super) permit: Option<Permit>,
    /// Where it is attached, to be told when another connection takes it.
    pub(super) owner: Owner,
}

/// The connection of a stream.
pub(super) struct Owner {
    pub(super) events: EventSender<Event>,
    /// The stream's number there.
    pub(super) stream: u16,
}

/// Where a stream's client is.
pub(super) enum LiveState {
    /// On a connection.
    Attached(Box<ServedStream>),
    /// Nowhere, for a while.
    Detached(Box<Detached<Arc<Package>>>),
    /// On another connection; the one that it was taken from is told its last figures.
    Taken(Box<StreamStats>),
    /// Closed.
    Gone,
}

/// A stream, shared.
pub(super) type SharedLive = Arc<Mutex<Live>>;

pub(super) fn lock(live: &SharedLive) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All streams by token.
pub struct Resumable {
    held: Mutex<HashMap<String, Held>>,
    secret: RandomState,
    serial: AtomicU64,
    keep: Duration,
    limit: usize,
}

struct Held {
    live: SharedLive,
    /// When a stream without connection is forgotten.
    expires: Option<Instant>,
}

impl Resumable {
    /// Keeps streams without connection for `keep`, at most `limit` of them.
    pub(super) fn new(keep: Duration, limit: usize) -> Resumable {
        Resumable {
            held: Mutex::default(),
            secret: RandomState::new(),
            serial: AtomicU64::new(0),
            keep,
            limit,
        }
    }

    /// A token that nobody can guess: keyed hashes, whose key never leaves this process, of a number
    /// that never comes again.
    pub(super) fn token(&self) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let half = |part: u8| self.secret.hash_one((serial, part));
        format!("{:016x}{:016x}", half(0), half(1))
    }

    /// A stream was opened.
    pub(super) fn insert(&self, token: String, live: SharedLive) {
        let held = Held {
            live,
            expires: None,
        };
        self.lock().insert(token, held);
    }

    /// A stream was closed.
    pub(super) fn remove(&self, token: &str) {
        self.lock().remove(token);
    }

    /// The connection of a stream, which is detached by now, has broken.
    pub(super) fn keep(&self, token: &str, now: Instant) {
        let mut held = self.lock();
        match held.get_mut(token) {
            Some(stream) if !self.keep.is_zero() && self.limit > 0 => {
                stream.expires = Some(now + self.keep);
            }
            _ => _ = held.remove(token),
        }
        let detached = held.values().filter(|stream| stream.expires.is_some());
        if detached.count() > self.limit {
            forget_oldest(&mut held);
        }
    }

    /// Forgets the stream that has been without connection for longest, which gives its share of the
    /// machine to one whose client is there. `false` when there is none.
    pub(super) fn forget_oldest(&self) -> bool {
        forget_oldest(&mut self.lock())
    }

    /// Takes the stream of `token` away from wherever it is.
    pub(super) fn take(
        &self,
        token: &str,
        now: Instant,
    ) -> Option<(Detached<Arc<Package>>, Option<Permit>)> {
        self.forget_expired(now);
        let held = self.lock().remove(token)?;
        let mut live = lock(&held.live);
        let detached = match std::mem::replace(&mut live.state, LiveState::Gone) {
            LiveState::Attached(mut stream) => {
                let detached = stream.detach();
                // Nothing of it waits any more, so that the time plays no part in its figures.
                live.state = LiveState::Taken(Box::new(stream.stats(0)));
                // A connection that is gone, or has its queue full, finds it out by itself.
                let _ = live.owner.events.send(Event::StreamTaken {
                    stream: live.owner.stream,
                });
                detached
            }
            LiveState::Detached(detached) => Some(*detached),
            LiveState::Taken(_) | LiveState::Gone => None,
        };
        Some((detached?, live.permit.take()))
    }

    /// Forgets streams whose time is over, which gives their share of the machine back.
    pub(super) fn forget_expired(&self, now: Instant) {
        self.lock()
            .retain(|_, stream| stream.expires.is_none_or(|at| at > now));
    }

    /// How long after its instant and the look-ahead the last frame of the stream that is furthest behind was
    /// ready, µs; negative: all are ahead of time. 0 while no stream is open.
    pub(super) fn worst_lag(&self) -> Micros {
        // The streams are locked one by one, and never with the list: they lock it when they close.
        let all: Vec<SharedLive> = self.lock().values().map(|held| held.live.clone()).collect();
        let lags = all.iter().filter_map(|live| match &lock(live).state {
            LiveState::Attached(stream) => Some(stream.lag()),
            _ => None,
        });
        lags.max().unwrap_or(0)
    }

    /// Streams that are known, with a connection or without.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no stream is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(held: &mut HashMap<String, Held>) -> bool {
    let detached = held.iter();
    let oldest = detached
        .filter_map(|(token, stream)| Some((stream.expires?, token.clone())))
        .min();
    oldest.is_some_and(|(_, token)| held.remove(&token).is_some())
}
