//! manifest.json: what a package states about itself. Read in two steps: raw values, then a [`Manifest`] that cannot
//! be wrong in itself.

mod check;

use super::files::Checksum;
use crate::audio::{BANDS, FrontEndSpec, Outside};
use crate::frame::Geometry;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The only format that exists.
pub const FORMAT: u32 = 1;

/// Which training code a package's networks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Synctalk,
    Ultralight,
    Feathertalk,
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
    /// File of a [`super::Calibration`]: the network is computed in bytes.
    pub calibration: Option<String>,
}

impl UnetSpec {
    /// Names and shapes of the inputs, for faces of `side` × `side` pixels.
    pub(super) fn shapes(&self, side: usize) -> [(&str, Vec<usize>); 2] {
        [
            (&self.image_input, vec![1, 6, side, side]),
            (&self.audio_input, self.audio_shape.clone()),
        ]
    }
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

impl AudioSpec {
    /// The numbers of the audio front end; `None` where there is no way from sound to features.
    pub fn front_end(&self) -> Option<FrontEndSpec> {
        self.encoder.as_ref().map(|encoder| FrontEndSpec {
            mel_rows: encoder.mel_rows,
            mel_offset: encoder.mel_offset,
            width: self.width,
            first_row: self.first_row,
            rows: self.rows,
            edge_rows: self.edge_rows,
            outside: self.outside,
        })
    }
}

impl EncoderSpec {
    /// Shape of the encoder's input for a number of rows.
    pub fn input_shape(&self, batch: usize) -> [usize; 4] {
        [batch, 1, BANDS, self.mel_rows]
    }
}

/// Whether a name can be a package's: safe in a path, a URL and a log line.
pub fn is_model_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}
