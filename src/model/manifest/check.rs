//! The manifest as it stands in the file, and the way from there to a [`Manifest`].

use super::{
    AudioKind, AudioSpec, EncoderSpec, FORMAT, Family, Golden, GoldenInput, Manifest, UnetSpec,
    is_model_name,
};
use crate::audio::{FRAMES_PER_SECOND, Outside};
use crate::frame::{Geometry, Mask};
use crate::model::ModelError;
use crate::model::files::{Checksum, is_confined};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The audio input of Ultralight's `wenet` networks, and how many of its feature frames are one second.
const WENET_AUDIO: [usize; 4] = [1, 128, 16, 32];
const WENET_RATE: u32 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u32,
    name: String,
    title: String,
    #[serde(default)]
    description: String,
    family: Family,
    license: String,
    #[serde(default)]
    provenance: serde_json::Value,
    frame_rate: u32,
    frames: RawFrames,
    geometry: RawGeometry,
    unet: RawUnet,
    audio: RawAudio,
    files: BTreeMap<String, Checksum>,
    golden: Option<RawGolden>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFrames {
    file: String,
    index: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGeometry {
    crop_size: usize,
    inner_size: usize,
    border: usize,
    mask: Mask,
    channel_order: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnet {
    file: String,
    image_input: String,
    audio_input: String,
    output: String,
    audio_shape: Vec<usize>,
    calibration: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAudio {
    kind: AudioKind,
    encoder: Option<RawEncoder>,
    first_row: i32,
    rows: usize,
    #[serde(default)]
    edge_rows: u32,
    outside: Option<Outside>,
    features: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEncoder {
    file: String,
    input: String,
    output: String,
    mel_rows: usize,
    mel_offset: i32,
    width: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGolden {
    frame: u32,
    mel: Option<String>,
    audio: Option<String>,
    output: String,
    max_abs_error: f32,
}

impl Manifest {
    /// Reads a manifest. `file` is its path, for messages; `name` is the folder's name.
    ///
    /// # Errors
    /// [`ModelError::Malformed`] for text that is not JSON or has unknown, missing or mistyped fields,
    /// [`ModelError::BadField`] for a value that cannot be.
    pub fn parse(json: &[u8], file: &Path, name: &str) -> Result<Manifest, ModelError> {
        let raw = serde_json::from_slice(json).map_err(|error| ModelError::Malformed {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        Check { file }.manifest(raw, name)
    }
}

/// Raw values in, validated ones out; holds what every message needs.
struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn wrong<T>(&self, field: &str, reason: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::BadField {
            file: self.file.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        })
    }

    fn within<T: PartialOrd + std::fmt::Display>(
        &self,
        field: &str,
        value: T,
        low: T,
        high: T,
    ) -> Result<T, ModelError> {
        if value >= low && value <= high {
            return Ok(value);
        }
        self.wrong(
            field,
            format!("is {value}, must lie between {low} and {high}"),
        )
    }

    fn text(&self, field: &str, value: String, longest: usize) -> Result<String, ModelError> {
        if value.chars().any(char::is_control) || value.len() > longest {
            return self.wrong(
                field,
                format!("must be at most {longest} bytes of text without control characters"),
            );
        }
        Ok(value)
    }

    fn file(
        &self,
        field: &str,
        name: String,
        raw: &BTreeMap<String, Checksum>,
    ) -> Result<String, ModelError> {
        if !is_confined(&name) {
            return self.wrong(
                field,
                format!("`{name}` must be a file in or below the package's folder"),
            );
        }
        if !raw.contains_key(&name) {
            return self.wrong(
                field,
                format!("`{name}` has no size and checksum under `files`"),
            );
        }
        Ok(name)
    }

    fn manifest(&self, raw: Raw, folder: &str) -> Result<Manifest, ModelError> {
        if raw.format != FORMAT {
            return self.wrong(
                "format",
                format!("is {}, this version reads {FORMAT}", raw.format),
            );
        }
        if raw.name != folder {
            return self.wrong(
                "name",
                format!("is `{}`, but the folder is named `{folder}`", raw.name),
            );
        }
        if !is_model_name(&raw.name) {
            return self.wrong(
                "name",
                "must be 1 to 64 letters, digits, `_`, `-` or `.`, and not begin with `.`",
            );
        }
        if raw.frame_rate != FRAMES_PER_SECOND {
            return self.wrong(
                "frame_rate",
                format!("is {}, only {FRAMES_PER_SECOND} is served", raw.frame_rate),
            );
        }
        for (name, checksum) in &raw.files {
            let field = format!("files.{name}");
            if !is_confined(name) {
                return self.wrong(&field, "must name a file in or below the package's folder");
            }
            let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            if checksum.sha256.len() != 64 || !checksum.sha256.chars().all(hexadecimal) {
                return self.wrong(
                    &format!("{field}.sha256"),
                    "must be 64 lower-case hexadecimal digits",
                );
            }
        }
        let files = raw.files;
        let geometry = self.geometry(raw.geometry)?;
        let unet = self.unet(raw.unet, &files)?;
        let audio = self.audio(raw.audio, &unet, &files)?;
        let golden = raw
            .golden
            .map(|golden| self.golden(golden, &audio, &files))
            .transpose()?;
        Ok(Manifest {
            name: raw.name,
            title: self.text("title", raw.title, 200)?,
            description: self.text("description", raw.description, 4000)?,
            family: raw.family,
            license: self.text("license", raw.license, 200)?,
            provenance: raw.provenance,
            frame_rate: raw.frame_rate,
            frames_file: self.file("frames.file", raw.frames.file, &files)?,
            frames_index: self.file("frames.index", raw.frames.index, &files)?,
            geometry,
            unet,
            audio,
            golden,
            files,
        })
    }

    fn geometry(&self, raw: RawGeometry) -> Result<Geometry, ModelError> {
        let inner_size = self.within("geometry.inner_size", raw.inner_size, 16, 1024)?;
        let border = self.within("geometry.border", raw.border, 0, 256)?;
        if raw.crop_size != inner_size + 2 * border {
            let right = inner_size + 2 * border;
            return self.wrong(
                "geometry.crop_size",
                format!(
                    "is {}, but inner_size + 2 * border is {right}",
                    raw.crop_size
                ),
            );
        }
        let Mask {
            x,
            y,
            width,
            height,
        } = raw.mask;
        let fits = |from: usize, length: usize| {
            from.checked_add(length)
                .is_some_and(|end| end <= inner_size)
        };
        if width == 0 || height == 0 || !fits(x, width) || !fits(y, height) {
            return self.wrong(
                "geometry.mask",
                format!("[x, y, width, height] must lie inside {inner_size}x{inner_size}"),
            );
        }
        if raw.channel_order != "bgr" {
            return self.wrong(
                "geometry.channel_order",
                format!("is `{}`, only `bgr` is served", raw.channel_order),
            );
        }
        Ok(Geometry {
            crop_size: raw.crop_size,
            inner_size,
            border,
            mask: raw.mask,
        })
    }

    fn unet(
        &self,
        raw: RawUnet,
        files: &BTreeMap<String, Checksum>,
    ) -> Result<UnetSpec, ModelError> {
        let shape = &raw.audio_shape;
        let values = shape
            .iter()
            .try_fold(1usize, |product, &side| product.checked_mul(side));
        if shape.len() > 6 || shape.first() != Some(&1) || !matches!(values, Some(1..=0x100_0000)) {
            return self.wrong(
                "unet.audio_shape",
                format!(
                    "{shape:?} must be 1 to 6 sides, the first 1, of at most {} values",
                    0x100_0000
                ),
            );
        }
        if shape[..] == WENET_AUDIO {
            return self.wrong(
                "unet.audio_shape",
                format!(
                    "{shape:?} is that of wenet, whose features are {WENET_RATE} a second; only {FRAMES_PER_SECOND} are \
                     served, and the mouth would run too fast: train with hubert"
                ),
            );
        }
        Ok(UnetSpec {
            file: self.file("unet.file", raw.file, files)?,
            image_input: self.text("unet.image_input", raw.image_input, 200)?,
            audio_input: self.text("unet.audio_input", raw.audio_input, 200)?,
            output: self.text("unet.output", raw.output, 200)?,
            audio_shape: raw.audio_shape,
            calibration: raw
                .calibration
                .map(|name| self.file("unet.calibration", name, files))
                .transpose()?,
        })
    }

    fn audio(
        &self,
        raw: RawAudio,
        unet: &UnetSpec,
        files: &BTreeMap<String, Checksum>,
    ) -> Result<AudioSpec, ModelError> {
        let rows = self.within("audio.rows", raw.rows, 1, 64)?;
        let first_row = self.within("audio.first_row", raw.first_row, -64, 64)?;
        let edge_rows = self.within("audio.edge_rows", raw.edge_rows, 0, 8)?;
        let values: usize = unet.audio_shape.iter().product();
        if !values.is_multiple_of(rows) {
            return self.wrong(
                "audio.rows",
                format!("the {values} values of unet.audio_shape are no {rows} equal rows"),
            );
        }
        let width = values / rows;
        let encoder = match (raw.kind, raw.encoder) {
            (AudioKind::Features, None) => None,
            (AudioKind::Features, Some(_)) => {
                return self.wrong(
                    "audio.encoder",
                    "does not go with kind `features`; leave it out, or set kind `mel`",
                );
            }
            (AudioKind::Mel, None) => {
                return self.wrong("audio.encoder", "is needed for kind `mel`");
            }
            (AudioKind::Mel, Some(encoder)) => {
                if encoder.width != width {
                    return self.wrong(
                        "audio.encoder.width",
                        format!(
                            "is {}, but unet.audio_shape / audio.rows is {width}",
                            encoder.width
                        ),
                    );
                }
                Some(EncoderSpec {
                    file: self.file("audio.encoder.file", encoder.file, files)?,
                    input: self.text("audio.encoder.input", encoder.input, 200)?,
                    output: self.text("audio.encoder.output", encoder.output, 200)?,
                    mel_rows: self.within("audio.encoder.mel_rows", encoder.mel_rows, 1, 128)?,
                    mel_offset: self.within(
                        "audio.encoder.mel_offset",
                        encoder.mel_offset,
                        -128,
                        128,
                    )?,
                })
            }
        };
        // What the ave family was trained with, where a package does not say.
        let outside = raw.outside.unwrap_or(Outside::ZeroFeatures);
        let features = raw
            .features
            .map(|name| self.file("audio.features", name, files))
            .transpose()?;
        if features.is_none() && raw.kind == AudioKind::Features {
            return self.wrong("audio.features", "is needed for kind `features`");
        }
        let audio = AudioSpec {
            kind: raw.kind,
            encoder,
            first_row,
            rows,
            edge_rows,
            outside,
            width,
            features,
        };
        // The front end has the last word on its own numbers.
        if let Some(Err(error)) = audio.front_end().map(|spec| spec.validate()) {
            return self.wrong("audio", error.to_string());
        }
        Ok(audio)
    }

    fn golden(
        &self,
        raw: RawGolden,
        audio: &AudioSpec,
        files: &BTreeMap<String, Checksum>,
    ) -> Result<Golden, ModelError> {
        let input = match (raw.mel, raw.audio) {
            (Some(mel), None) if audio.kind == AudioKind::Mel => {
                GoldenInput::Mel(self.file("golden.mel", mel, files)?)
            }
            (Some(_), None) => {
                return self.wrong(
                    "golden.mel",
                    "there is no encoder to feed; give `audio` instead",
                );
            }
            (None, Some(audio)) => GoldenInput::Audio(self.file("golden.audio", audio, files)?),
            _ => return self.wrong("golden", "must have exactly one of `mel` and `audio`"),
        };
        let max_abs_error = self.within("golden.max_abs_error", raw.max_abs_error, 0.0, 0.1)?;
        Ok(Golden {
            frame: raw.frame,
            input,
            output: self.file("golden.output", raw.output, files)?,
            max_abs_error,
        })
    }
}
