//! The same pipeline as the server's, offline: a whole recording in, features or full frames out.

mod avi;
mod face;
mod speech;

pub use avi::{AviFormat, AviWriter};
pub use face::FaceRenderer;
pub use speech::{SpeechError, SpeechFeatures};
