//! Operators that are written otherwise in old operator sets, and those that cannot be computed.

use super::OnnxError;
use super::tensors::{attribute, constant, floats, from_floats, node_name};
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::TractResult;
use tract_onnx::tract_hir::internal::InferenceOp;

/// A Resize in the form of operator set 13, in a file of an older one; `Upsample` is one of asymmetric coordinates.
const RESIZE: &str = "lipsyncd.Resize13";

/// tract's reader of ONNX files, with the operators of old sets.
pub fn reader() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register.insert(RESIZE, |context, node| {
        let context = ParsingContext {
            onnx_operator_set_version: 13,
            ..context.clone()
        };
        let resize = context.framework.op_register.0["Resize"];
        let read: TractResult<(Box<dyn InferenceOp>, Vec<String>)> = resize(&context, node);
        read
    });
    onnx
}

/// Rewrites the operators of an old set, and refuses what no part of this program computes.
pub fn update(graph: &mut GraphProto, reader: &Onnx, opset: i64) -> Result<(), OnnxError> {
    let mut constants = Vec::new();
    let mut nodes = std::mem::take(&mut graph.node);
    for node in &mut nodes {
        refuse_training(graph, node)?;
        match &node.op_type[..] {
            "Upsample" => resize_of_upsample(node, &mut constants)?,
            "Resize" if opset == 10 => resize_of_10(graph, node)?,
            _ => {}
        }
        let (operator, name) = (node.op_type.clone(), node_name(node));
        if is_of_integers(&operator) {
            return Err(OnnxError::Integers {
                operator,
                node: name,
            });
        }
        if !reader.op_register.0.contains_key(&operator) {
            return Err(OnnxError::UnknownOperator {
                operator,
                node: name,
            });
        }
    }
    graph.node = nodes;
    graph.initializer.append(&mut constants);
    Ok(())
}

/// Convolutions and products of whole numbers, as quantisers write them that do not write pairs.
fn is_of_integers(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || matches!(
            operator,
            "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear"
        )
}

/// Networks that were exported while they were being trained would normalise by each frame's own statistics.
fn refuse_training(graph: &GraphProto, node: &NodeProto) -> Result<(), OnnxError> {
    let mode = attribute(node, "training_mode").is_some_and(|attribute| attribute.i != 0);
    let outputs = node.output.iter().filter(|name| !name.is_empty()).count();
    let switch = || {
        let given = node.input.get(2).and_then(|name| constant(graph, name))?;
        let set = given.raw_data.iter().any(|byte| *byte != 0);
        Some(set || given.int32_data.iter().any(|value| *value != 0))
    };
    let training = match &node.op_type[..] {
        "BatchNormalization" => mode || outputs > 1,
        "Dropout" => switch() == Some(true),
        _ => false,
    };
    match training {
        true => Err(OnnxError::TrainingMode {
            operator: node.op_type.clone(),
            node: node_name(node),
        }),
        false => Ok(()),
    }
}

/// `Upsample`, of sets 7 to 9.
fn resize_of_upsample(
    node: &mut NodeProto,
    constants: &mut Vec<TensorProto>,
) -> Result<(), OnnxError> {
    let scales = match (node.input.get(1), attribute(node, "scales")) {
        (Some(scales), _) => scales.clone(),
        (None, Some(scales)) => {
            let (name, count) = (format!("{}.scales", node_name(node)), scales.floats.len());
            constants.push(from_floats(&name, &[count as i64], &scales.floats));
            name
        }
        (None, None) => {
            return Err(OnnxError::UnknownOperator {
                operator: node.op_type.clone(),
                node: node_name(node),
            });
        }
    };
    set_resize(node, scales, "floor");
    Ok(())
}

/// `Resize` of set 10, which takes no mode of coordinates.
fn resize_of_10(graph: &GraphProto, node: &mut NodeProto) -> Result<(), OnnxError> {
    let Some(scales) = node.input.get(1).cloned() else {
        return Ok(());
    };
    let values = constant(graph, &scales).map(floats).transpose()?;
    let shrinks = values.is_some_and(|values| values.iter().any(|scale| *scale < 1.0));
    set_resize(node, scales, if shrinks { "ceil" } else { "floor" });
    Ok(())
}

fn set_resize(node: &mut NodeProto, scales: String, nearest: &str) {
    let text = |name: &str, value: &str| AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    };
    node.op_type = RESIZE.into();
    node.input.truncate(1);
    node.input.extend([String::new(), scales]);
    node.attribute.retain(|attribute| attribute.name == "mode");
    node.attribute
        .push(text("coordinate_transformation_mode", "asymmetric"));
    node.attribute.push(text("nearest_mode", nearest));
}
