//! manifest.json: what a package states about itself. Read in two steps: raw values, then a [`Manifest`] that cannot
//! be wrong in itself.

use super::ModelError;
use super::files::{Checksum, is_confined};
use crate::audio::Outside;
use crate::frame::{Geometry, Mask};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The only format that exists.
pub const FORMAT: u32 = 1;
/// The only frame rate that the audio front ends know: encoder row k sees mel rows from 3.2 k on.
pub const FRAME_RATE: u32 = 25;
/// Rows of mel bands that every encoder takes.
pub const MEL_BANDS: usize = 80;

/// Which training code a package's networks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Synctalk,
    Ultralight,
    Lipsyncd,
}

/// How a package's U-Net gets its audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioKind {
    /// From sound: mel rows through the package's encoder.
    Mel,
    /// Only from features that came with the package (hubert, wenet).
    Features,
}

/// A package's manifest, validated: every name is confined to the folder, every number in range, and they fit together.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The folder's name.
    pub name: String,
    pub title: String,
    pub description: String,
    pub family: Family,
    /// SPDX expression.
    pub license: String,
    /// Where the package comes from; of any shape, for readers.
    pub provenance: serde_json::Value,
    /// Frames per second.
    pub frame_rate: u32,
    /// File of JPEGs, one after another.
    pub frames_file: String,
    /// JSON file of sizes, offsets and bounds.
    pub frames_index: String,
    pub geometry: Geometry,
    pub unet: UnetSpec,
    pub audio: AudioSpec,
    /// The fixed frame and audio whose output is known, if the package has one.
    pub golden: Option<Golden>,
    /// Size and SHA-256 of every file that is named above.
    pub files: BTreeMap<String, Checksum>,
}

/// The picture network: file and tensor names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetSpec {
    pub file: String,
    /// `[1, 6, S, S]`, real then masked, BGR, 0..1.
    pub image_input: String,
    pub audio_input: String,
    /// `[1, 3, S, S]`, BGR, 0..1.
    pub output: String,
    /// Shape of the audio input; its first side is 1.
    pub audio_shape: Vec<usize>,
}

/// The way from sound to the U-Net's audio input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioSpec {
    pub kind: AudioKind,
    /// Present exactly when `kind` is [`AudioKind::Mel`].
    pub encoder: Option<EncoderSpec>,
    /// Frame i sees encoder rows `i + first_row .. i + first_row + rows`.
    pub first_row: i32,
    /// Encoder rows that one frame sees.
    pub rows: usize,
    /// Times that the first and the last row of a recording are repeated at its ends; what is beyond is zero.
    pub edge_rows: u32,
    /// What there is beyond a recording's ends.
    pub outside: Outside,
    /// Values of one encoder row: `rows * width` is the size of the U-Net's audio input.
    pub width: usize,
    /// The package's own features `[n, width]`, repeated edge rows included, if it has any.
    pub features: Option<String>,
}

/// The audio encoder: file, tensor names and what it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSpec {
    pub file: String,
    /// `[1, 1, 80, mel_rows]`.
    pub input: String,
    /// `[1, width]`.
    pub output: String,
    /// Mel rows that one encoder row sees.
    pub mel_rows: usize,
    /// Encoder row k sees mel rows from `floor(3.2 k) + mel_offset` on.
    pub mel_offset: i32,
}

/// A fixed frame and audio, and what the networks made of them where the package was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    pub frame: u32,
    pub input: GoldenInput,
    /// `[1, 3, S, S]`.
    pub output: String,
    /// Largest difference of any value that is still right.
    pub max_abs_error: f32,
}

/// Where a golden output starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldenInput {
    /// File of mel rows `[rows, 80, mel_rows]`, the encoder's input for each row of the window.
    Mel(String),
    /// File of the U-Net's audio input.
    Audio(String),
}

impl Manifest {
    /// Reads a manifest. `file` is its path, for messages; `name` is the folder's name.
    ///
    /// # Errors
    /// [`ModelError::Malformed`] for text that is not JSON or has unknown, missing or mistyped fields,
    /// [`ModelError::BadField`] for a value that cannot be.
    pub fn parse(json: &[u8], file: &Path, name: &str) -> Result<Manifest, ModelError> {
        let raw: Raw = serde_json::from_slice(json).map_err(|error| ModelError::Malformed {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        Check { file }.manifest(raw, name)
    }
}

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
    #[serde(default)]
    outside: Outside,
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
        if raw.frame_rate != FRAME_RATE {
            return self.wrong(
                "frame_rate",
                format!("is {}, only {FRAME_RATE} is served", raw.frame_rate),
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
        Ok(UnetSpec {
            file: self.file("unet.file", raw.file, files)?,
            image_input: self.text("unet.image_input", raw.image_input, 200)?,
            audio_input: self.text("unet.audio_input", raw.audio_input, 200)?,
            output: self.text("unet.output", raw.output, 200)?,
            audio_shape: raw.audio_shape,
        })
    }

    fn audio(
        &self,
        raw: RawAudio,
        unet: &UnetSpec,
        files: &BTreeMap<String, Checksum>,
    ) -> Result<AudioSpec, ModelError> {
        let rows = self.within("audio.rows", raw.rows, 1, 256)?;
        let first_row = self.within("audio.first_row", raw.first_row, -256, 256)?;
        let edge_rows = self.within("audio.edge_rows", raw.edge_rows, 0, 16)?;
        let values: usize = unet.audio_shape.iter().product();
        if values % rows != 0 {
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
                    mel_rows: self.within("audio.encoder.mel_rows", encoder.mel_rows, 1, 400)?,
                    mel_offset: self.within(
                        "audio.encoder.mel_offset",
                        encoder.mel_offset,
                        -400,
                        400,
                    )?,
                })
            }
        };
        let features = raw
            .features
            .map(|name| self.file("audio.features", name, files))
            .transpose()?;
        if features.is_none() && raw.kind == AudioKind::Features {
            return self.wrong("audio.features", "is needed for kind `features`");
        }
        Ok(AudioSpec {
            kind: raw.kind,
            encoder,
            first_row,
            rows,
            edge_rows,
            outside: raw.outside,
            width,
            features,
        })
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

/// Whether a name can be a package's: safe in a path, a URL and a log line.
pub fn is_model_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}
