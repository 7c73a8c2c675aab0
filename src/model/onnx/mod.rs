//! ONNX files, before tract sees them: what they declare, and the forms of the same network that exporters write.
//!
//! A file is read into its protobuf, and its graph is rewritten into what tract computes in f32: half-precision numbers
//! become f32, quantise/dequantise pairs become clips, operators of old operator sets become those of newer ones. What
//! cannot be computed is refused here, in words that name the node and what to do.

mod declared;
mod error;
mod external;
mod file;
mod finite;
mod half;
mod operators;
mod proto;
mod qdq;
mod tensors;
mod words;

pub use declared::{Declared, DeclaredTensor, declared_inputs};
pub use error::OnnxError;
pub(super) use external::external_files;
pub use file::read_network;
pub(super) use file::{file_name, read_package_network};
use proto::parse;
pub(super) use words::in_one_sentence;

use std::fmt;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;

/// How the network of a file is computed otherwise than the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It is of half-precision floats.
    Half,
    /// It is quantised in pairs of QuantizeLinear and DequantizeLinear.
    Pairs,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Note::Half => "is of half-precision floats, and is computed in f32",
            Note::Pairs => {
                "is quantised by another tool, and is computed in f32; for int8, quantise the f32 network with \
                 `lipsyncd quantize`"
            }
        })
    }
}

/// A network as tract is given it.
pub(super) struct Prepared {
    pub proto: ModelProto,
    /// What reads it.
    pub reader: Onnx,
    pub notes: Vec<Note>,
}

/// Reads an ONNX file, and rewrites it for tract.
///
/// # Errors
/// When it is none, or holds what cannot be computed.
pub(super) fn prepare(onnx: &[u8]) -> Result<Prepared, OnnxError> {
    let mut proto = parse(onnx)?;
    let is_onnx = |domain: &str| matches!(domain, "" | "ai.onnx");
    let mut sets = proto.opset_import.iter();
    let opset = sets.find(|set| is_onnx(&set.domain));
    let opset = opset.map_or(0, |set| set.version);
    let graph = proto.graph.as_mut().ok_or(OnnxError::NoGraph)?;
    if let Some(location) = external::first_location(graph) {
        return Err(OnnxError::ExternalMissing { location });
    }
    let mut notes = Vec::new();
    if half::compute_in_f32(graph)? {
        notes.push(Note::Half);
    }
    if qdq::dequantise(graph)? {
        notes.push(Note::Pairs);
    }
    finite::check(graph)?;
    let reader = operators::reader();
    operators::update(graph, &reader, opset)?;
    Ok(Prepared {
        proto,
        reader,
        notes,
    })
}
