//! Weights that are no numbers: what a training that diverged leaves behind. Networks must be looked at for them, as
//! their outputs may not tell: a maximum with 0 makes 0 of NaN.

use super::OnnxError;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Operators whose inputs from the second on are weights. Elsewhere infinity may be meant, as in an attention mask.
const WEIGHTED: [&str; 6] = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "BatchNormalization",
    "PRelu",
];

/// Refuses NaN in any tensor of f32 of the graph, and infinity in its weights.
pub fn check(graph: &GraphProto) -> Result<(), OnnxError> {
    for tensor in &graph.initializer {
        refuse(tensor, f32::is_nan)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                refuse(tensor, f32::is_nan)?;
            }
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                check(graph)?;
            }
        }
        if WEIGHTED.contains(&&node.op_type[..]) {
            let weights = node.input.iter().skip(1);
            let held =
                weights.filter_map(|name| graph.initializer.iter().find(|t| t.name == *name));
            for tensor in held {
                refuse(tensor, |value| !value.is_finite())?;
            }
        }
    }
    Ok(())
}

fn refuse(tensor: &TensorProto, is_wrong: impl Fn(f32) -> bool) -> Result<(), OnnxError> {
    if tensor.data_type != DataType::Float as i32 {
        return Ok(());
    }
    let (raw, _) = tensor.raw_data.as_chunks();
    let mut values = raw.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let wrong = values.find(|value| is_wrong(*value));
    let wrong = wrong.or_else(|| {
        tensor
            .float_data
            .iter()
            .copied()
            .find(|value| is_wrong(*value))
    });
    match wrong {
        None => Ok(()),
        Some(value) => Err(OnnxError::NotFinite {
            tensor: tensor.name.clone(),
            value,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::NodeProto;

    fn graph(operator: &str, value: f32) -> GraphProto {
        GraphProto {
            node: vec![NodeProto {
                op_type: operator.to_owned(),
                input: vec!["x".to_owned(), "w".to_owned()],
                ..NodeProto::default()
            }],
            initializer: vec![TensorProto {
                name: "w".to_owned(),
                data_type: DataType::Float as i32,
                dims: vec![2],
                raw_data: [1.0f32, value]
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn nan_is_refused_everywhere_and_infinity_in_weights() {
        for operator in ["Conv", "Add"] {
            check(&graph(operator, 0.5)).unwrap();
            let error = check(&graph(operator, f32::NAN)).unwrap_err().to_string();
            assert!(error.contains("NaN") && error.contains("`w`"), "{error}");
        }
        check(&graph("Conv", f32::NEG_INFINITY)).unwrap_err();
        check(&graph("Add", f32::NEG_INFINITY)).unwrap();
        let mut listed = graph("Add", 0.0);
        listed.initializer[0].raw_data.clear();
        listed.initializer[0].float_data = vec![f32::NAN];
        check(&listed).unwrap_err();
    }
}
