//! How far the mouth takes part: 1 in speech, 0 in silence, and a ramp between them.

use std::collections::VecDeque;

/// Frames before speech in which the mouth is led from rest to it. Lips form a sound about 100 ms before it is heard;
/// the look-ahead of every front end here is longer.
pub(super) const LEAD: i64 = 3;
/// Frames after speech (and the detector's hang-over) in which the mouth eases to rest.
pub(super) const RELEASE: i64 = 4;

/// Which frames of an utterance have speech in them.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// From frame `base` on, as far as they are asked for again.
    frames: VecDeque<bool>,
    base: i64,
    last_speech: Option<i64>,
    ended: bool,
}

impl Activity {
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

    /// No further frame has speech in it. Returns the first frame from which on the mouth rests for good.
    pub(super) fn end(&mut self) -> i64 {
        self.ended = true;
        self.last_speech.map_or(0, |frame| frame + RELEASE + 1)
    }

    /// How far the mouth takes part in frame `frame`, 0..=1; `None` while that is not known.
    pub(super) fn gain(&self, frame: i64) -> Option<f32> {
        if !self.ended && frame + LEAD >= self.known() {
            return None;
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
        Some(after.unwrap_or(0.0).max(before.unwrap_or(0.0)))
    }

    /// Frames before `frame` will not be asked for again.
    pub(super) fn forget_before(&mut self, frame: i64) {
        let unused = (frame - RELEASE - self.base).clamp(0, self.frames.len() as i64);
        self.frames.drain(..unused as usize);
        self.base += unused;
    }
}

/// From 1 at no distance to 0 just past `reach`.
fn ramp(distance: i64, reach: i64) -> f32 {
    1.0 - distance as f32 / (reach + 1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mouth_is_led_into_speech_and_eases_out_of_it() {
        let mut activity = Activity::default();
        (0..30).for_each(|frame| activity.push((10..15).contains(&frame)));
        assert_eq!(activity.end(), 19);
        let gains: Vec<f32> = (5..21).map(|frame| activity.gain(frame).unwrap()).collect();
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
        let mut activity = Activity::default();
        (0..4).for_each(|_| activity.push(false));
        assert_eq!(activity.gain(0), Some(0.0));
        assert_eq!(activity.gain(1), None);
        activity.push(true);
        assert_eq!(activity.gain(1), Some(0.25));
        activity.end();
        assert_eq!(activity.gain(4), Some(1.0));
        assert_eq!(activity.gain(-3), Some(0.0));
    }

    #[test]
    fn what_is_forgotten_does_not_change_what_follows() {
        let mut whole = Activity::default();
        let mut pruned = Activity::default();
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
