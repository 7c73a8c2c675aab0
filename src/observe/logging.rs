//! The log: lines on standard error, which systemd's journal and a terminal both take.

use std::fmt;

use log::LevelFilter;
use simplelog::{ConfigBuilder, LevelPadding, ThreadLogMode, WriteLogger};

/// A logger was set before.
#[derive(Debug)]
pub struct LogError;

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log was started before")
    }
}

impl std::error::Error for LogError {}

/// Starts the log of this process.
///
/// # Errors
/// [`LogError`] the second time.
pub fn start_log(level: LevelFilter) -> Result<(), LogError> {
    let mut config = ConfigBuilder::new();
    config
        .set_thread_mode(ThreadLogMode::Names)
        .set_thread_level(LevelFilter::Error)
        .set_level_padding(LevelPadding::Right)
        .set_target_level(LevelFilter::Debug)
        .set_location_level(LevelFilter::Off)
        // They trace every frame and every operator.
        .add_filter_ignore_str("tungstenite")
        .add_filter_ignore_str("tract");
    // The journal adds its own time.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        config.set_time_level(LevelFilter::Off);
    }
    WriteLogger::init(level, config.build(), std::io::stderr()).map_err(|_| LogError)
}
