//! The epochs of a stream: the utterances that have come, where they are in time, and which frame is next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::StreamError;
use super::clock::{FRAME_US, MediaTime, Micros, frame_count, frame_sample, frame_us, sample_us};
use super::settings::{Settings, ShownPackage};
use crate::base::pcm16;
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
    pub shown: Arc<ShownPackage<P>>,
    /// Place on the idle walk, which may run past the package's last idle frame.
    pub frame_id: u32,
    pub sample: u64,
    /// Its instant.
    pub due: MediaTime,
}

impl<P> FramePlace<P> {
    /// Until when it is of use.
    pub(super) fn deadline(&self) -> MediaTime {
        self.due + self.shown.max_delay
    }
}

/// One epoch: its sound as far as it has come, and its place in time.
struct Utterance<P> {
    epoch: u32,
    /// The package that shows it.
    shown: Arc<ShownPackage<P>>,
    rate_hz: u32,
    /// Samples that have come and were not analysed yet.
    waiting: VecDeque<i16>,
    /// Position of the next sample to come.
    received: u64,
    /// No more samples come.
    ended: bool,
    /// When its first sample is heard. Its arrival, at first; later for one that waits for the one before it.
    anchor: MediaTime,
    /// When a client that plays the sound as it comes has played all of it.
    played_at: MediaTime,
    /// Place on the idle walk of its first frame, where the client has said it.
    start: Option<u32>,
}

/// Utterances by position and time.
pub(super) struct Epochs<P> {
    settings: Arc<Settings>,
    /// The package of utterances still to come.
    shown: Arc<ShownPackage<P>>,
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
        settings: Arc<Settings>,
        shown: Arc<ShownPackage<P>>,
        epoch: u32,
        walk: u32,
        now: MediaTime,
    ) -> Self {
        Self {
            settings,
            shown,
            current: epoch,
            begun: false,
            start: None,
            utterances: VecDeque::new(),
            next_frame: 0,
            walk,
            busy_until: now,
        }
    }

    /// The epoch that audio is expected in.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// The first epoch that has no audio yet.
    pub(super) fn next(&self) -> u32 {
        self.current.saturating_add(u32::from(self.begun))
    }

    /// The epoch that is heard.
    pub(super) fn heard(&self) -> Option<u32> {
        Some(self.utterances.front()?.epoch)
    }

    /// The package of utterances still to come.
    pub(super) fn shown(&self) -> &Arc<ShownPackage<P>> {
        &self.shown
    }

    /// Shows utterances still to come by another package.
    pub(super) fn show(&mut self, shown: Arc<ShownPackage<P>>) {
        self.shown = shown;
    }

    /// The next frame of the utterance that is heard.
    pub(super) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// The place of [`Self::next_frame`] on the idle walk.
    pub(super) fn next_walk(&self) -> u32 {
        self.walk.wrapping_add(self.next_frame as u32)
    }

    /// All about [`Self::next_frame`].
    pub(super) fn next_place(&self) -> Option<FramePlace<P>> {
        let first = self.utterances.front()?;
        Some(FramePlace {
            epoch: first.epoch,
            sequence: self.next_frame as u32,
            shown: first.shown.clone(),
            frame_id: self.next_walk(),
            sample: frame_sample(self.next_frame, self.settings.rate_hz),
            due: first.anchor + frame_us(self.next_frame),
        })
    }

    /// The next frame is scheduled, or given up.
    pub(super) fn advance(&mut self) {
        self.next_frame += 1;
    }

    /// The first utterance is to be heard: its clock starts, and its place on the idle walk is settled. Returns the package
    /// that shows it.
    pub(super) fn begin_first(&mut self) -> Option<&ShownPackage<P>> {
        let first = self.utterances.front_mut()?;
        first.anchor = first.anchor.max(self.busy_until);
        self.walk = first.start.take().unwrap_or(self.walk);
        Some(&first.shown)
    }

    /// All frames of the first utterance are scheduled.
    pub(super) fn finish_first(&mut self) {
        if let Some(first) = self.utterances.pop_front() {
            self.busy_until = first.anchor + frame_us(first.frames());
        }
        self.walk = self.next_walk();
        self.next_frame = 0;
    }

    /// Hands up to `count` samples of the first utterance to `sink`; `false` when none wait.
    pub(super) fn take(&mut self, count: usize, sink: impl FnMut(&[i16])) -> bool {
        let first = self
            .utterances
            .front_mut()
            .filter(|first| !first.waiting.is_empty());
        first.map(|first| first.take(count, sink)).is_some()
    }

    /// Whether no more sound of the first utterance comes.
    pub(super) fn is_first_ended(&self) -> bool {
        self.utterances.front().is_some_and(|first| first.ended)
    }

    /// When so long nothing has come to follow what was heard that the mouth is to be closed; `None` where something
    /// follows, or the end is known.
    pub(super) fn stalls_at(&self) -> Option<MediaTime> {
        let first = self.utterances.front()?;
        let waits = self.next_frame < first.frames() && first.waiting.is_empty() && !first.ended;
        let limit = Micros::from(self.settings.params.config.stall_ms) * 1_000;
        let heard_at = first.played_at.max(first.instant(first.received));
        (waits && limit > 0).then(|| heard_at + limit)
    }

    /// The frames of the last utterance that waited for more sound are scheduled without it. So late as that is, its clock
    /// is set anew, as for late audio.
    pub(super) fn set_clock(&mut self, latency: Micros, now: MediaTime) {
        if let Some(last) = self.utterances.back_mut() {
            last.set_clock(last.received, latency, now);
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
        let limits = &self.settings.params.config.limits;
        if chunk.pcm.len() > limits.max_chunk_bytes as usize {
            return Err(StreamError::ChunkTooLarge {
                bytes: chunk.pcm.len(),
                limit: limits.max_chunk_bytes,
            });
        }
        let is_new = self.check_new(chunk.epoch)?;
        let received = match self.utterances.back() {
            _ if is_new => 0,
            Some(last) if !last.ended => last.received,
            _ => return Err(StreamError::EpochEnded { epoch: chunk.epoch }),
        };
        let duplicate = received.saturating_sub(chunk.first_sample).min(count);
        let gap = chunk.first_sample.saturating_sub(received);
        let rate_hz = self.settings.rate_hz;
        let gap_us = sample_us(gap.min(LONGEST_GAP), rate_hz);
        if gap_us > Micros::from(limits.max_gap_ms) * 1_000 {
            return Err(StreamError::Gap {
                epoch: chunk.epoch,
                at: chunk.first_sample,
                missing: gap,
                limit_ms: limits.max_gap_ms,
            });
        }
        let waiting: usize = self.utterances.iter().map(|u| u.waiting.len()).sum();
        let taken = count - duplicate;
        let limit = u64::from(limits.max_ahead_ms) * u64::from(rate_hz) / 1_000;
        if waiting as u64 + gap + taken > limit {
            return Err(StreamError::TooFarAhead {
                limit_ms: limits.max_ahead_ms,
            });
        }
        if is_new {
            self.begin(chunk.epoch, latency, now);
        }
        if let Some(last) = self.utterances.back_mut() {
            last.set_clock(received + gap, latency, now);
            last.append(gap, &chunk.pcm[2 * duplicate as usize..], now);
        }
        Ok(Accepted {
            taken,
            filled: gap,
            dropped: Some((DropReason::Duplicate, duplicate)),
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
        let first = self.utterances.front().map_or(0, Utterance::frames);
        let all = self.utterances.iter().map(Utterance::frames).sum::<u64>();
        all - self.next_frame.min(first)
    }

    /// Whether a message of `epoch` begins it, if it may.
    fn check_new(&self, epoch: u32) -> Result<bool, StreamError> {
        let is_new = epoch > self.current || !self.begun;
        if is_new && self.utterances.len() >= self.settings.params.config.max_utterances {
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
        self.utterances.push_back(Utterance {
            epoch,
            shown: self.shown.clone(),
            rate_hz: self.settings.rate_hz,
            waiting: VecDeque::new(),
            received: 0,
            ended: false,
            anchor: now,
            played_at: now,
            start,
        });
        self.current = epoch;
        self.begun = true;
    }

    /// No more sound of the last utterance comes. An end that comes late sets the clock anew, as late audio does: the
    /// frames that waited for it are still to be shown.
    fn end_last(&mut self, latency: Micros, now: MediaTime) {
        if let Some(last) = self.utterances.back_mut().filter(|last| !last.ended) {
            last.set_clock(last.received, latency, now);
            last.ended = true;
        }
    }
}

impl<P> Utterance<P> {
    fn instant(&self, sample: u64) -> MediaTime {
        self.anchor + sample_us(sample, self.rate_hz)
    }

    /// Frames that belong to its sound as far as it has come.
    fn frames(&self) -> u64 {
        frame_count(self.received, self.rate_hz)
    }

    /// What is heard from position `first` on is known only now. Where that is so late that its frames, whose computation
    /// takes `latency`, could not be in time, the clock is set anew: better late than never, and a client's sound card
    /// that runs slow must not stop its face.
    fn set_clock(&mut self, first: u64, latency: Micros, now: MediaTime) {
        let late = now - self.instant(first);
        let (max_delay, look_ahead) = (self.shown.max_delay, self.shown.look_ahead);
        if late > max_delay - look_ahead - latency.min(FRAME_US) - FRAME_US / 2 {
            self.anchor += late;
        }
    }

    /// Takes little-endian PCM16 after a gap, which is filled with silence.
    fn append(&mut self, gap: u64, pcm: &[u8], now: MediaTime) {
        let samples = pcm16::samples(pcm);
        let count = gap + samples.len() as u64;
        self.received += count;
        self.played_at = self.played_at.max(now) + sample_us(count, self.rate_hz);
        self.waiting.extend(std::iter::repeat_n(0, gap as usize));
        self.waiting.extend(samples);
    }

    /// Takes up to `count` samples out, in order, and hands them to `sink`.
    fn take(&mut self, count: usize, mut sink: impl FnMut(&[i16])) {
        let count = count.min(self.waiting.len());
        let (first, second) = self.waiting.as_slices();
        let split = count.min(first.len());
        sink(&first[..split]);
        if count > split {
            sink(&second[..count - split]);
        }
        self.waiting.drain(..count);
        // A burst of speech sent ahead leaves a large buffer; it is given back once it is used up.
        if self.waiting.is_empty() && self.waiting.capacity() > 1 << 16 {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
impl<P> Epochs<P> {
    pub(super) fn received_and_waiting(&self) -> (u64, usize) {
        let received = self.utterances.back().map_or(0, |last| last.received);
        let waiting = self.utterances.iter().map(|u| u.waiting.len());
        (received, waiting.sum())
    }
}
