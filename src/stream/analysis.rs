//! From the sound of one utterance after another to what each frame shows, for whichever package shows it.

use std::sync::Arc;

use super::SharedPackage;
use super::timeline::{FeatureTimeline, FrameAudio};
use crate::audio::{AudioError, FeatureFrame, FeatureSlot, VadParams, VoiceActivityDetector};

/// The analysis of a stream's sound: front end, voice activity and gain envelope of the utterance that is heard.
pub(super) struct Analysis<P, R> {
    rate_hz: u32,
    params: VadParams,
    /// The package that `timeline` was made for.
    package: SharedPackage<P>,
    timeline: FeatureTimeline<R>,
    /// While the sound stalls: what has come, as if nothing followed.
    stalled: Option<Box<FeatureTimeline<R>>>,
}

impl<P, R: Default> Analysis<P, R> {
    /// An analysis of sound at `rate_hz` for `package`.
    ///
    /// # Errors
    /// [`AudioError`] when the rate or a number of the package's front end is out of range.
    pub(super) fn new(
        package: SharedPackage<P>,
        rate_hz: u32,
        params: VadParams,
    ) -> Result<Self, AudioError> {
        Ok(Self {
            timeline: FeatureTimeline::new(package.spec, rate_hz, params)?,
            rate_hz,
            params,
            package,
            stalled: None,
        })
    }

    /// The utterance to come is shown by `package`.
    ///
    /// # Errors
    /// [`AudioError`] when a number of the package's front end is out of range.
    pub(super) fn prepare(&mut self, package: &SharedPackage<P>) -> Result<(), AudioError> {
        if !Arc::ptr_eq(package, &self.package) {
            let mut timeline = FeatureTimeline::new(package.spec, self.rate_hz, self.params)?;
            timeline.set_vad(self.vad().clone());
            self.timeline = timeline;
            self.package = package.clone();
        }
        Ok(())
    }

    /// The next sound is another utterance.
    pub(super) fn restart(&mut self) {
        self.stalled = None;
        self.timeline.restart();
    }

    /// Takes samples that follow those before.
    pub(super) fn push(&mut self, samples: &[i16]) {
        self.stalled = None;
        self.timeline.push(samples);
    }

    /// The utterance is over.
    pub(super) fn finish(&mut self) {
        self.stalled = None;
        self.timeline.finish();
    }

    /// No more sound comes for now: the frames of what has come are to be shown, and the mouth to be closed.
    pub(super) fn stall(&mut self) {
        self.stalled = Some(Box::new(self.timeline.stall()));
    }

    /// Whether nothing has come since [`Self::stall`].
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether nothing of the utterance was heard yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.timeline.is_fresh()
    }

    /// Whether the utterance is over.
    pub(super) fn is_finished(&self) -> bool {
        self.timeline.frame_count().is_some()
    }

    /// What frame `frame` is to show.
    pub(super) fn frame(&self, frame: u64) -> FrameAudio {
        match &self.stalled {
            None => self.timeline.frame(frame),
            Some(stalled) => match stalled.frame(frame) {
                FrameAudio::Over => FrameAudio::Pending,
                shown => shown,
            },
        }
    }

    /// The feature frames that frame `frame` hears, where it is [`FrameAudio::Speech`].
    pub(super) fn window(&self, frame: u64) -> Vec<FeatureSlot<FeatureFrame<R>>> {
        let timeline = self.stalled.as_deref().unwrap_or(&self.timeline);
        timeline.window(frame)
    }

    /// Whether `frame` is the last of the utterance.
    pub(super) fn is_last(&self, frame: u64) -> bool {
        self.timeline.frame_count() == Some(frame + 1)
    }

    /// Frames before `frame` will not be asked for again.
    pub(super) fn forget_before(&mut self, frame: u64) {
        self.timeline.forget_before(frame);
    }

    /// The voice activity detector, which knows the room's noise.
    pub(super) fn vad(&self) -> &VoiceActivityDetector {
        self.timeline.vad()
    }

    /// Goes on with a detector that knows the room.
    pub(super) fn set_vad(&mut self, vad: VoiceActivityDetector) {
        self.timeline.set_vad(vad);
    }
}
