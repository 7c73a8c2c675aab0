//! What the operator sees: the log and the figures.

mod logging;
mod stats;

pub use logging::{LogError, start_log};
pub use stats::{Asked, Stats, StreamFigures, Times};
