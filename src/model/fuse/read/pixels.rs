//! Operators that treat every pixel alike, and those that move pixels.

use super::super::graph::{Op, Shape};
use super::linear::pick;
use super::{Reader, channel_axis};
use crate::kernels::Upsample;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::nn::resize::{Interpolator, Resize};

impl Reader<'_> {
    /// The larger or the smaller of an image and one number.
    pub fn clamp(&mut self, node: &TypedNode, smaller: bool) -> Option<Op> {
        let known = |constant: &usize| self.constant(node.inputs[*constant]).is_some();
        let constant = (0..2).find(known)?;
        let (_, values) = self.constant(node.inputs[constant])?;
        let bound = *values.first()?;
        if bound.is_nan() || values.iter().any(|value| *value != bound) {
            return None;
        }
        let input = self.same_shape(node, 1 - constant)?;
        Some(match smaller {
            false if bound == 0.0 => Op::Relu(input),
            false => Op::Clamp {
                input,
                low: bound,
                high: f32::INFINITY,
            },
            true => Op::Clamp {
                input,
                low: f32::NEG_INFINITY,
                high: bound,
            },
        })
    }

    pub fn add(&mut self, node: &TypedNode) -> TractResult<Option<Op>> {
        for (data, constant) in [(0, 1), (1, 0)] {
            let Some((constant_shape, values)) = self.constant(node.inputs[constant]) else {
                continue;
            };
            let Some(input) = self.same_shape(node, data) else {
                return Ok(None);
            };
            let dims = node.outputs[0].fact.shape.as_concrete();
            let bias = dims.and_then(|dims| per_channel(&constant_shape, dims, values));
            return Ok(bias.map(|bias| Op::Bias { input, bias }));
        }
        let (Some(a), Some(b)) = (self.same_shape(node, 0), self.same_shape(node, 1)) else {
            return Ok(None);
        };
        Ok(Some(Op::Add {
            inputs: [a, b],
            relu: false,
        }))
    }

    /// The second image taken from the first: a convolution by minus one, to which the first is added.
    pub fn subtract(&mut self, node: &TypedNode, shape: Shape) -> Option<Op> {
        let (from, taken) = (self.same_shape(node, 0)?, self.same_shape(node, 1)?);
        let mut dense = pick(taken, shape.channels, 0..shape.channels, -1.0);
        dense.skip = Some(from);
        Some(Op::Dense(dense))
    }

    /// An image times a number, or times a constant of its height and width.
    pub fn mask(&mut self, node: &TypedNode, shape: Shape) -> Option<Op> {
        let known = |constant: &usize| self.constant(node.inputs[*constant]).is_some();
        let constant = (0..2).find(known)?;
        let (dims, mask) = self.constant(node.inputs[constant])?;
        let of_pixels = dims.ends_with(&[shape.height, shape.width]);
        let mask = match mask[..] {
            [factor] => vec![factor; shape.pixels()],
            _ if of_pixels && mask.len() == shape.pixels() => mask,
            _ => return None,
        };
        let (input, mask) = (self.same_shape(node, 1 - constant)?, Arc::new(mask));
        Some(Op::Mask { input, mask })
    }

    pub fn concat(&mut self, node: &TypedNode, concat: &TypedConcat) -> TractResult<Option<Op>> {
        let dims = node.outputs[0].fact.shape.as_concrete();
        if dims.and_then(channel_axis) != Some(concat.axis) {
            return Ok(None);
        }
        Ok(node
            .inputs
            .iter()
            .map(|input| self.image(*input))
            .collect::<Option<Vec<_>>>()
            .map(Op::Concat))
    }

    pub fn resize(
        &mut self,
        node: &TypedNode,
        resize: &Resize,
        shape: Shape,
    ) -> TractResult<Option<Op>> {
        if resize.interpolator != Interpolator::Linear {
            return Ok(None);
        }
        let Some(scales) = self.scales(node, resize)? else {
            return Ok(None);
        };
        let Some(input) = self.image(node.inputs[0]) else {
            return Ok(None);
        };
        let from = self.graph.nodes[input].shape;
        let grows = from.height >= 2
            && from.width >= 2
            && shape.height >= from.height
            && shape.width >= from.width;
        if !grows || from.channels != shape.channels {
            return Ok(None);
        }
        let upsample = Upsample::new(
            (from.height, from.width),
            (shape.height, shape.width),
            |axis, at, output, input| {
                resize
                    .coord_transformer
                    .transform(at, scales[axis], input, output)
            },
        );
        Ok(Some(Op::Upsample { input, upsample }))
    }

    /// The scales along height and width: the file's, or those of the sizes that it gives. `None` where they are not
    /// known, or another axis is resized.
    fn scales(&self, node: &TypedNode, resize: &Resize) -> TractResult<Option<[f32; 2]>> {
        let (from, to) = (
            self.model.outlet_fact(node.inputs[0])?,
            &node.outputs[0].fact,
        );
        let (Some(from), Some(to)) = (from.shape.as_concrete(), to.shape.as_concrete()) else {
            return Ok(None);
        };
        let given = match resize.optional_scales_input {
            Some(input) => match node.inputs.get(input) {
                Some(outlet) => self.constant(*outlet).map(|(_, scales)| scales),
                None => return Ok(None),
            },
            None => None,
        };
        let of_sizes = || {
            from.iter()
                .zip(to)
                .map(|(from, to)| *to as f32 / *from as f32)
        };
        let scales = match given {
            Some(scales) if scales.len() == from.len() => scales,
            Some(_) => return Ok(None),
            None => of_sizes().collect(),
        };
        let Some(channel) = channel_axis(from).filter(|axis| axis + 2 < from.len()) else {
            return Ok(None);
        };
        let spatial = channel + 1..channel + 3;
        let others_stay = (0..from.len())
            .filter(|axis| !spatial.contains(axis))
            .all(|axis| scales[axis] == 1.0 && from[axis] == to[axis]);
        Ok(others_stay.then(|| [scales[spatial.start], scales[spatial.start + 1]]))
    }
}

/// A constant as one value per channel, if it is broadcast over everything else of a tensor of these sides.
fn per_channel(constant: &[usize], dims: &[usize], values: Vec<f32>) -> Option<Vec<f32>> {
    let channel = channel_axis(dims)?;
    if values.len() == 1 {
        return Some(vec![values[0]; dims[channel]]);
    }
    // Broadcasting aligns the last axes.
    let at = (channel + constant.len()).checked_sub(dims.len())?;
    let rest_is_one = constant
        .iter()
        .enumerate()
        .all(|(axis, dim)| axis == at || *dim == 1);
    (rest_is_one && constant[at] == dims[channel]).then_some(values)
}
