//! From tract's decluttered nodes to the images and operators of [`super::graph`].

mod linear;
mod pixels;

use super::graph::{Graph, Node, NodeId, Op, Shape};
use super::rewrite::Broadcast;
use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math::{Add, Max, Min, Mul, Sub};
use tract_onnx::tract_core::ops::nn::Sigmoid;
use tract_onnx::tract_core::ops::nn::resize::Resize;
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

    /// The image at input `input`, if it has the node's own shape (tract broadcasts; the kernels do not).
    fn same_shape(&mut self, node: &TypedNode, input: usize) -> Option<NodeId> {
        let fact = self.model.outlet_fact(node.inputs[input]).ok()?;
        (fact.shape == node.outputs[0].fact.shape)
            .then(|| self.image(node.inputs[input]))
            .flatten()
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
