//! From tract's decluttered nodes to the images and operators of [`super::graph`].

use super::graph::{Dense, Graph, Node, NodeId, Op, Shape, Term};
use super::rewrite::Broadcast;
use crate::kernels::{Activation, Geometry, MAX_SOURCES, Upsample};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike, InOut};
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math::{Add, Max, Min, Mul, Sub};
use tract_onnx::tract_core::ops::nn::resize::{Interpolator, Resize};
use tract_onnx::tract_core::ops::nn::{DataFormat, Sigmoid};
use tract_onnx::tract_core::ops::source::TypedSource;

/// Nodes that become one operator: a run of the evaluation order in which every node is known.
pub(super) struct Segment {
    /// What it computes.
    pub graph: Graph,
    /// Where its inputs come from, by [`Op::Input`]'s number.
    pub inputs: Vec<OutletId>,
    /// What its outputs replace.
    pub outputs: Vec<OutletId>,
    /// tract nodes it replaces, constants not counted.
    pub replaced: usize,
}

/// The longest runs of known nodes, in evaluation order. A run of a topological order never needs a value that is
/// made after its start and outside it, so it can be computed in one go.
pub(super) fn segments(model: &TypedModel) -> TractResult<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut run = Reader::new(model);
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.op_is::<Const>() || node.op_is::<TypedSource>() {
            continue;
        }
        if run.read(node)?.is_none() {
            segments.extend(std::mem::replace(&mut run, Reader::new(model)).finish()?);
        }
    }
    segments.extend(run.finish()?);
    Ok(segments)
}

struct Reader<'a> {
    model: &'a TypedModel,
    graph: Graph,
    ids: HashMap<OutletId, NodeId>,
    inputs: Vec<OutletId>,
    nodes: HashSet<usize>,
    /// Whether there is a convolution: without one, there is nothing to win.
    convolutions: usize,
}

impl<'a> Reader<'a> {
    fn new(model: &'a TypedModel) -> Self {
        let (graph, ids) = (Graph::default(), HashMap::new());
        Reader {
            model,
            graph,
            ids,
            inputs: Vec::new(),
            nodes: HashSet::new(),
            convolutions: 0,
        }
    }

    fn finish(self) -> TractResult<Option<Segment>> {
        if self.convolutions == 0 {
            return Ok(None);
        }
        let model_outputs = self.model.output_outlets()?;
        let outside = |outlet: &OutletId| {
            model_outputs.contains(outlet) || {
                let readers = &self.model.node(outlet.node).outputs[outlet.slot].successors;
                readers
                    .iter()
                    .any(|reader| !self.nodes.contains(&reader.node))
            }
        };
        let mut outputs: Vec<(OutletId, NodeId)> =
            self.ids.iter().map(|(outlet, id)| (*outlet, *id)).collect();
        outputs.retain(|(outlet, _)| self.nodes.contains(&outlet.node) && outside(outlet));
        outputs.sort_by_key(|(_, id)| *id);
        let mut graph = self.graph;
        graph.outputs = outputs.iter().map(|(_, id)| *id).collect();
        Ok(Some(Segment {
            graph,
            inputs: self.inputs,
            outputs: outputs.into_iter().map(|(outlet, _)| outlet).collect(),
            replaced: self.nodes.len(),
        }))
    }

    /// Adds `node` if it is known; `None` if it is not.
    fn read(&mut self, node: &TypedNode) -> TractResult<Option<()>> {
        if node.outputs.len() != 1 || node.outputs[0].fact.datum_type != f32::datum_type() {
            return Ok(None);
        }
        let Some(shape) = shape(&node.outputs[0].fact) else {
            return Ok(None);
        };
        let Some(op) = self.operator(node, shape)? else {
            return Ok(None);
        };
        if !self.fits(&op, shape) {
            return Ok(None);
        }
        self.convolutions += usize::from(node.op_is::<Conv>() || node.op_is::<EinSum>());
        self.nodes.insert(node.id);
        self.push(OutletId::new(node.id, 0), node.name.clone(), op, shape);
        Ok(Some(()))
    }

    /// Whether the operator makes an image of this shape of the images it reads: tract may have put the axes of a
    /// tensor where this room would take them for others.
    fn fits(&self, op: &Op, shape: Shape) -> bool {
        let of = |id: &NodeId| self.graph.nodes[*id].shape;
        let same_sides = |a: Shape, b: Shape| (a.height, a.width) == (b.height, b.width);
        match op {
            Op::Dense(dense) => {
                let term = &dense.terms[0];
                let input = of(&term.input);
                (dense.bias.len(), term.depth) == (shape.channels, input.channels)
                    && (!dense.is_point() || same_sides(input, shape))
            }
            Op::Depthwise {
                input,
                bias,
                stride,
                ..
            } => {
                let input = of(input);
                let sides = (
                    input.height.div_ceil(*stride),
                    input.width.div_ceil(*stride),
                );
                bias.len() == shape.channels
                    && input.channels == shape.channels
                    && sides == (shape.height, shape.width)
            }
            Op::Concat(parts) => {
                parts.iter().all(|part| same_sides(of(part), shape))
                    && parts.iter().map(|part| of(part).channels).sum::<usize>() == shape.channels
            }
            Op::Bias { input, bias } => of(input) == shape && bias.len() == shape.channels,
            Op::Mask { input, mask } => of(input) == shape && mask.len() == shape.pixels(),
            Op::Add { inputs, .. } => inputs.iter().all(|input| of(input) == shape),
            Op::Relu(input) | Op::Logistic(input) | Op::Clamp { input, .. } => of(input) == shape,
            Op::Spread(input) => of(input).len() == shape.channels && of(input).pixels() == 1,
            Op::Reshape(input) => of(input).len() == shape.len(),
            Op::Input(_) | Op::Upsample { .. } => true,
        }
    }

    fn push(&mut self, outlet: OutletId, name: String, op: Op, shape: Shape) -> NodeId {
        let id = self.graph.nodes.len();
        self.graph.nodes.push(Node { name, op, shape });
        self.ids.insert(outlet, id);
        id
    }

    fn operator(&mut self, node: &TypedNode, shape: Shape) -> TractResult<Option<Op>> {
        if let Some(conv) = node.op_as::<Conv>() {
            return self.convolution(node, conv);
        }
        if let Some(product) = node.op_as::<EinSum>() {
            return self.product(node, product);
        }
        if let Some(binary) = node.op_as::<TypedBinOp>() {
            if binary.0.is::<Max>() || binary.0.is::<Min>() {
                return Ok(self.clamp(node, binary.0.is::<Min>()));
            }
            if binary.0.is::<Add>() {
                return self.add(node);
            }
            return Ok(if binary.0.is::<Sub>() {
                self.subtract(node, shape)
            } else if binary.0.is::<Mul>() {
                self.mask(node, shape)
            } else {
                None
            });
        }
        if let Some(slice) = node.op_as::<Slice>() {
            return Ok(self.slice(node, slice, shape));
        }
        if let Some(concat) = node.op_as::<TypedConcat>() {
            return self.concat(node, concat);
        }
        if let Some(resize) = node.op_as::<Resize>() {
            return self.resize(node, resize, shape);
        }
        if node.op_is::<Broadcast>() {
            return Ok(self.image(node.inputs[0]).map(Op::Spread));
        }
        if let Some(axis) = node.op_as::<AxisOp>() {
            // All of these but a move keep the values in order.
            let moves = matches!(axis, AxisOp::Move(..));
            let input = if moves {
                None
            } else {
                self.image(node.inputs[0])
            };
            return Ok(input.map(Op::Reshape));
        }
        if node
            .op_as::<ElementWiseOp>()
            .is_some_and(|op| op.0.is::<Sigmoid>())
        {
            return Ok(self.image(node.inputs[0]).map(Op::Logistic));
        }
        Ok(None)
    }

    /// The image at `outlet`: made in this segment, or one more input of it.
    fn image(&mut self, outlet: OutletId) -> Option<NodeId> {
        if let Some(id) = self.ids.get(&outlet) {
            return Some(*id);
        }
        let fact = self.model.outlet_fact(outlet).ok()?;
        if fact.datum_type != f32::datum_type() || fact.konst.is_some() {
            return None;
        }
        let shape = shape(fact)?;
        self.inputs.push(outlet);
        Some(self.push(
            outlet,
            format!("input {}", self.inputs.len() - 1),
            Op::Input(self.inputs.len() - 1),
            shape,
        ))
    }

    /// The constant at `outlet`, and its shape.
    fn constant(&self, outlet: OutletId) -> Option<(Vec<usize>, Vec<f32>)> {
        let tensor = self.model.outlet_fact(outlet).ok()?.konst.clone()?;
        let values = tensor.view().as_slice::<f32>().ok()?.to_vec();
        Some((tensor.shape().to_vec(), values))
    }

    fn convolution(&mut self, node: &TypedNode, conv: &Conv) -> TractResult<Option<Op>> {
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
    fn product(&mut self, node: &TypedNode, product: &EinSum) -> TractResult<Option<Op>> {
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

    /// The larger or the smaller of an image and one number.
    fn clamp(&mut self, node: &TypedNode, smaller: bool) -> Option<Op> {
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

    fn add(&mut self, node: &TypedNode) -> TractResult<Option<Op>> {
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
    fn subtract(&mut self, node: &TypedNode, shape: Shape) -> Option<Op> {
        let (from, taken) = (self.same_shape(node, 0)?, self.same_shape(node, 1)?);
        let mut dense = pick(taken, shape.channels, 0..shape.channels, -1.0);
        dense.skip = Some(from);
        Some(Op::Dense(dense))
    }

    /// An image times a number, or times a constant of its height and width.
    fn mask(&mut self, node: &TypedNode, shape: Shape) -> Option<Op> {
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

    /// Some channels of an image: a convolution that copies them.
    fn slice(&mut self, node: &TypedNode, slice: &Slice, shape: Shape) -> Option<Op> {
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

    /// The image at input `input`, if it has the node's own shape (tract broadcasts; the kernels do not).
    fn same_shape(&mut self, node: &TypedNode, input: usize) -> Option<NodeId> {
        let fact = self.model.outlet_fact(node.inputs[input]).ok()?;
        (fact.shape == node.outputs[0].fact.shape)
            .then(|| self.image(node.inputs[input]))
            .flatten()
    }

    fn concat(&mut self, node: &TypedNode, concat: &TypedConcat) -> TractResult<Option<Op>> {
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

    fn resize(
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

/// The image that a fact describes: channels, then height and width, after a batch of one or before an axis of one.
fn shape(fact: &TypedFact) -> Option<Shape> {
    let dims = fact.shape.as_concrete()?;
    let first = channel_axis(dims)?;
    let side = |axis: usize| dims.get(first + axis).copied().unwrap_or(1);
    let (channels, height, width) = (side(0), side(1), side(2));
    let all: usize = dims.iter().product();
    let shape = Shape {
        channels,
        height,
        width,
    };
    (all > 0 && shape.len() == all).then_some(shape)
}

/// Which axis of a tensor of these sides is the channels.
fn channel_axis(dims: &[usize]) -> Option<usize> {
    match dims {
        [_] | [_, _, _] => Some(0),
        [batch, _] | [batch, _, _, _] => Some(usize::from(*batch == 1)),
        _ => None,
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

/// A 1×1 convolution that takes `channels` of `depth`, times `factor`.
fn pick(input: NodeId, depth: usize, channels: Range<usize>, factor: f32) -> Dense {
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
