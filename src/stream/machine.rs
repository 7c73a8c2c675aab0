//! A stream: what its client and the engine say goes to its parts, and what they want done comes out.

use std::sync::Arc;

use super::clock::{MediaClock, MediaTime, Micros, Now};
use super::concurrency::LatencyEstimator;
use super::epochs::Epochs;
use super::figures::Figures;
use super::outputs::OutputQueue;
use super::resume::{ResumeFacts, check_open};
use super::scheduler::Scheduler;
use super::settings::{Settings, ShownPackage, StreamParams};
use super::timeline::{FeatureTimeline, FrameAudio};
use super::{Output, StreamError, StreamPackage, StreamPicture};
use crate::audio::VoiceActivityDetector;
use crate::protocol::stream::{
    AudioChunk, CloseReason, Closed, DropReason, Interrupted, Open, StreamBody, StreamControl,
    StreamStats,
};

/// Sound is analysed in pieces of this part of a second, until the next frame is known.
const PIECES_PER_SECOND: u32 = 50;

/// A stream whose connection broke, kept for its client.
#[derive(Debug, Clone)]
pub struct Detached<P> {
    facts: ResumeFacts,
    package: StreamPackage<P>,
    /// The epoch that it goes on with, and where on the idle walk.
    epoch: u32,
    walk: u32,
    figures: Figures,
    latency: LatencyEstimator,
    /// Knows the room's noise; none where nothing was heard yet.
    vad: Option<VoiceActivityDetector>,
}

impl<P> Detached<P> {
    /// What it must be taken up again as.
    pub fn facts(&self) -> &ResumeFacts {
        &self.facts
    }
}

/// One stream. `P` is the caller's handle of a package, `R` its place for the features of a feature frame.
///
/// Every call takes the time and may leave outputs: take them all with [`Self::poll_output`] afterwards.
pub struct Stream<P, R> {
    settings: Arc<Settings>,
    clock: MediaClock,
    epochs: Epochs<P>,
    timeline: FeatureTimeline<R>,
    scheduler: Scheduler<P, R>,
    out: OutputQueue<P, R>,
    last_heard_of: Micros,
    /// When all was done that could be done.
    last_pump: MediaTime,
    closed: bool,
}

impl<P: Clone, R: Default> Stream<P, R> {
    /// Opens a stream as `open` asks, which leaves `opened` among the outputs.
    ///
    /// # Errors
    /// [`StreamError`]
    pub fn open(
        open: &Open,
        package: StreamPackage<P>,
        params: StreamParams,
        now: Micros,
    ) -> Result<Self, StreamError> {
        let new = Detached {
            facts: ResumeFacts {
                model_name: package.name.clone(),
                rate_hz: open.sample_rate_hz,
                image: open.image,
            },
            package,
            epoch: 0,
            walk: open.avatar_frame,
            figures: Figures::default(),
            latency: LatencyEstimator::default(),
            vad: None,
        };
        Self::start(new, open, params, now)
    }

    /// Takes a stream up again, which leaves `opened` among the outputs.
    ///
    /// # Errors
    /// [`StreamError`]. That is none where [`check_open`] and [`ResumeFacts::check`] found none.
    pub fn resume(
        detached: Detached<P>,
        open: &Open,
        params: StreamParams,
        now: Micros,
    ) -> Result<Self, StreamError> {
        detached.facts.check(open)?;
        Self::start(detached, open, params, now)
    }

    fn start(
        from: Detached<P>,
        open: &Open,
        params: StreamParams,
        wall: Micros,
    ) -> Result<Self, StreamError> {
        check_open(open)?;
        let settings = Settings::new(open, params);
        let (spec, vad) = (from.package.spec, settings.params.config.vad);
        let mut timeline = FeatureTimeline::new(spec, settings.rate_hz, vad)?;
        let resumed = from.vad.is_some();
        if let Some(vad) = from.vad {
            timeline.set_vad(vad);
        }
        let shown = ShownPackage::new(from.package, &settings);
        let clock = MediaClock::default();
        let now = clock.at(wall).media;
        let mut stream = Self {
            epochs: Epochs::new(settings.clone(), shown, from.epoch, from.walk, now),
            scheduler: Scheduler::new(settings.clone(), open.credits, from.latency),
            out: OutputQueue::new(settings.params.stream, from.figures),
            timeline,
            clock,
            settings,
            last_heard_of: wall,
            last_pump: now,
            closed: false,
        };
        let shown = stream.epochs.shown();
        let opened = shown.opened(from.epoch, resumed, &stream.settings);
        stream.out.update(StreamBody::Opened(opened));
        Ok(stream)
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output<P, R>> {
        self.out.pop()
    }

    /// The token that resumes the stream.
    pub fn token(&self) -> &str {
        &self.settings.params.token
    }

    /// What the stream must be taken up again as.
    pub fn facts(&self) -> ResumeFacts {
        ResumeFacts {
            model_name: self.epochs.shown().package.name.clone(),
            rate_hz: self.settings.rate_hz,
            image: self.settings.image,
        }
    }

    /// How long after its instant and the look-ahead the last frame was ready; negative: ahead of time.
    pub fn lag(&self) -> Micros {
        self.out.figures.lag()
    }

    /// Takes audio.
    pub fn on_audio(&mut self, chunk: &AudioChunk, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        let latency = self.scheduler.latency().expected();
        let media = self.clock.at(now).media;
        match self.epochs.accept(chunk, latency, media) {
            Ok(accepted) => {
                self.out.figures.heard(accepted.taken, accepted.filled);
                if let Some((reason, count)) = accepted.dropped {
                    let (epoch, first) = (chunk.epoch, chunk.first_sample);
                    self.out.drop_audio(reason, epoch, first, count);
                }
            }
            Err(error) => self.out.error(error),
        }
        self.pump(now);
    }

    /// Takes a control message other than `open` and `change`, which need the caller's knowledge.
    pub fn on_control(&mut self, control: &StreamControl, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        if let Err(error) = self.control(control, now) {
            self.out.error(error);
        }
        self.pump(now);
    }

    fn control(&mut self, control: &StreamControl, wall: Micros) -> Result<(), StreamError> {
        let now = self.clock.at(wall).media;
        match *control {
            StreamControl::End { epoch } => {
                let latency = self.scheduler.latency().expected();
                self.epochs.end(epoch, latency, now)?;
            }
            StreamControl::Interrupt { epoch } => self.interrupt(epoch, now)?,
            StreamControl::Start {
                epoch,
                avatar_frame,
            } => self.epochs.start_at(epoch, avatar_frame)?,
            StreamControl::Pause => {
                self.clock.pause(wall);
                self.out.update(StreamBody::Paused);
            }
            StreamControl::Resume => {
                self.clock.resume(wall);
                self.out.update(StreamBody::Resumed);
            }
            StreamControl::Credit { frames } => self.scheduler.add_credits(frames),
            StreamControl::Stats => {
                let stats = self.stats(wall);
                self.out.update(StreamBody::StreamStats(stats));
            }
            StreamControl::Close => self.close(CloseReason::Client, wall),
            StreamControl::Open(_) | StreamControl::Change { .. } => {
                return Err(StreamError::AlreadyOpen);
            }
        }
        Ok(())
    }

    /// Shows `package` from the next epoch on, as the client has asked.
    pub fn change(&mut self, package: StreamPackage<P>, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        self.epochs.show(ShownPackage::new(package, &self.settings));
        let shown = self.epochs.shown();
        let changed = shown.changed(self.epochs.next(), &self.settings);
        self.out.update(StreamBody::Changed(changed));
        self.pump(now);
    }

    /// A job has finished: its picture, or why there is none, and what the work itself took.
    pub fn on_done(
        &mut self,
        ticket: u64,
        result: Result<StreamPicture, String>,
        compute_us: u32,
        now: Micros,
    ) {
        let at = self.clock.at(now);
        self.scheduler
            .on_done(ticket, result, compute_us, at, &mut self.out);
        self.pump(now);
    }

    /// The engine had no room for a job. It is offered again, until its frame would be late.
    pub fn on_refused(&mut self, ticket: u64, now: Micros) {
        self.scheduler.on_refused(ticket, now);
    }

    /// The connection takes no further frames for now, or takes them again.
    pub fn set_blocked(&mut self, blocked: bool, now: Micros) {
        self.scheduler.set_blocked(blocked);
        if !blocked {
            self.pump(now);
        }
    }

    /// When [`Self::on_deadline`] is to be called though nothing else happens.
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.closed {
            return None;
        }
        let timeout = self.last_heard_of + self.idle_timeout();
        if self.clock.is_paused() {
            return Some(timeout);
        }
        let media = [
            self.scheduler.next_expiry(),
            self.next_schedule(),
            self.stalls_at().filter(|at| *at > self.last_pump),
        ];
        let media = media.into_iter().flatten().min();
        let wall = media.and_then(|at| self.clock.wall(at));
        [wall, self.scheduler.next_retry()]
            .into_iter()
            .flatten()
            .chain([timeout])
            .min()
    }

    /// Time has passed.
    pub fn on_deadline(&mut self, now: Micros) {
        if !self.closed && now - self.last_heard_of >= self.idle_timeout() {
            self.close(CloseReason::Timeout, now);
        }
        self.pump(now);
    }

    /// Ends the stream from the server's side, which leaves `closed` and [`Output::Closed`].
    pub fn close(&mut self, reason: CloseReason, now: Micros) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.scheduler.give_up_all(&mut self.out);
        let stats = self.stats(now);
        self.out
            .update(StreamBody::Closed(Closed { reason, stats }));
        self.out.push(Output::Closed);
    }

    /// The connection has broken, or another takes the stream: what is kept for the client, if the stream is still open.
    /// Jobs are given up: call [`Self::poll_output`] for them.
    pub fn detach(&mut self) -> Option<Detached<P>> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        let walk = self.walk_after_sent();
        self.scheduler.give_up_all(&mut self.out);
        self.out.keep_cancellations();
        Some(Detached {
            facts: self.facts(),
            package: self.epochs.shown().package.clone(),
            epoch: self.epochs.current().saturating_add(1),
            walk,
            figures: self.out.figures.clone(),
            latency: self.scheduler.latency().clone(),
            vad: Some(self.timeline.vad().clone()),
        })
    }

    /// The stream's figures.
    pub fn stats(&self, now: Micros) -> StreamStats {
        let waited = self.scheduler.oldest_waits(self.clock.at(now).media);
        StreamStats {
            epoch: self.epochs.current(),
            credits: self.scheduler.credits(),
            held_now: (self.scheduler.len() - self.scheduler.in_flight()) as u32,
            queue_age_ms: waited as f64 / 1_000.0,
            ..self.out.figures.stats()
        }
    }

    fn interrupt(&mut self, epoch: u32, now: MediaTime) -> Result<(), StreamError> {
        let current = self.epochs.current();
        if epoch <= current {
            return Err(StreamError::EpochNotRaised { current });
        }
        let last_sent = self.scheduler.last_sent();
        let oldest = self.scheduler.oldest().map(|(epoch, _)| epoch);
        let sent = last_sent.map(|(epoch, _)| epoch);
        let last_epoch = oldest.or(self.epochs.heard()).or(sent).unwrap_or(current);
        let last_sequence = last_sent
            .filter(|(epoch, _)| *epoch == last_epoch)
            .map(|(_, sequence)| sequence);
        let dropped = self.scheduler.len() as u64 + self.epochs.unscheduled();
        let walk = self.walk_after_sent();
        self.scheduler.give_up_all(&mut self.out);
        self.epochs.interrupt(epoch, walk, now);
        self.timeline.restart();
        self.out.figures.dropped(DropReason::Interrupted, dropped);
        self.out.update(StreamBody::Interrupted(Interrupted {
            epoch,
            last_epoch,
            last_sequence,
            dropped: dropped.min(u64::from(u32::MAX)) as u32,
        }));
        Ok(())
    }

    /// Does all that can be done now.
    fn pump(&mut self, wall: Micros) {
        let now = self.clock.at(wall);
        self.last_pump = now.media;
        while !self.closed && !self.clock.is_paused() {
            self.scheduler.expire(now, &mut self.out);
            self.scheduler.offer_again(now, &mut self.out);
            self.scheduler.send(&mut self.out);
            if !self.advance(now) {
                break;
            }
        }
        self.out.tell_drops();
    }

    /// Takes one step towards the next frame; `false` when none can be taken now.
    fn advance(&mut self, now: Now) -> bool {
        let frame = self.epochs.next_frame();
        if frame == 0 && self.timeline.is_fresh() {
            let Some(shown) = self.epochs.begin_first() else {
                return false;
            };
            if self.timeline.prepare(shown.package.spec).is_err() {
                // The caller's package is not what it was validated to be; there is no face to show.
                self.close(CloseReason::Internal, now.wall);
                return false;
            }
        }
        match self.timeline.frame(frame) {
            FrameAudio::Pending => self.analyse_more(now),
            FrameAudio::Over => {
                self.epochs.finish_first();
                self.timeline.restart();
                true
            }
            FrameAudio::Silence => self.schedule(false, now),
            FrameAudio::Speech => self.schedule(true, now),
        }
    }

    /// Analyses a piece of the sound that waits, or its end; or closes the mouth where neither has come for long.
    fn analyse_more(&mut self, now: Now) -> bool {
        let piece = (self.settings.rate_hz / PIECES_PER_SECOND) as usize;
        let timeline = &mut self.timeline;
        if self.epochs.take(piece, |samples| timeline.push(samples)) {
            return true;
        }
        if self.epochs.is_first_ended() && timeline.frames().is_none() {
            timeline.finish();
            return true;
        }
        let stalls = self.stalls_at().is_some_and(|at| at <= now.media);
        if stalls {
            let latency = self.scheduler.latency().expected();
            self.epochs.set_clock(latency, now.media);
            self.timeline.stall();
        }
        stalls
    }

    /// Schedules the next frame, which is computed if the mouth `speaks` in it, or gives it up where it could not be in
    /// time; `false` when there is no room for it now.
    fn schedule(&mut self, speaks: bool, now: Now) -> bool {
        let Some(place) = self.epochs.next_place() else {
            return false;
        };
        let frame = self.epochs.next_frame();
        if speaks && self.scheduler.is_too_late(&place, now.media) {
            let (epoch, sequence) = (place.epoch, place.sequence);
            self.out.drop_frame(DropReason::Late, epoch, sequence);
        } else {
            let may_compute = !speaks || self.scheduler.may_compute();
            if !may_compute || !self.scheduler.make_room(place.due, now, &mut self.out) {
                return false;
            }
            let window = speaks.then(|| self.timeline.window(frame));
            let last = self.timeline.frames() == Some(frame + 1);
            let out = &mut self.out;
            self.scheduler.schedule(place, window, last, now, out);
        }
        self.epochs.advance();
        self.timeline.forget_before(frame + 1);
        true
    }

    /// When the next frame is to be scheduled or given up.
    fn next_schedule(&self) -> Option<MediaTime> {
        let place = self.epochs.next_place()?;
        // Full: the oldest makes room when the next is due. Else: the next is given up when it is too late.
        let at = if self.scheduler.is_full() {
            place.due
        } else {
            place.deadline()
        };
        (at > self.last_pump).then_some(at + 1)
    }

    /// When the mouth is to be closed for want of sound.
    fn stalls_at(&self) -> Option<MediaTime> {
        self.epochs
            .stalls_at()
            .filter(|_| !self.timeline.is_stalled())
    }

    /// Where the idle walk goes on after what has been sent.
    fn walk_after_sent(&self) -> u32 {
        let oldest = self.scheduler.oldest().map(|(_, frame_id)| frame_id);
        oldest.unwrap_or_else(|| self.epochs.next_walk())
    }

    fn idle_timeout(&self) -> Micros {
        Micros::from(self.settings.params.config.idle_timeout_ms) * 1_000
    }
}

#[cfg(test)]
impl<P: Clone, R: Default> Stream<P, R> {
    pub(super) fn epoch(&self) -> u32 {
        self.epochs.current()
    }

    /// Position of the next sample of the last utterance; samples that wait in all.
    pub(super) fn received_and_waiting(&self) -> (u64, usize) {
        self.epochs.received_and_waiting()
    }

    /// Frames scheduled and not sent; those of them that the engine has.
    pub(super) fn scheduled_and_in_flight(&self) -> (usize, usize) {
        (self.scheduler.len(), self.scheduler.in_flight())
    }
}
