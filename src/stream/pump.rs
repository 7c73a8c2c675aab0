//! What a stream does by itself: hears, decides, starts jobs, sends, drops.

use std::sync::Arc;

use super::clock::{Micros, frame_count, frame_us};
use super::hearing::{Heard, Hearing, StreamRow};
use super::machine::Stream;
use super::{FrameJob, Output, SharedPackage, StreamPicture};
use crate::base::padded::PaddedBytes;
use crate::protocol::stream::{
    CloseReason, DropReason, Dropped, FLAG_HELD, FLAG_IDLE, FLAG_LAST, StreamBody, StreamFrame,
};

/// Sound is heard in pieces of this part of a second, until the next frame is known.
const PIECES_PER_SECOND: u32 = 50;
/// A job that the engine had no room for is offered again after this.
const RETRY_US: Micros = 10_000;

/// A frame that was decided and not sent.
pub(super) struct Item<P, R> {
    pub(super) epoch: u32,
    pub(super) sequence: u32,
    pub(super) package: SharedPackage<P>,
    pub(super) frame_id: u32,
    pub(super) sample: u64,
    /// Its instant.
    pub(super) due: Micros,
    pub(super) max_delay: Micros,
    pub(super) look_ahead: Micros,
    pub(super) last: bool,
    pub(super) decided_at: Micros,
    pub(super) ready_at: Micros,
    pub(super) state: State<P, R>,
}

/// How far it is.
pub(super) enum State<P, R> {
    /// Without an image: the idle frame.
    Idle,
    /// The engine has it.
    Computing { job: FrameJob<P, R>, since: Micros },
    /// The engine had no room for it.
    Refused {
        job: FrameJob<P, R>,
        again_at: Micros,
    },
    /// The picture.
    Picture {
        picture: StreamPicture,
        compute_us: u32,
    },
    /// It could not be computed: the picture before is shown once more.
    Failed,
}

impl<P, R> Item<P, R> {
    /// The job that the engine has for it.
    pub(super) fn ticket(&self) -> Option<u64> {
        match &self.state {
            State::Computing { job, .. } => Some(job.ticket),
            _ => None,
        }
    }

    pub(super) fn refused(&mut self, now: Micros) {
        if let State::Computing { job, .. } = std::mem::replace(&mut self.state, State::Failed) {
            self.state = State::Refused {
                job,
                again_at: now + RETRY_US,
            };
        }
    }

    pub(super) fn deadline(&self) -> Micros {
        self.due + self.max_delay
    }

    fn is_ready(&self) -> bool {
        matches!(
            self.state,
            State::Idle | State::Picture { .. } | State::Failed
        )
    }
}

impl<P: Clone, R: Default> Stream<P, R> {
    /// When [`Self::on_deadline`] is to be called though nothing else happens.
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.closed {
            return None;
        }
        let mut next = self.last_heard_of + self.idle_timeout();
        if self.paused_at.is_none() {
            if let Some(head) = self.items.front().filter(|head| !head.last) {
                next = next.min(head.deadline() + 1);
            }
            for item in &self.items {
                if let State::Refused { again_at, .. } = item.state {
                    next = next.min(again_at);
                }
            }
            if let Some(utterance) = self.utterances.front() {
                let due = self.due(self.next_frame);
                // Full: the oldest makes room when the next is due. Else: the next is given up when it is too late.
                let at = if self.is_full() {
                    due
                } else {
                    due + self.max_delay(&utterance.package)
                };
                if at > self.last_pump {
                    next = next.min(at + 1);
                }
            }
        }
        Some(next)
    }

    /// Time has passed.
    pub fn on_deadline(&mut self, now: Micros) {
        if !self.closed && now - self.last_heard_of >= self.idle_timeout() {
            self.close(CloseReason::Timeout, now);
        }
        self.pump(now);
    }

    /// Does all that can be done now.
    pub(super) fn pump(&mut self, now: Micros) {
        self.last_pump = now;
        if !self.closed && self.paused_at.is_none() {
            loop {
                self.expire(now);
                self.offer_again(now);
                self.send();
                if !self.advance(now) {
                    break;
                }
            }
        }
        self.tell_drops();
    }

    fn idle_timeout(&self) -> Micros {
        Micros::from(self.config.idle_timeout_ms) * 1_000
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.config.limits.max_held_frames as usize
    }

    /// Drops what is too late, the oldest first. The last frame of an utterance always goes out: it tells the client
    /// that no other will.
    fn expire(&mut self, now: Micros) {
        while let Some(head) = self.items.front() {
            if head.last || now <= head.deadline() {
                break;
            }
            let in_time = head.is_ready() && head.ready_at <= head.deadline();
            let reason = if in_time && (self.credits == 0 || self.blocked) {
                DropReason::NoCredit
            } else {
                DropReason::Late
            };
            self.drop_oldest(reason, now);
        }
    }

    fn drop_oldest(&mut self, reason: DropReason, now: Micros) {
        let Some(item) = self.items.pop_front() else {
            return;
        };
        if let State::Computing { job, since } = &item.state {
            // It would have taken longer than this: that much is known of it.
            self.estimate.observe(now - since);
            self.window.late();
            self.in_flight -= 1;
            self.outputs
                .push_back(Output::Cancel { ticket: job.ticket });
        }
        self.frame_dropped(reason, item.epoch, item.sequence);
    }

    /// Counts a frame that was given up; neighbours are told together.
    fn frame_dropped(&mut self, reason: DropReason, epoch: u32, sequence: u32) {
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

    fn tell_drops(&mut self) {
        if let Some(dropped) = self.dropping.take() {
            self.update(StreamBody::Dropped(dropped));
        }
    }

    fn offer_again(&mut self, now: Micros) {
        for item in &mut self.items {
            if let State::Refused { job, again_at } = &item.state
                && *again_at <= now
            {
                let job = job.clone();
                self.in_flight += 1;
                self.outputs.push_back(Output::Compute(job.clone()));
                item.state = State::Computing { job, since: now };
            }
        }
    }

    /// Sends what is ready, in order, as far as there is credit.
    fn send(&mut self) {
        while self.credits > 0 && !self.blocked && self.items.front().is_some_and(Item::is_ready) {
            let Some(item) = self.items.pop_front() else {
                break;
            };
            self.tell_drops();
            self.credits -= 1;
            self.last_sent = Some((item.epoch, item.sequence));
            self.figures.frames_sent += 1;
            self.figures.lag = item.ready_at - item.due - item.look_ahead;
            let mut frame = StreamFrame {
                stream: self.terms.stream,
                flags: if item.last { FLAG_LAST } else { 0 },
                epoch: item.epoch,
                sequence: item.sequence,
                avatar_frame: Self::avatar_frame(&item.package, item.frame_id),
                sample: item.sample,
                sample_rate_hz: self.rate_hz,
                compute_us: 0,
                bounds: [0.0; 4],
                jpeg: PaddedBytes::default(),
            };
            match item.state {
                State::Picture {
                    picture,
                    compute_us,
                } => {
                    frame.avatar_frame = picture.avatar_frame;
                    frame.compute_us = compute_us;
                    frame.bounds = picture.bounds;
                    frame.jpeg = picture.jpeg.into();
                    self.image_shown = true;
                }
                State::Failed if self.image_shown => {
                    frame.flags |= FLAG_HELD;
                    self.figures.held_frames += 1;
                }
                _ => {
                    frame.flags |= FLAG_IDLE;
                    self.figures.idle_frames += 1;
                    self.image_shown = false;
                }
            }
            self.outputs.push_back(Output::Frame(frame));
        }
    }

    /// Takes one step towards the next frame; `false` when none can be taken now.
    fn advance(&mut self, now: Micros) -> bool {
        let Some(utterance) = self.utterances.front_mut() else {
            return false;
        };
        if self.next_frame == 0 && self.hearing.is_fresh() {
            utterance.anchor = utterance.anchor.max(self.busy_until);
            if let Some(start) = utterance.start.take() {
                self.walk = start;
            }
            if !Arc::ptr_eq(&utterance.package, &self.heard_package) {
                self.heard_package = utterance.package.clone();
                let detector = self.hearing.detector().clone();
                match Hearing::new(utterance.package.spec, self.rate_hz, self.config.silence) {
                    Ok(hearing) => self.hearing = hearing,
                    // The caller's package is not what it was validated to be; there is no face to show.
                    Err(_) => {
                        self.close(CloseReason::Internal, now);
                        return false;
                    }
                }
                self.hearing.set_detector(detector);
            }
        }
        match self.hearing.frame(self.next_frame) {
            Heard::Pending => self.hear_more(),
            Heard::Over => {
                self.end_utterance();
                true
            }
            Heard::Silence => {
                let idle = self.make_room(now);
                if idle {
                    self.decide(State::Idle, now);
                }
                idle
            }
            Heard::Speech(rows) => self.begin_frame(rows, now),
        }
    }

    /// Hears a piece of what waits, or the end.
    fn hear_more(&mut self) -> bool {
        let Some(utterance) = self.utterances.front_mut() else {
            return false;
        };
        if !utterance.waiting.is_empty() {
            let hearing = &mut self.hearing;
            utterance.hear((self.rate_hz / PIECES_PER_SECOND) as usize, |samples| {
                hearing.push(samples)
            });
            true
        } else if utterance.ended && self.hearing.frames().is_none() {
            self.hearing.finish();
            true
        } else {
            false
        }
    }

    fn end_utterance(&mut self) {
        if let Some(utterance) = self.utterances.pop_front() {
            let sounding = frame_count(utterance.received, self.rate_hz);
            self.busy_until = utterance.anchor + frame_us(sounding);
        }
        self.walk = self.walk.wrapping_add(self.next_frame as u32);
        self.next_frame = 0;
        self.hearing.restart();
    }

    /// Whether another frame may be held. Where not, and it is due, the oldest is given up for it.
    fn make_room(&mut self, now: Micros) -> bool {
        if !self.is_full() {
            return true;
        }
        let oldest_waits = self
            .items
            .front()
            .is_some_and(|head| head.is_ready() && !head.last);
        if oldest_waits && now >= self.due(self.next_frame) {
            self.drop_oldest(DropReason::NoCredit, now);
            return true;
        }
        false
    }

    /// Starts the job of the next frame, or gives the frame up where it could not be in time.
    fn begin_frame(&mut self, rows: Vec<StreamRow<R>>, now: Micros) -> bool {
        let Some(utterance) = self.utterances.front() else {
            return false;
        };
        let deadline = self.due(self.next_frame) + self.max_delay(&utterance.package);
        if now + self.estimate.expected() > deadline {
            if self.in_flight == 0 {
                self.estimate.doubt();
            }
            let (epoch, sequence) = (utterance.epoch, self.next_frame as u32);
            self.frame_dropped(DropReason::Late, epoch, sequence);
            self.next_frame += 1;
            self.hearing.forget_before(self.next_frame);
            return true;
        }
        if self.in_flight >= self.window.jobs() || !self.make_room(now) {
            return false;
        }
        let Some(utterance) = self.utterances.front() else {
            return false;
        };
        let job = FrameJob {
            ticket: self.next_ticket,
            package: utterance.package.handle.clone(),
            frame_id: self.walk.wrapping_add(self.next_frame as u32),
            rows,
            image: self.image,
            quality: self.terms.quality,
        };
        self.next_ticket += 1;
        self.in_flight += 1;
        self.outputs.push_back(Output::Compute(job.clone()));
        self.decide(State::Computing { job, since: now }, now);
        true
    }

    /// The next frame is to be this.
    fn decide(&mut self, state: State<P, R>, now: Micros) {
        let Some(utterance) = self.utterances.front() else {
            return;
        };
        let frame = self.next_frame;
        self.items.push_back(Item {
            epoch: utterance.epoch,
            sequence: frame as u32,
            package: utterance.package.clone(),
            frame_id: self.walk.wrapping_add(frame as u32),
            sample: self.sample(frame),
            due: self.due(frame),
            max_delay: self.max_delay(&utterance.package),
            look_ahead: self.look_ahead(&utterance.package),
            last: self.hearing.frames() == Some(frame + 1),
            decided_at: now,
            ready_at: now,
            state,
        });
        self.next_frame += 1;
        self.hearing.forget_before(self.next_frame);
    }
}
