//! Convolutions, products over channels, and what becomes a convolution: some channels of an image.

use super::super::graph::{Dense, NodeId, Op, Shape, Term};
use super::{Reader, channel_axis};
use crate::kernels::{Activation, Geometry, MAX_SOURCES};
use std::ops::Range;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, InOut};
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::DataFormat;

impl Reader<'_> {
    pub fn convolution(&mut self, node: &TypedNode, conv: &Conv) -> TractResult<Option<Op>> {
        let spec = &conv.pool_spec;
        let dims = self.model.outlet_fact(node.inputs[0])?.shape.clone();
        // One image: with a batch of several, other axes would be taken for its channels.
        let single = match (spec.data_format, dims.as_concrete()) {
            (DataFormat::NCHW, Some(dims)) => dims.len() == 4 && dims[0] == 1,
            (DataFormat::CHW, Some(dims)) => dims.len() == 3,
            _ => false,
        };
        let known = single
            && conv.kernel_fmt == KernelFormat::OIHW
            && conv.q_params.is_none()
            && spec.rank() == 2
            && spec.dilations().iter().all(|dilation| *dilation == 1);
        let (Some((_, weights)), Some((_, bias)), true) = (
            self.constant(node.inputs[1]),
            self.constant(node.inputs[2]),
            known,
        ) else {
            return Ok(None);
        };
        let pad = match &spec.padding {
            PaddingSpec::Valid => (0, 0),
            PaddingSpec::Explicit(before, _) => (before[0], before[1]),
            _ => return Ok(None),
        };
        let kernel = (spec.kernel_shape[0], spec.kernel_shape[1]);
        let geometry = Geometry {
            kernel,
            stride: (spec.stride(0), spec.stride(1)),
            pad,
        };
        let bias = if bias.len() == 1 {
            vec![bias[0]; spec.output_channels]
        } else {
            bias
        };
        let (inputs, outputs) = (spec.input_channels, spec.output_channels);
        if conv.group == 1 {
            if geometry.taps() > MAX_SOURCES {
                return Ok(None);
            }
            let Some(input) = self.image(node.inputs[0]) else {
                return Ok(None);
            };
            return Ok(Some(Op::Dense(dense(
                input, weights, inputs, geometry, bias,
            ))));
        }
        let stride = geometry.stride.0;
        let depthwise = conv.group == inputs
            && inputs == outputs
            && kernel == (3, 3)
            && pad == (1, 1)
            && geometry.stride == (stride, stride)
            && matches!(stride, 1 | 2);
        if !depthwise {
            return Ok(None);
        }
        let Some(input) = self.image(node.inputs[0]) else {
            return Ok(None);
        };
        Ok(Some(Op::Depthwise {
            input,
            weights: Arc::new(weights),
            bias,
            stride,
            relu: false,
        }))
    }

    /// A 1×1 convolution, which tract writes as a product over the channel axis.
    pub fn product(&mut self, node: &TypedNode, product: &EinSum) -> TractResult<Option<Op>> {
        if product.q_params.is_some() || node.inputs.len() != 2 {
            return Ok(None);
        }
        // Either input may be the matrix.
        for (data, matrix) in [(0, 1), (1, 0)] {
            let Some((matrix_shape, weights)) = self.constant(node.inputs[matrix]) else {
                continue;
            };
            let Some(out_first) = self.contracts_channels(node, product, data, matrix)? else {
                continue;
            };
            if matrix_shape.len() != 2 {
                continue;
            }
            let (outs, depth) = if out_first {
                (matrix_shape[0], matrix_shape[1])
            } else {
                (matrix_shape[1], matrix_shape[0])
            };
            let weights = if out_first {
                weights
            } else {
                (0..outs * depth)
                    .map(|at| weights[at % depth * outs + at / depth])
                    .collect()
            };
            let Some(input) = self.image(node.inputs[data]) else {
                return Ok(None);
            };
            if self.graph.nodes[input].shape.channels != depth {
                return Ok(None);
            }
            return Ok(Some(Op::Dense(dense(
                input,
                weights,
                depth,
                Geometry::POINT,
                vec![0.0; outs],
            ))));
        }
        Ok(None)
    }

    /// Whether `product` sums over the channels of its input `data` and keeps everything else in place; if so,
    /// whether the matrix has the output axis first.
    fn contracts_channels(
        &self,
        node: &TypedNode,
        product: &EinSum,
        data: usize,
        matrix: usize,
    ) -> TractResult<Option<bool>> {
        let (inputs, outputs) = product.axes.to_strs();
        let (matrix_axes, data_axes, out_axes) = (&inputs[matrix], &inputs[data], &outputs[0]);
        let of =
            |outlet: OutletId| Ok::<_, TractError>(self.model.outlet_fact(outlet)?.shape.clone());
        let rank_ok = |axes: &str, shape: &ShapeFact| axes.chars().count() == shape.rank();
        let (data_shape, out_shape) = (of(node.inputs[data])?, node.outputs[0].fact.shape.clone());
        if matrix_axes.chars().count() != 2
            || !rank_ok(data_axes, &data_shape)
            || !rank_ok(out_axes, &out_shape)
        {
            return Ok(None);
        }
        debug_assert_eq!(product.axes.rank(InOut::In(matrix)), 2);
        let mut pair = matrix_axes.chars();
        let (a, b) = (
            pair.next().unwrap_or_default(),
            pair.next().unwrap_or_default(),
        );
        let contracted = |axis: char| data_axes.contains(axis) && !out_axes.contains(axis);
        let made = |axis: char| out_axes.contains(axis) && !data_axes.contains(axis);
        let (channel, out, out_first) = match (made(a) && contracted(b), made(b) && contracted(a)) {
            (true, _) => (b, a, true),
            (_, true) => (a, b, false),
            _ => return Ok(None),
        };
        // Without axes of length one, the channels come first and the rest follows in the same order.
        let long = |axes: &str, shape: &ShapeFact, channel: char| -> Vec<char> {
            axes.chars()
                .zip(shape.iter())
                .filter(|(axis, dim)| *axis == channel || **dim != 1.into())
                .map(|it| it.0)
                .collect()
        };
        let (before, after) = (
            long(data_axes, &data_shape, channel),
            long(out_axes, &out_shape, out),
        );
        let fits = before.first() == Some(&channel)
            && after.first() == Some(&out)
            && before[1..] == after[1..];
        Ok(fits.then_some(out_first))
    }

    /// Some channels of an image: a convolution that copies them.
    pub fn slice(&mut self, node: &TypedNode, slice: &Slice, shape: Shape) -> Option<Op> {
        let dims = self.model.outlet_fact(node.inputs[0]).ok()?.shape.clone();
        if channel_axis(dims.as_concrete()?) != Some(slice.axis) {
            return None;
        }
        let first = slice.start.to_usize().ok()?;
        let input = self.image(node.inputs[0])?;
        let depth = self.graph.nodes[input].shape.channels;
        let channels = first..first + shape.channels;
        if channels.end > depth {
            return None;
        }
        Some(Op::Dense(pick(input, depth, channels, 1.0)))
    }
}

/// A 1×1 convolution that takes `channels` of `depth`, times `factor`.
pub fn pick(input: NodeId, depth: usize, channels: Range<usize>, factor: f32) -> Dense {
    let mut weights = vec![0.0; channels.len() * depth];
    for (out, channel) in channels.clone().enumerate() {
        weights[out * depth + channel] = factor;
    }
    let bias = vec![0.0; channels.len()];
    dense(input, weights, depth, Geometry::POINT, bias)
}

fn dense(
    input: NodeId,
    weights: Vec<f32>,
    depth: usize,
    geometry: Geometry,
    bias: Vec<f32>,
) -> Dense {
    let term = Term {
        input,
        weights: Arc::new(weights),
        depth,
        first: 0,
        channels: depth,
    };
    Dense {
        terms: vec![term],
        geometry,
        bias,
        skip: None,
        activation: Activation::default(),
    }
}
