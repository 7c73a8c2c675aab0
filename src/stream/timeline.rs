//! The analysis of a stream's sound: what one utterance after another sounds like, as the frames of its picture need it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::frame_count;
use super::envelope::GainEnvelope;
use crate::audio::{
    AudioError, FRAMES_PER_SECOND, FeatureFrame, FeatureSlot, FrontEndSpec, LEVEL_BLOCK_MS,
    MEL_FLOOR, RollingFrontEnd, VadParams, VoiceActivityDetector,
};

/// Blocks of the voice activity detector in a frame.
const BLOCKS_PER_FRAME: u32 = 1_000 / FRAMES_PER_SECOND / LEVEL_BLOCK_MS;

/// What a frame is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameAudio {
    /// More sound is needed to know.
    Pending,
    /// Nothing is said.
    Silence,
    /// A mouth that speaks, or eases: [`FeatureTimeline::window`] is what it hears.
    Speech,
    /// The utterance has no such frame.
    Over,
}

/// The feature frames of a stream, with the gain envelope of its mouth, for one utterance after another.
///
/// Around speech the inputs of the audio encoder are faded to silence, so that the mouth eases between speaking and
/// rest: an encoder's input is at once what the network knows as a closed mouth, and every step towards it is a sound
/// that becomes quieter.
pub(super) struct FeatureTimeline<R> {
    front_end: RollingFrontEnd,
    vad: VoiceActivityDetector,
    envelope: GainEnvelope,
    /// Blocks of the frame that is not whole yet, and whether one of them is speech.
    blocks: u32,
    block_is_speech: bool,
    /// Feature frames whose gain is not known yet.
    unfaded: VecDeque<(i64, Arc<[f32]>)>,
    /// Feature frames from `first_kept` on.
    frames: VecDeque<FeatureFrame<R>>,
    first_kept: i64,
    silence: FeatureFrame<R>,
    end: Option<End>,
    /// While the sound stalls: what has come, as if nothing followed.
    stalled: Option<Box<Self>>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    /// One past the last feature frame.
    features: i64,
    /// Frames of the picture.
    frames: u64,
}

impl<R: Default> FeatureTimeline<R> {
    /// A timeline of sound at `input_hz`.
    ///
    /// # Errors
    /// [`AudioError`] when the rate or a number of the front end is out of range.
    pub(super) fn new(
        spec: FrontEndSpec,
        input_hz: u32,
        params: VadParams,
    ) -> Result<Self, AudioError> {
        Ok(Self {
            front_end: RollingFrontEnd::new(spec, input_hz)?,
            vad: VoiceActivityDetector::new(input_hz, params)?,
            envelope: GainEnvelope::default(),
            blocks: 0,
            block_is_speech: false,
            unfaded: VecDeque::new(),
            frames: VecDeque::new(),
            first_kept: spec.lowest_row(),
            silence: silence(spec),
            end: None,
            stalled: None,
        })
    }

    /// The utterance to come is heard by a front end of this kind.
    ///
    /// # Errors
    /// [`AudioError`] when a number of the front end is out of range.
    pub(super) fn prepare(&mut self, spec: FrontEndSpec) -> Result<(), AudioError> {
        if *self.front_end.spec() != spec {
            self.front_end = RollingFrontEnd::new(spec, self.front_end.input_hz())?;
            self.silence = silence(spec);
            self.first_kept = spec.lowest_row();
        }
        Ok(())
    }

    /// The next sound is another utterance of the same source.
    pub(super) fn restart(&mut self) {
        self.front_end.reset();
        self.vad.restart();
        self.envelope = GainEnvelope::default();
        self.blocks = 0;
        self.block_is_speech = false;
        self.unfaded.clear();
        self.frames.clear();
        self.first_kept = self.front_end.spec().lowest_row();
        self.end = None;
        self.stalled = None;
    }

    /// The voice activity detector, which knows the room's noise.
    pub(super) fn vad(&self) -> &VoiceActivityDetector {
        &self.vad
    }

    /// Goes on with a detector that knows the room.
    pub(super) fn set_vad(&mut self, mut vad: VoiceActivityDetector) {
        vad.restart();
        self.vad = vad;
    }

    /// Takes samples that follow those before.
    pub(super) fn push(&mut self, samples: &[i16]) {
        self.stalled = None;
        let Self {
            vad,
            envelope,
            blocks,
            block_is_speech,
            ..
        } = self;
        vad.push(samples, |_, speech| {
            *block_is_speech |= speech;
            *blocks += 1;
            if *blocks == BLOCKS_PER_FRAME {
                envelope.push(*block_is_speech);
                *blocks = 0;
                *block_is_speech = false;
            }
        });
        let unfaded = &mut self.unfaded;
        self.front_end
            .push(samples, |at, input| unfaded.push_back((at, input.into())));
        self.fade();
    }

    /// The utterance is over. Its frames are those of its sound, and as many more as the mouth needs to come to rest; the
    /// last shows it at rest.
    pub(super) fn finish(&mut self) {
        self.stalled = None;
        let sounding = self.complete_last_frame();
        let at_rest = self.envelope.end();
        self.end_with(sounding, sounding.max(at_rest as u64 + 1));
    }

    /// No more sound comes for now: what has come is shown as if nothing followed, with a mouth that closes in its last
    /// frames. More sound, or the end, goes on from the sound itself.
    pub(super) fn stall(&mut self) {
        let sounding = self.sounding_frames();
        self.envelope.stall_at(sounding as i64 - 1);
        let mut stalled = Self {
            front_end: self.front_end.clone(),
            vad: self.vad.clone(),
            envelope: self.envelope.clone(),
            unfaded: self.unfaded.clone(),
            frames: self.frames.clone(),
            silence: self.silence.clone(),
            stalled: None,
            ..*self
        };
        stalled.complete_last_frame();
        stalled.envelope.end();
        stalled.end_with(sounding, sounding);
        self.stalled = Some(Box::new(stalled));
    }

    /// Whether nothing has come since [`Self::stall`].
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether nothing of the utterance was heard yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.front_end.received() == 0 && self.end.is_none()
    }

    /// Frames of the utterance, once it is finished.
    pub(super) fn frames(&self) -> Option<u64> {
        self.end.map(|end| end.frames)
    }

    /// What frame `frame` is to show.
    pub(super) fn frame(&self, frame: u64) -> FrameAudio {
        if let Some(stalled) = &self.stalled {
            return match stalled.frame(frame) {
                FrameAudio::Over => FrameAudio::Pending,
                shown => shown,
            };
        }
        if self.end.is_some_and(|end| frame >= end.frames) {
            return FrameAudio::Over;
        }
        match self.envelope.gain(frame as i64) {
            None => return FrameAudio::Pending,
            Some(0.0) => return FrameAudio::Silence,
            Some(_) => {}
        }
        let is_kept = |slot: FeatureSlot<i64>| match slot {
            FeatureSlot::Zero => true,
            FeatureSlot::Frame(at) => self.kept(at).is_some(),
        };
        if self.slots(frame).all(is_kept) {
            FrameAudio::Speech
        } else {
            FrameAudio::Pending
        }
    }

    /// The feature frames that frame `frame` hears, in order, where [`Self::frame`] gives [`FrameAudio::Speech`].
    pub(super) fn window(&self, frame: u64) -> Vec<FeatureSlot<FeatureFrame<R>>> {
        let shown = self.stalled.as_deref().unwrap_or(self);
        let slots = shown.slots(frame).map(|slot| match slot {
            FeatureSlot::Frame(at) => shown.kept(at).cloned(),
            FeatureSlot::Zero => None,
        });
        slots
            .map(|kept| kept.map_or(FeatureSlot::Zero, FeatureSlot::Frame))
            .collect()
    }

    /// Frames before `frame` will not be asked for again.
    pub(super) fn forget_before(&mut self, frame: u64) {
        let spec = self.front_end.spec();
        // The copies beyond an end stand for the feature frame at the end.
        let needed = frame as i64 + i64::from(spec.first_row) - i64::from(spec.edge_rows) - 1;
        let unused = (needed - self.first_kept).clamp(0, self.frames.len() as i64);
        self.frames.drain(..unused as usize);
        self.first_kept += unused;
        let next = self.first_kept + self.frames.len() as i64;
        self.envelope.forget_before(next.min(frame as i64));
    }

    /// Frames that belong to a sample of the sound as far as it has come.
    fn sounding_frames(&self) -> u64 {
        frame_count(self.front_end.received(), self.front_end.input_hz())
    }

    /// Takes the begun frame at the end of the sound for a whole one. Returns how many frames the sound has.
    fn complete_last_frame(&mut self) -> u64 {
        let sounding = self.sounding_frames();
        while (self.envelope.known() as u64) < sounding {
            self.envelope
                .push(self.block_is_speech || self.vad.is_speech());
            self.block_is_speech = false;
        }
        sounding
    }

    fn end_with(&mut self, sounding: u64, frames: u64) {
        let after = (frames - sounding) as u32;
        let unfaded = &mut self.unfaded;
        let features = self
            .front_end
            .finish_after(after, |at, input| unfaded.push_back((at, input.into())));
        self.end = Some(End { features, frames });
        self.fade();
    }

    fn slots(&self, frame: u64) -> impl Iterator<Item = FeatureSlot<i64>> + use<R> {
        let end = self.end.map(|end| end.features);
        self.front_end.spec().window(frame as i64, end)
    }

    fn kept(&self, at: i64) -> Option<&FeatureFrame<R>> {
        let index = usize::try_from(at - self.first_kept).ok()?;
        self.frames.get(index)
    }

    /// Fades the feature frames whose gain is known.
    fn fade(&mut self) {
        while let Some((at, input)) = self.unfaded.front() {
            let Some(gain) = self.envelope.gain(*at) else {
                break;
            };
            let faded = |value: &f32| MEL_FLOOR + (value - MEL_FLOOR) * gain;
            self.frames.push_back(if gain == 0.0 {
                self.silence.clone()
            } else if gain == 1.0 {
                FeatureFrame::new(input.clone())
            } else {
                FeatureFrame::new(input.iter().map(faded).collect::<Arc<[f32]>>())
            });
            self.unfaded.pop_front();
        }
    }
}

/// The feature frame of no sound.
fn silence<R: Default>(spec: FrontEndSpec) -> FeatureFrame<R> {
    FeatureFrame::new(vec![MEL_FLOOR; spec.input_len()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 16_000;
    const SPEC: FrontEndSpec = FrontEndSpec::DEFAULT_FACE;

    fn noise(len: usize, peak: i32) -> Vec<i16> {
        let mut state = 5u32;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 16) as i32 % (2 * peak + 1) - peak) as i16
            })
            .collect()
    }

    /// Silence, a second of speech, silence.
    fn sound() -> Vec<i16> {
        let mut sound = vec![0; 16_000];
        sound.extend(noise(16_000, 8_000));
        sound.extend(vec![0; 16_000]);
        sound
    }

    /// All frames: `None` for silence, else the rows' inputs.
    fn frames(
        spec: FrontEndSpec,
        pieces: &[&[i16]],
        forget: bool,
    ) -> Vec<Option<Vec<Option<Vec<f32>>>>> {
        let mut timeline: FeatureTimeline<()> =
            FeatureTimeline::new(spec, RATE, VadParams::default()).unwrap();
        let mut frames = Vec::new();
        let mut take = |timeline: &mut FeatureTimeline<()>| {
            loop {
                match timeline.frame(frames.len() as u64) {
                    FrameAudio::Pending => return false,
                    FrameAudio::Over => return true,
                    FrameAudio::Silence => frames.push(None),
                    FrameAudio::Speech => frames.push(Some(
                        timeline
                            .window(frames.len() as u64)
                            .into_iter()
                            .map(|slot| match slot {
                                FeatureSlot::Zero => None,
                                FeatureSlot::Frame(frame) => Some(frame.input.to_vec()),
                            })
                            .collect(),
                    )),
                }
                if forget {
                    timeline.forget_before(frames.len() as u64);
                }
            }
        };
        for piece in pieces {
            timeline.push(piece);
            assert!(!take(&mut timeline), "not over before it ends");
        }
        timeline.finish();
        assert!(take(&mut timeline), "nothing pends at the end");
        assert_eq!(timeline.frames(), Some(frames.len() as u64));
        frames
    }

    #[test]
    fn silence_needs_no_inference_and_speech_is_heard_as_it_is() {
        let sound = sound();
        let frames = frames(SPEC, &[&sound], true);
        assert_eq!(frames.len(), 75);
        let speaking: Vec<usize> = (0..75).filter(|frame| frames[*frame].is_some()).collect();
        // Led in from 880 ms on; 200 ms of hang-over and four frames of easing after 2 s.
        assert_eq!(speaking, (22..59).collect::<Vec<_>>());
        let mut plain = Vec::new();
        let mut front_end = RollingFrontEnd::new(SPEC, RATE).unwrap();
        front_end.push(&sound, |_, input| plain.push(input.to_vec()));
        front_end.finish(|_, input| plain.push(input.to_vec()));
        for frame in 25..54 {
            assert!(
                frames[frame].as_ref().unwrap()[0].as_ref() == Some(&plain[frame]),
                "frame {frame}"
            );
        }
        let mean = |frame: usize| {
            frames[frame].as_ref().unwrap()[0]
                .as_ref()
                .unwrap()
                .iter()
                .sum::<f32>()
                / 2_880.0
        };
        assert!(mean(22) < mean(24) && mean(24) < mean(30));
    }

    #[test]
    fn an_utterance_that_ends_in_speech_has_frames_in_which_the_mouth_closes() {
        for spec in [SPEC, FrontEndSpec::AVE] {
            let frames = frames(spec, &[&noise(16_000, 8_000)], true);
            assert_eq!(frames.len(), 25 + 5);
            assert!(frames[..29].iter().all(Option::is_some) && frames[29].is_none());
        }
    }

    #[test]
    fn an_utterance_without_sound_is_one_frame_at_rest() {
        assert_eq!(frames(SPEC, &[], true), [None]);
        assert_eq!(frames(FrontEndSpec::AVE, &[&[0; 10]], true), [None]);
    }

    #[test]
    fn a_stall_closes_the_mouth_within_the_sound_and_changes_nothing_that_follows() {
        for spec in [SPEC, FrontEndSpec::AVE] {
            let sound = noise(32_000, 8_000);
            let new = || FeatureTimeline::<()>::new(spec, RATE, VadParams::default()).unwrap();
            let (mut timeline, mut whole) = (new(), new());
            timeline.push(&sound[..16_000]);
            timeline.stall();
            assert!((0..24).all(|frame| timeline.frame(frame) == FrameAudio::Speech));
            assert_eq!(timeline.frame(24), FrameAudio::Silence);
            assert_eq!(timeline.frame(25), FrameAudio::Pending);
            timeline.push(&sound[16_000..]);
            timeline.finish();
            whole.push(&sound);
            whole.finish();
            assert_eq!(timeline.frames(), whole.frames());
            // Eased out of the stall, and far from it bit for bit what it is without one.
            assert_eq!(timeline.frame(25), FrameAudio::Speech);
            assert!(timeline.window(25) != whole.window(25));
            assert!((40..54).all(|frame| timeline.window(frame) == whole.window(frame)));
            // Where nothing follows, only a frame at rest does.
            let mut ended = new();
            ended.push(&sound[..16_000]);
            ended.stall();
            ended.finish();
            assert_eq!(ended.frames(), Some(26));
            assert_eq!(ended.frame(25), FrameAudio::Silence);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn pieces_do_not_matter(cuts in proptest::collection::vec(1usize..4_000, 0..30), ave: bool) {
            let spec = if ave { FrontEndSpec::AVE } else { SPEC };
            let sound = sound();
            let mut pieces = Vec::new();
            let mut rest = &sound[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert!(frames(spec, &pieces, true) == frames(spec, &[&sound], false));
        }
    }
}
