//! The commands besides serving. Each is a struct of arguments with a `run`.

mod bench;
mod infer;

pub use bench::Bench;
pub use infer::Infer;

/// Why a command failed, in words for the person who gave it.
pub type CliError = Box<dyn std::error::Error + Send + Sync>;
