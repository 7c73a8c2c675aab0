//! The streams of all connections by their tokens, so that a client whose connection broke finds its own again.
//!
//! A stream belongs to its connection, and nobody else touches it. The registry holds streams that have no connection,
//! and of the others how to reach their owner. It is asked when a stream is opened, changed, closed, left or taken up,
//! never for a frame.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::event_queue::EventSender;
use crate::engine::Permit;
use crate::model::Package;
use crate::protocol::stream::Open;
use crate::stream::{Detached, Micros, ResumeFacts, StreamError};

use super::event::{Event, StreamEvent};

/// How long a connection may take to hand a stream over to another. It needs a turn of its thread, which waits for
/// nothing else; longer means that the machine is overloaded beyond use.
pub(super) const HANDOVER_LIMIT: Duration = Duration::from_secs(2);

/// A stream without connection.
pub(super) struct KeptStream {
    pub detached: Detached<Arc<Package>>,
    /// Its share of the machine.
    pub permit: Permit,
}

/// A connection that has a stream, or is to get one.
#[derive(Clone)]
pub(super) struct Place {
    pub events: EventSender<Event>,
    /// The stream's number there.
    pub stream: u16,
}

/// Names one attempt to take a stream up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClaimId(u64);

/// What became of an attempt to take a stream up.
pub(super) enum Claim {
    /// Here it is.
    Kept(Box<KeptStream>),
    /// Its connection is asked for it: [`StreamEvent::HandedOver`] says when to [`StreamRegistry::collect`] it.
    Asked(ClaimId),
}

/// Why a stream is not taken up. It stays as and where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    /// No such stream.
    #[error("no stream is kept by this token; open one without a token")]
    Unknown,
    /// Another connection is about to take it.
    #[error("another connection is taking this stream up; open one without a token")]
    Claimed,
    /// It is asked for as something that it is not.
    #[error(transparent)]
    Other(#[from] StreamError),
}

/// All streams by token.
pub struct StreamRegistry {
    entries: Mutex<Entries>,
    keep: Duration,
    limit: usize,
}

#[derive(Default)]
struct Entries {
    by_token: HashMap<String, Entry>,
    claims: u64,
}

struct Entry {
    facts: ResumeFacts,
    holder: Holder,
    /// Who waits for it.
    taker: Option<(ClaimId, Place)>,
}

enum Holder {
    /// A connection.
    Connection {
        owner: Place,
        /// The stream's lag, as its connection last told it.
        lag_us: Arc<AtomicI64>,
        /// The owner was told to hand the stream over, and has not looked yet.
        asked: bool,
    },
    /// Nobody, for a while.
    Registry {
        stream: Box<KeptStream>,
        expires: Instant,
    },
}

impl Entry {
    /// When the stream is forgotten; `None` where it has a connection, or is about to have one.
    fn expires(&self) -> Option<Instant> {
        match self.holder {
            Holder::Registry { expires, .. } if self.taker.is_none() => Some(expires),
            _ => None,
        }
    }
}

impl StreamRegistry {
    /// Keeps streams without connection for `keep`, at most `limit` of them.
    pub(super) fn new(keep: Duration, limit: usize) -> StreamRegistry {
        StreamRegistry {
            entries: Mutex::default(),
            keep,
            limit,
        }
    }

    /// A stream was opened, or taken up, on a connection that tells its lag in `lag_us`.
    pub(super) fn attach(
        &self,
        token: String,
        facts: ResumeFacts,
        owner: Place,
        lag_us: Arc<AtomicI64>,
    ) {
        let entry = Entry {
            facts,
            holder: Holder::Connection {
                owner,
                lag_us,
                asked: false,
            },
            taker: None,
        };
        self.lock().by_token.insert(token, entry);
    }

    /// A stream has changed into this.
    pub(super) fn update(&self, token: &str, facts: ResumeFacts) {
        if let Some(entry) = self.lock().by_token.get_mut(token) {
            entry.facts = facts;
        }
    }

    /// A stream was closed. Who waited for it finds it gone.
    pub(super) fn remove(&self, token: &str) {
        if let Some((_, taker)) = self.lock().by_token.remove(token).and_then(|e| e.taker) {
            tell(&taker);
        }
    }

    /// A stream has lost its connection, which broke or hands it over: it goes to who waits for it, or is kept.
    pub(super) fn keep(&self, token: &str, stream: KeptStream, now: Instant) {
        let mut entries = self.lock();
        let Some(entry) = entries.by_token.get_mut(token) else {
            return;
        };
        let keeps = !self.keep.is_zero() && self.limit > 0;
        if entry.taker.is_none() && !keeps {
            entries.by_token.remove(token);
            return;
        }
        entry.holder = Holder::Registry {
            stream: Box::new(stream),
            expires: now + self.keep,
        };
        if let Some((_, taker)) = &entry.taker {
            tell(taker);
        }
        if entries.kept() > self.limit {
            entries.forget_oldest();
        }
    }

    /// Whether the stream of `token`, which its connection was asked for, is still wanted by another.
    pub(super) fn is_wanted(&self, token: &str) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.by_token.get_mut(token) else {
            return false;
        };
        if let Holder::Connection { asked, .. } = &mut entry.holder {
            *asked = false;
        }
        entry.taker.is_some()
    }

    /// Takes the stream of `token` up for `taker`, if `open` asks for what it is: at once where no connection has it, and
    /// else once its connection hands it over. An error changes nothing.
    ///
    /// # Errors
    /// [`ClaimError`]
    pub(super) fn claim(
        &self,
        token: &str,
        open: &Open,
        taker: Place,
        now: Instant,
    ) -> Result<Claim, ClaimError> {
        let mut entries = self.lock();
        entries.forget_expired(now);
        let Entries { by_token, claims } = &mut *entries;
        let entry = by_token.get_mut(token).ok_or(ClaimError::Unknown)?;
        entry.facts.check(open)?;
        let other = entry
            .taker
            .as_ref()
            .filter(|(_, other)| !other.events.is_gone());
        if other.is_some() {
            return Err(ClaimError::Claimed);
        }
        if let Holder::Connection { owner, asked, .. } = &mut entry.holder {
            // Asked once at a time, so that a connection that does not look has no more events than streams.
            if !std::mem::replace(asked, true) {
                let (stream, token) = (owner.stream, token.to_owned());
                let _ = owner
                    .events
                    .send(Event::Stream(StreamEvent::HandOver { stream, token }));
            }
            *claims += 1;
            let claim = ClaimId(*claims);
            entry.taker = Some((claim, taker));
            return Ok(Claim::Asked(claim));
        }
        match by_token.remove(token).map(|entry| entry.holder) {
            Some(Holder::Registry { stream, .. }) => Ok(Claim::Kept(stream)),
            _ => Err(ClaimError::Unknown),
        }
    }

    /// The stream that was claimed, if it has been handed over by now. Else the claim is over.
    pub(super) fn collect(&self, token: &str, claim: ClaimId) -> Option<Box<KeptStream>> {
        let mut entries = self.lock();
        let entry = entries.by_token.get_mut(token)?;
        entry.taker.take_if(|(id, _)| *id == claim)?;
        if matches!(entry.holder, Holder::Connection { .. }) {
            return None;
        }
        match entries.by_token.remove(token)?.holder {
            Holder::Registry { stream, .. } => Some(stream),
            Holder::Connection { .. } => None,
        }
    }

    /// Who claimed the stream does not want it any more.
    pub(super) fn withdraw(&self, token: &str, claim: ClaimId) {
        if let Some(entry) = self.lock().by_token.get_mut(token) {
            entry.taker.take_if(|(id, _)| *id == claim);
        }
    }

    /// Forgets the stream that has been without connection for longest, which gives its share of the
    /// machine to one whose client is there. `false` when there is none.
    pub(super) fn forget_oldest(&self) -> bool {
        self.lock().forget_oldest()
    }

    /// Forgets streams whose time is over, which gives their share of the machine back.
    pub(super) fn forget_expired(&self, now: Instant) {
        self.lock().forget_expired(now);
    }

    /// How long after its instant and the look-ahead the last frame of the stream that is furthest behind was
    /// ready, µs; negative: all are ahead of time. 0 while no stream is open.
    pub(super) fn worst_lag(&self) -> Micros {
        let entries = self.lock();
        let lags = entries
            .by_token
            .values()
            .filter_map(|entry| match &entry.holder {
                Holder::Connection { lag_us, .. } => Some(lag_us.load(Ordering::Relaxed)),
                Holder::Registry { .. } => None,
            });
        lags.max().unwrap_or(0)
    }

    /// Streams that are known, with a connection or without.
    pub fn len(&self) -> usize {
        self.lock().by_token.len()
    }

    /// Whether no stream is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn kept(&self) -> usize {
        self.by_token.values().filter_map(Entry::expires).count()
    }

    fn forget_oldest(&mut self) -> bool {
        let entries = self.by_token.iter();
        let oldest = entries
            .filter_map(|(token, entry)| Some((entry.expires()?, token.clone())))
            .min();
        oldest.is_some_and(|(_, token)| self.by_token.remove(&token).is_some())
    }

    fn forget_expired(&mut self, now: Instant) {
        self.by_token
            .retain(|_, entry| entry.expires().is_none_or(|at| at > now));
    }
}

/// Tells a connection that the stream it waits for is there, or gone. One that is gone itself needs no telling.
fn tell(taker: &Place) {
    let stream = taker.stream;
    let _ = taker
        .events
        .send(Event::Stream(StreamEvent::HandedOver { stream }));
}

/// A token that nobody can guess: 128 bits of the system's random numbers.
///
/// # Errors
/// The system has none.
pub(super) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
