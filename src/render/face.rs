//! Full frames with the mouth drawn in.

use crate::frame::{BgrImage, Composer};
use crate::model::{ModelError, NetworkState, Package};

/// Renders full frames of one package, one at a time.
#[derive(Debug)]
pub struct FaceRenderer<'a> {
    package: &'a Package,
    state: NetworkState,
    composer: Composer,
}

impl<'a> FaceRenderer<'a> {
    /// # Errors
    /// As [`crate::model::Network::new_state`].
    pub fn new(package: &'a Package) -> Result<FaceRenderer<'a>, ModelError> {
        let state = package.unet().new_state()?;
        Ok(FaceRenderer {
            package,
            state,
            composer: Composer::new(),
        })
    }

    /// The full frame for `frame_id` (which may run past the idle video) with the mouth that `audio` (the U-Net's
    /// audio input) asks for.
    ///
    /// # Errors
    /// As [`Package::predict`] and [`Composer::compose`].
    pub fn render(&mut self, frame_id: u32, audio: &[f32]) -> Result<BgrImage, ModelError> {
        let frame = self.package.idle_frame(frame_id);
        self.package.predict(&mut self.state, frame, audio)?;
        let geometry = &self.package.manifest().geometry;
        let mut full = self.package.frame_image(frame)?;
        let prediction = self.state.output(self.package.unet_tensors().output);
        self.composer
            .compose(
                &mut full,
                prediction,
                geometry.inner_size,
                self.package.bounds(frame),
                geometry.feather_px(),
            )
            .map_err(|source| ModelError::Frame { frame, source })?;
        Ok(full)
    }
}
