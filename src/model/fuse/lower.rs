//! From operators to steps: finds the blocks, packs their weights, and plans the buffers.

use super::graph::{Dense, Graph, NodeId, Op, Term};
use super::program::{Kind, MAX_INPUTS, Program, Step, Value};
use crate::kernels::{
    Activation, BLOCK, Block, Convolution, Depthwise, Geometry, Kernels, Layout, MAX_PARTS,
    MAX_SOURCES, Part, Winograd,
};

/// A step whose images are still nodes of the graph.
struct Draft {
    name: String,
    kind: Kind,
    inputs: Vec<NodeId>,
    skip: Option<NodeId>,
    output: Option<NodeId>,
    multiplications: usize,
}

/// Compiles a folded graph; `None` if something in it is larger than the kernels take.
pub(super) fn lower(graph: &Graph, kernels: Kernels) -> Option<Program> {
    let lowering = Lowering {
        graph,
        kernels,
        uses: graph.uses(),
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
    let mut drafts = Vec::new();
    for (id, block) in blocks.into_iter().enumerate() {
        if absorbed[id] {
            continue;
        }
        let draft = match block {
            Some(block) => lowering.block_draft(id, block),
            None => lowering.plain_draft(id)?,
        };
        drafts.push(draft);
    }
    for (number, output) in graph.outputs.iter().enumerate() {
        drafts.push(lowering.export(number, *output, &mut absorbed));
    }
    drafts.retain(|draft| draft.output.is_none_or(|id| !absorbed[id]));
    if drafts.iter().any(|draft| draft.inputs.len() > MAX_INPUTS) {
        return None;
    }
    Some(plan(graph, kernels, drafts))
}

/// A block that ends in some node.
struct Found {
    depthwise: NodeId,
    /// The projection; `None` if the block ends in the depthwise convolution itself.
    project: Option<Dense>,
    parts: Vec<Source>,
    absorbed: Vec<NodeId>,
}

/// What makes a part's channels.
enum Source {
    Memory(NodeId),
    Upsample(NodeId),
    Expand(NodeId),
}

struct Lowering<'a> {
    graph: &'a Graph,
    kernels: Kernels,
    uses: Vec<usize>,
}

impl Lowering<'_> {
    fn op(&self, id: NodeId) -> &Op {
        &self.graph.nodes[id].op
    }

    fn channels(&self, id: NodeId) -> usize {
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
            Op::Dense(project) if project.is_point() && project.terms.len() == 1 => {
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
                if self.single(input) && found.project.is_some() && parts.len() <= MAX_PARTS =>
            {
                found.absorbed.push(input);
                parts.clone()
            }
            _ => vec![input],
        };
        for part in parts {
            found.parts.push(match self.op(part) {
                Op::Upsample { .. } if self.single(part) => {
                    found.absorbed.push(part);
                    Source::Upsample(part)
                }
                Op::Dense(dense) if self.single(part) && self.expands(dense) => {
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
    fn low<'a>(&self, dense: &'a Dense) -> Option<&'a Term> {
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
        let out = self.graph.nodes[id].shape;
        let mut multiplications = 9 * self.channels(*input) * out.pixels();
        let (mut parts, mut inputs) = (Vec::new(), Vec::new());
        for source in &found.parts {
            parts.push(match source {
                Source::Memory(id) => {
                    inputs.push(*id);
                    Part::Memory {
                        channels: self.channels(*id),
                    }
                }
                Source::Upsample(id) => {
                    let Op::Upsample { input, upsample } = self.op(*id) else {
                        unreachable!("an upsampling")
                    };
                    inputs.push(*input);
                    Part::Upsample {
                        channels: self.channels(*id),
                        upsample: upsample.clone(),
                    }
                }
                Source::Expand(id) => {
                    let Op::Dense(dense) = self.op(*id) else {
                        unreachable!("a dense convolution")
                    };
                    let low = self.low(dense);
                    let is_low = |term: &Term| low.is_some_and(|low| std::ptr::eq(low, term));
                    let full: Vec<&Term> =
                        dense.terms.iter().filter(|term| !is_low(term)).collect();
                    inputs.extend(full.iter().map(|term| term.input));
                    let low = low.map(|term| {
                        let Op::Upsample { input, upsample } = self.op(term.input) else {
                            unreachable!("an upsampling")
                        };
                        inputs.push(*input);
                        multiplications += term.channels
                            * dense.bias.len()
                            * self.graph.nodes[*input].shape.pixels();
                        (
                            self.pack(Geometry::POINT, &dense.bias, &[term]),
                            upsample.clone(),
                        )
                    });
                    let depth: usize = full.iter().map(|term| term.channels).sum();
                    multiplications += depth * dense.bias.len() * shape.pixels();
                    // The bias goes with the upsampled half, which is what the other half starts from.
                    let packed =
                        (!full.is_empty()).then(|| self.pack(Geometry::POINT, &dense.bias, &full));
                    Part::Expand {
                        full: packed,
                        inputs: full.len(),
                        low,
                        relu: dense.activation.relu_first,
                    }
                }
            });
        }
        let channels: Vec<usize> = parts.iter().map(Part::channels).collect();
        let packed = Depthwise::pack(*stride, *relu, bias, &channels, |channel, tap| {
            weights[channel * 9 + tap]
        });
        let project = found.project.as_ref().map(|dense| {
            multiplications += self.channels(*input) * out.len();
            // The parts start at blocks of their own, so the projection sees them as so many inputs.
            let term = &dense.terms[0];
            let mut first = term.first;
            let terms: Vec<Term> = channels
                .iter()
                .map(|channels| {
                    let part = Term {
                        first,
                        channels: *channels,
                        ..term.clone()
                    };
                    first += channels;
                    part
                })
                .collect();
            self.pack(
                Geometry::POINT,
                &dense.bias,
                &terms.iter().collect::<Vec<_>>(),
            )
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
            inputs,
            skip: found.project.and_then(|dense| dense.skip),
            output: Some(id),
            multiplications,
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

/// The border of zeros that each image needs, from those who read it.
fn halos(graph: &Graph, drafts: &[Draft]) -> Vec<usize> {
    let mut halos = vec![0; graph.nodes.len()];
    for draft in drafts {
        for (number, input) in draft.inputs.iter().enumerate() {
            let needed = match &draft.kind {
                Kind::Block(block) => usize::from(block.reads_memory(number)),
                Kind::Dense(convolution, _) => {
                    let Geometry {
                        kernel,
                        stride,
                        pad,
                    } = convolution.geometry;
                    let out = draft
                        .output
                        .map_or(graph.nodes[*input].shape, |id| graph.nodes[id].shape);
                    let inside = graph.nodes[*input].shape;
                    let past =
                        |out: usize, stride: usize, kernel: usize, pad: usize, length: usize| {
                            ((out - 1) * stride + kernel)
                                .saturating_sub(pad + length)
                                .max(pad)
                        };
                    past(out.height, stride.0, kernel.0, pad.0, inside.height).max(past(
                        out.width,
                        stride.1,
                        kernel.1,
                        pad.1,
                        inside.width,
                    ))
                }
                Kind::Winograd(winograd, _) => {
                    let inside = graph.nodes[*input].shape;
                    winograd.halo(inside.height, inside.width)
                }
                _ => 0,
            };
            halos[*input] = halos[*input].max(needed);
        }
    }
    halos
}

/// Gives every image a buffer, and every buffer to the next image once its last reader has run.
fn plan(graph: &Graph, kernels: Kernels, drafts: Vec<Draft>) -> Program {
    let halos = halos(graph, &drafts);
    let mut last_reader = vec![0; graph.nodes.len()];
    for (step, draft) in drafts.iter().enumerate() {
        draft
            .inputs
            .iter()
            .chain(&draft.skip)
            .for_each(|id| last_reader[*id] = step);
    }
    let mut values: Vec<Option<Value>> = vec![None; graph.nodes.len()];
    let mut slots: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut steps = Vec::new();
    for (number, draft) in drafts.into_iter().enumerate() {
        let output = draft.output.map(|id| {
            let shape = graph.nodes[id].shape;
            let (channels, height, width) = (shape.channels, shape.height, shape.width);
            let layout = Layout {
                channels,
                height,
                width,
                halo: halos[id],
            };
            let slot = take_slot(&mut slots, &mut free, layout.len());
            let value = Value { id, slot, layout };
            values[id] = Some(value);
            value
        });
        let value = |id: &NodeId| values[*id].expect("a node comes after its inputs");
        let read: Vec<NodeId> = draft.inputs.iter().chain(&draft.skip).copied().collect();
        steps.push(Step {
            name: draft.name,
            kind: draft.kind,
            inputs: draft.inputs.iter().map(value).collect(),
            skip: draft.skip.as_ref().map(value),
            output,
            multiplications: draft.multiplications,
        });
        let mut done: Vec<NodeId> = read
            .into_iter()
            .filter(|id| last_reader[*id] == number)
            .collect();
        done.sort_unstable();
        done.dedup();
        free.extend(done.iter().map(|id| value(id).slot));
    }
    Program::new(kernels, steps, slots)
}

/// The free buffer that fits best, or the largest one grown, or a new one.
fn take_slot(slots: &mut Vec<usize>, free: &mut Vec<usize>, length: usize) -> usize {
    let fits = |slot: &usize| slots[*slot] >= length;
    let best = free
        .iter()
        .copied()
        .filter(fits)
        .min_by_key(|slot| slots[*slot]);
    let Some(slot) = best.or_else(|| free.iter().copied().max_by_key(|slot| slots[*slot])) else {
        slots.push(length);
        return slots.len() - 1;
    };
    free.retain(|other| *other != slot);
    slots[slot] = slots[slot].max(length);
    slot
}
