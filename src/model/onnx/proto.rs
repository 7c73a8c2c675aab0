//! The protobuf of an ONNX file.

use super::OnnxError;
use prost::Message;
use tract_onnx::pb::ModelProto;

/// Reads an ONNX file's protobuf.
pub(super) fn parse(onnx: &[u8]) -> Result<ModelProto, OnnxError> {
    let proto = ModelProto::decode(onnx)?;
    match proto.graph {
        Some(_) => Ok(proto),
        None => Err(OnnxError::NoGraph),
    }
}
