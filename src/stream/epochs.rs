//! How audio and the client's control messages change the epochs of a stream.

use super::clock::{FRAME_US, Micros, sample_us};
use super::machine::Stream;
use super::utterance::Utterance;
use crate::protocol::Code;
use crate::protocol::stream::{AudioChunk, DropReason, Dropped, Interrupted, StreamBody};

impl<P: Clone, R: Default> Stream<P, R> {
    /// Takes a chunk of audio, or refuses it whole.
    pub(super) fn take(&mut self, chunk: &AudioChunk, now: Micros) -> Result<(), (Code, String)> {
        let count = chunk.sample_count() as u64;
        if chunk.epoch < self.epoch {
            self.audio_dropped(DropReason::OldEpoch, chunk.epoch, chunk.first_sample, count);
            return Ok(());
        }
        let limits = &self.config.limits;
        if chunk.pcm.len() > limits.max_chunk_bytes as usize {
            let text = format!(
                "{} bytes of audio in one message; at most {} are taken, send smaller pieces",
                chunk.pcm.len(),
                limits.max_chunk_bytes
            );
            return Err((Code::TooLarge, text));
        }
        let is_new = chunk.epoch > self.epoch || !self.epoch_begun;
        if is_new && self.utterances.len() >= self.config.max_utterances {
            let text = format!(
                "{} epochs wait already; wait for their frames, or interrupt them",
                self.utterances.len()
            );
            return Err((Code::TooLarge, text));
        }
        let received = match self.utterances.back() {
            _ if is_new => 0,
            Some(last) if !last.ended => last.received,
            _ => {
                let text = format!(
                    "epoch {} has ended; begin another for more audio",
                    chunk.epoch
                );
                return Err((Code::BadSequence, text));
            }
        };
        let fit = Utterance::<P>::fit(received, chunk.first_sample, count);
        if sample_us(fit.gap.min(1 << 40), self.rate_hz) > Micros::from(limits.max_gap_ms) * 1_000 {
            let text = format!(
                "audio of epoch {} goes on at sample {}, and {} samples before it are missing; at most {} ms are filled, begin another epoch",
                chunk.epoch, chunk.first_sample, fit.gap, limits.max_gap_ms
            );
            return Err((Code::BadSequence, text));
        }
        let waiting: usize = self
            .utterances
            .iter()
            .map(|utterance| utterance.waiting.len())
            .sum();
        let ahead = waiting as u64 + fit.gap + count - fit.duplicate;
        if ahead > u64::from(limits.max_ahead_ms) * u64::from(self.rate_hz) / 1_000 {
            let text = format!(
                "more than {} ms of audio wait for their frames; send it as frames come (this piece was not taken)",
                limits.max_ahead_ms
            );
            return Err((Code::TooLarge, text));
        }
        if is_new {
            self.begin(chunk.epoch, now);
        }
        if fit.duplicate > 0 {
            self.audio_dropped(
                DropReason::Duplicate,
                chunk.epoch,
                chunk.first_sample,
                fit.duplicate,
            );
        }
        self.figures.samples += count - fit.duplicate;
        self.figures.filled_samples += fit.gap;
        self.set_clock(received + fit.gap, now);
        if let Some(utterance) = self.utterances.back_mut() {
            utterance.append(fit.gap, &chunk.pcm[2 * fit.duplicate as usize..]);
        }
        Ok(())
    }

    /// Begins an epoch; those before count as ended.
    fn begin(&mut self, epoch: u32, now: Micros) {
        if let Some(last) = self.utterances.back_mut() {
            last.ended = true;
        }
        let start = self
            .start
            .take_if(|(at, _)| *at <= epoch)
            .and_then(|(at, frame)| (at == epoch).then_some(frame));
        self.utterances.push_back(Utterance::new(
            epoch,
            self.package.clone(),
            self.paused_at.unwrap_or(now),
            start,
        ));
        self.epoch = epoch;
        self.epoch_begun = true;
        self.failure_told = false;
    }

    /// Audio from position `first` on has come now. Where it is so late that its frames could not be in time, the clock
    /// is set anew: better late than never, and a client's sound card that runs slow must not stop its face.
    fn set_clock(&mut self, first: u64, now: Micros) {
        let now = self.paused_at.unwrap_or(now);
        let Some(utterance) = self.utterances.back() else {
            return;
        };
        let heard = utterance.anchor + sample_us(first, self.rate_hz);
        let spare = self.max_delay(&utterance.package)
            - self.look_ahead(&utterance.package)
            - self.estimate.expected().min(FRAME_US)
            - FRAME_US / 2;
        if now - heard > spare
            && let Some(utterance) = self.utterances.back_mut()
        {
            utterance.anchor += now - heard;
        }
    }

    fn audio_dropped(&mut self, reason: DropReason, epoch: u32, first: u64, count: u64) {
        if count > 0 {
            self.figures.dropped(reason, count);
            let last = first.saturating_add(count - 1);
            self.update(StreamBody::Dropped(Dropped {
                epoch,
                reason,
                count,
                first,
                last,
            }));
        }
    }

    pub(super) fn end(&mut self, epoch: u32, now: Micros) -> Result<(), (Code, String)> {
        if epoch < self.epoch {
            return Ok(()); // It has ended with the beginning of the next.
        }
        let is_new = epoch > self.epoch || !self.epoch_begun;
        if is_new && self.utterances.len() >= self.config.max_utterances {
            return Err((
                Code::TooLarge,
                "too many epochs wait already; interrupt them".to_owned(),
            ));
        }
        if is_new {
            self.begin(epoch, now);
        }
        if let Some(last) = self.utterances.back_mut() {
            last.ended = true;
        }
        Ok(())
    }

    pub(super) fn interrupt(&mut self, epoch: u32, now: Micros) -> Result<(), (Code, String)> {
        if epoch <= self.epoch {
            let text = format!(
                "interrupt must raise the epoch, which is {} already",
                self.epoch
            );
            return Err((Code::BadSequence, text));
        }
        let last_epoch = match (self.items.front(), self.utterances.front(), self.last_sent) {
            (Some(item), ..) => item.epoch,
            (None, Some(utterance), _) => utterance.epoch,
            (None, None, Some((sent, _))) => sent,
            (None, None, None) => self.epoch,
        };
        let last_sequence = self
            .last_sent
            .filter(|(sent, _)| *sent == last_epoch)
            .map(|(_, sequence)| sequence);
        let dropped = self.unsent();
        self.walk = self.next_walk();
        self.give_up_all();
        self.figures.dropped(DropReason::Interrupted, dropped);
        self.hearing.restart();
        self.next_frame = 0;
        self.busy_until = now;
        self.epoch = epoch;
        self.epoch_begun = false;
        self.image_shown = false;
        let dropped = dropped.min(u64::from(u32::MAX)) as u32;
        self.update(StreamBody::Interrupted(Interrupted {
            epoch,
            last_epoch,
            last_sequence,
            dropped,
        }));
        Ok(())
    }

    pub(super) fn start_at(&mut self, epoch: u32, avatar_frame: u32) -> Result<(), (Code, String)> {
        if epoch < self.epoch || (epoch == self.epoch && self.epoch_begun) {
            return Err((
                Code::BadSequence,
                format!("epoch {epoch} has begun already; start comes before its audio"),
            ));
        }
        self.start = Some((epoch, avatar_frame));
        Ok(())
    }

    pub(super) fn unpause(&mut self, now: Micros) {
        if let Some(since) = self.paused_at.take() {
            let stood = now - since;
            self.busy_until += stood;
            self.utterances
                .iter_mut()
                .for_each(|utterance| utterance.anchor += stood);
            self.items.iter_mut().for_each(|item| item.due += stood);
        }
        self.update(StreamBody::Resumed);
    }
}
