//! Replaces what the kernels know in a decluttered network by operators that call them.
//!
//! `read` turns runs of known nodes into a small graph of images, `graph` folds it, `lower` finds the blocks, packs
//! weights and plans buffers, `program` runs the result. What is not known stays tract's.

mod bytes;
mod calibrate;
mod declutter;
mod graph;
mod keep;
mod lower;
mod plan;
mod program;
mod quantise;
mod read;
mod rewrite;
mod simple;
#[cfg(test)]
mod tests;

use crate::kernels::Kernels;
pub(in crate::model) use calibrate::{Observed, Observer, Precision, Span};
pub(in crate::model) use declutter::declutter;
use graph::Graph;
pub(in crate::model) use keep::{Keep, KeepPlan};
use lower::Lowered;
pub(in crate::model) use program::{Arena, Program};
use std::fmt;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// What [`fuse`] did.
#[derive(Clone, Debug, Default)]
pub struct FuseReport {
    /// The kernels' instruction set, as `LIPSYNCD_SIMD` spells it.
    pub simd: &'static str,
    /// The instruction set of the kernels of bytes, if the network is quantised and they are quicker than those of floats.
    pub int8: Option<&'static str>,
    /// tract nodes (constants not counted) that fused operators replace.
    pub replaced: usize,
    /// Names of the nodes that stay tract's.
    pub left: Vec<String>,
    /// The steps of the fused operators, in order: name, kind, multiplications.
    pub steps: Vec<(String, &'static str, usize)>,
    /// Bytes of all images that the fused operators write, if none shared a buffer.
    pub activation_bytes: usize,
    /// Bytes of the buffers that a running state holds for them.
    pub arena_bytes: usize,
    /// Bytes of their packed weights, shared by all states.
    pub weight_bytes: usize,
}

impl FuseReport {
    /// Why a quantised network is computed in floats.
    pub fn why_floats(&self) -> &'static str {
        match self.simd {
            "off" => "LIPSYNCD_SIMD=off leaves it to tract",
            _ => "without SIMD, bytes would be slower",
        }
    }
}

/// The instruction sets of this processor that `LIPSYNCD_SIMD` can name, best first, each with the name of its int8
/// kernels if it has some.
pub fn instruction_sets() -> Vec<(&'static str, Option<&'static str>)> {
    let int8 = |kernels: &Kernels| {
        let bytes = kernels.bytes;
        (!bytes.is_portable()).then_some(bytes.name)
    };
    let kernels = Kernels::available();
    let names = kernels.iter().map(|kernels| (kernels.name, int8(kernels)));
    names.collect()
}

/// Fuses what is known; goes between [`declutter`] and `into_optimized`. `LIPSYNCD_SIMD` may name the instruction
/// set, or say `off`: then everything stays tract's.
///
/// # Errors
/// If `LIPSYNCD_SIMD` names no instruction set of this processor, or the graph contradicts itself.
pub(in crate::model) fn fuse(
    model: TypedModel,
    precision: &Precision,
) -> TractResult<(TypedModel, FuseReport)> {
    let wanted = std::env::var("LIPSYNCD_SIMD").unwrap_or_default();
    if wanted == "off" {
        ensure!(
            !matches!(precision, Precision::Observed(_)),
            "LIPSYNCD_SIMD=off leaves nothing to observe; calibrate without it"
        );
        let left = left(&model);
        return Ok((
            model,
            FuseReport {
                simd: "off",
                left,
                ..FuseReport::default()
            },
        ));
    }
    let kernels = Kernels::choose(Some(&wanted[..]).filter(|name| !name.is_empty()))?;
    match precision {
        // Plain loops over bytes are slower than over floats.
        Precision::Bytes(_) if kernels.bytes.is_portable() => {
            fuse_with(model, kernels, &Precision::Floats)
        }
        precision => fuse_with(model, kernels, precision),
    }
}

fn fuse_with(
    mut model: TypedModel,
    kernels: Kernels,
    precision: &Precision,
) -> TractResult<(TypedModel, FuseReport)> {
    let mut report = FuseReport {
        simd: kernels.name,
        int8: matches!(precision, Precision::Bytes(_)).then_some(kernels.bytes.name),
        ..FuseReport::default()
    };
    // Each replacement renames what the segments after it read, so they are looked for anew.
    let (mut refused, mut calibrated) = (0, 0);
    while let Some(segment) = read::segments(&model)?.into_iter().nth(refused) {
        let graph = segment.graph.fold();
        let how = match precision {
            Precision::Floats => Lowered::Floats,
            Precision::Observed(observer) => Lowered::Observed(observer.clone()),
            Precision::Bytes(observed) => {
                Lowered::Bytes(calibration_of(&graph, observed, calibrated)?)
            }
        };
        let Some(program) = lower::lower(&graph, kernels, &how) else {
            refused += 1;
            continue;
        };
        calibrated += graph.nodes.len();
        report.replaced += segment.replaced;
        report.steps.extend(
            program
                .steps()
                .map(|(name, kind, count)| (name.to_owned(), kind, count)),
        );
        report.activation_bytes += program.activation_bytes();
        report.arena_bytes += program.arena().bytes();
        report.weight_bytes += program.weight_bytes();
        let facts = segment
            .outputs
            .iter()
            .map(|outlet| Ok(model.outlet_fact(*outlet)?.without_value()));
        let facts = facts.collect::<TractResult<TVec<TypedFact>>>()?;
        let mut patch = TypedModelPatch::default();
        let inputs = segment
            .inputs
            .iter()
            .map(|outlet| patch.tap_model(&model, *outlet));
        let inputs = inputs.collect::<TractResult<TVec<OutletId>>>()?;
        let name = format!("fused.{}", model.node(segment.outputs[0].node).name);
        let wires = patch.wire_node(
            name,
            Fused {
                program: Arc::new(program),
                facts,
            },
            &inputs,
        )?;
        for (outlet, wire) in segment.outputs.iter().zip(wires) {
            patch.shunt_outside(&model, *outlet, wire)?;
        }
        patch.apply(&mut model)?;
    }
    if let Precision::Bytes(observed) = precision {
        ensure!(
            calibrated == observed.len(),
            "the calibration has {} `operators`, and the network {calibrated}: quantise it again",
            observed.len()
        );
    }
    model = model.into_compact()?;
    report.left = left(&model);
    Ok((model, report))
}

/// What was observed of the graph's nodes: those of `observed` from `first` on.
fn calibration_of<'a>(
    graph: &Graph,
    observed: &'a [Observed],
    first: usize,
) -> TractResult<&'a [Observed]> {
    let count = observed.len();
    let own = observed.get(first..first + graph.nodes.len());
    let own = own.with_context(|| {
        format!("the calibration has {count} `operators`, and the network more: quantise it again")
    })?;
    for (number, (node, observed)) in graph.nodes.iter().zip(own).enumerate() {
        let (channels, spans) = (node.shape.channels, observed.channels.len());
        ensure!(
            node.name == observed.name && (spans == 1 || spans == channels),
            "`operators[{}]` of the calibration is `{}` of {spans} channels, and the network has `{}` of {channels}: \
             quantise it again",
            first + number,
            observed.name,
            node.name
        );
    }
    Ok(own)
}

/// The nodes that tract computes.
fn left(model: &TypedModel) -> Vec<String> {
    let left = model
        .nodes()
        .iter()
        .filter(|node| !node.op_is::<Fused>() && !node.inputs.is_empty());
    left.map(|node| format!("{} {}", node.op().name(), node.name))
        .collect()
}

/// The program that is the whole of `model`, from its inputs (in order) to its outputs (in order), if it is one.
/// Running it directly saves tract's bookkeeping and its copies of inputs and outputs.
pub(in crate::model) fn whole(model: &TypedModel) -> Option<Arc<Program>> {
    let mut fused = model.nodes().iter().filter(|node| node.op_is::<Fused>());
    let (node, None) = (fused.next()?, fused.next()) else {
        return None;
    };
    let outputs = (0..node.outputs.len()).map(|slot| OutletId::new(node.id, slot));
    let same_inputs = model.input_outlets().ok()? == &node.inputs[..];
    let same_outputs = model.output_outlets().ok()?.iter().copied().eq(outputs);
    (same_inputs && same_outputs)
        .then(|| node.op_as::<Fused>().map(|op| op.program.clone()))
        .flatten()
}

/// A [`Program`] as an operator of tract.
#[derive(Clone)]
struct Fused {
    program: Arc<Program>,
    facts: TVec<TypedFact>,
}

impl fmt::Debug for Fused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Fused {{ {} steps }}", self.program.steps().count())
    }
}

impl PartialEq for Fused {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.program, &other.program)
    }
}

impl Eq for Fused {}

impl Op for Fused {
    fn name(&self) -> StaticName {
        "Fused".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Fused {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(FusedState {
            arena: self.program.arena(),
        })))
    }
}

impl TypedOp for Fused {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.facts.clone())
    }

    as_op!();
}

/// The buffers of one running state.
#[derive(Clone, Debug)]
struct FusedState {
    arena: Arena,
}

impl OpState for FusedState {
    fn eval(
        &mut self,
        _: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let op = op
            .downcast_ref::<Fused>()
            .context("a fused state runs a fused operator")?;
        let mut tensors = TVec::new();
        for fact in &op.facts {
            let shape = fact
                .shape
                .as_concrete()
                .context("fused operators have fixed shapes")?;
            tensors.push(Tensor::zero::<f32>(shape)?);
        }
        let views = inputs
            .iter()
            .map(|input| input.view().as_slice::<f32>())
            .collect::<TractResult<TVec<_>>>()?;
        {
            let plain = tensors
                .iter_mut()
                .map(|tensor| tensor.try_as_plain_ram_mut());
            let mut plain = plain.collect::<TractResult<Vec<_>>>()?;
            let outputs = plain.iter_mut().map(|view| view.as_slice_mut::<f32>());
            let mut outputs = outputs.collect::<TractResult<Vec<_>>>()?;
            op.program
                .run(&mut self.arena, &views, &mut outputs, Keep::No);
        }
        Ok(tensors
            .into_iter()
            .map(|tensor| tensor.into_tvalue())
            .collect())
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        // Nothing survives a run.
        Ok(())
    }
}
