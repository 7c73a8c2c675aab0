//! Quantised networks in the form of pairs (QuantizeLinear, then DequantizeLinear), computed in f32.
//!
//! Weights are dequantised. A pair around an activation becomes the clip that it is apart from its rounding: exporters
//! drop a ReLU where the range of the quantised numbers begins at zero.

use super::OnnxError;
use super::tensors::{attribute, bad, constant, floats, from_floats, integers, limits, node_name};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Replaces every QuantizeLinear and DequantizeLinear. Returns whether there were any.
pub fn dequantise(graph: &mut GraphProto) -> Result<bool, OnnxError> {
    let is_pair =
        |node: &NodeProto| matches!(&node.op_type[..], "QuantizeLinear" | "DequantizeLinear");
    if !graph.node.iter().any(is_pair) {
        return Ok(false);
    }
    let (mut nodes, mut constants) = (Vec::with_capacity(graph.node.len()), Vec::new());
    for node in &graph.node {
        match &node.op_type[..] {
            "QuantizeLinear" => clip(graph, node, &mut nodes, &mut constants)?,
            "DequantizeLinear" => match constant(graph, input(node, 0)) {
                Some(quantised) => constants.push(weights(graph, node, quantised)?),
                None => nodes.push(identity(node)),
            },
            _ => nodes.push(node.clone()),
        }
    }
    graph.node = nodes;
    graph.initializer.append(&mut constants);
    // They may declare types of whole numbers.
    graph.value_info.clear();
    Ok(true)
}

fn input(node: &NodeProto, number: usize) -> &str {
    node.input.get(number).map_or("", |name| name)
}

fn identity(node: &NodeProto) -> NodeProto {
    NodeProto {
        op_type: "Identity".into(),
        input: node.input[..1].to_vec(),
        attribute: Vec::new(),
        ..node.clone()
    }
}

/// How numbers are quantised.
struct Parameters {
    scales: Vec<f32>,
    zeros: Vec<i32>,
    /// The type of the quantised numbers, if the zero points tell it.
    kind: Option<i32>,
}

fn parameters(graph: &GraphProto, node: &NodeProto) -> Result<Parameters, OnnxError> {
    let computed = || OnnxError::Integers {
        operator: node.op_type.clone(),
        node: node_name(node),
    };
    let scales = floats(constant(graph, input(node, 1)).ok_or_else(computed)?)?;
    let (zeros, kind) = match input(node, 2) {
        "" => (vec![0], None),
        name => {
            let zeros = constant(graph, name).ok_or_else(computed)?;
            (integers(zeros)?, Some(zeros.data_type))
        }
    };
    Ok(Parameters {
        scales,
        zeros,
        kind,
    })
}

/// What a QuantizeLinear does apart from its rounding.
fn clip(
    graph: &GraphProto,
    node: &NodeProto,
    nodes: &mut Vec<NodeProto>,
    constants: &mut Vec<TensorProto>,
) -> Result<(), OnnxError> {
    let Parameters {
        scales,
        zeros,
        kind,
    } = parameters(graph, node)?;
    let declared = attribute(node, "output_dtype").map(|attribute| attribute.i as i32);
    let kind = kind.or(declared.filter(|kind| *kind != 0));
    let bounds = limits(kind.unwrap_or(DataType::Uint8 as i32));
    let (&[scale], &[zero], Some((least, most))) = (&scales[..], &zeros[..], bounds) else {
        return Err(OnnxError::Integers {
            operator: node.op_type.clone(),
            node: node_name(node),
        });
    };
    let name = node_name(node);
    let mut from = input(node, 0).to_owned();
    for (operator, bound) in [("Max", least), ("Min", most)] {
        let (value, constant) = ((bound - zero) as f32 * scale, format!("{name}.{operator}"));
        constants.push(from_floats(&constant, &[], &[value]));
        let to = match operator {
            "Max" => format!("{name}.at_least"),
            _ => node.output.first().cloned().unwrap_or_default(),
        };
        nodes.push(NodeProto {
            name: format!("{name}.{operator}.node"),
            op_type: operator.into(),
            input: vec![from, constant],
            output: vec![to.clone()],
            ..NodeProto::default()
        });
        from = to;
    }
    Ok(())
}

/// The weights that a DequantizeLinear makes of a constant.
fn weights(
    graph: &GraphProto,
    node: &NodeProto,
    quantised: &TensorProto,
) -> Result<TensorProto, OnnxError> {
    let Parameters { scales, zeros, .. } = parameters(graph, node)?;
    let values = integers(quantised)?;
    let rank = quantised.dims.len() as i64;
    let axis = attribute(node, "axis").map_or(1, |attribute| attribute.i);
    let axis = if axis < 0 { axis + rank } else { axis };
    let sides = quantised.dims.iter().map(|side| *side as usize);
    let sides: Vec<usize> = sides.collect();
    let (channels, inner) = match scales.len() {
        1 => (1, values.len()),
        channels => {
            let axis = usize::try_from(axis).unwrap_or(usize::MAX);
            if sides.get(axis) != Some(&channels) {
                return Err(bad(
                    quantised,
                    "is quantised by blocks, which is not known here",
                ));
            }
            (channels, sides[axis + 1..].iter().product())
        }
    };
    if !matches!(zeros.len(), 1) && zeros.len() != channels {
        return Err(bad(quantised, "has not one zero point for each scale"));
    }
    let value = |(at, value): (usize, &i32)| {
        let channel = at / inner.max(1) % channels;
        (value - zeros[channel % zeros.len()]) as f32 * scales[channel]
    };
    let values: Vec<f32> = values.iter().enumerate().map(value).collect();
    let name = node.output.first().cloned().unwrap_or_default();
    Ok(from_floats(&name, &quantised.dims, &values))
}
