//! Batches: several frames asked for at once and answered together.
//!
//! A batch is one request in flight. Only a few of its frames are given to the engine at a time, so that
//! the largest batch neither fills the queue nor keeps its own connection's later requests waiting.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Done, Refused};
use crate::model::Package;
use crate::protocol::{BatchFrame, BatchReply, BatchRequest, ErrorReply, FrameReply, ModelName};
use crate::transport::Outbox;

use super::context::BATCH_FRAMES_AT_A_TIME;
use super::error::SessionError;
use super::frames::PendingFrame;
use super::link::{ClientLink, ReplyTo};

/// When a batch has nothing in the engine because the queue was full, it tries again after this.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// The batches of one connection.
#[derive(Default)]
pub(super) struct Batches {
    /// By the ticket of the request.
    open: BTreeMap<u64, Batch>,
    /// Frames in the engine, by their own tickets.
    computing: HashMap<u64, BatchPlace>,
    retry_at: Option<Instant>,
}

/// A frame's place in its batch.
#[derive(Clone, Copy)]
struct BatchPlace {
    batch: u64,
    index: usize,
}

struct Batch {
    reply_to: ReplyTo,
    package: Arc<Package>,
    model_name: ModelName,
    rate_hz: u32,
    waiting: VecDeque<(usize, BatchFrame)>,
    frames: Vec<FrameState>,
    /// Frames in the engine.
    computing: usize,
}

enum FrameState {
    Pending(PendingFrame),
    Done(Result<FrameReply, ErrorReply>),
}

impl Batches {
    /// How many are not answered yet.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// When [`Batches::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether `ticket` is of a frame of a batch.
    pub fn owns(&self, ticket: u64) -> bool {
        self.computing.contains_key(&ticket)
    }

    /// Takes a batch whose admission is settled, at the session's sample rate where it names none.
    pub fn on_request(
        &mut self,
        request: BatchRequest,
        reply_to: ReplyTo,
        ticket: u64,
        admitted: Result<u32, SessionError>,
        link: &mut ClientLink,
        out: &mut Outbox,
    ) {
        let now = reply_to.arrived;
        let found = admitted.and_then(|session_rate_hz| {
            let package = link.context().find(&request.model_name)?;
            Ok((package, session_rate_hz))
        });
        let (package, session_rate_hz) = match found {
            Ok(found) => found,
            Err(error) => {
                let error = ErrorReply {
                    frame_id: request.frames.first().map(|frame| frame.frame_id),
                    ..reply_to.error(error, now)
                };
                return link.send_error(error, reply_to.protocol, out);
            }
        };
        let model_name = request.model_name;
        for _ in &request.frames {
            link.count_request(reply_to.protocol);
        }
        let frames = request.frames.iter().map(|frame| {
            FrameState::Pending(PendingFrame {
                reply_to: reply_to.clone(),
                model_name: model_name.clone(),
                frame_id: frame.frame_id,
                own_audio: frame.audio.is_none(),
            })
        });
        let batch = Batch {
            frames: frames.collect(),
            package,
            model_name,
            rate_hz: request.sample_rate_hz.unwrap_or(session_rate_hz),
            waiting: request.frames.into_iter().enumerate().collect(),
            computing: 0,
            reply_to,
        };
        self.open.insert(ticket, batch);
        self.feed_all(link, now, out);
    }

    /// A frame of a batch is done.
    pub fn on_done(&mut self, done: Done, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        let Some(BatchPlace {
            batch: number,
            index,
        }) = self.computing.remove(&done.ticket)
        else {
            return;
        };
        let Some(batch) = self.open.get_mut(&number) else {
            return;
        };
        batch.computing -= 1;
        if let FrameState::Pending(frame) = &batch.frames[index] {
            let reply = frame.clone().reply(done.result, now);
            batch.frames[index] = FrameState::Done(reply);
            let waited = now.saturating_duration_since(batch.reply_to.arrived);
            link.context().stats.answered(waited);
        }
        self.feed(number, link, now);
        self.finish(number, link, now, out);
    }

    /// The time of another try has come.
    pub fn on_deadline(&mut self, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.feed_all(link, now, out);
        }
    }

    /// Gives the engine as many frames of every batch as may be there.
    fn feed_all(&mut self, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        self.retry_at = None;
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        for number in numbers {
            self.feed(number, link, now);
            self.finish(number, link, now, out);
        }
    }

    fn feed(&mut self, number: u64, link: &mut ClientLink, now: Instant) {
        let Some(batch) = self.open.get_mut(&number) else {
            return;
        };
        while batch.computing < BATCH_FRAMES_AT_A_TIME {
            let Some((index, frame)) = batch.waiting.pop_front() else {
                break;
            };
            let ticket = link.next_ticket();
            let audio = frame.audio.clone();
            match link.submit(ticket, &batch.package, frame.frame_id, audio, batch.rate_hz) {
                Ok(()) => {
                    let place = BatchPlace {
                        batch: number,
                        index,
                    };
                    self.computing.insert(ticket, place);
                    batch.computing += 1;
                }
                Err(Refused::Stopping) => {
                    if let FrameState::Pending(frame) = &batch.frames[index] {
                        let error = frame.error(Refused::Stopping.into(), now);
                        batch.frames[index] = FrameState::Done(Err(error));
                    }
                }
                Err(Refused::Busy { .. }) => {
                    // The queue is full for the moment. The batch was taken, so it waits.
                    batch.waiting.push_front((index, frame));
                    if batch.computing == 0 {
                        self.retry_at = Some(now + RETRY_AFTER);
                    }
                    break;
                }
            }
        }
    }

    /// Sends the batch's reply if nothing of it is left to be done.
    fn finish(&mut self, number: u64, link: &ClientLink, now: Instant, out: &mut Outbox) {
        let is_finished = |batch: &Batch| batch.computing == 0 && batch.waiting.is_empty();
        if !self.open.get(&number).is_some_and(is_finished) {
            return;
        }
        let Some(batch) = self.open.remove(&number) else {
            return;
        };
        let frames = batch.frames.into_iter().filter_map(|frame| match frame {
            FrameState::Done(result) => Some(result),
            FrameState::Pending(_) => None,
        });
        let reply = BatchReply {
            request_id: batch.reply_to.request_id.clone(),
            model_name: batch.model_name,
            frames: frames.collect(),
            processing_us: batch.reply_to.elapsed_us(now),
        };
        link.send_batch(reply, batch.reply_to.protocol, out);
    }
}
