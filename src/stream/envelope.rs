//! The gain envelope of the mouth: 1 in speech, 0 in silence, and ramps between them.

use std::collections::VecDeque;

/// Frames before speech in which the mouth is led from rest to it. Lips form a sound about 100 ms before it is heard;
/// the look-ahead of every front end here is longer.
pub(super) const LEAD: i64 = 3;
/// Frames after speech (and the detector's hang-over) in which the mouth eases to rest.
pub(super) const RELEASE: i64 = 4;

/// How far the mouth takes part in each frame of an utterance, from which of them have speech in them.
#[derive(Debug, Clone, Default)]
pub(super) struct GainEnvelope {
    /// Whether there is speech, from frame `base` on, as far as they are asked for again.
    frames: VecDeque<bool>,
    base: i64,
    last_speech: Option<i64>,
    /// Frames in which the mouth is at rest though it may be in the middle of speech: the sound stalled there.
    stalls: VecDeque<i64>,
    /// The first frame from which on the mouth rests for good, once that is known.
    end: Option<i64>,
}

impl GainEnvelope {
    /// Frames that are known.
    pub(super) fn known(&self) -> i64 {
        self.base + self.frames.len() as i64
    }

    /// The next frame has speech in it, or has not.
    pub(super) fn push(&mut self, speech: bool) {
        if speech {
            self.last_speech = Some(self.known());
        }
        self.frames.push_back(speech);
    }

    /// The mouth eases to rest until `frame`, and out of it after that.
    pub(super) fn stall_at(&mut self, frame: i64) {
        if self.stalls.back() != Some(&frame) {
            self.stalls.push_back(frame);
        }
    }

    /// No further frame has speech in it. Returns the first frame from which on the mouth rests for good.
    pub(super) fn end(&mut self) -> i64 {
        let at_rest = match self.stalls.back() {
            // Nothing has come since the mouth was closed: it stays so.
            Some(stall) if *stall + 1 >= self.known() => *stall + 1,
            _ => self.last_speech.map_or(0, |frame| frame + RELEASE + 1),
        };
        self.end = Some(at_rest);
        at_rest
    }

    /// How far the mouth takes part in frame `frame`, 0..=1; `None` while that is not known.
    pub(super) fn gain(&self, frame: i64) -> Option<f32> {
        match self.end {
            None if frame + LEAD >= self.known() => return None,
            Some(end) if frame >= end => return Some(0.0),
            _ => {}
        }
        let speech = |at: i64| {
            let index = usize::try_from(at - self.base).ok();
            index
                .and_then(|index| self.frames.get(index))
                .copied()
                .unwrap_or(false)
        };
        let after = (0..=RELEASE)
            .find(|back| speech(frame - back))
            .map(|back| ramp(back, RELEASE));
        let before = (1..=LEAD)
            .find(|on| speech(frame + on))
            .map(|on| ramp(on, LEAD));
        let gain = after.unwrap_or(0.0).max(before.unwrap_or(0.0));
        Some(self.stalls.iter().fold(gain, |gain, stall| {
            let most = if frame <= *stall {
                1.0 - ramp(stall - frame, RELEASE)
            } else {
                1.0 - ramp(frame - stall, LEAD)
            };
            gain.min(most)
        }))
    }

    /// Frames before `frame` will not be asked for again.
    pub(super) fn forget_before(&mut self, frame: i64) {
        let unused = (frame - RELEASE - self.base).clamp(0, self.frames.len() as i64);
        self.frames.drain(..unused as usize);
        self.base += unused;
        // The last is kept: it tells whether anything has come since.
        while self.stalls.len() > 1 && self.stalls[0] + LEAD < frame {
            self.stalls.pop_front();
        }
    }
}

/// From 1 at no distance to 0 just past `reach`, and beyond.
fn ramp(distance: i64, reach: i64) -> f32 {
    1.0 - distance.min(reach + 1) as f32 / (reach + 1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mouth_is_led_into_speech_and_eases_out_of_it() {
        let mut envelope = GainEnvelope::default();
        (0..30).for_each(|frame| envelope.push((10..15).contains(&frame)));
        assert_eq!(envelope.end(), 19);
        let gains: Vec<f32> = (5..21).map(|frame| envelope.gain(frame).unwrap()).collect();
        let expected = [
            0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0,
        ];
        assert!(
            gains
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6),
            "{gains:?}"
        );
        let steps = gains.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 0.26, "no jump");
    }

    #[test]
    fn a_gain_is_known_when_what_leads_into_it_is() {
        let mut envelope = GainEnvelope::default();
        (0..4).for_each(|_| envelope.push(false));
        assert_eq!(envelope.gain(0), Some(0.0));
        assert_eq!(envelope.gain(1), None);
        envelope.push(true);
        assert_eq!(envelope.gain(1), Some(0.25));
        envelope.end();
        assert_eq!(envelope.gain(4), Some(1.0));
        assert_eq!(envelope.gain(-3), Some(0.0));
    }

    #[test]
    fn where_the_sound_stalls_the_mouth_closes_and_opens_again() {
        let mut envelope = GainEnvelope::default();
        (0..10).for_each(|_| envelope.push(true));
        envelope.stall_at(9);
        let mut over = envelope.clone();
        assert_eq!(
            over.end(),
            10,
            "one more frame, at rest, when no more sound comes"
        );
        assert_eq!((over.gain(3), over.gain(9)), (Some(1.0), Some(0.0)));
        let mut gains = vec![envelope.gain(5), envelope.gain(6)];
        for frame in 7..27 {
            envelope.push(true);
            gains.push(envelope.gain(frame));
            envelope.forget_before(frame);
        }
        let gains: Vec<f32> = gains.into_iter().map(Option::unwrap).collect();
        let expected = [0.8, 0.6, 0.4, 0.2, 0.0, 0.25, 0.5, 0.75, 1.0];
        assert!(
            gains[..9]
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert!(gains[9..].iter().all(|gain| *gain == 1.0));
        assert_eq!(envelope.end(), 29 + RELEASE + 1);
    }

    #[test]
    fn what_is_forgotten_does_not_change_what_follows() {
        let mut whole = GainEnvelope::default();
        let mut pruned = GainEnvelope::default();
        for frame in 0..200 {
            let speech = frame % 23 < 5;
            whole.push(speech);
            pruned.push(speech);
            pruned.forget_before(frame - LEAD);
            assert_eq!(whole.gain(frame - LEAD), pruned.gain(frame - LEAD));
        }
        assert!(pruned.frames.len() < 12);
    }
}
