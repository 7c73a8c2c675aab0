//! Frames in their order: which are computed and when, which are sent, and which are given up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::padded::PaddedBytes;

use super::clock::{MediaTime, Micros, Now};
use super::concurrency::{ConcurrencyLimit, LatencyEstimator};
use super::epochs::FramePlace;
use super::outputs::OutputQueue;
use super::settings::Settings;
use super::{FrameJob, Output, StreamError, StreamPicture};
use crate::audio::{FeatureFrame, FeatureSlot};
use crate::base::ping_pong::ping_pong;
use crate::protocol::stream::{DropReason, FLAG_HELD, FLAG_IDLE, FLAG_LAST, StreamFrame};

/// A job that the engine had no room for is offered again after this.
const RETRY_US: Micros = 10_000;

/// A frame that is to be sent.
struct ScheduledFrame<P, R> {
    place: FramePlace<P>,
    /// The last of its utterance.
    last: bool,
    scheduled_at: MediaTime,
    ready_at: MediaTime,
    state: FrameState<P, R>,
}

/// How far it is.
enum FrameState<P, R> {
    /// Without an image: the idle frame.
    Idle,
    /// The engine has it, since an instant on the caller's clock.
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

impl<P, R> ScheduledFrame<P, R> {
    /// The job that the engine has for it.
    fn ticket(&self) -> Option<u64> {
        match &self.state {
            FrameState::Computing { job, .. } => Some(job.ticket),
            _ => None,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(
            self.state,
            FrameState::Idle | FrameState::Picture { .. } | FrameState::Failed
        )
    }

    /// The message. Where its image failed the one before is held, if the client has one.
    fn into_message(self, rate_hz: u32, has_image: bool) -> StreamFrame {
        let place = &self.place;
        let mut frame = StreamFrame {
            stream: 0,
            flags: if self.last { FLAG_LAST } else { 0 },
            epoch: place.epoch,
            sequence: place.sequence,
            avatar_frame: ping_pong(place.frame_id, place.shown.package.frame_count),
            sample: place.sample,
            sample_rate_hz: rate_hz,
            compute_us: 0,
            bounds: [0.0; 4],
            jpeg: PaddedBytes::default(),
        };
        match self.state {
            FrameState::Picture {
                picture,
                compute_us,
            } => {
                frame.avatar_frame = picture.avatar_frame;
                frame.compute_us = compute_us;
                frame.bounds = picture.bounds;
                frame.jpeg = picture.jpeg;
            }
            FrameState::Failed if has_image => frame.flags |= FLAG_HELD,
            _ => frame.flags |= FLAG_IDLE,
        }
        frame
    }
}

/// The frames of a stream that are scheduled and not sent, with all that decides about them: credits, deadlines, and how
/// many jobs the engine may have.
pub(super) struct Scheduler<P, R> {
    settings: Arc<Settings>,
    credits: u32,
    /// The connection takes no more for now.
    blocked: bool,
    frames: VecDeque<ScheduledFrame<P, R>>,
    in_flight: usize,
    next_ticket: u64,
    last_sent: Option<(u32, u32)>,
    /// Whether the client has an image to hold.
    has_image: bool,
    /// The epoch whose failure the client has been told.
    failed_epoch: Option<u32>,
    latency: LatencyEstimator,
    limit: ConcurrencyLimit,
}

impl<P: Clone, R> Scheduler<P, R> {
    /// A scheduler that may send `credits` frames and whose jobs are expected to take what `latency` says.
    pub(super) fn new(settings: Arc<Settings>, credits: u32, latency: LatencyEstimator) -> Self {
        let limit = ConcurrencyLimit::new(settings.params.config.max_jobs);
        let mut scheduler = Self {
            settings,
            credits: 0,
            blocked: false,
            frames: VecDeque::new(),
            in_flight: 0,
            next_ticket: 0,
            last_sent: None,
            has_image: false,
            failed_epoch: None,
            latency,
            limit,
        };
        scheduler.add_credits(credits);
        scheduler
    }

    pub(super) fn latency(&self) -> &LatencyEstimator {
        &self.latency
    }

    /// Frames that may be sent.
    pub(super) fn credits(&self) -> u32 {
        self.credits
    }

    /// Frames that are scheduled and not sent.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Frames of these that the engine has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Epoch and place on the idle walk of the oldest frame that is not sent.
    pub(super) fn oldest(&self) -> Option<(u32, u32)> {
        let oldest = self.frames.front()?;
        Some((oldest.place.epoch, oldest.place.frame_id))
    }

    /// Epoch and sequence of the newest frame that was sent.
    pub(super) fn last_sent(&self) -> Option<(u32, u32)> {
        self.last_sent
    }

    /// How long the oldest frame waits, where it is due.
    pub(super) fn oldest_waits(&self, now: MediaTime) -> Micros {
        self.frames.front().map_or(0, |oldest| {
            (now - oldest.place.due.max(oldest.scheduled_at)).max(0)
        })
    }

    /// When the oldest frame is to be given up.
    pub(super) fn next_expiry(&self) -> Option<MediaTime> {
        let oldest = self.frames.front().filter(|oldest| !oldest.last)?;
        Some(oldest.place.deadline() + 1)
    }

    /// When a job is to be offered again, on the caller's clock.
    pub(super) fn next_retry(&self) -> Option<Micros> {
        let refused = self.frames.iter().filter_map(|frame| match frame.state {
            FrameState::Refused { again_at, .. } => Some(again_at),
            _ => None,
        });
        refused.min()
    }

    /// Whether no further frame may be scheduled.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= self.settings.params.config.limits.max_held_frames as usize
    }

    /// More frames may be sent.
    pub(super) fn add_credits(&mut self, frames: u32) {
        let most = self.settings.params.config.limits.max_credits;
        self.credits = self.credits.saturating_add(frames).min(most);
    }

    /// The connection takes no further frames for now, or takes them again.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// A job has finished: its picture, or why there is none, and what the work itself took.
    pub(super) fn on_done(
        &mut self,
        ticket: u64,
        result: Result<StreamPicture, String>,
        compute_us: u32,
        now: Now,
        out: &mut OutputQueue<P, R>,
    ) {
        let Some(frame) = find(&mut self.frames, ticket) else {
            return; // It was given up meanwhile.
        };
        let FrameState::Computing { since, .. } = frame.state else {
            return;
        };
        self.in_flight -= 1;
        self.latency.observe(now.wall - since);
        out.figures.computed(compute_us);
        frame.ready_at = now.media;
        if now.media <= frame.place.deadline() {
            self.limit.in_time();
        } else {
            self.limit.late();
        }
        match result {
            Ok(picture) => {
                frame.state = FrameState::Picture {
                    picture,
                    compute_us,
                }
            }
            Err(reason) => {
                frame.state = FrameState::Failed;
                out.figures.dropped(DropReason::Failed, 1);
                // One error an epoch: a package that fails once mostly fails again.
                let epoch = frame.place.epoch;
                if self.failed_epoch.replace(epoch) != Some(epoch) {
                    out.error(StreamError::FrameFailed { reason });
                }
            }
        }
    }

    /// The engine had no room for a job. It is offered again, until its frame would be late.
    pub(super) fn on_refused(&mut self, ticket: u64, wall: Micros) {
        let Some(frame) = find(&mut self.frames, ticket) else {
            return;
        };
        if let FrameState::Computing { job, .. } =
            std::mem::replace(&mut frame.state, FrameState::Failed)
        {
            frame.state = FrameState::Refused {
                job,
                again_at: wall + RETRY_US,
            };
            self.in_flight -= 1;
        }
    }

    /// Gives up what is too late, the oldest first. The last frame of an utterance always goes out: it tells the client
    /// that no other will.
    pub(super) fn expire(&mut self, now: Now, out: &mut OutputQueue<P, R>) {
        while let Some(oldest) = self.frames.front() {
            if oldest.last || now.media <= oldest.place.deadline() {
                break;
            }
            let in_time = oldest.is_ready() && oldest.ready_at <= oldest.place.deadline();
            let reason = if in_time && (self.credits == 0 || self.blocked) {
                DropReason::NoCredit
            } else {
                DropReason::Late
            };
            self.drop_oldest(reason, now, out);
        }
    }

    /// Offers jobs again that the engine had no room for.
    pub(super) fn offer_again(&mut self, now: Now, out: &mut OutputQueue<P, R>) {
        for frame in &mut self.frames {
            if let FrameState::Refused { job, again_at } = &frame.state
                && *again_at <= now.wall
            {
                let job = job.clone();
                self.in_flight += 1;
                out.push(Output::Compute(job.clone()));
                let since = now.wall;
                frame.state = FrameState::Computing { job, since };
            }
        }
    }

    /// Sends what is ready, in order, as far as there is credit.
    pub(super) fn send(&mut self, out: &mut OutputQueue<P, R>) {
        while self.credits > 0 && !self.blocked {
            if !self.frames.front().is_some_and(ScheduledFrame::is_ready) {
                break;
            }
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            self.credits -= 1;
            self.last_sent = Some((frame.place.epoch, frame.place.sequence));
            let lag = frame.ready_at - frame.place.due - frame.place.shown.look_ahead;
            let message = frame.into_message(self.settings.rate_hz, self.has_image);
            if message.flags & FLAG_HELD == 0 {
                self.has_image = message.flags & FLAG_IDLE == 0;
            }
            out.frame(message, lag);
        }
    }

    /// Whether a frame of which nothing is computed yet cannot be in time. Each time that is so and no job is running to
    /// tell better, less time is expected the next.
    pub(super) fn is_too_late(&mut self, place: &FramePlace<P>, now: MediaTime) -> bool {
        let too_late = now + self.latency.expected() > place.deadline();
        if too_late && self.in_flight == 0 {
            self.latency.decay();
        }
        too_late
    }

    /// Whether the engine may have another job.
    pub(super) fn may_compute(&self) -> bool {
        self.in_flight < self.limit.jobs()
    }

    /// Whether another frame, which is due at `due`, may be scheduled. Where there is no room, and it is due, the oldest
    /// is given up for it.
    pub(super) fn make_room(
        &mut self,
        due: MediaTime,
        now: Now,
        out: &mut OutputQueue<P, R>,
    ) -> bool {
        if !self.is_full() {
            return true;
        }
        let is_waiting = |oldest: &ScheduledFrame<P, R>| oldest.is_ready() && !oldest.last;
        let makes_room = now.media >= due && self.frames.front().is_some_and(is_waiting);
        if makes_room {
            self.drop_oldest(DropReason::NoCredit, now, out);
        }
        makes_room
    }

    /// The next frame: computed from the feature frames of its window, or an idle one where there is none.
    pub(super) fn schedule(
        &mut self,
        place: FramePlace<P>,
        window: Option<Vec<FeatureSlot<FeatureFrame<R>>>>,
        last: bool,
        now: Now,
        out: &mut OutputQueue<P, R>,
    ) {
        let state = window.map_or(FrameState::Idle, |window| {
            let job = FrameJob {
                ticket: self.next_ticket,
                package: place.shown.package.handle.clone(),
                frame_id: place.frame_id,
                window,
                image: self.settings.image,
                quality: self.settings.params.quality,
            };
            self.next_ticket += 1;
            self.in_flight += 1;
            out.push(Output::Compute(job.clone()));
            let since = now.wall;
            FrameState::Computing { job, since }
        });
        self.frames.push_back(ScheduledFrame {
            place,
            last,
            scheduled_at: now.media,
            ready_at: now.media,
            state,
        });
    }

    /// Gives up all that is not sent.
    pub(super) fn give_up_all(&mut self, out: &mut OutputQueue<P, R>) {
        for ticket in self.frames.drain(..).filter_map(|frame| frame.ticket()) {
            out.push(Output::Cancel { ticket });
        }
        self.in_flight = 0;
        self.has_image = false;
    }

    fn drop_oldest(&mut self, reason: DropReason, now: Now, out: &mut OutputQueue<P, R>) {
        let Some(oldest) = self.frames.pop_front() else {
            return;
        };
        if let FrameState::Computing { job, since } = &oldest.state {
            // It would have taken longer than this: that much is known of it.
            self.latency.observe(now.wall - since);
            self.limit.late();
            self.in_flight -= 1;
            let ticket = job.ticket;
            out.push(Output::Cancel { ticket });
        }
        out.drop_frame(reason, oldest.place.epoch, oldest.place.sequence);
    }
}

fn find<P, R>(
    frames: &mut VecDeque<ScheduledFrame<P, R>>,
    ticket: u64,
) -> Option<&mut ScheduledFrame<P, R>> {
    frames
        .iter_mut()
        .find(|frame| frame.ticket() == Some(ticket))
}
