//! What goes wrong inside the inference engine, as this room's errors.

use super::ModelError;
use super::onnx::in_one_sentence;
use crate::base::panic::catch_panic;
use tract_onnx::prelude::TractResult;

/// The engine's errors, in one sentence.
pub(super) fn engine<T>(network: &str, result: TractResult<T>) -> Result<T, ModelError> {
    result.map_err(|error| ModelError::Network {
        network: network.to_owned(),
        reason: in_one_sentence(&error),
    })
}

/// Turns a panic of the engine into an error.
pub(super) fn fenced<T>(network: &str, work: impl FnOnce() -> T) -> Result<T, ModelError> {
    catch_panic(work).map_err(|message| ModelError::Network {
        network: network.to_owned(),
        reason: format!("the engine panicked: {message}"),
    })
}
