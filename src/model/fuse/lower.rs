//! From operators to steps: finds the blocks, and packs their weights.

use super::calibrate::{Observed, Observer, expanded};
use super::graph::{Dense, Graph, NodeId, Op, Term};
use super::plan::plan;
use super::program::{Kind, MAX_INPUTS, Program};
use super::quantise::Quantising;
use crate::kernels::{
    Activation, BLOCK, Block, Convolution, Depthwise, Geometry, Kernels, MAX_PARTS, MAX_SOURCES,
    Part, Upsample, Winograd,
};

/// A step whose images are still nodes of the graph, or (from `graph.nodes.len()` on) the same in bytes.
pub(super) struct Draft {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<NodeId>,
    pub skip: Option<NodeId>,
    pub output: Option<NodeId>,
    pub multiplications: usize,
}

/// How a graph is lowered.
pub(super) enum Lowered<'a> {
    /// Blocks of floats.
    Floats,
    /// No blocks, and every image is shown to the observer.
    Observed(Observer),
    /// Blocks of bytes, for what was observed of each node.
    Bytes(&'a [Observed]),
}

/// Compiles a folded graph; `None` if something in it is larger than the kernels take.
pub(super) fn lower(graph: &Graph, kernels: Kernels, how: &Lowered) -> Option<Program> {
    let lowering = Lowering {
        graph,
        kernels,
        uses: graph.uses(),
        blocks: !matches!(how, Lowered::Observed(_)),
    };
    let mut absorbed = vec![false; graph.nodes.len()];
    let mut blocks = Vec::new();
    for id in (0..graph.nodes.len()).rev() {
        let block = if absorbed[id] {
            None
        } else {
            lowering.block(id)
        };
        if let Some(block) = &block {
            block.absorbed.iter().for_each(|id| absorbed[*id] = true);
        }
        blocks.push(block);
    }
    blocks.reverse();
    let quantising = match how {
        Lowered::Bytes(observed) => Some(Quantising::new(&lowering, &blocks, &absorbed, observed)),
        _ => None,
    };
    let mut drafts = Vec::new();
    for (id, block) in blocks.into_iter().enumerate() {
        if absorbed[id] {
            continue;
        }
        if let Some(quantising) = &quantising
            && quantising.takes(id)
        {
            drafts.extend(quantising.drafts(id, block)?);
            continue;
        }
        let draft = match block {
            Some(block) => lowering.block_draft(id, block),
            None => lowering.plain_draft(id)?,
        };
        match &quantising {
            Some(quantising) => drafts.extend(quantising.with_bytes(id, draft)),
            None => drafts.push(draft),
        }
    }
    for (number, output) in graph.outputs.iter().enumerate() {
        drafts.push(lowering.export(number, *output, &mut absorbed));
    }
    let nodes = graph.nodes.len();
    drafts.retain(|draft| draft.output.is_none_or(|id| !absorbed[id % nodes]));
    if drafts.iter().any(|draft| draft.inputs.len() > MAX_INPUTS) {
        return None;
    }
    let quantum = |id: NodeId| {
        let quantising = quantising.as_ref().filter(|_| id >= nodes)?;
        Some(quantising.quantum(id - nodes))
    };
    let observer = match how {
        Lowered::Observed(observer) => {
            let expanded = expanded(graph);
            let nodes = graph.nodes.iter().zip(expanded).map(|(node, expanded)| {
                let spans = if expanded { node.shape.channels } else { 1 };
                (node.name.clone(), spans)
            });
            Some(observer.for_program(nodes))
        }
        _ => None,
    };
    Some(plan(graph, kernels, drafts, quantum, observer))
}

/// A block that ends in some node.
pub(super) struct Found {
    pub depthwise: NodeId,
    /// The projection; `None` if the block ends in the depthwise convolution itself.
    pub project: Option<Dense>,
    pub parts: Vec<Source>,
    absorbed: Vec<NodeId>,
}

/// A 1×1 convolution as a block computes it.
pub(super) struct Expansion<'a> {
    pub dense: &'a Dense,
    /// What is computed where the image is as large as the block's.
    pub full: Vec<&'a Term>,
    /// What is computed before an upsampling: the term, the image it reads, how that grows.
    pub low: Option<(&'a Term, NodeId, &'a Upsample)>,
}

/// What makes a part's channels.
pub(super) enum Source {
    Memory(NodeId),
    Upsample(NodeId),
    Expand(NodeId),
}

pub(super) struct Lowering<'a> {
    pub graph: &'a Graph,
    pub kernels: Kernels,
    uses: Vec<usize>,
    /// Whether operators are put together.
    blocks: bool,
}

impl Lowering<'_> {
    pub fn op(&self, id: NodeId) -> &Op {
        &self.graph.nodes[id].op
    }

    pub fn channels(&self, id: NodeId) -> usize {
        self.graph.nodes[id].shape.channels
    }

    /// Whether only one node reads `id`, so that it need not exist as an image.
    fn single(&self, id: NodeId) -> bool {
        self.uses[id] == 1
    }

    /// The block that ends in `id`, if there is one.
    fn block(&self, id: NodeId) -> Option<Found> {
        let mut found = match self.op(id) {
            Op::Depthwise { .. } => Found {
                depthwise: id,
                project: None,
                parts: vec![],
                absorbed: vec![],
            },
            Op::Dense(project) if self.blocks && project.is_point() && project.terms.len() == 1 => {
                let depthwise = project.terms[0].input;
                if !matches!(self.op(depthwise), Op::Depthwise { .. }) || !self.single(depthwise) {
                    return None;
                }
                Found {
                    depthwise,
                    project: Some(project.clone()),
                    parts: vec![],
                    absorbed: vec![depthwise],
                }
            }
            _ => return None,
        };
        let &Op::Depthwise { input, .. } = self.op(found.depthwise) else {
            return None;
        };
        // A depthwise convolution alone writes whole blocks of channels, so it takes no parts.
        let parts = match self.op(input) {
            Op::Concat(parts)
                if self.blocks
                    && self.single(input)
                    && found.project.is_some()
                    && parts.len() <= MAX_PARTS =>
            {
                found.absorbed.push(input);
                parts.clone()
            }
            _ => vec![input],
        };
        for part in parts {
            found.parts.push(match self.op(part) {
                Op::Upsample { .. } if self.blocks && self.single(part) => {
                    found.absorbed.push(part);
                    Source::Upsample(part)
                }
                Op::Dense(dense) if self.blocks && self.single(part) && self.expands(dense) => {
                    found.absorbed.push(part);
                    found
                        .absorbed
                        .extend(self.low(dense).map(|term| term.input));
                    Source::Expand(part)
                }
                _ => Source::Memory(part),
            });
        }
        Some(found)
    }

    /// Whether `dense` can be computed row by row inside a block.
    fn expands(&self, dense: &Dense) -> bool {
        dense.is_point()
            && dense.skip.is_none()
            && !dense.activation.relu_last
            && dense.terms.len() <= MAX_INPUTS
    }

    /// The term of `dense` that is better computed before its upsampling.
    pub fn low<'a>(&self, dense: &'a Dense) -> Option<&'a Term> {
        let upsampled = |term: &&Term| {
            matches!(self.op(term.input), Op::Upsample { .. }) && self.single(term.input)
        };
        dense.terms.iter().find(upsampled)
    }

    /// `dense` by Winograd's algorithm, if it is a 3×3 convolution of stride 1 that is large enough to gain by it.
    fn winograd(&self, dense: &Dense, (height, width): (usize, usize)) -> Option<Winograd> {
        let Geometry {
            kernel,
            stride,
            pad,
        } = dense.geometry;
        let channels: Vec<usize> = dense.terms.iter().map(|term| term.channels).collect();
        let fits = kernel == (3, 3) && stride == (1, 1) && Winograd::pays(height, width);
        // Fewer would leave lanes of the transformations empty.
        let full = channels.iter().all(|channels| *channels >= BLOCK) && dense.bias.len() >= BLOCK;
        (fits && full).then(|| {
            let shape = (height, width);
            Winograd::pack(
                pad,
                &dense.bias,
                &channels,
                self.kernels.panel,
                shape,
                |out, input, channel, tap| {
                    let term = &dense.terms[input];
                    term.weights[(out * term.depth + term.first + channel) * 9 + tap]
                },
            )
        })
    }

    fn pack(&self, geometry: Geometry, bias: &[f32], terms: &[&Term]) -> Convolution {
        let taps = geometry.taps();
        let channels: Vec<usize> = terms.iter().map(|term| term.channels).collect();
        Convolution::pack(
            geometry,
            bias,
            &channels,
            self.kernels.panel,
            |out, input, channel, tap| {
                let term = terms[input];
                term.weights[(out * term.depth + term.first + channel) * taps + tap]
            },
        )
    }

    fn block_draft(&self, id: NodeId, found: Found) -> Draft {
        let Op::Depthwise {
            weights,
            bias,
            stride,
            relu,
            input,
        } = self.op(found.depthwise)
        else {
            unreachable!("a block has a depthwise convolution")
        };
        let shape = self.graph.nodes[*input].shape;
        let parts: Vec<Part> = found.parts.iter().map(|source| self.part(source)).collect();
        let channels: Vec<usize> = parts.iter().map(Part::channels).collect();
        let packed = Depthwise::pack(*stride, *relu, bias, &channels, |channel, tap| {
            weights[channel * 9 + tap]
        });
        let project = found.project.as_ref().map(|dense| {
            let terms = self.projected(dense, &channels);
            let terms: Vec<&Term> = terms.iter().collect();
            self.pack(Geometry::POINT, &dense.bias, &terms)
        });
        let activation = found
            .project
            .as_ref()
            .map_or(Activation::default(), |dense| dense.activation);
        let block = Block::new(
            parts,
            packed,
            project,
            activation,
            (shape.height, shape.width),
        );
        Draft {
            name: self.graph.nodes[id].name.clone(),
            kind: Kind::Block(Box::new(block)),
            inputs: self.inputs(&found),
            multiplications: self.multiplications(id, &found),
            skip: found.project.and_then(|dense| dense.skip),
            output: Some(id),
        }
    }

    fn part(&self, source: &Source) -> Part {
        match *source {
            Source::Memory(id) => Part::Memory {
                channels: self.channels(id),
            },
            Source::Upsample(id) => Part::Upsample {
                channels: self.channels(id),
                upsample: self.upsample(id).1.clone(),
            },
            Source::Expand(id) => {
                let Expansion { dense, full, low } = self.expansion(id);
                let pack = |terms: &[&Term]| self.pack(Geometry::POINT, &dense.bias, terms);
                // The bias goes with the upsampled half, which is what the other half starts from.
                Part::Expand {
                    full: (!full.is_empty()).then(|| pack(&full)),
                    inputs: full.len(),
                    low: low.map(|(term, _, upsample)| (pack(&[term]), upsample.clone())),
                    relu: dense.activation.relu_first,
                }
            }
        }
    }

    /// What the upsampling `id` reads, and how that grows.
    pub fn upsample(&self, id: NodeId) -> (NodeId, &Upsample) {
        let Op::Upsample { input, upsample } = self.op(id) else {
            unreachable!("an upsampling")
        };
        (*input, upsample)
    }

    /// The dense convolution `id`, taken apart.
    pub fn expansion(&self, id: NodeId) -> Expansion<'_> {
        let Op::Dense(dense) = self.op(id) else {
            unreachable!("a dense convolution")
        };
        let low = self.low(dense);
        let is_low = |term: &&Term| low.is_some_and(|low| std::ptr::eq(low, *term));
        Expansion {
            dense,
            full: dense.terms.iter().filter(|term| !is_low(term)).collect(),
            low: low.map(|term| {
                let (input, upsample) = self.upsample(term.input);
                (term, input, upsample)
            }),
        }
    }

    /// The projection's terms: the parts start at blocks of their own, so it sees them as so many inputs.
    pub fn projected(&self, dense: &Dense, channels: &[usize]) -> Vec<Term> {
        let term = &dense.terms[0];
        let mut first = term.first;
        let part = |channels: &usize| {
            let part = Term {
                first,
                channels: *channels,
                ..term.clone()
            };
            first += channels;
            part
        };
        channels.iter().map(part).collect()
    }

    /// The images that a block reads, part after part.
    pub fn inputs(&self, found: &Found) -> Vec<NodeId> {
        let mut inputs = Vec::new();
        for source in &found.parts {
            match *source {
                Source::Memory(id) => inputs.push(id),
                Source::Upsample(id) => inputs.push(self.upsample(id).0),
                Source::Expand(id) => {
                    let Expansion { full, low, .. } = self.expansion(id);
                    inputs.extend(full.iter().map(|term| term.input));
                    inputs.extend(low.map(|(_, input, _)| input));
                }
            }
        }
        inputs
    }

    /// Multiplications of the block that ends in `id`.
    pub fn multiplications(&self, id: NodeId, found: &Found) -> usize {
        let of = |id: NodeId| self.graph.nodes[id].shape;
        let mut sum = 9 * of(found.depthwise).len();
        for source in &found.parts {
            if let Source::Expand(id) = *source {
                let Expansion { dense, full, low } = self.expansion(id);
                let depth: usize = full.iter().map(|term| term.channels).sum();
                let low = low.map_or(0, |(term, input, _)| term.channels * of(input).pixels());
                sum += (depth * of(id).pixels() + low) * dense.bias.len();
            }
        }
        match found.project {
            Some(_) => sum + self.channels(found.depthwise) * of(id).len(),
            None => sum,
        }
    }

    /// A node that is in no block.
    fn plain_draft(&self, id: NodeId) -> Option<Draft> {
        let node = &self.graph.nodes[id];
        let inputs = node.op.inputs();
        let mut draft = Draft {
            name: node.name.clone(),
            kind: Kind::Concat,
            inputs,
            skip: None,
            output: Some(id),
            multiplications: 0,
        };
        draft.kind = match &node.op {
            Op::Input(number) => Kind::Import(*number),
            Op::Dense(dense) => {
                if dense.terms.len() * dense.geometry.taps() > MAX_SOURCES {
                    return None;
                }
                draft.inputs = dense.terms.iter().map(|term| term.input).collect();
                draft.skip = dense.skip;
                if let Some(winograd) = self.winograd(dense, (node.shape.height, node.shape.width))
                {
                    draft.multiplications = winograd.multiplications();
                    Kind::Winograd(winograd, dense.activation)
                } else {
                    let terms: Vec<&Term> = dense.terms.iter().collect();
                    let packed = self.pack(dense.geometry, &dense.bias, &terms);
                    draft.multiplications = packed.multiplications(node.shape.pixels());
                    Kind::Dense(packed, dense.activation)
                }
            }
            Op::Upsample { upsample, .. } => Kind::Upsample(upsample.clone()),
            Op::Concat(_) => Kind::Concat,
            Op::Add { relu, .. } => Kind::Sum {
                bias: vec![0.0; node.shape.channels],
                relu: *relu,
            },
            Op::Bias { bias, .. } => Kind::Sum {
                bias: bias.clone(),
                relu: false,
            },
            Op::Relu(_) => Kind::Sum {
                bias: vec![0.0; node.shape.channels],
                relu: true,
            },
            Op::Clamp { low, high, .. } => Kind::Clamp(*low, *high),
            Op::Spread(_) => Kind::Spread,
            Op::Mask { mask, .. } => Kind::Mask(mask.clone()),
            Op::Logistic(_) => Kind::Logistic,
            Op::Reshape(_) => Kind::Reshape,
            Op::Depthwise { .. } => unreachable!("every depthwise convolution is a block"),
        };
        Some(draft)
    }

    /// Output `number` as planes; a logistic function that nothing else reads is applied on the way.
    fn export(&self, number: usize, output: NodeId, absorbed: &mut [bool]) -> Draft {
        let (from, logistic) = match self.op(output) {
            Op::Logistic(input) if self.single(output) => {
                absorbed[output] = true;
                (*input, true)
            }
            _ => (output, false),
        };
        Draft {
            name: format!("output {number}"),
            kind: Kind::Export {
                output: number,
                logistic,
            },
            inputs: vec![from],
            skip: None,
            output: None,
            multiplications: 0,
        }
    }
}
