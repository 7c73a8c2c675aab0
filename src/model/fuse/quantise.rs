//! Which operators of a network are computed in bytes, and with which scales.
//!
//! Blocks and convolutions are; what is left (sums, masks, the few channels at the end) stays in floats, with a step
//! that converts between the two. Every image in bytes has one scale for all its channels. The expanded channels of a
//! block, which nothing but its depthwise convolution sees, have one each: that costs nothing, since neither the
//! rounding before nor the convolution behind mixes channels.

use super::bytes::ByteKind;
use super::calibrate::Observed;
use super::graph::{Dense, NodeId, Op, Term};
use super::lower::{Draft, Expansion, Found, Lowering, Source};
use super::program::Kind;
use crate::kernels::{
    ByteBlock, ByteConvolution, ByteDepthwise, BytePart, Geometry, MAX_SOURCES, Quantum, Target,
    Weights,
};

/// Convolutions of fewer products than this for each output (a copy, a difference) stay in floats: converting costs more
/// than they do.
const LEAST_DEPTH: usize = 16;
/// So do those of fewer output pixels: their weights are read once.
const LEAST_PIXELS: usize = 16;

/// A unit that is this much finer than its output's scale tells nothing more.
const FINEST: f32 = 1.0 / (1 << 20) as f32;

/// Scales of channels that a ReLU hardly lets through are at least this part of the largest channel's.
const LEAST_SCALE: f32 = 1.0 / 256.0;

/// What is computed in bytes.
pub(super) struct Quantising<'a> {
    lowering: &'a Lowering<'a>,
    observed: &'a [Observed],
    /// Whether each node is computed in bytes, and who reads its image in which form.
    in_bytes: Vec<bool>,
    read_bytes: Vec<bool>,
    read_floats: Vec<bool>,
}

impl<'a> Quantising<'a> {
    /// Decides for every node; `observed` has one entry for each.
    pub fn new(
        lowering: &'a Lowering<'a>,
        blocks: &[Option<Found>],
        absorbed: &[bool],
        observed: &'a [Observed],
    ) -> Quantising<'a> {
        let nodes = &lowering.graph.nodes;
        let mut quantising = Quantising {
            lowering,
            observed,
            in_bytes: vec![false; nodes.len()],
            read_bytes: vec![false; nodes.len()],
            read_floats: vec![false; nodes.len()],
        };
        for id in (0..nodes.len()).filter(|id| !absorbed[*id]) {
            let (in_bytes, inputs) = match (&blocks[id], lowering.op(id)) {
                (Some(found), _) => {
                    let skip = found.project.as_ref().and_then(|dense| dense.skip);
                    let inputs = lowering.inputs(found).into_iter().chain(skip);
                    (true, inputs.collect())
                }
                (None, op @ Op::Dense(dense)) => (is_worth_it(lowering, id, dense), op.inputs()),
                (None, op) => (false, op.inputs()),
            };
            quantising.in_bytes[id] = in_bytes;
            for input in inputs {
                let read = if in_bytes {
                    &mut quantising.read_bytes
                } else {
                    &mut quantising.read_floats
                };
                read[input] = true;
            }
        }
        for output in &lowering.graph.outputs {
            quantising.read_floats[*output] = true;
        }
        quantising
    }

    /// Whether node `id` is computed in bytes.
    pub fn takes(&self, id: NodeId) -> bool {
        self.in_bytes[id]
    }

    /// What the bytes of node `id`'s image mean.
    pub fn quantum(&self, id: NodeId) -> Quantum {
        let relu = match self.lowering.op(id) {
            Op::Dense(dense) => {
                let activation = dense.activation;
                activation.relu_last || activation.relu_first && dense.skip.is_none()
            }
            Op::Depthwise { relu, .. } | Op::Add { relu, .. } => *relu,
            Op::Relu(_) => true,
            _ => false,
        };
        self.observed[id].span().quantum(relu)
    }

    /// The image of a node in bytes.
    fn in_bytes(&self, id: NodeId) -> NodeId {
        self.lowering.graph.nodes.len() + id
    }

    /// The steps of a node that is computed in bytes; `None` if it is larger than the kernels take.
    pub fn drafts(&self, id: NodeId, block: Option<Found>) -> Option<Vec<Draft>> {
        let mut drafts = vec![match (block, self.lowering.op(id)) {
            (Some(found), _) => self.block(id, found),
            (None, Op::Dense(dense)) => self.dense(id, dense)?,
            _ => unreachable!("only blocks and dense convolutions are computed in bytes"),
        }];
        if drafts[0].output != Some(id) && self.read_floats[id] {
            drafts.push(self.conversion(id, ByteKind::Dequantise, self.in_bytes(id), id));
        }
        Some(drafts)
    }

    /// The steps of a node that is computed in floats by `draft`.
    pub fn with_bytes(&self, id: NodeId, mut draft: Draft) -> Vec<Draft> {
        if !self.read_bytes[id] {
            return vec![draft];
        }
        if let (Kind::Import(number), false) = (&draft.kind, self.read_floats[id]) {
            draft.kind = Kind::Bytes(ByteKind::Import(*number));
            draft.output = Some(self.in_bytes(id));
            return vec![draft];
        }
        let conversion = self.conversion(id, ByteKind::Quantise, id, self.in_bytes(id));
        vec![draft, conversion]
    }

    fn conversion(&self, id: NodeId, kind: ByteKind, from: NodeId, to: NodeId) -> Draft {
        Draft {
            name: self.lowering.graph.nodes[id].name.clone(),
            kind: Kind::Bytes(kind),
            inputs: vec![from],
            skip: None,
            output: Some(to),
            multiplications: 0,
        }
    }

    fn dense(&self, id: NodeId, dense: &Dense) -> Option<Draft> {
        if dense.terms.len() * dense.geometry.taps() > MAX_SOURCES {
            return None;
        }
        let terms: Vec<&Term> = dense.terms.iter().collect();
        let quanta: Vec<Quantum> = terms.iter().map(|term| self.quantum(term.input)).collect();
        let floats = dense.skip.is_none() && !self.read_bytes[id];
        let convolution = if floats {
            let relu = dense.activation.relu_first || dense.activation.relu_last;
            let kernels = &self.lowering.kernels.bytes;
            self.weights(dense, &terms, &quanta, |weights| {
                weights.pack_floats(relu, kernels)
            })
        } else {
            self.pack_bytes(id, dense, &terms, &quanta)
        };
        let node = &self.lowering.graph.nodes[id];
        let depth: usize = terms.iter().map(|term| term.channels).sum();
        Some(Draft {
            name: node.name.clone(),
            kind: Kind::Bytes(ByteKind::Dense(convolution)),
            inputs: terms.iter().map(|term| self.in_bytes(term.input)).collect(),
            skip: dense.skip.map(|id| self.in_bytes(id)),
            output: Some(if floats { id } else { self.in_bytes(id) }),
            multiplications: depth * dense.geometry.taps() * node.shape.len(),
        })
    }

    fn block(&self, id: NodeId, found: Found) -> Draft {
        let Op::Depthwise {
            weights,
            bias,
            stride,
            input,
            ..
        } = self.lowering.op(found.depthwise)
        else {
            unreachable!("a block has a depthwise convolution")
        };
        let (mut parts, mut quanta) = (Vec::new(), Vec::new());
        for source in &found.parts {
            let (part, of_channels) = self.part(source);
            parts.push(part);
            quanta.extend(of_channels);
        }
        let channels: Vec<usize> = parts.iter().map(BytePart::channels).collect();
        let between = self.quantum(found.depthwise);
        let depthwise = ByteDepthwise::pack(
            *stride,
            bias,
            &channels,
            |channel| quanta[channel],
            between,
            &self.lowering.kernels.bytes,
            |channel, tap| weights[channel * 9 + tap],
        );
        let project = found.project.as_ref().map(|dense| {
            let terms = self.lowering.projected(dense, &channels);
            let quanta = vec![between; terms.len()];
            self.pack_bytes(id, dense, &terms.iter().collect::<Vec<_>>(), &quanta)
        });
        let shape = self.lowering.graph.nodes[*input].shape;
        let block = ByteBlock::new(parts, depthwise, project, (shape.height, shape.width));
        let inputs = self.lowering.inputs(&found).into_iter();
        let skip = found.project.as_ref().and_then(|dense| dense.skip);
        Draft {
            name: self.lowering.graph.nodes[id].name.clone(),
            kind: Kind::Bytes(ByteKind::Block(Box::new(block))),
            inputs: inputs.map(|id| self.in_bytes(id)).collect(),
            skip: skip.map(|id| self.in_bytes(id)),
            output: Some(self.in_bytes(id)),
            multiplications: self.lowering.multiplications(id, &found),
        }
    }

    /// A part, and what the bytes of its channels mean.
    fn part(&self, source: &Source) -> (BytePart, Vec<Quantum>) {
        match *source {
            Source::Memory(id) => {
                let channels = self.lowering.channels(id);
                (
                    BytePart::Memory { channels },
                    vec![self.quantum(id); channels],
                )
            }
            Source::Upsample(id) => {
                let (input, upsample) = self.lowering.upsample(id);
                let (channels, quantum) = (self.lowering.channels(id), self.quantum(input));
                let part = BytePart::Upsample {
                    channels,
                    upsample: upsample.clone(),
                    zero: quantum.zero,
                };
                (part, vec![quantum; channels])
            }
            Source::Expand(id) => self.expand(id),
        }
    }

    fn expand(&self, id: NodeId) -> (BytePart, Vec<Quantum>) {
        let kernels = &self.lowering.kernels.bytes;
        let Expansion { dense, full, low } = self.lowering.expansion(id);
        let quanta = self.channels(id, dense.activation.relu_first);
        let scales: Vec<f32> = quanta.iter().map(|quantum| quantum.scale).collect();
        let zero = quanta[0].zero;
        let least = |out: usize| scales[out] * FINEST;
        // The bias goes with the half that is computed last.
        let none = vec![0.0; dense.bias.len()];
        let low = low.map(|(term, input, upsample)| {
            let weight = |out, _, channel, _| weight(term, out, channel, 0, 1);
            let inputs = [(term.channels, self.quantum(input))];
            let weights = Weights {
                geometry: Geometry::POINT,
                bias: &none,
                inputs: &inputs,
                weight: &weight,
            };
            (weights.units(least), inputs, term, upsample)
        });
        let weight_of = |out, input: usize, channel, _| weight(full[input], out, channel, 0, 1);
        let inputs: Vec<(usize, Quantum)> = full
            .iter()
            .map(|term| (term.channels, self.quantum(term.input)))
            .collect();
        let weights = Weights {
            geometry: Geometry::POINT,
            bias: &dense.bias,
            inputs: &inputs,
            weight: &weight_of,
        };
        // Both halves count alike, as if they were one convolution.
        let units = weights.units(|out| low.as_ref().map_or(0.0, |low| low.0[out]).max(least(out)));
        let packed = weights.pack(
            &units,
            Target::Bytes {
                scales: &scales,
                zero,
            },
            kernels,
        );
        let low = low.map(|(low_units, inputs, term, upsample)| {
            let weight = |out, _, channel, _| weight(term, out, channel, 0, 1);
            let weights = Weights {
                geometry: Geometry::POINT,
                bias: &none,
                inputs: &inputs,
                weight: &weight,
            };
            let target = Target::Middle { units: &units };
            (weights.pack(&low_units, target, kernels), upsample.clone())
        });
        let part = BytePart::Expand {
            full: packed,
            inputs: inputs.len(),
            low,
            zero,
        };
        (part, quanta)
    }

    /// What the bytes of each channel of an expansion mean.
    fn channels(&self, id: NodeId, relu: bool) -> Vec<Quantum> {
        let observed = &self.observed[id];
        let of = |least: f32, most: f32| match relu {
            true => most / 255.0,
            false => least.abs().max(most.abs()) / 127.0,
        };
        let all = observed.span();
        let least = (of(all.least, all.most) * LEAST_SCALE).max(f32::MIN_POSITIVE / FINEST);
        let quantum = |channel: usize| {
            let span = observed.channel(channel);
            Quantum {
                scale: of(span.least, span.most).max(least),
                zero: if relu { 0 } else { 128 },
            }
        };
        (0..self.lowering.channels(id)).map(quantum).collect()
    }

    /// A convolution whose bytes are node `id`'s image.
    fn pack_bytes(
        &self,
        id: NodeId,
        dense: &Dense,
        terms: &[&Term],
        quanta: &[Quantum],
    ) -> ByteConvolution {
        let own = self.quantum(id);
        let scales = [own.scale];
        let target = match dense.skip {
            Some(skip) => Target::Sum {
                own,
                skip: self.quantum(skip),
                relu_first: dense.activation.relu_first,
            },
            None => Target::Bytes {
                scales: &scales,
                zero: own.zero,
            },
        };
        let kernels = &self.lowering.kernels.bytes;
        self.weights(dense, terms, quanta, |weights| {
            let units = weights.units(|_| own.scale * FINEST);
            weights.pack(&units, target, kernels)
        })
    }

    /// The weights of a convolution, for `pack`.
    fn weights(
        &self,
        dense: &Dense,
        terms: &[&Term],
        quanta: &[Quantum],
        pack: impl FnOnce(&Weights) -> ByteConvolution,
    ) -> ByteConvolution {
        let taps = dense.geometry.taps();
        let inputs: Vec<(usize, Quantum)> = terms
            .iter()
            .zip(quanta)
            .map(|(term, quantum)| (term.channels, *quantum))
            .collect();
        pack(&Weights {
            geometry: dense.geometry,
            bias: &dense.bias,
            inputs: &inputs,
            weight: &|out, input: usize, channel, tap| {
                weight(terms[input], out, channel, tap, taps)
            },
        })
    }
}

fn weight(term: &Term, out: usize, channel: usize, tap: usize, taps: usize) -> f32 {
    term.weights[(out * term.depth + term.first + channel) * taps + tap]
}

/// Whether a dense convolution is quicker in bytes.
fn is_worth_it(lowering: &Lowering, id: NodeId, dense: &Dense) -> bool {
    let depth: usize = dense.terms.iter().map(|term| term.channels).sum();
    depth * dense.geometry.taps() >= LEAST_DEPTH
        && lowering.graph.nodes[id].shape.pixels() >= LEAST_PIXELS
}
