//! What the offline commands share.

use super::CliError;
use crate::audio::{Wav, read_wav};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Reads a WAV file; the error names it.
pub(super) fn read_recording(file: &Path) -> Result<Wav, CliError> {
    let opened =
        std::fs::File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let wav = read_wav(std::io::BufReader::new(opened))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    match wav.samples.is_empty() {
        true => Err(format!("{}: holds no sound", file.display()).into()),
        false => Ok(wav),
    }
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
