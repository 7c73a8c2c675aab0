//! What a file declares of its inputs and outputs.

use super::OnnxError;
use super::proto::parse;
use super::read_network;
use crate::model::{LoadLimits, ModelError};
use std::path::Path;
use tract_onnx::pb::{ValueInfoProto, tensor_shape_proto::dimension, type_proto};

/// An input or output as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTensor {
    pub name: String,
    /// The sides; `None` where the file leaves one open.
    pub shape: Vec<Option<usize>>,
}

/// What a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub inputs: Vec<DeclaredTensor>,
    pub outputs: Vec<DeclaredTensor>,
}

impl Declared {
    /// What the bytes of an ONNX file declare.
    ///
    /// # Errors
    /// When they are no ONNX file.
    pub fn read(onnx: &[u8]) -> Result<Declared, OnnxError> {
        let graph = parse(onnx)?.graph.ok_or(OnnxError::NoGraph)?;
        // Old exporters list the weights among the inputs.
        let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        let inputs = graph.input.iter().filter(|input| !is_weight(&input.name));
        Ok(Declared {
            inputs: inputs.map(tensor).collect(),
            outputs: graph.output.iter().map(tensor).collect(),
        })
    }
}

/// The inputs that an ONNX file declares, in its order.
///
/// # Errors
/// When the file cannot be read, is larger than `limits.package_bytes`, or is no ONNX file.
pub fn declared_inputs(
    path: &Path,
    limits: &LoadLimits,
) -> Result<Vec<DeclaredTensor>, ModelError> {
    let onnx = read_network(path, limits)?;
    match Declared::read(&onnx) {
        Ok(declared) => Ok(declared.inputs),
        Err(source) => Err(ModelError::Onnx {
            network: path.display().to_string(),
            source,
        }),
    }
}

fn tensor(info: &ValueInfoProto) -> DeclaredTensor {
    let kind = info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let shape = kind.and_then(|type_proto::Value::TensorType(tensor)| tensor.shape.as_ref());
    let side = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(side)) => usize::try_from(*side).ok(),
        _ => None,
    };
    let sides = shape.map(|shape| shape.dim.iter().map(|dim| side(&dim.value)).collect());
    DeclaredTensor {
        name: info.name.clone(),
        shape: sides.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_outputs_are_told_without_loading_the_network() {
        let onnx = include_bytes!("../../../tests/data/networks/small_unet.onnx");
        let declared = Declared::read(onnx).unwrap();
        let names: Vec<&str> = declared.inputs.iter().map(|input| &*input.name).collect();
        assert_eq!(names, ["input", "audio"]);
        assert_eq!(declared.inputs[0].shape.len(), 4);
        assert_eq!(declared.inputs[0].shape[1], Some(6));
        assert_eq!(declared.outputs.len(), 1);
        let error = Declared::read(b"no network").unwrap_err();
        assert!(error.to_string().starts_with("is no ONNX file"), "{error}");
    }
}
