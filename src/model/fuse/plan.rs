//! Gives every image of a program a border and a buffer.

use super::bytes::ByteKind;
use super::calibrate::Observer;
use super::graph::{Graph, NodeId, Shape};
use super::lower::Draft;
use super::program::{Kind, Program, Step, Value};
use crate::kernels::{ByteConvolution, Convolution, Geometry, Kernels, Layout, Quantum};

/// The border of zeros that each image needs, from those who read it.
fn halos(graph: &Graph, drafts: &[Draft]) -> Vec<usize> {
    let mut halos = vec![0; 2 * graph.nodes.len()];
    for draft in drafts {
        for (number, input) in draft.inputs.iter().enumerate() {
            let needed = match &draft.kind {
                Kind::Block(block) => usize::from(block.reads_memory(number)),
                Kind::Bytes(ByteKind::Block(block)) => usize::from(block.reads_memory(number)),
                Kind::Dense(Convolution { geometry, .. }, _)
                | Kind::Bytes(ByteKind::Dense(ByteConvolution { geometry, .. })) => padding(
                    *geometry,
                    shape(graph, *input),
                    draft.output.map(|id| shape(graph, id)),
                ),
                Kind::Winograd(winograd, _) => {
                    let inside = shape(graph, *input);
                    winograd.halo(inside.height, inside.width)
                }
                _ => 0,
            };
            halos[*input] = halos[*input].max(needed);
        }
    }
    halos
}

/// Of a node's image, in floats or in bytes.
fn shape(graph: &Graph, id: NodeId) -> Shape {
    graph.nodes[id % graph.nodes.len()].shape
}

/// The border that a convolution reads of its input.
fn padding(geometry: Geometry, input: Shape, output: Option<Shape>) -> usize {
    let Geometry {
        kernel,
        stride,
        pad,
    } = geometry;
    let out = output.unwrap_or(input);
    let past = |out: usize, stride: usize, kernel: usize, pad: usize, length: usize| {
        ((out - 1) * stride + kernel)
            .saturating_sub(pad + length)
            .max(pad)
    };
    let down = past(out.height, stride.0, kernel.0, pad.0, input.height);
    down.max(past(out.width, stride.1, kernel.1, pad.1, input.width))
}

/// Gives every image a buffer, and every buffer to the next image once its last reader has run.
pub(super) fn plan(
    graph: &Graph,
    kernels: Kernels,
    drafts: Vec<Draft>,
    quantum: impl Fn(NodeId) -> Option<Quantum>,
    observer: Option<Observer>,
) -> Program {
    let halos = halos(graph, &drafts);
    let mut last_reader = vec![0; 2 * graph.nodes.len()];
    for (step, draft) in drafts.iter().enumerate() {
        draft
            .inputs
            .iter()
            .chain(&draft.skip)
            .for_each(|id| last_reader[*id] = step);
    }
    let mut values: Vec<Option<Value>> = vec![None; 2 * graph.nodes.len()];
    let mut slots: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut steps = Vec::new();
    for (number, draft) in drafts.into_iter().enumerate() {
        let output = draft.output.map(|id| {
            let shape = shape(graph, id);
            let (channels, height, width) = (shape.channels, shape.height, shape.width);
            let layout = Layout {
                channels,
                height,
                width,
                halo: halos[id],
            };
            let mut value = Value {
                id,
                slot: 0,
                layout,
                quantum: quantum(id),
            };
            value.slot = take_slot(&mut slots, &mut free, value.floats());
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
    Program::new(kernels, steps, slots, observer)
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
