//! Rewrites of a network before and after tract simplifies it, where tract would fail or mean something else than the
//! file.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Tile};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::{self, Div, Sub};
use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Interpolator, Resize};

/// A tensor repeated along its axes of length one. tract's own operator for it is moved behind convolutions of
/// concatenations when the network is simplified, which fails where the other parts are not repeated (a vector of sound
/// features beside an image). This one stays where the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broadcast {
    pub shape: TVec<usize>,
}

impl Op for Broadcast {
    fn name(&self) -> StaticName {
        "Broadcast".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Broadcast {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let tensor = inputs[0].broadcast_to_shape(&self.shape)?;
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for Broadcast {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&self.shape)))
    }

    as_op!();
}

/// Puts [`Broadcast`] in the place of tract's operator, for every tensor of f32 that is no constant.
pub(super) fn keep_broadcasts(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let input = match node.inputs[..] {
            [input] if node.op_is::<MultiBroadcastTo>() || node.op_is::<Tile>() => input,
            _ => continue,
        };
        let (from, to) = (model.outlet_fact(input)?, &node.outputs[0].fact);
        let Some(shape) = to.shape.as_concrete() else {
            continue;
        };
        if from.konst.is_some() || to.datum_type != f32::datum_type() {
            continue;
        }
        // A tile may repeat longer axes, too.
        let repeats_ones = from.rank() == shape.len()
            && (from.shape.iter().zip(shape))
                .all(|(from, to)| from.is_one() || *from == (*to).into());
        if node.op_is::<Tile>() && !repeats_ones {
            continue;
        }
        let broadcast = Broadcast {
            shape: shape.into(),
        };
        TypedModelPatch::replace_single_op(model, node, &[input], broadcast)?.apply(model)?;
    }
    Ok(())
}

/// Makes sums of `a − x`, and products of `a / x`, where `a` has values along one axis at most. If `x` comes from a
/// convolution, tract would put `a` into its bias and forget to negate (or invert) its weights.
pub(super) fn reverse_no_convolution(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some(binary) = node.op_as::<TypedBinOp>() else {
            continue;
        };
        let minus = binary.0.is::<Sub>();
        if !(minus || binary.0.is::<Div>()) || binary.1.is_some() {
            continue;
        }
        let [a, x] = [0, 1].map(|input: usize| node.inputs[input]);
        let (of_a, of_x) = (model.outlet_fact(a)?, model.outlet_fact(x)?);
        let long_axes = of_a.shape.iter().filter(|side| !side.is_one()).count();
        if long_axes > 1 || of_x.konst.is_some() || of_x.datum_type != f32::datum_type() {
            continue;
        }
        let mut patch = TypedModelPatch::new("reverse no convolution");
        let rank = of_x.rank();
        let (a, x) = (patch.tap_model(model, a)?, patch.tap_model(model, x)?);
        let name = format!("{}.reversed", node.name);
        let wires = if minus {
            let one = Tensor::from_shape(&vec![1; rank], &[-1f32])?;
            let one = patch.add_const(format!("{name}.factor"), one)?;
            let negated = patch.wire_node(name, math::mul(), &[x, one])?[0];
            patch.wire_node(&node.name, math::add(), &[a, negated])?
        } else {
            let inverted = patch.wire_node(name, math::recip(), &[x])?[0];
            patch.wire_node(&node.name, math::mul(), &[a, inverted])?
        };
        patch.shunt_outside(model, id.into(), wires[0])?;
        patch.apply(model)?;
    }
    Ok(())
}

/// Refuses what tract computes wrongly and nothing here computes instead: of a side that is resized to one pixel by cubics
/// with `pytorch_half_pixel`, it takes that pixel half a pixel too far left.
pub(super) fn refuse_cubic_to_one_pixel(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        let Some(resize) = node.op_as::<Resize>() else {
            continue;
        };
        let from = model.outlet_fact(node.inputs[0])?;
        let to = &node.outputs[0].fact;
        let (Some(from), Some(to)) = (from.shape.as_concrete(), to.shape.as_concrete()) else {
            continue;
        };
        let becomes_one = from.iter().zip(to).any(|(from, to)| *to == 1 && *from > 1);
        if becomes_one
            && resize.interpolator == Interpolator::Cubic
            && resize.coord_transformer == CoordTransformer::PytorchHalfPixel
        {
            bail!(
                "the Resize `{}` makes one pixel of a longer side by cubics with pytorch_half_pixel, which is not \
                 computed right here: export it as linear, or as a mean",
                node.name
            );
        }
    }
    Ok(())
}

/// Lets resizes that align corners go by the lengths of their sides, as other engines do. tract would take the length
/// of the output times the file's scale, which is not the output's where that is no whole number.
pub(super) fn align_corners_by_length(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some(resize) = node.op_as::<Resize>() else {
            continue;
        };
        if resize.coord_transformer != CoordTransformer::AlignCorners
            || resize.optional_scales_input.is_none()
        {
            continue;
        }
        let Some(shape) = node.outputs[0].fact.shape.as_concrete() else {
            continue;
        };
        let sizes: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
        let by_length = Resize {
            optional_scales_input: None,
            optional_sizes_input: Some(1),
            ..resize.clone()
        };
        let mut patch = TypedModelPatch::new("align corners by length");
        let input = patch.tap_model(model, node.inputs[0])?;
        let sizes = patch.add_const(format!("{}.sizes", node.name), tensor1(&sizes))?;
        let wires = patch.wire_node(
            format!("{}.by_length", node.name),
            by_length,
            &[input, sizes],
        )?;
        patch.shunt_outside(model, node.id.into(), wires[0])?;
        patch.apply(model)?;
    }
    Ok(())
}
