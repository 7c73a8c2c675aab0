//! A stream: what its client and the engine say goes to its parts, and what they want done comes out.

use std::sync::Arc;

use super::analysis::Analysis;
use super::clock::{MediaClock, MediaTime, Micros, Now};
use super::concurrency::LatencyEstimator;
use super::epochs::Epochs;
use super::figures::Figures;
use super::outputs::OutputQueue;
use super::scheduler::Scheduler;
use super::timeline::FrameAudio;
use super::{Output, SharedPackage, StreamConfig, StreamError, StreamPackage, StreamPicture};
use crate::audio::{FRAMES_PER_SECOND, VoiceActivityDetector};
use crate::protocol::stream::{
    AudioChunk, Changed, CloseReason, Closed, DropReason, ImageKind, Interrupted, Open, Opened,
    StreamBody, StreamControl, StreamStats,
};

/// Sound is analysed in pieces of this part of a second, until the next frame is known.
const PIECES_PER_SECOND: u32 = 50;

/// What the caller decides about a stream that is opened.
#[derive(Debug, Clone)]
pub struct StreamParams {
    /// The client's number of the stream.
    pub stream: u16,
    /// What the client resumes it by: unguessable.
    pub token: String,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

/// What a stream must be taken up again as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeFacts {
    /// The package of epochs still to come.
    pub model_name: String,
    /// The rate of the sound, Hz.
    pub rate_hz: u32,
    /// Which picture its frames carry: what the machine was found to have room for.
    pub image: ImageKind,
}

impl ResumeFacts {
    /// Whether `open` asks for the same stream.
    ///
    /// # Errors
    /// [`StreamError::ResumedAsAnother`]
    pub fn check(&self, open: &Open) -> Result<(), StreamError> {
        let asked = (&open.model_name, open.sample_rate_hz, open.image);
        if asked != (&self.model_name, self.rate_hz, self.image) {
            return Err(StreamError::ResumedAsAnother {
                model_name: self.model_name.clone(),
                rate_hz: self.rate_hz,
                image: self.image,
            });
        }
        Ok(())
    }
}

/// A stream whose connection broke, kept for its client.
#[derive(Debug, Clone)]
pub struct Detached<P> {
    package: SharedPackage<P>,
    facts: ResumeFacts,
    epoch: u32,
    walk: u32,
    figures: Figures,
    latency: LatencyEstimator,
    vad: VoiceActivityDetector,
}

impl<P> Detached<P> {
    /// What it must be taken up again as.
    pub fn facts(&self) -> &ResumeFacts {
        &self.facts
    }

    /// The caller's handle of the package that it goes on with.
    pub fn package(&self) -> &P {
        &self.package.handle
    }
}

/// One stream. `P` is the caller's handle of a package, `R` its place for the features of a feature frame.
///
/// Every call takes the time and may leave outputs: take them all with [`Self::poll_output`] afterwards.
pub struct Stream<P, R> {
    config: StreamConfig,
    token: String,
    clock: MediaClock,
    epochs: Epochs<P>,
    analysis: Analysis<P, R>,
    scheduler: Scheduler<P, R>,
    out: OutputQueue<P, R>,
    last_heard_of: Micros,
    /// When all was done that could be done.
    last_pump: MediaTime,
    closed: bool,
}

impl<P: Clone, R: Default> Stream<P, R> {
    /// Checks what a client may ask of any stream.
    ///
    /// # Errors
    /// [`StreamError::FrameRate`]
    pub fn check(open: &Open) -> Result<(), StreamError> {
        match open.frame_rate {
            Some(asked) if asked != FRAMES_PER_SECOND => Err(StreamError::FrameRate { asked }),
            _ => Ok(()),
        }
    }

    /// Opens a stream as `open` asks, which leaves `opened` among the outputs.
    ///
    /// # Errors
    /// [`StreamError`]
    pub fn open(
        open: &Open,
        package: StreamPackage<P>,
        config: StreamConfig,
        params: StreamParams,
        now: Micros,
    ) -> Result<Self, StreamError> {
        let package = Arc::new(package);
        let analysis = Analysis::new(package.clone(), open.sample_rate_hz, config.vad)?;
        let detached = Detached {
            facts: ResumeFacts {
                model_name: open.model_name.clone(),
                rate_hz: open.sample_rate_hz,
                image: open.image,
            },
            package,
            epoch: 0,
            walk: open.avatar_frame,
            figures: Figures::default(),
            latency: LatencyEstimator::default(),
            vad: analysis.vad().clone(),
        };
        Self::check(open)?;
        Ok(Self::with(
            detached, analysis, open, config, params, now, false,
        ))
    }

    /// Takes a stream up again, which leaves `opened` among the outputs.
    ///
    /// # Errors
    /// [`StreamError`]. That is none where [`Self::check`] and [`ResumeFacts::check`] found none.
    pub fn resume(
        detached: Detached<P>,
        open: &Open,
        config: StreamConfig,
        params: StreamParams,
        now: Micros,
    ) -> Result<Self, StreamError> {
        Self::check(open)?;
        detached.facts.check(open)?;
        let package = detached.package.clone();
        let mut analysis = Analysis::new(package, open.sample_rate_hz, config.vad)?;
        analysis.set_vad(detached.vad.clone());
        Ok(Self::with(
            detached, analysis, open, config, params, now, true,
        ))
    }

    fn with(
        detached: Detached<P>,
        analysis: Analysis<P, R>,
        open: &Open,
        config: StreamConfig,
        params: StreamParams,
        wall: Micros,
        resumed: bool,
    ) -> Self {
        let clock = MediaClock::default();
        let now = clock.at(wall).media;
        let max_delay_ms = open.max_delay_ms.unwrap_or(config.max_delay_ms);
        let mut stream = Self {
            epochs: Epochs::new(
                detached.package,
                open.sample_rate_hz,
                Micros::from(max_delay_ms) * 1_000,
                config.clone(),
                (detached.epoch, detached.walk),
                now,
            ),
            scheduler: Scheduler::new(
                open.image,
                params.quality,
                open.sample_rate_hz,
                open.credits,
                detached.latency,
                &config,
            ),
            out: OutputQueue::new(params.stream, detached.figures),
            analysis,
            clock,
            config,
            token: params.token,
            last_heard_of: wall,
            last_pump: now,
            closed: false,
        };
        let opened = stream.opened(resumed);
        stream.out.update(StreamBody::Opened(opened));
        stream
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output<P, R>> {
        self.out.pop()
    }

    /// The token that resumes the stream.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// What the stream must be taken up again as.
    pub fn facts(&self) -> ResumeFacts {
        ResumeFacts {
            model_name: self.epochs.package().name.clone(),
            rate_hz: self.epochs.rate_hz(),
            image: self.scheduler.image(),
        }
    }

    /// How long after its instant and the look-ahead the last frame was ready; negative: ahead of time.
    pub fn lag(&self) -> Micros {
        self.out.figures().lag()
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
                let figures = self.out.figures_mut();
                figures.heard(accepted.taken, accepted.filled);
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
        self.epochs.set_package(Arc::new(package));
        let package = self.epochs.package();
        let changed = Changed {
            success: true,
            model_name: package.name.clone(),
            epoch: self.epochs.next(),
            look_ahead_ms: package.spec.look_ahead_ms(self.epochs.rate_hz()),
            image_size: self.image_size(),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            frame_rate: FRAMES_PER_SECOND,
        };
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
            package: self.epochs.package().clone(),
            epoch: self.epochs.current().saturating_add(1),
            walk,
            figures: self.out.figures().clone(),
            latency: self.scheduler.latency().clone(),
            vad: self.analysis.vad().clone(),
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
            ..self.out.figures().stats()
        }
    }

    fn interrupt(&mut self, epoch: u32, now: MediaTime) -> Result<(), StreamError> {
        let current = self.epochs.current();
        if epoch <= current {
            return Err(StreamError::EpochNotRaised { current });
        }
        let last_sent = self.scheduler.last_sent();
        let oldest = self.scheduler.oldest().map(|(epoch, _)| epoch);
        let heard = || self.epochs.first().map(|utterance| utterance.epoch());
        let sent = || last_sent.map(|(epoch, _)| epoch);
        let last_epoch = oldest.or_else(heard).or_else(sent).unwrap_or(current);
        let last_sequence = last_sent
            .filter(|(epoch, _)| *epoch == last_epoch)
            .map(|(_, sequence)| sequence);
        let dropped = self.scheduler.len() as u64 + self.epochs.unscheduled();
        let walk = self.walk_after_sent();
        self.scheduler.give_up_all(&mut self.out);
        self.epochs.interrupt(epoch, walk, now);
        self.analysis.restart();
        self.out
            .figures_mut()
            .dropped(DropReason::Interrupted, dropped);
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
        if frame == 0 && self.analysis.is_fresh() {
            self.epochs.begin_first();
            let Some(first) = self.epochs.first() else {
                return false;
            };
            if self.analysis.prepare(first.package()).is_err() {
                // The caller's package is not what it was validated to be; there is no face to show.
                self.close(CloseReason::Internal, now.wall);
                return false;
            }
        }
        match self.analysis.frame(frame) {
            FrameAudio::Pending => self.analyse_more(now),
            FrameAudio::Over => {
                self.epochs.finish_first();
                self.analysis.restart();
                true
            }
            FrameAudio::Silence => self.schedule_idle(now),
            FrameAudio::Speech => self.schedule_speech(now),
        }
    }

    /// Analyses a piece of the sound that waits, or its end; or closes the mouth where neither has come for long.
    fn analyse_more(&mut self, now: Now) -> bool {
        let piece = (self.epochs.rate_hz() / PIECES_PER_SECOND) as usize;
        let analysis = &mut self.analysis;
        if self.epochs.take(piece, |samples| analysis.push(samples)) {
            return true;
        }
        let ended = self.epochs.first().is_some_and(|first| first.is_ended());
        if ended && !self.analysis.is_finished() {
            self.analysis.finish();
            return true;
        }
        let stalls = self.stalls_at().is_some_and(|at| at <= now.media);
        if stalls {
            let latency = self.scheduler.latency().expected();
            self.epochs.set_clock(latency, now.media);
            self.analysis.stall();
        }
        stalls
    }

    fn schedule_idle(&mut self, now: Now) -> bool {
        let Some(place) = self.epochs.next_place() else {
            return false;
        };
        let has_room = self.scheduler.make_room(place.due, now, &mut self.out);
        if has_room {
            let last = self.analysis.is_last(self.epochs.next_frame());
            self.scheduler.schedule_idle(place, last, now);
            self.scheduled();
        }
        has_room
    }

    /// Starts the job of the next frame, or gives the frame up where it could not be in time.
    fn schedule_speech(&mut self, now: Now) -> bool {
        let Some((due, max_delay)) = self.epochs.next_due() else {
            return false;
        };
        let too_late = self.scheduler.is_too_late(due, max_delay, now.media);
        let may_compute = self.scheduler.may_compute();
        if !too_late && !(may_compute && self.scheduler.make_room(due, now, &mut self.out)) {
            return false;
        }
        let Some(place) = self.epochs.next_place() else {
            return false;
        };
        if too_late {
            let (epoch, sequence) = (place.epoch, place.sequence);
            self.out.drop_frame(DropReason::Late, epoch, sequence);
        } else {
            let frame = self.epochs.next_frame();
            let window = self.analysis.window(frame);
            let last = self.analysis.is_last(frame);
            self.scheduler
                .schedule_job(place, window, last, now, &mut self.out);
        }
        self.scheduled();
        true
    }

    /// The next frame is scheduled, or given up.
    fn scheduled(&mut self) {
        self.epochs.advance();
        self.analysis.forget_before(self.epochs.next_frame());
    }

    /// When the next frame is to be scheduled or given up.
    fn next_schedule(&self) -> Option<MediaTime> {
        let (due, max_delay) = self.epochs.next_due()?;
        // Full: the oldest makes room when the next is due. Else: the next is given up when it is too late.
        let at = if self.scheduler.is_full() {
            due
        } else {
            due + max_delay
        };
        (at > self.last_pump).then_some(at + 1)
    }

    /// When the mouth is to be closed for want of sound.
    fn stalls_at(&self) -> Option<MediaTime> {
        self.epochs
            .stalls_at()
            .filter(|_| !self.analysis.is_stalled())
    }

    /// Where the idle walk goes on after what has been sent.
    fn walk_after_sent(&self) -> u32 {
        let oldest = self.scheduler.oldest().map(|(_, frame_id)| frame_id);
        oldest.unwrap_or_else(|| self.epochs.next_walk())
    }

    fn idle_timeout(&self) -> Micros {
        Micros::from(self.config.idle_timeout_ms) * 1_000
    }

    fn opened(&self, resumed: bool) -> Opened {
        let package = self.epochs.package();
        let rate_hz = self.epochs.rate_hz();
        Opened {
            success: true,
            model_name: package.name.clone(),
            token: self.token.clone(),
            resumed,
            epoch: self.epochs.current(),
            sample_rate: rate_hz,
            frame_rate: FRAMES_PER_SECOND,
            image: self.scheduler.image(),
            quality: self.scheduler.quality(),
            look_ahead_ms: package.spec.look_ahead_ms(rate_hz),
            max_delay_ms: (self.epochs.timing(package).max_delay / 1_000) as u32,
            image_size: self.image_size(),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            limits: self.config.limits.clone(),
        }
    }

    fn image_size(&self) -> [u32; 2] {
        let package = self.epochs.package();
        match self.scheduler.image() {
            ImageKind::Mouth => package.image_size,
            ImageKind::Full => package.frame_size,
        }
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
