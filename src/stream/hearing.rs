//! What one utterance sounds like, as the frames of its picture need it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::frame_count;
use super::speech::Activity;
use crate::audio::{
    AudioError, FRAMES_PER_SECOND, FrontEndSpec, LEVEL_BLOCK_MS, MEL_FLOOR, RollingFrontEnd,
    SilenceDetector, SilenceLimits, WindowRow,
};

/// Blocks of the detector in a frame.
const BLOCKS_PER_FRAME: u32 = 1_000 / FRAMES_PER_SECOND / LEVEL_BLOCK_MS;

/// One row of a frame's window.
#[derive(Debug)]
pub enum StreamRow<R> {
    /// Zeros: there is no sound there, and the network was trained to see none.
    Zero,
    /// An encoder row. The same row in another frame's window is the same pair of pointers.
    Row {
        /// The encoder's input, `[80][mel_rows]`, -4..=4.
        mel: Arc<[f32]>,
        /// The caller's, made with `R::default()`: a place for the features.
        slot: Arc<R>,
    },
}

impl<R> Clone for StreamRow<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Zero => Self::Zero,
            Self::Row { mel, slot } => Self::Row {
                mel: mel.clone(),
                slot: slot.clone(),
            },
        }
    }
}

/// What a frame is to show.
#[derive(Debug)]
pub(super) enum Heard<R> {
    /// More sound is needed to know.
    Pending,
    /// Nothing is said.
    Silence,
    /// A mouth that speaks, or eases.
    Speech(Vec<StreamRow<R>>),
    /// The utterance has no such frame.
    Over,
}

/// The rolling front end of a stream, with its detector of speech, for one utterance after another.
///
/// Around speech the mel rows are faded to silence, so that the mouth eases between speaking and rest: an encoder row is
/// at once what the network knows as a closed mouth, and every step towards it is a sound that becomes quieter.
pub struct Hearing<R> {
    front_end: RollingFrontEnd,
    detector: SilenceDetector,
    activity: Activity,
    /// Blocks of the frame that is not whole yet, and whether one of them is speech.
    blocks: u32,
    block_is_speech: bool,
    /// Rows whose fading is not known yet.
    raw: VecDeque<(i64, Arc<[f32]>)>,
    /// Rows from `first_kept` on.
    rows: VecDeque<StreamRow<R>>,
    first_kept: i64,
    silence: StreamRow<R>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    rows: i64,
    frames: u64,
}

impl<R: Default> Hearing<R> {
    /// Hears sound at `input_hz`.
    ///
    /// # Errors
    /// [`AudioError`] when the rate or a number of the front end is out of range.
    pub fn new(
        spec: FrontEndSpec,
        input_hz: u32,
        limits: SilenceLimits,
    ) -> Result<Self, AudioError> {
        let front_end = RollingFrontEnd::new(spec, input_hz)?;
        let silence = vec![MEL_FLOOR; spec.input_len()].into();
        Ok(Self {
            front_end,
            detector: SilenceDetector::new(input_hz, limits)?,
            activity: Activity::default(),
            blocks: 0,
            block_is_speech: false,
            raw: VecDeque::new(),
            rows: VecDeque::new(),
            first_kept: spec.lowest_row(),
            silence: StreamRow::Row {
                mel: silence,
                slot: Arc::default(),
            },
            end: None,
        })
    }

    /// The next sound is another utterance of the same source.
    pub(super) fn restart(&mut self) {
        self.front_end.reset();
        self.detector.restart();
        self.activity = Activity::default();
        self.blocks = 0;
        self.block_is_speech = false;
        self.raw.clear();
        self.rows.clear();
        self.first_kept = self.front_end.spec().lowest_row();
        self.end = None;
    }

    /// The detector of speech, which knows the room's noise.
    pub(super) fn detector(&self) -> &SilenceDetector {
        &self.detector
    }

    /// Goes on with a detector that knows the room.
    pub(super) fn set_detector(&mut self, mut detector: SilenceDetector) {
        detector.restart();
        self.detector = detector;
    }

    /// Takes samples that follow those before.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let Self {
            detector,
            activity,
            blocks,
            block_is_speech,
            ..
        } = self;
        detector.push(samples, |_, speech| {
            *block_is_speech |= speech;
            *blocks += 1;
            if *blocks == BLOCKS_PER_FRAME {
                activity.push(*block_is_speech);
                *blocks = 0;
                *block_is_speech = false;
            }
        });
        let raw = &mut self.raw;
        self.front_end
            .push(samples, |row, input| raw.push_back((row, input.into())));
        self.settle();
    }

    /// The utterance is over. Its frames are those of its sound, and as many more as the mouth needs to come to rest; the
    /// last shows it at rest.
    pub(super) fn finish(&mut self) {
        let sounding = frame_count(self.front_end.received(), self.front_end.input_hz());
        while (self.activity.known() as u64) < sounding {
            self.activity
                .push(self.block_is_speech || self.detector.is_speech());
            self.block_is_speech = false;
        }
        let at_rest = self.activity.end();
        let frames = sounding.max(at_rest as u64 + 1);
        let raw = &mut self.raw;
        let after = (frames - sounding) as u32;
        let rows = self
            .front_end
            .finish_after(after, |row, input| raw.push_back((row, input.into())));
        self.end = Some(End { rows, frames });
        self.settle();
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
    pub(super) fn frame(&self, frame: u64) -> Heard<R> {
        if self.end.is_some_and(|end| frame >= end.frames) {
            return Heard::Over;
        }
        let frame = frame as i64;
        match self.activity.gain(frame) {
            None => return Heard::Pending,
            Some(0.0) => return Heard::Silence,
            Some(_) => {}
        }
        let end = self.end.map(|end| end.rows);
        let window = self
            .front_end
            .spec()
            .window(frame, end)
            .map(|row| match row {
                WindowRow::Zero => Some(StreamRow::Zero),
                WindowRow::Row(row) => {
                    let index = usize::try_from(row - self.first_kept).ok()?;
                    self.rows.get(index).cloned()
                }
            });
        window
            .collect::<Option<Vec<_>>>()
            .map_or(Heard::Pending, Heard::Speech)
    }

    /// Frames before `frame` will not be asked for again.
    pub(super) fn forget_before(&mut self, frame: u64) {
        let spec = self.front_end.spec();
        // The copies beyond an end stand for the row at the end.
        let needed = frame as i64 + i64::from(spec.first_row) - i64::from(spec.edge_rows) - 1;
        let unused = (needed - self.first_kept).clamp(0, self.rows.len() as i64);
        self.rows.drain(..unused as usize);
        self.first_kept += unused;
        let next_row = self.first_kept + self.rows.len() as i64;
        self.activity.forget_before(next_row.min(frame as i64));
    }

    /// Fades the rows of which it is known by how much.
    fn settle(&mut self) {
        while let Some((row, mel)) = self.raw.front() {
            let Some(gain) = self.activity.gain(*row) else {
                break;
            };
            let settled = if gain == 0.0 {
                self.silence.clone()
            } else if gain == 1.0 {
                StreamRow::Row {
                    mel: mel.clone(),
                    slot: Arc::default(),
                }
            } else {
                let faded = mel
                    .iter()
                    .map(|value| MEL_FLOOR + (value - MEL_FLOOR) * gain)
                    .collect();
                StreamRow::Row {
                    mel: faded,
                    slot: Arc::default(),
                }
            };
            self.rows.push_back(settled);
            self.raw.pop_front();
        }
    }
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
        let mut hearing: Hearing<()> = Hearing::new(spec, RATE, SilenceLimits::default()).unwrap();
        let mut frames = Vec::new();
        let mut take = |hearing: &mut Hearing<()>| {
            loop {
                match hearing.frame(frames.len() as u64) {
                    Heard::Pending => return false,
                    Heard::Over => return true,
                    Heard::Silence => frames.push(None),
                    Heard::Speech(rows) => frames.push(Some(
                        rows.into_iter()
                            .map(|row| match row {
                                StreamRow::Zero => None,
                                StreamRow::Row { mel, .. } => Some(mel.to_vec()),
                            })
                            .collect(),
                    )),
                }
                if forget {
                    hearing.forget_before(frames.len() as u64);
                }
            }
        };
        for piece in pieces {
            hearing.push(piece);
            assert!(!take(&mut hearing), "not over before it ends");
        }
        hearing.finish();
        assert!(take(&mut hearing), "nothing pends at the end");
        assert_eq!(hearing.frames(), Some(frames.len() as u64));
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
