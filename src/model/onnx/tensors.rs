//! The numbers of a file's tensors.

use super::OnnxError;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::f16;

/// The values of a tensor of f32, f16 or bf16.
pub fn floats(tensor: &TensorProto) -> Result<Vec<f32>, OnnxError> {
    let bf16 = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    let half = |bits: u16| f16::from_bits(bits).to_f32();
    let raw = &tensor.raw_data[..];
    let values: Vec<f32> = match kind(tensor) {
        Some(DataType::Float) if raw.is_empty() => tensor.float_data.clone(),
        Some(DataType::Float) => chunks(raw).map(f32::from_le_bytes).collect(),
        Some(kind @ (DataType::Float16 | DataType::Bfloat16)) => {
            let value = |bits| match kind {
                DataType::Float16 => half(bits),
                _ => bf16(bits),
            };
            if raw.is_empty() {
                let bits = tensor.int32_data.iter();
                bits.map(|bits| value(*bits as u16)).collect()
            } else {
                chunks(raw).map(u16::from_le_bytes).map(value).collect()
            }
        }
        _ => return Err(bad(tensor, "holds no floats where floats are expected")),
    };
    counted(tensor, values)
}

/// The values of a tensor of whole numbers of 8, 16 or 32 bits.
pub fn integers(tensor: &TensorProto) -> Result<Vec<i32>, OnnxError> {
    let raw = &tensor.raw_data[..];
    let values = match kind(tensor) {
        Some(DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16)
            if raw.is_empty() =>
        {
            tensor.int32_data.clone()
        }
        Some(DataType::Int32) if raw.is_empty() => tensor.int32_data.clone(),
        Some(DataType::Int8) => raw.iter().map(|byte| i32::from(*byte as i8)).collect(),
        Some(DataType::Uint8) => raw.iter().map(|byte| i32::from(*byte)).collect(),
        Some(DataType::Int16) => chunks(raw).map(i16::from_le_bytes).map(i32::from).collect(),
        Some(DataType::Uint16) => chunks(raw).map(u16::from_le_bytes).map(i32::from).collect(),
        Some(DataType::Int32) => chunks(raw).map(i32::from_le_bytes).collect(),
        _ => return Err(bad(tensor, "is quantised to a type that is not known here")),
    };
    counted(tensor, values)
}

/// The least and the largest number that a quantised type holds.
pub fn limits(kind: i32) -> Option<(i32, i32)> {
    match DataType::try_from(kind).ok()? {
        DataType::Int8 => Some((-128, 127)),
        DataType::Uint8 => Some((0, 255)),
        DataType::Int16 => Some((-32768, 32767)),
        DataType::Uint16 => Some((0, 65535)),
        _ => None,
    }
}

/// A tensor of f32.
pub fn from_floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

pub fn bad(tensor: &TensorProto, reason: &'static str) -> OnnxError {
    OnnxError::BadTensor {
        tensor: tensor.name.clone(),
        reason,
    }
}

fn kind(tensor: &TensorProto) -> Option<DataType> {
    DataType::try_from(tensor.data_type).ok()
}

fn chunks<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    raw.as_chunks::<N>().0.iter().copied()
}

/// `values`, if they are as many as the tensor's sides say.
fn counted<T>(tensor: &TensorProto, values: Vec<T>) -> Result<Vec<T>, OnnxError> {
    let sides = tensor.dims.iter().try_fold(1usize, |product, side| {
        product.checked_mul(usize::try_from(*side).ok()?)
    });
    if sides == Some(values.len()) {
        Ok(values)
    } else {
        Err(bad(tensor, "has not as many values as its shape says"))
    }
}

/// The name by which messages tell a node.
pub fn node_name(node: &NodeProto) -> String {
    let output = node.output.first().cloned().unwrap_or_default();
    match &node.name[..] {
        "" => output,
        name => name.to_owned(),
    }
}

/// A node's attribute.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

/// The constant of that name: an initializer, or the output of a `Constant` node.
pub fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a TensorProto> {
    let initializer = graph.initializer.iter().find(|tensor| tensor.name == name);
    initializer.or_else(|| {
        let makes = |node: &&NodeProto| node.op_type == "Constant" && node.output[..] == [name];
        let node = graph.node.iter().find(makes)?;
        attribute(node, "value")?.t.as_ref()
    })
}
