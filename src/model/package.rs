//! One face: a package's manifest, frames, own features and networks, checked and ready to serve.

use super::{CropCache, KeptFrames, Manifest, ModelError, Network, NetworkState};
use crate::audio::FrontEndSpec;
use crate::base::ping_pong::ping_pong;
use crate::frame::{BgrImage, Crop, cut_crop, decode_jpeg, decode_whole_jpeg, fill_input};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A package that is loaded. Shared between all workers; nothing in it changes but the cache of crops.
#[derive(Debug)]
pub struct Package {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) width: usize,
    pub(super) height: usize,
    /// One JPEG per idle frame; slices of one allocation.
    pub(super) frames: Vec<Bytes>,
    pub(super) bounds: Vec<[f32; 4]>,
    /// The package's own features with zero rows before and after, so that every frame's window is one slice.
    pub(super) features: Option<OwnFeatures>,
    pub(super) unet: Network,
    pub(super) unet_tensors: UnetTensors,
    /// What the U-Net computes of each idle frame alone.
    pub(super) kept: KeptFrames,
    pub(super) encoder: Option<Network>,
    pub(super) golden: Option<GoldenValues>,
    pub(super) crops: Arc<CropCache>,
    pub(super) crop_owner: u64,
}

/// Positions of a U-Net's tensors among its inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnetTensors {
    pub image_input: usize,
    pub audio_input: usize,
    pub output: usize,
}

/// Bytes that a loaded package holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PackageMemory {
    /// The JPEGs of the idle frames.
    pub frames_bytes: usize,
    /// The package's own features.
    pub features_bytes: usize,
    /// The networks' weights, as large as their files.
    pub networks_bytes: u64,
    /// What the U-Net's encoder half computed of the idle frames seen so far.
    pub kept_frames_bytes: usize,
}

#[derive(Debug)]
pub(super) struct OwnFeatures {
    pub(super) padded: Vec<f32>,
    pub(super) rows: usize,
}

#[derive(Debug)]
pub(super) struct GoldenValues {
    pub(super) frame: u32,
    pub(super) input: GoldenTensor,
    pub(super) output: Vec<f32>,
    pub(super) max_abs_error: f32,
}

#[derive(Debug)]
pub(super) enum GoldenTensor {
    Mel(Vec<f32>),
    Audio(Vec<f32>),
}

impl Package {
    /// A number that no other package of this process has or will have: what caches are keyed by.
    pub fn serial(&self) -> u64 {
        self.crop_owner
    }

    /// The model name: the folder's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Number of idle frames, at least 1.
    pub fn frame_count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Width and height of a full frame, pixels.
    pub fn frame_size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Index of the idle frame that stands for `frame_id`: the frames are walked to and fro.
    pub fn idle_frame(&self, frame_id: u32) -> u32 {
        ping_pong(frame_id, self.frame_count())
    }

    /// Where the prediction for an idle frame belongs: x1, y1, x2, y2 of the inner square in pixels of the full frame.
    ///
    /// # Panics
    /// When `frame` is not below [`Package::frame_count`]; see [`Package::idle_frame`]. So do the other accessors.
    pub fn bounds(&self, frame: u32) -> [f32; 4] {
        self.bounds[frame as usize]
    }

    /// The full idle frame as JPEG, as it came with the package.
    pub fn frame_jpeg(&self, frame: u32) -> Bytes {
        self.frames[frame as usize].clone()
    }

    /// The full idle frame, decoded.
    pub fn frame_image(&self, frame: u32) -> Result<BgrImage, ModelError> {
        decode_jpeg(&self.frames[frame as usize], self.width, self.height)
            .map_err(|source| ModelError::Frame { frame, source })
    }

    /// Decodes a full idle frame, and makes sure that no part of it is missing.
    ///
    /// # Errors
    /// [`ModelError::Frame`].
    pub fn check_frame(&self, frame: u32) -> Result<(), ModelError> {
        decode_whole_jpeg(&self.frames[frame as usize], self.width, self.height)
            .map(drop)
            .map_err(|source| ModelError::Frame { frame, source })
    }

    /// The inner square of an idle frame; decoded when needed, and kept while the budget allows.
    pub fn crop(&self, frame: u32) -> Result<Arc<Crop>, ModelError> {
        if let Some(crop) = self.crops.find(self.crop_owner, frame) {
            return Ok(crop);
        }
        let full = self.frame_image(frame)?;
        let crop = cut_crop(&full, self.bounds(frame), self.manifest.geometry.inner_size)
            .map_err(|source| ModelError::Frame { frame, source })?;
        let crop = Arc::new(crop);
        self.crops.keep(self.crop_owner, frame, &crop);
        Ok(crop)
    }

    /// The U-Net's audio input for `frame_id` from the package's own audio (repeated without end); `None` when the
    /// package brought no features. `rows * width` values.
    pub fn own_features(&self, frame_id: u32) -> Option<&[f32]> {
        let features = self.features.as_ref()?;
        let (rows, width) = (self.manifest.audio.rows, self.manifest.audio.width);
        let frame = frame_id as usize % features.rows;
        Some(&features.padded[frame * width..(frame + rows) * width])
    }

    /// Rows of the package's own features, each the beginning of a window; 0 if it brought none.
    pub fn own_rows(&self) -> u32 {
        self.features
            .as_ref()
            .map_or(0, |features| features.rows as u32)
    }

    /// The numbers of the audio front end; `None` for packages that only have features of their own.
    pub fn front_end(&self) -> Option<FrontEndSpec> {
        self.manifest.audio.front_end()
    }

    pub fn unet(&self) -> &Network {
        &self.unet
    }

    /// Positions of the U-Net's tensors.
    pub fn unet_tensors(&self) -> UnetTensors {
        self.unet_tensors
    }

    /// The audio encoder for one row: `[1, 1, 80, mel_rows]` to `[1, width]`. `None` for packages that only have features.
    pub fn encoder(&self) -> Option<&Network> {
        self.encoder.as_ref()
    }

    /// Bytes that this package holds, without the shared cache of crops.
    pub fn memory(&self) -> PackageMemory {
        let size = |file: &str| {
            self.manifest
                .files
                .get(file)
                .map_or(0, |checksum| checksum.bytes)
        };
        let encoder = self
            .manifest
            .audio
            .encoder
            .as_ref()
            .map_or(0, |encoder| size(&encoder.file));
        PackageMemory {
            frames_bytes: self.frames.iter().map(Bytes::len).sum(),
            features_bytes: self
                .features
                .as_ref()
                .map_or(0, |features| features.padded.len() * size_of::<f32>()),
            networks_bytes: size(&self.manifest.unet.file) + encoder,
            kept_frames_bytes: self.kept.kept() * self.kept.frame_bytes(),
        }
    }

    /// One forward pass of the U-Net for an idle frame and the audio given, into `state`, whose output
    /// [`UnetTensors::output`] then holds `[1, 3, S, S]`.
    ///
    /// # Errors
    /// When the frame cannot be decoded, the audio has not `rows * width` values, or the engine fails.
    pub fn predict(
        &self,
        state: &mut NetworkState,
        frame: u32,
        audio: &[f32],
    ) -> Result<(), ModelError> {
        self.fill(state, frame, audio)?;
        state.execute_frame(&self.kept, frame as usize)
    }

    /// Fills the inputs of a state of the U-Net, or of the same network in another precision, as
    /// [`Package::predict`] does.
    ///
    /// # Errors
    /// When the frame cannot be decoded, or the audio has not `rows * width` values.
    pub fn fill(
        &self,
        state: &mut NetworkState,
        frame: u32,
        audio: &[f32],
    ) -> Result<(), ModelError> {
        let crop = self.crop(frame)?;
        let input = state.input_mut(self.unet_tensors.image_input);
        fill_input(&crop, &self.manifest.geometry, input)
            .map_err(|source| ModelError::Frame { frame, source })?;
        let input = state.input_mut(self.unet_tensors.audio_input);
        if input.len() != audio.len() {
            return Err(ModelError::WrongLength {
                network: self.unet.name().to_owned(),
                tensor: self.manifest.unet.audio_input.clone(),
                expected: input.len(),
                found: audio.len(),
            });
        }
        input.copy_from_slice(audio);
        Ok(())
    }

    /// Computes the package's golden frame and compares. `None`: the package has none, or one in int8 that cannot be
    /// compared with what [`Package::is_left_in_floats`]. Otherwise the largest
    /// difference of any value.
    ///
    /// # Errors
    /// [`ModelError::NotGolden`] when it is larger than the manifest allows.
    pub fn check_golden(&self) -> Result<Option<f32>, ModelError> {
        let Some(golden) = &self.golden else {
            return Ok(None);
        };
        if self.is_left_in_floats() {
            return Ok(None);
        }
        let Some(output) = self.golden_output(&self.unet)? else {
            return Ok(None);
        };
        let error = largest_difference(&output, &golden.output);
        if error > golden.max_abs_error {
            let (package, allowed) = (self.name().to_owned(), golden.max_abs_error);
            return Err(ModelError::NotGolden {
                package,
                error,
                allowed,
            });
        }
        Ok(Some(error))
    }

    /// Whether the package is quantised, and its network is computed in f32 all the same; see
    /// [`super::FuseReport::why_floats`].
    pub fn is_left_in_floats(&self) -> bool {
        self.manifest.unet.calibration.is_some() && self.unet.report().int8.is_none()
    }

    /// The golden frame as `unet` computes it: the package's own U-Net, or the same in another precision. `None`: the
    /// package has no golden frame.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn golden_output(&self, unet: &Network) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(golden) = &self.golden else {
            return Ok(None);
        };
        let audio = match (&golden.input, &self.encoder) {
            (GoldenTensor::Audio(values), _) => values.clone(),
            (GoldenTensor::Mel(mel), Some(encoder)) => {
                let mut state = encoder.new_state()?;
                let mut audio = Vec::new();
                for row in mel.chunks_exact(encoder.inputs()[0].values()) {
                    state.input_mut(0).copy_from_slice(row);
                    state.execute()?;
                    audio.extend_from_slice(state.output(0));
                }
                audio
            }
            (GoldenTensor::Mel(_), None) => return Ok(None),
        };
        let mut state = unet.new_state()?;
        self.fill(&mut state, golden.frame, &audio)?;
        state.execute()?;
        Ok(Some(state.output(self.unet_tensors.output).to_vec()))
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        self.crops.forget(self.crop_owner);
    }
}

/// Not a number counts as infinitely wrong.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let difference = |(a, b): (&f32, &f32)| match (a - b).abs() {
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    };
    a.iter().zip(b).map(difference).fold(0.0, f32::max)
}
