//! From a manifest to a package: reads every file it names, and checks that they fit together.

use super::crops::next_serial;
use super::expect::{check_frame, expect_declared, expect_inputs, expect_shape};
use super::files::{read_checked, read_limited, refuse_dangling_link};
use super::manifest::GoldenInput;
use super::onnx::{external_files, read_package_network};
use super::package::{GoldenTensor, GoldenValues, OwnFeatures};
use super::{
    Calibration, CropCache, LoadLimits, Manifest, ModelError, Network, NpyTensor, Package,
    UnetTensors, parse_npy,
};
use crate::audio::BANDS;
use crate::frame::is_inside;
use bytes::Bytes;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// frames.json: where each JPEG lies in the file of frames, and where its face is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameIndex {
    width: usize,
    height: usize,
    offsets: Vec<usize>,
    bounds: Vec<[f32; 4]>,
}

impl Package {
    /// Loads the package in `folder`, with a cache of crops of its own.
    ///
    /// # Errors
    /// Each names the file and, where there is one, the field at fault.
    pub fn load(folder: &Path, limits: &LoadLimits) -> Result<Package, ModelError> {
        Package::load_sharing(
            folder,
            limits,
            Arc::new(CropCache::new(limits.crop_cache_bytes)),
        )
    }

    /// As [`Package::load`], with a cache of crops that is shared with other packages.
    pub fn load_sharing(
        folder: &Path,
        limits: &LoadLimits,
        crops: Arc<CropCache>,
    ) -> Result<Package, ModelError> {
        refuse_dangling_link(folder)?;
        let file = folder.join("manifest.json");
        let json = read_limited(&file, limits.json_bytes)?;
        let folder = folder
            .canonicalize()
            .map_err(|source| ModelError::Unreadable {
                file: folder.to_owned(),
                source,
            })?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let manifest = Manifest::parse(&json, &file, &name)?;
        Loader {
            folder: &folder,
            manifest: &manifest,
            limits,
        }
        .load(crops)
    }
}

/// Loads what a manifest names.
struct Loader<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
    limits: &'a LoadLimits,
}

impl Loader<'_> {
    fn load(&self, crops: Arc<CropCache>) -> Result<Package, ModelError> {
        let manifest = self.manifest;
        self.total()?;
        let (index, frames) = self.frames()?;
        let features = manifest
            .audio
            .features
            .as_deref()
            .map(|name| self.features(name))
            .transpose()?;
        let (unet, unet_tensors) = self.unet()?;
        let encoder = self.encoder()?;
        let golden = self.golden(frames.len())?;
        self.check_used()?;
        let bytes = self.limits.kept_frames_bytes;
        let kept = unet.keep_frames(unet_tensors.image_input, frames.len(), bytes);
        Ok(Package {
            folder: self.folder.to_owned(),
            manifest: manifest.clone(),
            width: index.width,
            height: index.height,
            frames,
            bounds: index.bounds,
            features,
            unet,
            unet_tensors,
            kept,
            encoder,
            golden,
            crop_owner: next_serial(),
            crops,
        })
    }

    /// Compares the size of all files together, as the manifest states them, with the limit.
    fn total(&self) -> Result<(), ModelError> {
        let sizes = self.manifest.files.values().map(|file| file.bytes);
        let (bytes, limit) = (
            sizes.fold(0, u64::saturating_add),
            self.limits.package_bytes,
        );
        if bytes <= limit {
            return Ok(());
        }
        Err(ModelError::TooLarge {
            file: self.folder.to_owned(),
            bytes,
            limit,
            flag: Some("--max-package-bytes"),
        })
    }

    /// Refuses a file that is listed and used for nothing.
    fn check_used(&self) -> Result<(), ModelError> {
        let Manifest {
            frames_file,
            frames_index,
            unet,
            audio,
            golden,
            ..
        } = self.manifest;
        let encoder = audio.encoder.as_ref().map(|encoder| &encoder.file);
        let mut used = vec![frames_file, frames_index, &unet.file];
        used.extend(&unet.calibration);
        used.extend(encoder);
        used.extend(audio.features.as_ref());
        if let Some(golden) = golden {
            used.push(&golden.output);
            let (GoldenInput::Mel(input) | GoldenInput::Audio(input)) = &golden.input;
            used.push(input);
        }
        let is_unused = |name: &&String| !used.contains(name);
        let mut unused: Vec<&String> = self.manifest.files.keys().filter(is_unused).collect();
        if unused.is_empty() {
            return Ok(());
        }
        // Networks may keep weights in files beside them.
        for network in [Some(&unet.file), encoder].into_iter().flatten() {
            let onnx = self.read(network, self.limits.package_bytes)?;
            let beside = external_files(&onnx).map_err(|source| ModelError::Onnx {
                network: network.clone(),
                source,
            })?;
            let folder = Path::new(network).parent().unwrap_or(Path::new(""));
            unused.retain(|name| {
                !beside
                    .iter()
                    .any(|file| folder.join(file) == Path::new(name))
            });
        }
        match unused.first() {
            None => Ok(()),
            Some(name) => self.wrong(
                &format!("files.{name}"),
                "names a file that the manifest does not use",
            ),
        }
    }

    fn wrong<T>(&self, field: &str, reason: impl Into<String>) -> Result<T, ModelError> {
        let file = self.folder.join("manifest.json");
        Err(ModelError::BadField {
            file,
            field: field.to_owned(),
            reason: reason.into(),
        })
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ModelError> {
        read_checked(self.folder, name, &self.manifest.files[name], limit)
    }

    fn tensor(&self, name: &str) -> Result<NpyTensor, ModelError> {
        parse_npy(
            &self.read(name, self.limits.tensor_bytes)?,
            &self.folder.join(name),
        )
    }

    fn frames(&self) -> Result<(FrameIndex, Vec<Bytes>), ModelError> {
        let file = self.folder.join(&self.manifest.frames_index);
        let json = self.read(&self.manifest.frames_index, self.limits.json_bytes)?;
        let index: FrameIndex =
            serde_json::from_slice(&json).map_err(|error| ModelError::Malformed {
                file: file.clone(),
                reason: error.to_string(),
            })?;
        let all = Bytes::from(self.read(&self.manifest.frames_file, self.limits.package_bytes)?);
        let wrong = |field: String, reason: String| {
            Err(ModelError::BadField {
                file: file.clone(),
                field,
                reason,
            })
        };
        for (field, side) in [("width", index.width), ("height", index.height)] {
            if !(16..=self.limits.frame_side_px).contains(&side) {
                let most = self.limits.frame_side_px;
                return wrong(
                    field.into(),
                    format!("is {side}, must lie between 16 and {most} pixels"),
                );
            }
        }
        let count = index.bounds.len();
        if !(1..=self.limits.frames).contains(&count) {
            return Err(ModelError::TooManyFrames {
                file,
                frames: count,
                limit: self.limits.frames,
            });
        }
        if index.offsets.len() != count + 1 {
            return wrong(
                "offsets".into(),
                format!(
                    "has {} entries, {count} frames need {}",
                    index.offsets.len(),
                    count + 1
                ),
            );
        }
        if index.offsets[0] != 0 || index.offsets[count] != all.len() {
            return wrong(
                "offsets".into(),
                format!(
                    "must begin with 0 and end with the {} bytes of the frames",
                    all.len()
                ),
            );
        }
        let mut frames = Vec::with_capacity(count);
        for (frame, ends) in index.offsets.windows(2).enumerate() {
            if ends[0] >= ends[1] || ends[1] > all.len() {
                return wrong(
                    format!("offsets[{}]", frame + 1),
                    "must be larger than the one before".into(),
                );
            }
            let jpeg = all.slice(ends[0]..ends[1]);
            let expected = (index.width, index.height);
            check_frame(&jpeg, expected).map_err(|source| ModelError::Frame {
                frame: frame as u32,
                source,
            })?;
            if !is_inside(index.bounds[frame], index.width, index.height) {
                return wrong(
                    format!("bounds[{frame}]"),
                    format!(
                        "{:?} is not a rectangle inside {}x{}",
                        index.bounds[frame], index.width, index.height
                    ),
                );
            }
            frames.push(jpeg);
        }
        Ok((index, frames))
    }

    fn features(&self, name: &str) -> Result<OwnFeatures, ModelError> {
        let audio = &self.manifest.audio;
        let tensor = self.tensor(name)?;
        let rows = tensor.shape.first().copied().unwrap_or(0);
        if rows == 0 || tensor.values.len() != rows * audio.width {
            let shape = &tensor.shape;
            return self.wrong(
                "audio.features",
                format!(
                    "{name} has the shape {shape:?}, [rows, {}] is needed",
                    audio.width
                ),
            );
        }
        if let Some(at) = tensor.values.iter().position(|value| !value.is_finite()) {
            return Err(ModelError::BadFeatures {
                file: self.folder.join(name),
                row: at / audio.width,
                value: tensor.values[at],
            });
        }
        // Frame i sees rows i + first_row + edge_rows of the file, and zeros before its first and after its last row.
        let start = i64::from(audio.first_row) + i64::from(audio.edge_rows);
        let mut padded = vec![0.0; (rows + audio.rows) * audio.width];
        for (at, row) in padded.chunks_exact_mut(audio.width).enumerate() {
            let source = at as i64 + start;
            if (0..rows as i64).contains(&source) {
                let source = source as usize;
                row.copy_from_slice(
                    &tensor.values[source * audio.width..(source + 1) * audio.width],
                );
            }
        }
        Ok(OwnFeatures { padded, rows })
    }

    fn unet(&self) -> Result<(Network, UnetTensors), ModelError> {
        let spec = &self.manifest.unet;
        let side = self.manifest.geometry.inner_size;
        let onnx = read_package_network(self.folder, &spec.file, self.manifest, self.limits)?;
        let shapes = spec.shapes(side);
        let stated = |sides: &[usize]| {
            sides
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        for (name, shape) in &shapes {
            expect_declared(&spec.file, &onnx, name, shape, |declared| {
                if *name == spec.audio_input {
                    format!(
                        "make the package again with --audio-shape {}",
                        stated(declared)
                    )
                } else {
                    "make the package again with the --family that it was trained as".to_owned()
                }
            })?;
        }
        let shapes = [0, 1].map(|input: usize| (shapes[input].0, &shapes[input].1[..]));
        let unet = match &spec.calibration {
            None => Network::from_onnx(&spec.file, &onnx, &shapes, self.limits)?,
            Some(name) => {
                let json = self.read(name, self.limits.json_bytes)?;
                let calibration = Calibration::parse(&json, &self.folder.join(name))?;
                Network::quantised(&spec.file, &onnx, &shapes, &calibration, self.limits)?
            }
        };
        if spec.calibration.is_some() && unet.report().int8.is_none() {
            log::warn!(
                "package {}: its network is quantised, but is computed in f32: {}",
                self.manifest.name,
                unet.report().why_floats()
            );
        }
        let tensors = UnetTensors {
            image_input: unet.input_index(&spec.image_input)?,
            audio_input: unet.input_index(&spec.audio_input)?,
            output: unet.output_index(&spec.output)?,
        };
        expect_inputs(&unet, 2)?;
        expect_shape(&unet, &unet.outputs()[tensors.output], &[1, 3, side, side])?;
        Ok((unet, tensors))
    }

    fn encoder(&self) -> Result<Option<Network>, ModelError> {
        let audio = &self.manifest.audio;
        let Some(spec) = &audio.encoder else {
            return Ok(None);
        };
        let onnx = read_package_network(self.folder, &spec.file, self.manifest, self.limits)?;
        let shape = spec.input_shape(1);
        expect_declared(&spec.file, &onnx, &spec.input, &shape, |_| {
            "state its mel_rows in the manifest".to_owned()
        })?;
        let network = Network::from_onnx(&spec.file, &onnx, &[(&spec.input, &shape)], self.limits)?;
        expect_inputs(&network, 1)?;
        network.output_index(&spec.output)?;
        let output = &network.outputs()[0];
        if network.outputs().len() == 1 && output.values() == audio.width {
            return Ok(Some(network));
        }
        Err(ModelError::Shape {
            network: spec.file.clone(),
            tensor: spec.output.clone(),
            expected: vec![1, audio.width],
            found: output.shape.clone(),
        })
    }

    fn golden(&self, frames: usize) -> Result<Option<GoldenValues>, ModelError> {
        let Some(golden) = &self.manifest.golden else {
            return Ok(None);
        };
        let audio = &self.manifest.audio;
        if golden.frame as usize >= frames {
            return self.wrong(
                "golden.frame",
                format!("is {}, but there are {frames} frames", golden.frame),
            );
        }
        let sized = |field: &str, name: &str, values: usize| {
            let tensor = self.tensor(name)?;
            if tensor.values.len() == values {
                return Ok(tensor.values);
            }
            self.wrong(
                field,
                format!(
                    "{name} has the shape {:?}, {values} values are needed",
                    tensor.shape
                ),
            )
        };
        let input = match (&golden.input, &audio.encoder) {
            (GoldenInput::Audio(name), _) => {
                GoldenTensor::Audio(sized("golden.audio", name, audio.rows * audio.width)?)
            }
            (GoldenInput::Mel(name), encoder) => {
                let mel_rows = encoder.as_ref().map_or(0, |encoder| encoder.mel_rows);
                let values = audio.rows * BANDS * mel_rows;
                GoldenTensor::Mel(sized("golden.mel", name, values)?)
            }
        };
        let output = sized(
            "golden.output",
            &golden.output,
            self.manifest.geometry.output_len(),
        )?;
        Ok(Some(GoldenValues {
            frame: golden.frame,
            input,
            output,
            max_abs_error: golden.max_abs_error,
        }))
    }
}
