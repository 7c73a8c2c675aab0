//! Who computes a network: the kernels or tract, and what they keep between runs.

use super::engine_errors::{engine, fenced};
use super::fuse::{Arena, Keep, KeepPlan, Program};
use super::{ModelError, Network, TensorSpec};
use crate::kernels::Floats;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tract_onnx::prelude::*;

/// What [`NetworkState::execute_frame`] remembers of the frames of one package: shared by all its states.
pub struct KeptFrames {
    pub(super) plan: Option<KeepPlan>,
    pub(super) frames: Vec<OnceLock<Floats>>,
}

impl KeptFrames {
    /// Bytes kept of one frame; 0 if nothing is.
    pub fn frame_bytes(&self) -> usize {
        self.plan.as_ref().map_or(0, KeepPlan::bytes)
    }

    /// Multiplications that a kept frame spares.
    pub fn spared_multiplications(&self) -> usize {
        self.plan.as_ref().map_or(0, |plan| plan.saved)
    }

    /// Frames kept so far.
    pub fn kept(&self) -> usize {
        self.frames
            .iter()
            .filter(|frame| frame.get().is_some())
            .count()
    }
}

impl fmt::Debug for KeptFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptFrames({} of {})", self.kept(), self.frames.len())
    }
}

/// A state of a network that is one fused program.
pub(super) struct FusedState {
    pub program: Arc<Program>,
    pub arena: Arena,
    pub inputs: Vec<Vec<f32>>,
    pub outputs: Vec<Vec<f32>>,
    /// Whether the last run succeeded.
    pub done: bool,
}

impl FusedState {
    pub fn new(network: &Network, program: Arc<Program>) -> FusedState {
        let zeros =
            |specs: &[TensorSpec]| specs.iter().map(|spec| vec![0.0; spec.values()]).collect();
        FusedState {
            arena: program.arena(),
            inputs: zeros(network.inputs()),
            outputs: zeros(network.outputs()),
            program,
            done: false,
        }
    }

    pub fn execute(&mut self, keep: Keep) {
        self.done = false;
        self.program
            .run(&mut self.arena, &self.inputs, &mut self.outputs, keep);
        self.done = true;
    }
}

impl FusedState {
    pub fn profile(&mut self, runs: usize) -> Vec<Duration> {
        let mut shortest = Vec::new();
        for _ in 0..runs {
            let mut started = Instant::now();
            let mut watch = |step: usize, starts: bool| {
                if starts {
                    started = Instant::now();
                    return;
                }
                let took = started.elapsed();
                match shortest.get_mut(step) {
                    Some(least) => *least = took.min(*least),
                    None => shortest.push(took),
                }
            };
            let (inputs, outputs) = (&self.inputs, &mut self.outputs);
            self.program
                .run_timed(&mut self.arena, inputs, outputs, Keep::No, &mut watch);
        }
        shortest
    }
}

/// A state of a network that tract runs.
pub(super) struct TractState {
    state: TypedSimpleState,
    /// Kept between runs, so that filling them allocates nothing.
    pub inputs: Vec<Arc<Tensor>>,
    pub outputs: TVec<TValue>,
}

impl TractState {
    pub fn new(network: &Network) -> Result<TractState, ModelError> {
        let name = network.name();
        let zero =
            |spec: &TensorSpec| Ok(Arc::new(engine(name, Tensor::zero::<f32>(&spec.shape))?));
        let inputs = network.inputs().iter().map(zero);
        Ok(TractState {
            state: engine(name, network.plan().spawn())?,
            inputs: inputs.collect::<Result<_, ModelError>>()?,
            outputs: TVec::new(),
        })
    }

    pub fn input_mut(&mut self, index: usize) -> &mut [f32] {
        let slot = &mut self.inputs[index];
        if Arc::get_mut(slot).is_none() {
            // The engine still holds it, as an output that is the input itself or after an error.
            *slot = Arc::new(Tensor::clone(slot));
        }
        let tensor = Arc::get_mut(slot).expect("a fresh Arc has one owner");
        let view = tensor
            .to_plain_array_view_mut::<f32>()
            .expect("made of plain f32 values");
        view.into_slice().expect("row-major as it was made")
    }

    pub fn execute(&mut self, network: &Network) -> Result<(), ModelError> {
        self.outputs.clear();
        let inputs: TVec<TValue> = self
            .inputs
            .iter()
            .map(|tensor| tensor.clone().into_tvalue())
            .collect();
        let name = network.name();
        let result = fenced(name, || engine(name, self.state.run(inputs)));
        match result.and_then(|result| result) {
            Ok(outputs) => {
                self.outputs = outputs;
                Ok(())
            }
            Err(error) => {
                // Whatever the failed run left in the state must not reach the next one.
                self.state = engine(name, network.plan().spawn())?;
                Err(error)
            }
        }
    }

    pub fn output(&self, index: usize) -> &[f32] {
        if self.outputs.is_empty() {
            return &[];
        }
        let view = self.outputs[index]
            .try_as_plain_ram()
            .expect("outputs were checked when the network was loaded");
        view.as_slice()
            .expect("outputs were checked when the network was loaded")
    }
}
