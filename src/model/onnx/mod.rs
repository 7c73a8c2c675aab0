//! ONNX files, before tract sees them: what they declare, and the forms of the same network that exporters write.
//!
//! A file is read into its protobuf, and its graph is rewritten into what tract computes in f32: half-precision numbers
//! become f32, quantise/dequantise pairs become clips, operators of old operator sets become those of newer ones. What
//! cannot be computed is refused here, in words that name the node and what to do.

mod declared;
mod error;
mod external;

pub use declared::{Declared, DeclaredTensor, declared_inputs};
pub use error::OnnxError;
pub(super) use external::with_external_data;

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
