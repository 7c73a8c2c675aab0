//! Networks of half-precision floats (f16, bf16), computed in f32: every value is one of f32, and sums over an image do
//! not overflow or stall.

use super::OnnxError;
use super::tensors::{floats, from_floats};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto, type_proto};

/// Makes f32 of all half-precision floats. Returns whether there were any.
pub fn compute_in_f32(graph: &mut GraphProto) -> Result<bool, OnnxError> {
    let mut found = false;
    for tensor in &mut graph.initializer {
        found |= widen(tensor)?;
    }
    let infos = graph.input.iter_mut().chain(&mut graph.output);
    for info in infos.chain(&mut graph.value_info) {
        found |= declare(info);
    }
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            // What a cast, or an operator that makes a tensor, is to make.
            let is_type = matches!(&attribute.name[..], "to" | "dtype" | "output_dtype");
            if is_type && is_half(attribute.i as i32) {
                attribute.i = DataType::Float as i64;
                found = true;
            }
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                found |= widen(tensor)?;
            }
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                found |= compute_in_f32(graph)?;
            }
        }
    }
    Ok(found)
}

fn is_half(kind: i32) -> bool {
    kind == DataType::Float16 as i32 || kind == DataType::Bfloat16 as i32
}

fn widen(tensor: &mut TensorProto) -> Result<bool, OnnxError> {
    if !is_half(tensor.data_type) {
        return Ok(false);
    }
    let values = floats(tensor)?;
    *tensor = from_floats(&tensor.name, &tensor.dims, &values);
    Ok(true)
}

fn declare(info: &mut ValueInfoProto) -> bool {
    let kind = info.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    match kind {
        Some(type_proto::Value::TensorType(tensor)) if is_half(tensor.elem_type) => {
            tensor.elem_type = DataType::Float as i32;
            true
        }
        _ => false,
    }
}
