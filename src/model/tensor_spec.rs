//! Names and shapes of a network's inputs and outputs.

use super::engine_errors::engine;
use super::{LoadLimits, ModelError};
use tract_onnx::prelude::*;

/// Name and shape of one input or output of a network. All tensors are f32, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of values.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The specs of `outlets`, which must be of f32 and of fixed, bounded shapes.
pub(super) fn specs(
    network: &str,
    model: &TypedModel,
    outlets: &[OutletId],
    names: Vec<String>,
    limits: &LoadLimits,
) -> Result<Vec<TensorSpec>, ModelError> {
    let spec = |(outlet, name): (&OutletId, String)| {
        let fact = engine(network, model.outlet_fact(*outlet))?;
        let refuse = |reason| {
            Err(ModelError::Network {
                network: network.to_owned(),
                reason,
            })
        };
        if fact.datum_type != f32::datum_type() {
            return refuse(format!(
                "tensor `{name}` is of type {:?}, only f32 is served",
                fact.datum_type
            ));
        }
        let Some(shape) = fact.shape.as_concrete() else {
            return refuse(format!(
                "tensor `{name}` has no fixed shape ({:?}); export it with fixed shapes",
                fact.shape
            ));
        };
        let values = shape
            .iter()
            .try_fold(1usize, |product, &side| product.checked_mul(side));
        match values {
            Some(1..) if values <= Some(limits.tensor_values) => Ok(TensorSpec {
                name,
                shape: shape.to_vec(),
            }),
            _ => refuse(format!(
                "tensor `{name}` of shape {shape:?} does not have between 1 and {} values",
                limits.tensor_values
            )),
        }
    };
    outlets.iter().zip(names).map(spec).collect()
}
