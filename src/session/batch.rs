//! Batches: several frames asked for at once and answered together.
//!
//! A batch is one request in flight. Only a few of its frames are given to the engine at a time, so that
//! the largest batch neither fills the queue nor keeps its own connection's later requests waiting.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{JobError, Picture};
use crate::model::Package;
use crate::protocol::{BatchFrame, BatchReply, BatchRequest, ErrorReply, FrameReply, Reply};
use crate::transport::Outbox;

use super::v1::{Conversation, Origin, Wanted, asked, refusal_code};

/// Frames of one batch that the engine has at a time: enough to keep the workers of a small box busy.
pub(crate) const FRAMES_AT_A_TIME: usize = 4;
/// When a batch has nothing in the engine because the queue was full, it tries again after this.
const RETRY_AFTER: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(super) struct Batches {
    open: BTreeMap<u64, Batch>,
    retry_at: Option<Instant>,
}

struct Batch {
    origin: Origin,
    package: Arc<Package>,
    model_name: Arc<str>,
    rate_hz: u32,
    waiting: VecDeque<(usize, BatchFrame)>,
    frames: Vec<Frame>,
    computing: usize,
}

enum Frame {
    Wanted(Wanted),
    Done(Result<FrameReply, ErrorReply>),
}

impl Batches {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Conversation {
    pub(super) fn batch(
        &mut self,
        request: BatchRequest,
        origin: Origin,
        number: u64,
        now: Instant,
        out: &mut Outbox,
    ) {
        let admitted = self
            .admit()
            .and_then(|()| self.context.find(&request.model_name));
        let package = match admitted {
            Ok(package) => package,
            Err(mut error) => {
                error.frame_id = request.frames.first().map(|frame| frame.frame_id);
                error.request_id = Some(origin.request_id.clone());
                error.processing_us = origin.micros(now);
                return self.error(error, origin.protocol, out);
            }
        };
        let model_name: Arc<str> = Arc::from(request.model_name);
        for _ in &request.frames {
            self.context.stats.asked(asked(origin.protocol));
        }
        let frames = request.frames.iter().map(|frame| {
            Frame::Wanted(Wanted {
                origin: origin.clone(),
                model_name: model_name.clone(),
                frame_id: frame.frame_id,
                own_audio: frame.audio.is_none(),
            })
        });
        let batch = Batch {
            frames: frames.collect(),
            package,
            model_name,
            rate_hz: request.sample_rate_hz.unwrap_or(self.sample_rate_hz),
            waiting: request.frames.into_iter().enumerate().collect(),
            computing: 0,
            origin,
        };
        self.batches.open.insert(number, batch);
        self.feed_batches(now, out);
    }

    /// Gives the engine as many frames of every batch as may be there.
    pub(super) fn feed_batches(&mut self, now: Instant, out: &mut Outbox) {
        self.batches.retry_at = None;
        let numbers: Vec<u64> = self.batches.open.keys().copied().collect();
        for number in numbers {
            self.feed(number, now);
            self.finish_batch(number, now, out);
        }
    }

    fn feed(&mut self, number: u64, now: Instant) {
        let Some(mut batch) = self.batches.open.remove(&number) else {
            return;
        };
        while batch.computing < FRAMES_AT_A_TIME {
            let Some((index, frame)) = batch.waiting.pop_front() else {
                break;
            };
            let ticket = self.ticket();
            let audio = frame.audio.clone();
            match self.submit(ticket, &batch.package, frame.frame_id, audio, batch.rate_hz) {
                Ok(()) => {
                    self.await_batch_frame(number, index, ticket);
                    batch.computing += 1;
                }
                Err(refused) if refused == crate::engine::Refused::Stopping => {
                    if let Frame::Wanted(wanted) = &batch.frames[index] {
                        let error = wanted.error(refusal_code(&refused), refused.to_string(), now);
                        batch.frames[index] = Frame::Done(Err(error));
                    }
                }
                Err(_) => {
                    // The queue is full for the moment. The batch was taken, so it waits.
                    batch.waiting.push_front((index, frame));
                    if batch.computing == 0 {
                        self.batches.retry_at = Some(now + RETRY_AFTER);
                    }
                    break;
                }
            }
        }
        self.batches.open.insert(number, batch);
    }

    pub(super) fn batch_done(
        &mut self,
        number: u64,
        index: usize,
        result: Result<Picture, JobError>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some(batch) = self.batches.open.get_mut(&number) else {
            return;
        };
        batch.computing -= 1;
        if let Frame::Wanted(wanted) = &batch.frames[index] {
            let reply = wanted.clone().reply(result, now);
            batch.frames[index] = Frame::Done(reply);
            self.context
                .stats
                .answered(now.saturating_duration_since(batch.origin.at));
        }
        self.feed(number, now);
        self.finish_batch(number, now, out);
    }

    /// Sends the batch's reply if nothing of it is left to be done.
    fn finish_batch(&mut self, number: u64, now: Instant, out: &mut Outbox) {
        let finished = |batch: &Batch| batch.computing == 0 && batch.waiting.is_empty();
        if !self.batches.open.get(&number).is_some_and(finished) {
            return;
        }
        let Some(batch) = self.batches.open.remove(&number) else {
            return;
        };
        let frames = batch.frames.into_iter().filter_map(|frame| match frame {
            Frame::Done(result) => Some(result),
            Frame::Wanted(_) => None,
        });
        let reply = BatchReply {
            request_id: batch.origin.request_id.clone(),
            model_name: batch.model_name,
            frames: frames.collect(),
            processing_us: batch.origin.micros(now),
        };
        self.send(&Reply::Batch(reply), batch.origin.protocol, out);
    }
}
