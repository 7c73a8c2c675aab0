//! What a stream wants done, in order, counted as it goes out.

use std::collections::VecDeque;

use super::clock::Micros;
use super::figures::Figures;
use super::{Output, StreamError};
use crate::protocol::stream::{DropReason, Dropped, StreamBody, StreamFrame, StreamUpdate};

/// The outputs of a stream and its figures.
pub(super) struct OutputQueue<P, R> {
    stream: u16,
    queue: VecDeque<Output<P, R>>,
    /// Frames that were given up one after another, told together.
    dropping: Option<Dropped>,
    pub figures: Figures,
}

impl<P, R> OutputQueue<P, R> {
    /// For the client's stream `stream`, whose figures go on.
    pub(super) fn new(stream: u16, figures: Figures) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            dropping: None,
            figures,
        }
    }

    pub(super) fn pop(&mut self) -> Option<Output<P, R>> {
        self.queue.pop_front()
    }

    pub(super) fn push(&mut self, output: Output<P, R>) {
        self.queue.push_back(output);
    }

    pub(super) fn update(&mut self, body: StreamBody) {
        let stream = self.stream;
        self.push(Output::Update(StreamUpdate { body, stream }));
    }

    pub(super) fn error(&mut self, error: StreamError) {
        self.push(Output::Error(error));
    }

    /// Sends a frame that was ready `lag` after its instant and the look-ahead.
    pub(super) fn frame(&mut self, mut frame: StreamFrame, lag: Micros) {
        frame.stream = self.stream;
        self.tell_drops();
        self.figures.sent(frame.flags, lag);
        self.push(Output::Frame(frame));
    }

    /// A frame was given up.
    pub(super) fn drop_frame(&mut self, reason: DropReason, epoch: u32, sequence: u32) {
        self.figures.dropped(reason, 1);
        let sequence = u64::from(sequence);
        if let Some(dropped) = &mut self.dropping
            && (dropped.epoch, dropped.reason, dropped.last + 1) == (epoch, reason, sequence)
        {
            dropped.count += 1;
            dropped.last = sequence;
            return;
        }
        self.tell_drops();
        self.dropping = Some(Dropped {
            epoch,
            reason,
            count: 1,
            first: sequence,
            last: sequence,
        });
    }

    /// `count` samples of `epoch` from position `first` on were not taken.
    pub(super) fn drop_audio(&mut self, reason: DropReason, epoch: u32, first: u64, count: u64) {
        if count > 0 {
            self.figures.dropped(reason, count);
            self.update(StreamBody::Dropped(Dropped {
                epoch,
                reason,
                count,
                first,
                last: first.saturating_add(count - 1),
            }));
        }
    }

    /// Tells of the frames that were given up.
    pub(super) fn tell_drops(&mut self) {
        if let Some(dropped) = self.dropping.take() {
            self.update(StreamBody::Dropped(dropped));
        }
    }

    /// Nobody hears the stream any more, but the engine.
    pub(super) fn keep_cancellations(&mut self) {
        self.queue
            .retain(|output| matches!(output, Output::Cancel { .. }));
    }
}
