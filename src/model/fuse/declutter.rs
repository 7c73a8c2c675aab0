//! tract's simplification of a network, the same on every processor.

use super::rewrite::{
    align_corners_by_length, keep_broadcasts, refuse_cubic_to_one_pixel, reverse_no_convolution,
};
use std::collections::HashSet;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::change_axes::AxisChange;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::optim::change_axes::change_axes;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// As tract's `into_decluttered`, but the channels stay before height and width. Where tract has a depthwise kernel for
/// channels that come last (on aarch64), it would turn whole networks around, and `read` would know little of them.
pub(in crate::model) fn declutter(mut model: TypedModel) -> TractResult<TypedModel> {
    keep_broadcasts(&mut model)?;
    reverse_no_convolution(&mut model)?;
    let mut optimizer = Optimizer::declutter();
    let place = optimizer
        .passes
        .iter()
        .position(|pass| format!("{pass:?}") == "ChangeAxes");
    let Some(place) = place else {
        bail!("this version of tract moves axes elsewhere");
    };
    optimizer.passes[place] = Box::new(Axes::default());
    optimizer.session().optimize(&mut model)?;
    // Shapes are known now.
    refuse_cubic_to_one_pixel(&model)?;
    align_corners_by_length(&mut model)?;
    Ok(model)
}

/// In place of tract's pass over axes: drops axes of length one, and moves the others where an operator asks for it that
/// is no convolution.
#[derive(Clone, Debug, Default)]
struct Axes {
    tried: HashSet<AxisChange>,
}

impl TypedPass for Axes {
    fn reset(&mut self) -> TractResult<()> {
        self.tried.clear();
        Ok(())
    }

    fn next(
        &mut self,
        _: &mut OptimizerSession,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        // The network's own inputs and outputs keep their shapes.
        let fixed = [model.input_outlets()?, model.output_outlets()?].concat();
        let mut seen = HashSet::new();
        for node in model.nodes() {
            for change in wanted(node)? {
                if !self.tried.insert(change.clone()) {
                    continue;
                }
                // A change that tract begins and cannot carry out is none.
                let changed = change_axes(model, &change, &fixed, &[], &mut seen);
                if let Ok(Some((patch, _))) = changed {
                    return Ok(Some(patch));
                }
            }
        }
        Ok(None)
    }
}

/// The changes of axes that simplify what `node` reads or makes.
fn wanted(node: &TypedNode) -> TractResult<Vec<AxisChange>> {
    let mut changes = Vec::new();
    if !node.op_is::<Conv>() {
        let asked = node.op.suggested_axis_changes()?.into_iter();
        changes.extend(asked.map(|(side, op)| AxisChange {
            outlet: side.as_outlet(node),
            op,
        }));
    }
    for (slot, output) in node.outputs.iter().enumerate() {
        let outlet = OutletId::new(node.id, slot);
        let ones = output
            .fact
            .shape
            .iter()
            .enumerate()
            .filter(|(_, side)| side.is_one());
        changes.extend(ones.map(|(axis, _)| AxisChange {
            outlet,
            op: AxisOp::Rm(axis),
        }));
    }
    Ok(changes)
}
