//! What the operator sees: the log and the figures.

mod logging;
mod stats;

pub use logging::{Log, LogError, start_log};
pub use stats::{RequestKind, Stats, StreamFigures, Times};
