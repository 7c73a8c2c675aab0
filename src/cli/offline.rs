//! What the offline commands share.

use crate::audio::Sound;
use crate::model::{Network, Package};
use crate::recording::{RecordingError, read_recording};
use crate::render::{SpeechError, SpeechFeatures};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a recording may be, for the help.
pub(super) const RECORDING: &str = "FILE.wav|.flac|.mp3|.ogg";

/// Why a recording is not spoken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpeakError {
    #[error("{}", file.display())]
    Recording {
        file: PathBuf,
        source: RecordingError,
    },
    #[error("package {package} has no audio encoder: {cure}")]
    NoEncoder { package: String, cure: &'static str },
    #[error(transparent)]
    Speech(#[from] SpeechError),
}

/// Reads a recording; the error names the file.
pub(super) fn read_file(file: &Path) -> Result<Sound, SpeakError> {
    File::open(file)
        .map_err(RecordingError::Io)
        .and_then(read_recording)
        .map_err(|source| SpeakError::Recording {
            file: file.to_owned(),
            source,
        })
}

/// A recording's features as a package hears it; `cure` is told where the package cannot.
pub(super) fn speak(
    package: &Package,
    sound: &Sound,
    cure: &'static str,
) -> Result<SpeechFeatures, SpeakError> {
    match (package.front_end(), package.encoder()) {
        (Some(spec), Some(encoder)) => Ok(encode(spec, encoder, sound)?),
        _ => Err(SpeakError::NoEncoder {
            package: package.name().to_owned(),
            cure,
        }),
    }
}

/// Computes features under a progress bar.
pub(super) fn encode(
    spec: crate::audio::FrontEndSpec,
    encoder: &Network,
    sound: &Sound,
) -> Result<SpeechFeatures, SpeechError> {
    let bar = progress_bar(0, "encoder rows");
    let features = SpeechFeatures::compute(spec, encoder, sound, |rows| bar.set_position(rows));
    bar.finish_and_clear();
    features
}

/// A bar on a terminal, nothing elsewhere. `total` 0: not known.
pub(super) fn progress_bar(total: u64, what: &'static str) -> ProgressBar {
    let (bar, template) = match total {
        0 => (ProgressBar::new_spinner(), "{spinner} {pos} {msg}"),
        total => (
            ProgressBar::new(total),
            "[{wide_bar}] {pos}/{len} {msg}, {eta} left",
        ),
    };
    // The template is a constant: if it were wrong, the plain style would do.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> "))
        .with_message(what)
}
