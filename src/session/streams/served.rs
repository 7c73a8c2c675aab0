//! One stream of a connection, with all that belongs to it: its share of the machine, and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use crate::engine::{Permit, Row};
use crate::model::Package;
use crate::observe::Stats;
use crate::protocol::Protocol;
use crate::protocol::stream::{
    CloseReason, Closed, DropReason, FLAG_HELD, FLAG_IDLE, StreamBody, StreamFrame, StreamUpdate,
};
use crate::stream::{Micros, Output, Stream};
use crate::transport::Outbox;

use super::super::link::ClientLink;
use super::super::registry::{KeptStream, Place};
use super::error::StreamRequestError;
use super::jobs::JobTable;

/// The state machine of a stream, as the server instantiates it.
pub(super) type PackageStream = Stream<Arc<Package>, Row>;

/// A stream of a connection.
pub(super) struct ServedStream {
    stream: PackageStream,
    permit: Permit,
    lag_us: Arc<AtomicI64>,
    open: OpenCount,
}

/// Counts a stream as open for as long as this lives.
struct OpenCount(Arc<Stats>);

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServedStream {
    /// Serves a stream, which can be taken away from `link` by its token from now on.
    pub(super) fn new(id: u16, stream: PackageStream, permit: Permit, link: &ClientLink) -> Self {
        let stats = link.context().stats.clone();
        stats.streams.open.fetch_add(1, Ordering::Relaxed);
        let lag_us = Arc::<AtomicI64>::default();
        let owner = Place {
            events: link.events().clone(),
            stream: id,
        };
        let token = stream.token().to_owned();
        let registry = &link.context().streams;
        registry.attach(token, stream.facts(), owner, lag_us.clone());
        Self {
            stream,
            permit,
            lag_us,
            open: OpenCount(stats),
        }
    }

    pub(super) fn stream(&self) -> &PackageStream {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut PackageStream {
        &mut self.stream
    }

    pub(super) fn permit_mut(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Sends and computes what the stream wants. Returns whether it is over.
    pub(super) fn flush(
        &mut self,
        id: u16,
        at: Micros,
        jobs: &mut JobTable,
        link: &mut ClientLink,
        out: &mut Outbox,
    ) -> bool {
        let mut is_over = false;
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Frame(frame) => {
                    self.count_frame(&frame);
                    link.send_stream_frame(frame, out);
                }
                Output::Update(update) => {
                    self.count_drops(&update.body);
                    link.send_update(update, out);
                }
                Output::Error(error) => {
                    let error = StreamRequestError::from(error).reply(id);
                    link.send_error(error, Protocol::Json, out);
                }
                Output::Compute(job) => {
                    let ticket = job.ticket;
                    if !jobs.submit(id, job, link) {
                        self.stream.on_refused(ticket, at);
                    }
                }
                Output::Cancel { ticket } => jobs.cancel(id, ticket),
                Output::Closed => is_over = true,
            }
        }
        is_over
    }

    /// The stream leaves its connection: it is kept for its client, or for who waits for it. Returns what the client of
    /// this connection is told, where it is still there.
    pub(super) fn leave(
        mut self,
        id: u16,
        at: Micros,
        link: &ClientLink,
        now: Instant,
    ) -> StreamUpdate {
        let token = self.stream.token().to_owned();
        if let Some(detached) = self.stream.detach() {
            let permit = self.permit;
            let kept = KeptStream { detached, permit };
            link.context().streams.keep(&token, kept, now);
        }
        let body = StreamBody::Closed(Closed {
            reason: CloseReason::TakenOver,
            stats: self.stream.stats(at),
        });
        StreamUpdate { body, stream: id }
    }

    fn count_frame(&self, frame: &StreamFrame) {
        let figures = &self.open.0.streams;
        let has = |flag| u64::from(frame.flags & flag != 0);
        count(&figures.frames_sent, 1);
        count(&figures.idle_frames, has(FLAG_IDLE));
        count(&figures.held_frames, has(FLAG_HELD));
        self.lag_us.store(self.stream.lag(), Ordering::Relaxed);
    }

    fn count_drops(&self, body: &StreamBody) {
        let figures = &self.open.0.streams;
        match body {
            StreamBody::Dropped(dropped) => {
                let counter = match dropped.reason {
                    DropReason::Late => &figures.dropped_late,
                    DropReason::NoCredit => &figures.dropped_no_credit,
                    _ => return,
                };
                count(counter, dropped.count);
            }
            StreamBody::Interrupted(interrupted) => {
                count(&figures.dropped_interrupted, interrupted.dropped.into());
            }
            _ => {}
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
