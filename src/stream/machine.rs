//! What a client and the engine tell a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::{FRAME_US, Micros, frame_count, frame_us};
use super::figures::{Estimate, Figures, Window};
use super::hearing::Hearing;
use super::pump::{Item, State};
use super::utterance::Utterance;
use super::{Output, SharedPackage, StreamConfig, StreamPackage, StreamPicture, frame_sample};
use crate::audio::{AudioError, FRAMES_PER_SECOND, SilenceDetector};
use crate::base::ping_pong::ping_pong;
use crate::protocol::Code;
use crate::protocol::stream::{
    AudioChunk, Changed, CloseReason, Closed, DropReason, Dropped, ImageKind, Open, Opened,
    StreamBody, StreamControl, StreamStats, StreamUpdate,
};

/// What the caller decides about a stream that is opened.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The client's number of the stream.
    pub stream: u16,
    /// What the client resumes it by: unguessable.
    pub token: String,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

/// One stream. `P` is the caller's handle of a package, `R` what it keeps with an encoder row.
///
/// Every call takes the time and may leave outputs: take them all with [`Self::poll_output`] afterwards.
pub struct Stream<P, R> {
    pub(super) config: StreamConfig,
    pub(super) terms: Terms,
    /// The package of utterances still to come.
    pub(super) package: SharedPackage<P>,
    pub(super) rate_hz: u32,
    pub(super) image: ImageKind,
    pub(super) max_delay: Micros,
    pub(super) credits: u32,
    pub(super) paused_at: Option<Micros>,
    /// The epoch that audio is expected in.
    pub(super) epoch: u32,
    /// Audio of this epoch has come, or its end.
    pub(super) epoch_begun: bool,
    /// Where a later epoch is to begin on the idle walk.
    pub(super) start: Option<(u32, u32)>,
    /// The first is being heard, the others wait.
    pub(super) utterances: VecDeque<Utterance<P>>,
    pub(super) hearing: Hearing<R>,
    /// The package that `hearing` was made for.
    pub(super) heard_package: SharedPackage<P>,
    /// The next frame of the first utterance.
    pub(super) next_frame: u64,
    /// Place on the idle walk of the first utterance's first frame; of the next one, while there is none.
    pub(super) walk: u32,
    /// When the utterance before has been heard.
    pub(super) busy_until: Micros,
    /// Frames that were decided and not sent.
    pub(super) items: VecDeque<Item<P, R>>,
    pub(super) in_flight: usize,
    pub(super) next_ticket: u64,
    pub(super) last_sent: Option<(u32, u32)>,
    /// Whether the client has an image to hold.
    pub(super) image_shown: bool,
    pub(super) failure_told: bool,
    pub(super) dropping: Option<Dropped>,
    pub(super) figures: Figures,
    pub(super) estimate: Estimate,
    pub(super) window: Window,
    pub(super) last_heard_of: Micros,
    pub(super) last_pump: Micros,
    /// The connection takes no more for now.
    pub(super) blocked: bool,
    pub(super) closed: bool,
    pub(super) outputs: VecDeque<Output<P, R>>,
}

/// A stream whose connection broke, kept for its client.
#[derive(Debug, Clone)]
pub struct Detached<P> {
    package: SharedPackage<P>,
    token: String,
    rate_hz: u32,
    epoch: u32,
    walk: u32,
    figures: Figures,
    estimate: Estimate,
    detector: SilenceDetector,
}

impl<P> Detached<P> {
    /// The token that resumes it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The package that it goes on with.
    pub fn package(&self) -> &StreamPackage<P> {
        &self.package
    }

    /// Whether `open` asks for the same stream.
    ///
    /// # Errors
    /// Code and text for the client.
    pub fn check(&self, open: &Open) -> Result<(), (Code, String)> {
        if open.model_name != self.package.name || open.sample_rate_hz != self.rate_hz {
            return Err((
                Code::BadValue,
                format!(
                    "the stream to be taken up is of {} at {} Hz; resume it so, or open another without a token",
                    self.package.name, self.rate_hz
                ),
            ));
        }
        Ok(())
    }
}

impl<P: Clone, R: Default> Stream<P, R> {
    /// Opens a stream as `open` asks, which leaves `opened` among the outputs.
    ///
    /// # Errors
    /// Code and text for the client.
    pub fn open(
        open: &Open,
        package: StreamPackage<P>,
        config: StreamConfig,
        terms: Terms,
        now: Micros,
    ) -> Result<Self, (Code, String)> {
        let mut stream = Self::new(open, Arc::new(package), config, terms, now)?;
        stream.walk = open.avatar_frame;
        stream.opened(false);
        Ok(stream)
    }

    /// Takes a stream up again; `open` must have passed [`Detached::check`].
    ///
    /// # Errors
    /// Code and text for the client.
    pub fn resume(
        detached: Detached<P>,
        open: &Open,
        config: StreamConfig,
        terms: Terms,
        now: Micros,
    ) -> Result<Self, (Code, String)> {
        let mut stream = Self::new(open, detached.package, config, terms, now)?;
        stream.walk = detached.walk;
        stream.epoch = detached.epoch;
        stream.figures = detached.figures;
        stream.estimate = detached.estimate;
        stream.hearing.set_detector(detached.detector);
        stream.opened(true);
        Ok(stream)
    }

    fn new(
        open: &Open,
        package: SharedPackage<P>,
        config: StreamConfig,
        terms: Terms,
        now: Micros,
    ) -> Result<Self, (Code, String)> {
        if open
            .frame_rate
            .is_some_and(|rate| rate != FRAMES_PER_SECOND)
        {
            let text = format!(
                "frame_rate: this package has {FRAMES_PER_SECOND} frames a second, and no other rate"
            );
            return Err((Code::Unsupported, text));
        }
        let wrong = |error: AudioError| (Code::BadValue, error.to_string());
        let hearing =
            Hearing::new(package.spec, open.sample_rate_hz, config.silence).map_err(wrong)?;
        Ok(Self {
            rate_hz: open.sample_rate_hz,
            image: open.image,
            max_delay: Micros::from(open.max_delay_ms.unwrap_or(config.max_delay_ms)) * 1_000,
            credits: open.credits.min(config.limits.max_credits),
            paused_at: None,
            epoch: 0,
            epoch_begun: false,
            start: None,
            utterances: VecDeque::new(),
            hearing,
            heard_package: package.clone(),
            package,
            next_frame: 0,
            walk: 0,
            busy_until: now,
            items: VecDeque::new(),
            in_flight: 0,
            next_ticket: 0,
            last_sent: None,
            image_shown: false,
            failure_told: false,
            dropping: None,
            figures: Figures::default(),
            estimate: Estimate::default(),
            window: Window::new(config.max_jobs),
            last_heard_of: now,
            last_pump: now,
            blocked: false,
            closed: false,
            outputs: VecDeque::new(),
            config,
            terms,
        })
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output<P, R>> {
        self.outputs.pop_front()
    }

    /// The token that resumes the stream.
    pub fn token(&self) -> &str {
        &self.terms.token
    }

    /// Takes audio.
    pub fn on_audio(&mut self, chunk: &AudioChunk, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        if let Err((code, text)) = self.take(chunk, now) {
            self.outputs.push_back(Output::Error { code, text });
        }
        self.pump(now);
    }

    /// Takes a control message other than `open` and `change`, which need the caller's knowledge.
    pub fn on_control(&mut self, control: &StreamControl, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        let done = match control {
            StreamControl::End { epoch } => self.end(*epoch, now),
            StreamControl::Interrupt { epoch } => self.interrupt(*epoch, now),
            StreamControl::Start {
                epoch,
                avatar_frame,
            } => self.start_at(*epoch, *avatar_frame),
            StreamControl::Pause => {
                self.paused_at.get_or_insert(now);
                self.update(StreamBody::Paused);
                Ok(())
            }
            StreamControl::Resume => {
                self.unpause(now);
                Ok(())
            }
            StreamControl::Credit { frames } => {
                self.credits = self
                    .credits
                    .saturating_add(*frames)
                    .min(self.config.limits.max_credits);
                Ok(())
            }
            StreamControl::Stats => {
                let stats = self.stats(now);
                self.update(StreamBody::StreamStats(stats));
                Ok(())
            }
            StreamControl::Close => {
                self.close(CloseReason::Client, now);
                Ok(())
            }
            StreamControl::Open(_) | StreamControl::Change { .. } => {
                Err((Code::StreamExists, "the stream is open already".to_owned()))
            }
        };
        if let Err((code, text)) = done {
            self.outputs.push_back(Output::Error { code, text });
        }
        self.pump(now);
    }

    /// Shows `package` from the next epoch on, as the client has asked.
    pub fn change(&mut self, package: StreamPackage<P>, now: Micros) {
        if self.closed {
            return;
        }
        self.last_heard_of = now;
        self.package = Arc::new(package);
        let package = &self.package;
        self.update(StreamBody::Changed(Changed {
            success: true,
            model_name: package.name.clone(),
            epoch: if self.epoch_begun {
                self.epoch.saturating_add(1)
            } else {
                self.epoch
            },
            look_ahead_ms: package.spec.look_ahead_ms(self.rate_hz),
            image_size: self.image_size(),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            frame_rate: FRAMES_PER_SECOND,
        }));
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
        let Some(item) = self
            .items
            .iter_mut()
            .find(|item| item.ticket() == Some(ticket))
        else {
            return; // It was given up meanwhile.
        };
        let State::Computing { since, .. } = item.state else {
            return;
        };
        self.in_flight -= 1;
        self.estimate.observe(now - since);
        self.figures.computed(compute_us);
        item.ready_at = now;
        if now <= item.deadline() {
            self.window.in_time();
        } else {
            self.window.late();
        }
        match result {
            Ok(picture) => {
                item.state = State::Picture {
                    picture,
                    compute_us,
                }
            }
            Err(text) => {
                item.state = State::Failed;
                self.figures.dropped(DropReason::Failed, 1);
                // One error an epoch: what fails once mostly fails again.
                if !std::mem::replace(&mut self.failure_told, true) {
                    self.outputs.push_back(Output::Error {
                        code: Code::Internal,
                        text,
                    });
                }
            }
        }
        self.pump(now);
    }

    /// The engine had no room for a job. It is offered again, until its frame would be late.
    pub fn on_refused(&mut self, ticket: u64, now: Micros) {
        if let Some(item) = self
            .items
            .iter_mut()
            .find(|item| item.ticket() == Some(ticket))
        {
            item.refused(now);
            self.in_flight -= 1;
        }
    }

    /// The connection takes no further frames for now, or takes them again.
    pub fn set_blocked(&mut self, blocked: bool, now: Micros) {
        self.blocked = blocked;
        if !blocked {
            self.pump(now);
        }
    }

    /// Whether the stream is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Which picture its frames carry.
    pub fn image(&self) -> ImageKind {
        self.image
    }

    /// The package of utterances still to come.
    pub fn package_name(&self) -> &str {
        &self.package.name
    }

    /// How long after its instant and the look-ahead the last frame was ready; negative: ahead of time.
    pub fn lag(&self) -> Micros {
        self.figures.lag
    }

    /// Ends the stream from the server's side, which leaves `closed` and [`Output::Closed`].
    pub fn close(&mut self, reason: CloseReason, now: Micros) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.give_up_all();
        let stats = self.stats(now);
        self.update(StreamBody::Closed(Closed { reason, stats }));
        self.outputs.push_back(Output::Closed);
    }

    /// The connection has broken: what is kept for the client, if the stream is still open. Jobs are given up: call
    /// [`Self::poll_output`] for them.
    pub fn detach(&mut self) -> Option<Detached<P>> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        let walk = self.next_walk();
        self.give_up_all();
        self.outputs
            .retain(|output| matches!(output, Output::Cancel { .. }));
        Some(Detached {
            package: self.package.clone(),
            token: self.terms.token.clone(),
            rate_hz: self.rate_hz,
            epoch: self.epoch.saturating_add(1),
            walk,
            figures: self.figures.clone(),
            estimate: self.estimate.clone(),
            detector: self.hearing.detector().clone(),
        })
    }

    /// The stream's figures.
    pub fn stats(&self, now: Micros) -> StreamStats {
        let figures = &self.figures;
        let ms = |us: Micros| us as f64 / 1_000.0;
        let oldest = self
            .items
            .front()
            .map_or(0, |item| now - item.due.max(item.decided_at));
        StreamStats {
            epoch: self.epoch,
            samples: figures.samples,
            frames_sent: figures.frames_sent,
            idle_frames: figures.idle_frames,
            held_frames: figures.held_frames,
            dropped_late: figures.dropped_late,
            dropped_no_credit: figures.dropped_no_credit,
            dropped_interrupted: figures.dropped_interrupted,
            dropped_failed: figures.dropped_failed,
            duplicate_samples: figures.duplicate_samples,
            filled_samples: figures.filled_samples,
            credits: self.credits,
            held_now: (self.items.len() - self.in_flight) as u32,
            queue_age_ms: ms(oldest.max(0)),
            compute_p50_ms: figures.compute_ms(0.5),
            compute_p99_ms: figures.compute_ms(0.99),
            lag_ms: ms(figures.lag),
        }
    }

    /// How long after its instant a frame of `package` is of use. At least so long that a frame whose audio comes as it
    /// is spoken can be in time.
    pub(super) fn max_delay(&self, package: &StreamPackage<P>) -> Micros {
        self.max_delay.max(self.look_ahead(package) + 2 * FRAME_US)
    }

    pub(super) fn look_ahead(&self, package: &StreamPackage<P>) -> Micros {
        (package.spec.look_ahead_ms(self.rate_hz) * 1_000.0).ceil() as Micros
    }

    pub(super) fn update(&mut self, body: StreamBody) {
        self.outputs.push_back(Output::Update(StreamUpdate {
            body,
            stream: self.terms.stream,
        }));
    }

    fn opened(&mut self, resumed: bool) {
        let package = &self.package;
        let opened = Opened {
            success: true,
            model_name: package.name.clone(),
            token: self.terms.token.clone(),
            resumed,
            epoch: self.epoch,
            sample_rate: self.rate_hz,
            frame_rate: FRAMES_PER_SECOND,
            image: self.image,
            quality: self.terms.quality,
            look_ahead_ms: package.spec.look_ahead_ms(self.rate_hz),
            max_delay_ms: (self.max_delay(package) / 1_000) as u32,
            image_size: self.image_size(),
            frame_size: package.frame_size,
            frame_count: package.frame_count,
            limits: self.config.limits.clone(),
        };
        self.update(StreamBody::Opened(opened));
    }

    fn image_size(&self) -> [u32; 2] {
        match self.image {
            ImageKind::Mouth => self.package.image_size,
            ImageKind::Full => self.package.frame_size,
        }
    }

    /// Frames of sound that has come, sent or dropped not yet.
    pub(super) fn unsent(&self) -> u64 {
        let heard = self
            .utterances
            .iter()
            .enumerate()
            .map(|(index, utterance)| {
                let decided = if index == 0 { self.next_frame } else { 0 };
                frame_count(utterance.received, self.rate_hz).saturating_sub(decided)
            });
        self.items.len() as u64 + heard.sum::<u64>()
    }

    /// Where the idle walk goes on after what has been sent.
    pub(super) fn next_walk(&self) -> u32 {
        let unsent = self
            .items
            .iter()
            .filter(|item| Some(item.epoch) == self.utterances.front().map(|u| u.epoch));
        self.walk
            .wrapping_add((self.next_frame - unsent.count() as u64) as u32)
    }

    pub(super) fn give_up_all(&mut self) {
        for item in self.items.drain(..) {
            if let Some(ticket) = item.ticket() {
                self.outputs.push_back(Output::Cancel { ticket });
            }
        }
        self.in_flight = 0;
        self.utterances.clear();
        self.dropping = None;
    }
}

impl<P, R> Stream<P, R> {
    /// The sample of frame `frame`, at the stream's rate.
    pub(super) fn sample(&self, frame: u64) -> u64 {
        frame_sample(frame, self.rate_hz)
    }

    /// The instant of frame `frame` of the first utterance.
    pub(super) fn due(&self, frame: u64) -> Micros {
        self.utterances
            .front()
            .map_or(0, |utterance| utterance.anchor)
            + frame_us(frame)
    }

    /// The idle frame at a place of the walk of `package`.
    pub(super) fn avatar_frame(package: &StreamPackage<P>, frame_id: u32) -> u32 {
        ping_pong(frame_id, package.frame_count)
    }
}
