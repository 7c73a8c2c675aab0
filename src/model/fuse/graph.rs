//! A network as the kernels see it: one image after another, each made by one operator. Free of tract.

use crate::kernels::{Activation, Geometry, Upsample};
use std::sync::Arc;

/// Channels, height, width; the batch is always one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Shape {
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub fn len(&self) -> usize {
        self.channels * self.pixels()
    }
}

/// An index into [`Graph::nodes`].
pub(super) type NodeId = usize;

/// One input of a dense convolution.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub input: NodeId,
    /// `[out][channel of all][tap]`, of which this term has the channels from `first` on.
    pub weights: Arc<Vec<f32>>,
    pub depth: usize,
    pub first: usize,
    pub channels: usize,
}

/// A dense convolution of a sum of inputs; `skip` is added to it.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub terms: Vec<Term>,
    pub geometry: Geometry,
    pub bias: Vec<f32>,
    pub skip: Option<NodeId>,
    pub activation: Activation,
}

impl Dense {
    pub fn is_point(&self) -> bool {
        self.geometry == Geometry::POINT
    }

    /// Nothing has been done to the sums yet.
    fn is_open(&self) -> bool {
        self.skip.is_none() && self.activation == Activation::default()
    }
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Number of the segment's input.
    Input(usize),
    Dense(Dense),
    /// `[channel][9]`, padding 1, stride 1 or 2.
    Depthwise {
        input: NodeId,
        weights: Arc<Vec<f32>>,
        bias: Vec<f32>,
        stride: usize,
        relu: bool,
    },
    Upsample {
        input: NodeId,
        upsample: Upsample,
    },
    Concat(Vec<NodeId>),
    Add {
        inputs: [NodeId; 2],
        relu: bool,
    },
    Bias {
        input: NodeId,
        bias: Vec<f32>,
    },
    /// Every channel times the same image, `[height][width]`.
    Mask {
        input: NodeId,
        mask: Arc<Vec<f32>>,
    },
    Relu(NodeId),
    /// Every value cut to what lies between `low` and `high`.
    Clamp {
        input: NodeId,
        low: f32,
        high: f32,
    },
    Logistic(NodeId),
    /// An image of one pixel, repeated over the whole of a larger one.
    Spread(NodeId),
    /// The same values in the same planar order, as an image of another shape.
    Reshape(NodeId),
}

impl Op {
    /// The images it reads.
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Op::Input(_) => vec![],
            Op::Dense(dense) => dense
                .terms
                .iter()
                .map(|term| term.input)
                .chain(dense.skip)
                .collect(),
            Op::Depthwise { input, .. } | Op::Upsample { input, .. } => vec![*input],
            Op::Bias { input, .. } | Op::Mask { input, .. } | Op::Clamp { input, .. } => {
                vec![*input]
            }
            Op::Relu(input) | Op::Logistic(input) => vec![*input],
            Op::Reshape(input) | Op::Spread(input) => vec![*input],
            Op::Concat(inputs) => inputs.clone(),
            Op::Add { inputs, .. } => inputs.to_vec(),
        }
    }

    fn map_inputs(&mut self, map: impl Fn(NodeId) -> NodeId) {
        match self {
            Op::Input(_) => {}
            Op::Dense(dense) => {
                dense
                    .terms
                    .iter_mut()
                    .for_each(|term| term.input = map(term.input));
                dense.skip = dense.skip.map(map);
            }
            Op::Depthwise { input, .. } | Op::Upsample { input, .. } => *input = map(*input),
            Op::Bias { input, .. } | Op::Mask { input, .. } | Op::Clamp { input, .. } => {
                *input = map(*input);
            }
            Op::Relu(input) | Op::Logistic(input) => *input = map(*input),
            Op::Reshape(input) | Op::Spread(input) => *input = map(*input),
            Op::Concat(inputs) => inputs.iter_mut().for_each(|input| *input = map(*input)),
            Op::Add { inputs, .. } => *inputs = inputs.map(map),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub name: String,
    pub op: Op,
    pub shape: Shape,
}

/// Nodes in an order in which each comes after its inputs.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub outputs: Vec<NodeId>,
}

impl Graph {
    /// How often each node is read, as an output too.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for input in self
            .nodes
            .iter()
            .flat_map(|node| node.op.inputs())
            .chain(self.outputs.iter().copied())
        {
            uses[input] += 1;
        }
        uses
    }

    /// Folds biases, activations, sums and concatenations into the convolutions that make or read them, and drops
    /// what nobody reads any more.
    pub fn fold(self) -> Graph {
        let uses = self.uses();
        let mut fold = Fold {
            nodes: Vec::new(),
            single: vec![],
            map: Vec::with_capacity(self.nodes.len()),
        };
        for (node, uses) in self.nodes.into_iter().zip(uses) {
            fold.push(node, uses == 1);
        }
        let outputs = self
            .outputs
            .iter()
            .map(|output| fold.map[*output])
            .collect();
        Graph {
            nodes: fold.nodes,
            outputs,
        }
        .without_unread()
    }

    fn without_unread(self) -> Graph {
        let mut read = vec![false; self.nodes.len()];
        self.outputs.iter().for_each(|output| read[*output] = true);
        for id in (0..self.nodes.len()).rev() {
            if read[id] {
                self.nodes[id]
                    .op
                    .inputs()
                    .into_iter()
                    .for_each(|input| read[input] = true);
            }
        }
        let mut map = vec![usize::MAX; self.nodes.len()];
        let mut nodes: Vec<Node> = Vec::new();
        for (id, mut node) in self.nodes.into_iter().enumerate() {
            if read[id] {
                map[id] = nodes.len();
                node.op.map_inputs(|input| map[input]);
                nodes.push(node);
            }
        }
        Graph {
            nodes,
            outputs: self.outputs.iter().map(|output| map[*output]).collect(),
        }
    }
}

/// The graph that [`Graph::fold`] builds.
struct Fold {
    nodes: Vec<Node>,
    /// Whether a new node has one reader.
    single: Vec<bool>,
    /// From old to new nodes.
    map: Vec<NodeId>,
}

impl Fold {
    fn push(&mut self, mut node: Node, single: bool) {
        node.op.map_inputs(|input| self.map[input]);
        if let Op::Reshape(input) = node.op
            && self.nodes[input].shape == node.shape
        {
            self.map.push(input);
            self.single[input] &= single;
            return;
        }
        node.op = match node.op {
            Op::Bias { input, bias } => self.bias(input, bias),
            Op::Relu(input) => self.relu(input),
            Op::Clamp { input, low, high } => self.clamp(input, low, high),
            Op::Add { inputs: [a, b], .. } => self.add(a, b),
            Op::Dense(dense) => Op::Dense(self.spread(dense)),
            other => other,
        };
        self.map.push(self.nodes.len());
        self.nodes.push(node);
        self.single.push(single);
    }

    /// The operator of `id`, if only the node that is being pushed reads it. What it leaves behind is unread.
    fn only(&self, id: NodeId) -> Option<Op> {
        self.single[id].then(|| self.nodes[id].op.clone())
    }

    fn bias(&self, input: NodeId, more: Vec<f32>) -> Op {
        let add = |bias: Vec<f32>| bias.iter().zip(&more).map(|(a, b)| a + b).collect();
        match self.only(input) {
            Some(Op::Dense(dense)) if dense.is_open() => Op::Dense(Dense {
                bias: add(dense.bias.clone()),
                ..dense
            }),
            Some(Op::Depthwise {
                input,
                weights,
                bias,
                stride,
                relu: false,
            }) => Op::Depthwise {
                input,
                weights,
                bias: add(bias),
                stride,
                relu: false,
            },
            _ => Op::Bias { input, bias: more },
        }
    }

    fn relu(&self, input: NodeId) -> Op {
        match self.only(input) {
            Some(Op::Dense(mut dense)) => {
                match dense.skip {
                    None => dense.activation.relu_first = true,
                    Some(_) => dense.activation.relu_last = true,
                }
                Op::Dense(dense)
            }
            Some(Op::Depthwise {
                input,
                weights,
                bias,
                stride,
                ..
            }) => Op::Depthwise {
                input,
                weights,
                bias,
                stride,
                relu: true,
            },
            Some(Op::Add { inputs, .. }) => Op::Add { inputs, relu: true },
            _ => Op::Relu(input),
        }
    }

    fn clamp(&self, input: NodeId, low: f32, high: f32) -> Op {
        match self.only(input) {
            // What is cut twice is cut to the second bounds last.
            Some(Op::Clamp {
                input,
                low: first_low,
                high: first_high,
            }) => Op::Clamp {
                input,
                low: first_low.max(low).min(high),
                high: first_high.max(low).min(high),
            },
            _ => Op::Clamp { input, low, high },
        }
    }

    fn add(&self, a: NodeId, b: NodeId) -> Op {
        match (self.only(a), self.only(b)) {
            // Two 1×1 convolutions are one of both inputs.
            (Some(Op::Dense(x)), Some(Op::Dense(y)))
                if x.is_open() && y.is_open() && x.is_point() && y.is_point() =>
            {
                let bias = x.bias.iter().zip(&y.bias).map(|(a, b)| a + b).collect();
                let terms = x.terms.into_iter().chain(y.terms).collect();
                Op::Dense(Dense { terms, bias, ..y })
            }
            (_, Some(Op::Dense(dense))) if dense.skip.is_none() => Op::Dense(Dense {
                skip: Some(a),
                ..dense
            }),
            (Some(Op::Dense(dense)), _) if dense.skip.is_none() => Op::Dense(Dense {
                skip: Some(b),
                ..dense
            }),
            _ => Op::Add {
                inputs: [a, b],
                relu: false,
            },
        }
    }

    /// Lets the convolution read the parts of concatenations.
    fn spread(&self, mut dense: Dense) -> Dense {
        let mut terms = Vec::new();
        for term in dense.terms {
            let Op::Concat(parts) = &self.nodes[term.input].op else {
                terms.push(term);
                continue;
            };
            let mut first = term.first;
            for part in parts {
                let channels = self.nodes[*part].shape.channels;
                terms.push(Term {
                    input: *part,
                    first,
                    channels,
                    ..term.clone()
                });
                first += channels;
            }
        }
        dense.terms = terms;
        dense
    }
}
