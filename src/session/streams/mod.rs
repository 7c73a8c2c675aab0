//! The streams of one connection (`lipsync.v2`): each a state machine of [`crate::stream`], fed with messages, results
//! and the time; what it wants is sent and computed here.
//!
//! A stream belongs to its connection alone, so no lock is taken for a frame. One that another connection takes up by
//! its token is handed over through the [registry](super::registry), by the thread that has it.

mod error;
mod jobs;
mod open;
mod served;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::Done;
use crate::protocol::stream::{
    AudioChunk, CloseReason, Open, StreamBody, StreamBusy, StreamControl, StreamRequest,
    StreamUpdate,
};
use crate::protocol::{ErrorCode, Protocol};
use crate::stream::{Micros, StreamParams, StreamPicture, check_open};
use crate::transport::Outbox;

use super::error::SessionError;
use super::event::StreamEvent;
use super::link::ClientLink;
use super::registry::{Claim, ClaimId, HANDOVER_LIMIT, Place};

use error::StreamRequestError;
use jobs::JobTable;
use served::{PackageStream, ServedStream};

/// The streams of a connection, and their work in the engine.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<u16, ServedStream>,
    /// Streams that another connection is still to hand over.
    takeovers: BTreeMap<u16, Takeover>,
    jobs: JobTable,
    clock: StreamClock,
    /// Some stream waits for the connection to take more.
    blocked: bool,
}

/// A stream that was asked for by its token and is on another connection.
struct Takeover {
    open: Open,
    params: StreamParams,
    token: Box<str>,
    claim: ClaimId,
    deadline: Instant,
}

/// From instants to the streams' µs.
#[derive(Default)]
struct StreamClock {
    origin: Option<Instant>,
}

impl StreamClock {
    fn micros(&mut self, now: Instant) -> Micros {
        let origin = *self.origin.get_or_insert(now);
        now.saturating_duration_since(origin).as_micros() as Micros
    }

    fn instant(&self, at: Micros) -> Option<Instant> {
        Some(self.origin? + Duration::from_micros(at.max(0) as u64))
    }
}

impl Streams {
    /// A message about a stream has come.
    pub(super) fn on_request(
        &mut self,
        request: StreamRequest,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let id = request.stream;
        let done = match request.body {
            StreamControl::Open(open) => self.open_stream(id, open, link, now, out),
            StreamControl::Change { model_name } => {
                self.change_stream(id, &model_name, link, now, out)
            }
            control => self.with_stream(id, link, now, out, |stream, at| {
                stream.on_control(&control, at);
            }),
        };
        tell(id, done, link, out);
    }

    /// Audio of a stream has come.
    pub(super) fn on_audio(
        &mut self,
        chunk: &AudioChunk,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let id = chunk.stream;
        let done = self.with_stream(id, link, now, out, |stream, at| stream.on_audio(chunk, at));
        tell(id, done, link, out);
    }

    /// Whether `ticket` is of a stream.
    pub(super) fn owns(&self, ticket: u64) -> bool {
        self.jobs.owns(ticket)
    }

    /// A frame of a stream is done.
    pub(super) fn on_done(
        &mut self,
        done: Done,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some((id, ticket)) = self.jobs.done(done.ticket) else {
            return;
        };
        let result = done
            .result
            .map_err(|error| error.to_string())
            .map(|picture| StreamPicture {
                jpeg: picture.jpeg,
                bounds: picture.bounds,
                avatar_frame: picture.avatar_frame,
            });
        let compute_us = done.compute.as_micros().min(u128::from(u32::MAX)) as u32;
        // Its stream may be closed meanwhile.
        let _ = self.with_stream(id, link, now, out, |stream, at| {
            stream.on_done(ticket, result, compute_us, at);
        });
    }

    /// A takeover goes on.
    pub(super) fn on_event(
        &mut self,
        event: StreamEvent,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        match event {
            StreamEvent::HandOver { stream, token } => {
                self.hand_over(stream, &token, link, now, out);
            }
            StreamEvent::HandedOver { stream } => self.take_over(stream, link, now, out),
        }
    }

    /// When a stream wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let streams = self.open.values();
        let next = streams.filter_map(|served| served.stream().next_deadline());
        let next = next.min().and_then(|at| self.clock.instant(at));
        let takeovers = self.takeovers.values().map(|takeover| takeover.deadline);
        next.into_iter().chain(takeovers).min()
    }

    /// The deadline of some stream has come.
    pub(super) fn on_deadline(&mut self, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        let at = self.clock.micros(now);
        let is_due = |due: Option<Micros>| due.is_some_and(|due| due <= at);
        let due: Vec<u16> = self
            .open
            .iter()
            .filter(|(_, served)| is_due(served.stream().next_deadline()))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let _ = self.with_stream(id, link, now, out, |stream, at| stream.on_deadline(at));
        }
        let overdue = self.takeovers.iter().filter(|(_, t)| t.deadline <= now);
        let overdue: Vec<u16> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            self.take_over(id, link, now, out);
        }
    }

    /// The connection takes more again.
    pub(super) fn on_writable(&mut self, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        if std::mem::take(&mut self.blocked) {
            for id in self.ids() {
                let _ = self.with_stream(id, link, now, out, |stream, at| {
                    stream.set_blocked(false, at);
                });
            }
        }
    }

    /// Ends all streams.
    pub(super) fn close_all(
        &mut self,
        reason: CloseReason,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        for id in self.ids() {
            let _ = self.with_stream(id, link, now, out, |stream, at| stream.close(reason, at));
        }
        for (id, takeover) in std::mem::take(&mut self.takeovers) {
            let registry = &link.context().streams;
            registry.withdraw(&takeover.token, takeover.claim);
            tell(id, Err(SessionError::ShuttingDown.into()), link, out);
        }
    }

    /// A package is no longer served: the streams that show it, or are to show it next, are closed.
    pub(super) fn close_package(
        &mut self,
        name: &str,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        for id in self.ids() {
            let _ = self.with_stream(id, link, now, out, |stream, at| {
                if stream.facts().model_name == name {
                    stream.close(CloseReason::ModelUnloaded, at);
                }
            });
        }
    }

    /// The connection has broken: its streams are kept for their clients, their work is given up.
    pub(super) fn detach_all(&mut self, link: &mut ClientLink, now: Instant) {
        let at = self.clock.micros(now);
        for (id, served) in std::mem::take(&mut self.open) {
            self.jobs.cancel_all(id);
            served.leave(id, at, link, now);
        }
        for takeover in std::mem::take(&mut self.takeovers).into_values() {
            let registry = &link.context().streams;
            registry.withdraw(&takeover.token, takeover.claim);
        }
    }

    fn open_stream(
        &mut self,
        id: u16,
        open: Open,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), StreamRequestError> {
        if link.is_draining() {
            return Err(SessionError::ShuttingDown.into());
        }
        if self.open.contains_key(&id) || self.takeovers.contains_key(&id) {
            return Err(StreamRequestError::Exists { stream: id });
        }
        let limit = link.context().limits.max_streams as usize;
        if self.open.len() + self.takeovers.len() >= limit {
            return Err(StreamRequestError::TooMany { limit });
        }
        // All that can be refused is, before anything of a stream that is to be taken up changes.
        check_open(&open)?;
        let package = link.context().find(&open.model_name)?;
        let params = open::params(id, &open, &package, link.context())?;
        let at = self.clock.micros(now);
        let served = match &open.token {
            None => open::open_new(&open, &package, params, link, at, now)?,
            Some(token) => {
                let taker = Place {
                    events: link.events().clone(),
                    stream: id,
                };
                match link.context().streams.claim(token, &open, taker, now)? {
                    Claim::Kept(kept) => open::resume(&open, params, *kept, link, at)?,
                    Claim::Asked(claim) => {
                        let takeover = Takeover {
                            token: token.clone(),
                            open,
                            params,
                            claim,
                            deadline: now + HANDOVER_LIMIT,
                        };
                        self.takeovers.insert(id, takeover);
                        return Ok(());
                    }
                }
            }
        };
        self.serve(id, served, link, now, out)
    }

    /// A stream has begun here.
    fn serve(
        &mut self,
        id: u16,
        served: ServedStream,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), StreamRequestError> {
        self.open.insert(id, served);
        self.with_stream(id, link, now, out, |_, _| {})
    }

    fn change_stream(
        &mut self,
        id: u16,
        model_name: &str,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), StreamRequestError> {
        let at = self.clock.micros(now);
        let Some(served) = self.open.get_mut(&id) else {
            return Err(self.missing(id));
        };
        open::change(served, model_name, link, at)?;
        self.with_stream(id, link, now, out, |_, _| {})
    }

    /// Another connection wants a stream of this one. Where that is so still, the stream leaves, and the client here is
    /// told.
    fn hand_over(
        &mut self,
        id: u16,
        token: &str,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let is_wanted = link.context().streams.is_wanted(token);
        let is_here = |served: &ServedStream| served.stream().token() == token;
        if !is_wanted || !self.open.get(&id).is_some_and(is_here) {
            return;
        }
        if let Some(served) = self.open.remove(&id) {
            self.jobs.cancel_all(id);
            let at = self.clock.micros(now);
            link.send_update(served.leave(id, at, link, now), out);
        }
    }

    /// The stream that this connection waits for was handed over, or will not be.
    fn take_over(&mut self, id: u16, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        let Some(takeover) = self.takeovers.remove(&id) else {
            return;
        };
        let registry = &link.context().streams;
        let done = match registry.collect(&takeover.token, takeover.claim) {
            Some(kept) => {
                let at = self.clock.micros(now);
                let Takeover { open, params, .. } = takeover;
                open::resume(&open, params, *kept, link, at)
                    .and_then(|served| self.serve(id, served, link, now, out))
            }
            None => {
                let limit_ms = HANDOVER_LIMIT.as_millis();
                Err(StreamRequestError::NotHandedOver { limit_ms })
            }
        };
        tell(id, done, link, out);
    }

    /// Calls a stream, then does what it wants.
    fn with_stream(
        &mut self,
        id: u16,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
        call: impl FnOnce(&mut PackageStream, Micros),
    ) -> Result<(), StreamRequestError> {
        let at = self.clock.micros(now);
        let Some(served) = self.open.get_mut(&id) else {
            return Err(self.missing(id));
        };
        call(served.stream_mut(), at);
        if served.flush(id, at, &mut self.jobs, link, out) {
            link.context().streams.remove(served.stream().token());
            self.open.remove(&id);
        } else if out.is_over() {
            served.stream_mut().set_blocked(true, at);
            self.blocked = true;
        }
        Ok(())
    }

    fn missing(&self, stream: u16) -> StreamRequestError {
        if self.takeovers.contains_key(&stream) {
            StreamRequestError::BeingTakenOver { stream }
        } else {
            StreamRequestError::NotOpen { stream }
        }
    }

    fn ids(&self) -> Vec<u16> {
        self.open.keys().copied().collect()
    }
}

/// Tells the client why something was not done.
fn tell(id: u16, done: Result<(), StreamRequestError>, link: &mut ClientLink, out: &mut Outbox) {
    match done {
        Ok(()) => {}
        Err(StreamRequestError::NoRoom(full)) => {
            link.context().stats.busy();
            let body = StreamBody::Busy(StreamBusy {
                success: false,
                code: ErrorCode::Busy.as_str(),
                error: StreamRequestError::NoRoom(full).to_string(),
                capacity: full.capacity,
                active: full.active,
            });
            link.send_update(StreamUpdate { body, stream: id }, out);
        }
        Err(error) => link.send_error(error.reply(id), Protocol::Json, out),
    }
}
