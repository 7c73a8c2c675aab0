//! Whether a package's files are what its manifest and frame index state of them.

use super::onnx::Declared;
use super::{ModelError, Network, TensorSpec};
use crate::frame::{FrameError, JpegHeader};

/// Whether a frame is a whole JPEG of a kind that is served, and of the size that the index states. Its pixels are not
/// looked at.
pub fn check_frame(jpeg: &[u8], expected: (usize, usize)) -> Result<(), FrameError> {
    let header = JpegHeader::read(jpeg)?;
    header.check_served()?;
    match (header.width, header.height) {
        found if found == expected => Ok(()),
        found => Err(FrameError::WrongSize { expected, found }),
    }
}

/// Compares the shape that a network's file declares of an input with what the package states. What the file leaves
/// open fits; an input that it does not have is found when the network is built.
pub fn expect_declared(
    network: &str,
    onnx: &[u8],
    tensor: &str,
    stated: &[usize],
    cure: impl Fn(&[usize]) -> String,
) -> Result<(), ModelError> {
    let declared = Declared::read(onnx).map_err(|source| ModelError::Onnx {
        network: network.to_owned(),
        source,
    })?;
    let Some(input) = declared
        .inputs
        .into_iter()
        .find(|input| input.name == tensor)
    else {
        return Ok(());
    };
    let declared = input.shape;
    let fits = declared.len() == stated.len()
        && declared
            .iter()
            .zip(stated)
            .all(|(declared, stated)| declared.is_none_or(|side| side == *stated));
    if declared.is_empty() || fits {
        return Ok(());
    }
    let sides: Vec<usize> = declared.iter().map(|side| side.unwrap_or(1)).collect();
    Err(ModelError::Declared {
        network: network.to_owned(),
        tensor: tensor.to_owned(),
        cure: cure(&sides),
        declared,
        stated: stated.to_vec(),
    })
}

pub fn expect_inputs(network: &Network, inputs: usize) -> Result<(), ModelError> {
    if network.inputs().len() == inputs {
        return Ok(());
    }
    let reason = format!("has {} inputs, {inputs} are needed", network.inputs().len());
    Err(ModelError::Network {
        network: network.name().to_owned(),
        reason,
    })
}

pub fn expect_shape(
    network: &Network,
    spec: &TensorSpec,
    expected: &[usize],
) -> Result<(), ModelError> {
    if spec.shape == expected {
        return Ok(());
    }
    Err(ModelError::Shape {
        network: network.name().to_owned(),
        tensor: spec.name.clone(),
        expected: expected.to_vec(),
        found: spec.shape.clone(),
    })
}
