//! The epochs of a stream: the utterances that have come, where they are in time, and which frame is next.

use std::collections::VecDeque;

use super::clock::{FRAME_US, MediaTime, Micros, frame_count, frame_sample, frame_us, sample_us};
use super::utterance::{FrameTiming, Utterance};
use super::{SharedPackage, StreamConfig, StreamError, StreamPackage};
use crate::protocol::stream::{AudioChunk, DropReason};

/// A hole in the audio that is longer than any that is filled, in samples; keeps its length in µs within 64 bits.
const LONGEST_GAP: u64 = 1 << 40;

/// What became of a chunk of audio.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Samples that were taken.
    pub taken: u64,
    /// Samples of silence before them, in place of missing ones.
    pub filled: u64,
    /// Samples at its start that were not taken, and why.
    pub dropped: Option<(DropReason, u64)>,
}

/// The frame that is to be scheduled next.
pub(super) struct FramePlace<P> {
    pub epoch: u32,
    pub sequence: u32,
    pub package: SharedPackage<P>,
    /// Place on the idle walk, which may run past the package's last idle frame.
    pub frame_id: u32,
    pub sample: u64,
    /// Its instant.
    pub due: MediaTime,
    pub timing: FrameTiming,
}

/// Utterances by position and time.
pub(super) struct Epochs<P> {
    config: StreamConfig,
    rate_hz: u32,
    /// As the client has asked for; a package may need more.
    max_delay: Micros,
    /// The package of utterances still to come.
    package: SharedPackage<P>,
    /// The epoch that audio is expected in.
    current: u32,
    /// Audio of the current epoch has come, or its end.
    begun: bool,
    /// Where a later epoch is to begin on the idle walk.
    start: Option<(u32, u32)>,
    /// The first is being heard, the others wait.
    utterances: VecDeque<Utterance<P>>,
    /// The next frame of the first utterance.
    next_frame: u64,
    /// Place on the idle walk of the first utterance's first frame; of the next one, while there is none.
    walk: u32,
    /// When the utterance before has been heard.
    busy_until: MediaTime,
}

impl<P> Epochs<P> {
    /// Begins with `epoch`, whose first frame is at the place `walk` of the idle walk.
    pub(super) fn new(
        package: SharedPackage<P>,
        rate_hz: u32,
        max_delay: Micros,
        config: StreamConfig,
        (epoch, walk): (u32, u32),
        now: MediaTime,
    ) -> Self {
        Self {
            config,
            rate_hz,
            max_delay,
            package,
            current: epoch,
            begun: false,
            start: None,
            utterances: VecDeque::new(),
            next_frame: 0,
            walk,
            busy_until: now,
        }
    }

    /// The rate of the sound, Hz.
    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// The epoch that audio is expected in.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// The first epoch that has no audio yet.
    pub(super) fn next(&self) -> u32 {
        self.current.saturating_add(u32::from(self.begun))
    }

    /// The package of utterances still to come.
    pub(super) fn package(&self) -> &SharedPackage<P> {
        &self.package
    }

    /// Shows utterances still to come by `package`.
    pub(super) fn set_package(&mut self, package: SharedPackage<P>) {
        self.package = package;
    }

    /// The utterance that is heard.
    pub(super) fn first(&self) -> Option<&Utterance<P>> {
        self.utterances.front()
    }

    /// The next frame of the utterance that is heard.
    pub(super) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// The place of [`Self::next_frame`] on the idle walk.
    pub(super) fn next_walk(&self) -> u32 {
        self.walk.wrapping_add(self.next_frame as u32)
    }

    /// The instant of [`Self::next_frame`] and how long after it that frame is of use.
    pub(super) fn next_due(&self) -> Option<(MediaTime, Micros)> {
        let first = self.utterances.front()?;
        let due = first.anchor() + frame_us(self.next_frame);
        Some((due, first.timing().max_delay))
    }

    /// All about [`Self::next_frame`].
    pub(super) fn next_place(&self) -> Option<FramePlace<P>> {
        let first = self.utterances.front()?;
        Some(FramePlace {
            epoch: first.epoch(),
            sequence: self.next_frame as u32,
            package: first.package().clone(),
            frame_id: self.next_walk(),
            sample: frame_sample(self.next_frame, self.rate_hz),
            due: first.anchor() + frame_us(self.next_frame),
            timing: first.timing(),
        })
    }

    /// The next frame is scheduled, or given up.
    pub(super) fn advance(&mut self) {
        self.next_frame += 1;
    }

    /// The first utterance is to be heard: its clock starts, and its place on the idle walk is settled.
    pub(super) fn begin_first(&mut self) {
        if let Some(first) = self.utterances.front_mut()
            && let Some(start) = first.begin(self.busy_until)
        {
            self.walk = start;
        }
    }

    /// All frames of the first utterance are scheduled.
    pub(super) fn finish_first(&mut self) {
        if let Some(first) = self.utterances.pop_front() {
            let sounding = frame_count(first.received(), self.rate_hz);
            self.busy_until = first.anchor() + frame_us(sounding);
        }
        self.walk = self.next_walk();
        self.next_frame = 0;
    }

    /// Hands up to `count` samples of the first utterance to `sink`; `false` when none wait.
    pub(super) fn take(&mut self, count: usize, sink: impl FnMut(&[i16])) -> bool {
        let Some(first) = self.utterances.front_mut().filter(|u| u.waiting() > 0) else {
            return false;
        };
        first.take(count, sink);
        true
    }

    /// When so long nothing has come to follow what was heard that the mouth is to be closed; `None` where something
    /// follows, or the end is known.
    pub(super) fn stalls_at(&self) -> Option<MediaTime> {
        let first = self.utterances.front()?;
        let has_frames = self.next_frame < frame_count(first.received(), self.rate_hz);
        let waits = has_frames && first.waiting() == 0 && !first.is_ended();
        let limit = Micros::from(self.config.stall_ms) * 1_000;
        (waits && limit > 0).then(|| first.heard_at() + limit)
    }

    /// The frames of the last utterance that waited for more sound are scheduled without it.
    pub(super) fn set_clock(&mut self, latency: Micros, now: MediaTime) {
        if let Some(last) = self.utterances.back_mut() {
            last.set_clock(last.received(), latency, now);
        }
    }

    /// Takes a chunk of audio, or refuses it whole. Frames are computed in `latency`.
    ///
    /// # Errors
    /// [`StreamError`]
    pub(super) fn accept(
        &mut self,
        chunk: &AudioChunk,
        latency: Micros,
        now: MediaTime,
    ) -> Result<Accepted, StreamError> {
        let count = chunk.sample_count() as u64;
        if chunk.epoch < self.current {
            return Ok(Accepted {
                dropped: Some((DropReason::OldEpoch, count)),
                ..Accepted::default()
            });
        }
        let limits = &self.config.limits;
        if chunk.pcm.len() > limits.max_chunk_bytes as usize {
            return Err(StreamError::ChunkTooLarge {
                bytes: chunk.pcm.len(),
                limit: limits.max_chunk_bytes,
            });
        }
        let is_new = self.check_new(chunk.epoch)?;
        let received = match self.utterances.back() {
            _ if is_new => 0,
            Some(last) if !last.is_ended() => last.received(),
            _ => return Err(StreamError::EpochEnded { epoch: chunk.epoch }),
        };
        let fit = Utterance::<P>::fit(received, chunk.first_sample, count);
        let gap_us = sample_us(fit.gap.min(LONGEST_GAP), self.rate_hz);
        if gap_us > Micros::from(limits.max_gap_ms) * 1_000 {
            return Err(StreamError::Gap {
                epoch: chunk.epoch,
                at: chunk.first_sample,
                missing: fit.gap,
                limit_ms: limits.max_gap_ms,
            });
        }
        let waiting: usize = self.utterances.iter().map(Utterance::waiting).sum();
        let taken = count - fit.duplicate;
        let limit = u64::from(limits.max_ahead_ms) * u64::from(self.rate_hz) / 1_000;
        if waiting as u64 + fit.gap + taken > limit {
            return Err(StreamError::TooFarAhead {
                limit_ms: limits.max_ahead_ms,
            });
        }
        if is_new {
            self.begin(chunk.epoch, latency, now);
        }
        if let Some(last) = self.utterances.back_mut() {
            last.set_clock(received + fit.gap, latency, now);
            last.append(fit.gap, &chunk.pcm[2 * fit.duplicate as usize..], now);
        }
        Ok(Accepted {
            taken,
            filled: fit.gap,
            dropped: Some((DropReason::Duplicate, fit.duplicate)),
        })
    }

    /// No more audio of `epoch` comes.
    ///
    /// # Errors
    /// [`StreamError::TooManyEpochs`]
    pub(super) fn end(
        &mut self,
        epoch: u32,
        latency: Micros,
        now: MediaTime,
    ) -> Result<(), StreamError> {
        if epoch < self.current {
            return Ok(()); // It has ended with the beginning of the next.
        }
        if self.check_new(epoch)? {
            self.begin(epoch, latency, now);
        }
        self.end_last(latency, now);
        Ok(())
    }

    /// Everything older than `epoch` is void. The idle walk goes on at `walk`.
    pub(super) fn interrupt(&mut self, epoch: u32, walk: u32, now: MediaTime) {
        self.utterances.clear();
        self.walk = walk;
        self.next_frame = 0;
        self.busy_until = now;
        self.current = epoch;
        self.begun = false;
    }

    /// The first frame of `epoch` is to be at a place of the idle walk.
    ///
    /// # Errors
    /// [`StreamError::EpochBegun`]
    pub(super) fn start_at(&mut self, epoch: u32, avatar_frame: u32) -> Result<(), StreamError> {
        if epoch < self.current || (epoch == self.current && self.begun) {
            return Err(StreamError::EpochBegun { epoch });
        }
        self.start = Some((epoch, avatar_frame));
        Ok(())
    }

    /// Frames of sound that has come, which are not scheduled yet.
    pub(super) fn unscheduled(&self) -> u64 {
        let all = self
            .utterances
            .iter()
            .map(|utterance| frame_count(utterance.received(), self.rate_hz));
        let scheduled = self.utterances.front().map_or(0, |first| {
            self.next_frame
                .min(frame_count(first.received(), self.rate_hz))
        });
        all.sum::<u64>() - scheduled
    }

    /// How the frames of `package` stand to their instants. They are of use at least so long that a frame whose audio
    /// comes as it is spoken can be in time.
    pub(super) fn timing(&self, package: &StreamPackage<P>) -> FrameTiming {
        let look_ahead = (package.spec.look_ahead_ms(self.rate_hz) * 1_000.0).ceil() as Micros;
        FrameTiming {
            look_ahead,
            max_delay: self.max_delay.max(look_ahead + 2 * FRAME_US),
        }
    }

    /// Whether a message of `epoch` begins it, if it may.
    fn check_new(&self, epoch: u32) -> Result<bool, StreamError> {
        let is_new = epoch > self.current || !self.begun;
        if is_new && self.utterances.len() >= self.config.max_utterances {
            return Err(StreamError::TooManyEpochs {
                waiting: self.utterances.len(),
            });
        }
        Ok(is_new)
    }

    /// Begins an epoch; those before count as ended.
    fn begin(&mut self, epoch: u32, latency: Micros, now: MediaTime) {
        self.end_last(latency, now);
        let start = self
            .start
            .take_if(|(at, _)| *at <= epoch)
            .and_then(|(at, frame)| (at == epoch).then_some(frame));
        let timing = self.timing(&self.package);
        let package = self.package.clone();
        let utterance = Utterance::new(epoch, package, self.rate_hz, timing, now, start);
        self.utterances.push_back(utterance);
        self.current = epoch;
        self.begun = true;
    }

    /// No more sound of the last utterance comes. An end that comes late sets the clock anew, as late audio does: the
    /// frames that waited for it are still to be shown.
    fn end_last(&mut self, latency: Micros, now: MediaTime) {
        if let Some(last) = self.utterances.back_mut().filter(|last| !last.is_ended()) {
            last.set_clock(last.received(), latency, now);
            last.end();
        }
    }
}

#[cfg(test)]
impl<P> Epochs<P> {
    pub(super) fn received_and_waiting(&self) -> (u64, usize) {
        let received = self.utterances.back().map_or(0, Utterance::received);
        let waiting = self.utterances.iter().map(Utterance::waiting);
        (received, waiting.sum())
    }
}
