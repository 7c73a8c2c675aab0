//! One network: an ONNX file in, a shared plan, and states that run it.

use super::calibration::Calibration;
use super::engine_errors::{engine, fenced};
use super::fuse::{self, FuseReport, Keep, Precision, Program};
use super::onnx::{Note, Prepared, file_name, prepare, read_network};
use super::states::{FusedState, KeptFrames, TractState};
use super::tensor_spec::{TensorSpec, specs};
use super::{LoadLimits, ModelError};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tract_onnx::prelude::*;

/// A network that is ready to run. Cheap to clone: clones share the plan and its weights.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    plan: Arc<TypedSimplePlan>,
    /// The whole network as one fused program, where every operator is known.
    whole: Option<Arc<Program>>,
    report: FuseReport,
    notes: Vec<Note>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl Network {
    /// Loads an ONNX file whose shapes are all fixed.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than `limits.package_bytes`, is not a network that the engine knows,
    /// or has a tensor without a fixed shape. A panic of the engine is an error too; but a crafted file can abort the
    /// process, so one that nobody vouches for should be loaded in a child process first.
    pub fn load(path: &Path, limits: &LoadLimits) -> Result<Network, ModelError> {
        let onnx = read_network(path, limits)?;
        Network::from_onnx(&file_name(path), &onnx, &[], limits)
    }

    /// As [`Network::load`], but computed in bytes; see [`Network::quantised`].
    ///
    /// # Errors
    /// As both.
    pub fn load_quantised(
        path: &Path,
        calibration: &Calibration,
        limits: &LoadLimits,
    ) -> Result<Network, ModelError> {
        let onnx = read_network(path, limits)?;
        Network::quantised(&file_name(path), &onnx, &[], calibration, limits)
    }

    /// Loads a network from the bytes of an ONNX file. `shapes` fixes the shapes of inputs by name, where the file
    /// leaves them open or where another batch size is wanted. `name` is for messages.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn from_onnx(
        name: &str,
        onnx: &[u8],
        shapes: &[(&str, &[usize])],
        limits: &LoadLimits,
    ) -> Result<Network, ModelError> {
        Network::with_precision(name, onnx, shapes, &Precision::Floats, limits)
    }

    /// As [`Network::from_onnx`], but computed in bytes, with scales for what `calibration` saw.
    ///
    /// # Errors
    /// As [`Network::load`], and when the calibration is another network's.
    pub fn quantised(
        name: &str,
        onnx: &[u8],
        shapes: &[(&str, &[usize])],
        calibration: &Calibration,
        limits: &LoadLimits,
    ) -> Result<Network, ModelError> {
        calibration.check(name, onnx)?;
        let precision = Precision::Bytes(calibration.operators());
        Network::with_precision(name, onnx, shapes, &precision, limits)
    }

    pub(super) fn with_precision(
        name: &str,
        onnx: &[u8],
        shapes: &[(&str, &[usize])],
        precision: &Precision,
        limits: &LoadLimits,
    ) -> Result<Network, ModelError> {
        let shared = fenced(name, || build(name, onnx, shapes, precision, limits))??;
        for note in &shared.notes {
            log::info!("network {name} {note}");
        }
        Ok(Network {
            shared: Arc::new(shared),
        })
    }

    /// The name it was loaded under.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub fn inputs(&self) -> &[TensorSpec] {
        &self.shared.inputs
    }

    pub fn outputs(&self) -> &[TensorSpec] {
        &self.shared.outputs
    }

    pub(super) fn plan(&self) -> &Arc<TypedSimplePlan> {
        &self.shared.plan
    }

    /// What the kernels compute of it, and what they leave to tract.
    pub fn report(&self) -> &FuseReport {
        &self.shared.report
    }

    /// How it is computed otherwise than its file has it.
    pub fn notes(&self) -> &[Note] {
        &self.shared.notes
    }

    /// Room to keep what depends on input `image_input` alone of each of `frames` frames, in at most `bytes` bytes
    /// together. Empty, and without effect, where that is too little or tract runs the network.
    pub fn keep_frames(&self, image_input: usize, frames: usize, bytes: u64) -> KeptFrames {
        let each = bytes / frames.max(1) as u64;
        let program = self.shared.whole.as_ref();
        let plan = program.and_then(|program| program.keep_plan(image_input, each));
        let frames = if plan.is_some() { frames } else { 0 };
        KeptFrames {
            plan,
            frames: (0..frames).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Position of an input.
    pub fn input_index(&self, name: &str) -> Result<usize, ModelError> {
        self.position(&self.shared.inputs, name)
    }

    /// Position of an output.
    pub fn output_index(&self, name: &str) -> Result<usize, ModelError> {
        self.position(&self.shared.outputs, name)
    }

    fn position(&self, specs: &[TensorSpec], name: &str) -> Result<usize, ModelError> {
        specs
            .iter()
            .position(|spec| spec.name == name)
            .ok_or_else(|| ModelError::NoTensor {
                network: self.shared.name.clone(),
                tensor: name.to_owned(),
                known: specs.iter().map(|spec| spec.name.clone()).collect(),
            })
    }

    /// A state to run the network with: one per worker.
    ///
    /// # Errors
    /// When the engine refuses; it has no reason to for a network that was loaded.
    pub fn new_state(&self) -> Result<NetworkState, ModelError> {
        let engine = match &self.shared.whole {
            Some(program) => Engine::Fused(FusedState::new(self, program.clone())),
            None => Engine::Tract(TractState::new(self)?),
        };
        Ok(NetworkState {
            engine,
            network: self.clone(),
        })
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared {
            name,
            inputs,
            outputs,
            ..
        } = &*self.shared;
        f.debug_struct("Network")
            .field("name", name)
            .field("inputs", inputs)
            .field("outputs", outputs)
            .finish_non_exhaustive()
    }
}

/// What one worker needs to run a network: fill the inputs in place, run, read the outputs in place.
pub struct NetworkState {
    network: Network,
    engine: Engine,
}

/// Who computes.
enum Engine {
    /// The kernels, from the first input to the last output.
    Fused(FusedState),
    /// tract, with fused operators where there are some.
    Tract(TractState),
}

impl NetworkState {
    /// The network that this state runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The values of an input, to be filled before [`NetworkState::execute`]. They keep what was written last.
    ///
    /// # Panics
    /// When `index` is not below the number of inputs.
    pub fn input_mut(&mut self, index: usize) -> &mut [f32] {
        match &mut self.engine {
            Engine::Fused(state) => &mut state.inputs[index],
            Engine::Tract(state) => state.input_mut(index),
        }
    }

    /// Runs the network on what [`NetworkState::input_mut`] holds.
    ///
    /// # Errors
    /// [`ModelError::Network`] when the engine fails or panics; the state can be used again.
    pub fn execute(&mut self) -> Result<(), ModelError> {
        match &mut self.engine {
            Engine::Fused(state) => fenced(&self.network.shared.name, || state.execute(Keep::No)),
            Engine::Tract(state) => state.execute(&self.network),
        }
    }

    /// As [`NetworkState::execute`], for frame `frame` of those that `kept` remembers: what depends on the frame alone
    /// is computed once and taken from there afterwards, by every state. The image input must be the frame's own
    /// every time.
    ///
    /// # Errors
    /// As [`NetworkState::execute`].
    pub fn execute_frame(&mut self, kept: &KeptFrames, frame: usize) -> Result<(), ModelError> {
        let name = &self.network.shared.name;
        let (Engine::Fused(state), Some(plan)) = (&mut self.engine, &kept.plan) else {
            return self.execute();
        };
        let Some(cell) = kept.frames.get(frame) else {
            return fenced(name, || state.execute(Keep::No));
        };
        if let Some(room) = cell.get() {
            return fenced(name, || state.execute(Keep::Use(plan, room)));
        }
        let mut room = plan.room();
        fenced(name, || state.execute(Keep::Fill(plan, &mut room)))?;
        // Another state may have been quicker; what it kept is the same.
        let _ = cell.set(room);
        Ok(())
    }

    /// Lets every run use `threads` threads of the rayon pool it is called in: the lowest latency for one frame,
    /// where one thread per frame gives the highest throughput. 1 in the beginning. Without effect where tract runs
    /// the network.
    pub fn set_threads(&mut self, threads: usize) {
        if let Engine::Fused(state) = &mut self.engine {
            state.arena.set_threads(threads);
        }
    }

    /// Runs the network `runs` times on what the inputs hold and returns the shortest time of each fused step, in the
    /// order of [`FuseReport::steps`]; empty if tract runs the network.
    pub fn profile(&mut self, runs: usize) -> Vec<Duration> {
        match &mut self.engine {
            Engine::Fused(state) => state.profile(runs),
            Engine::Tract(_) => Vec::new(),
        }
    }

    /// The values of an output of the last successful [`NetworkState::execute`]; empty if there was none.
    ///
    /// # Panics
    /// When a run has succeeded and `index` is not below the number of outputs.
    pub fn output(&self, index: usize) -> &[f32] {
        match &self.engine {
            Engine::Fused(state) if state.done => &state.outputs[index],
            Engine::Fused(_) => &[],
            Engine::Tract(state) => state.output(index),
        }
    }

    /// Copies the inputs in, runs, and copies the outputs out: for callers that have slices of their own.
    ///
    /// # Errors
    /// [`ModelError::WrongLength`] when a slice has not the length of its tensor, and as [`NetworkState::execute`].
    pub fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), ModelError> {
        self.check(
            self.network.inputs(),
            inputs.iter().map(|slice| slice.len()),
        )?;
        self.check(
            self.network.outputs(),
            outputs.iter().map(|slice| slice.len()),
        )?;
        for (index, values) in inputs.iter().enumerate() {
            self.input_mut(index).copy_from_slice(values);
        }
        self.execute()?;
        for (index, out) in outputs.iter_mut().enumerate() {
            out.copy_from_slice(self.output(index));
        }
        Ok(())
    }

    fn check(
        &self,
        specs: &[TensorSpec],
        found: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(), ModelError> {
        let network = self.network.shared.name.clone();
        if found.len() != specs.len() {
            let (expected, found) = (specs.len(), found.len());
            return Err(ModelError::WrongLength {
                network,
                tensor: "(all)".into(),
                expected,
                found,
            });
        }
        match specs
            .iter()
            .zip(found)
            .find(|(spec, found)| spec.values() != *found)
        {
            Some((spec, found)) => {
                let (tensor, expected) = (spec.name.clone(), spec.values());
                Err(ModelError::WrongLength {
                    network,
                    tensor,
                    expected,
                    found,
                })
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for NetworkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkState")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

fn build(
    name: &str,
    onnx: &[u8],
    shapes: &[(&str, &[usize])],
    precision: &Precision,
    limits: &LoadLimits,
) -> Result<Shared, ModelError> {
    let prepared = prepare(onnx).map_err(|source| ModelError::Onnx {
        network: name.to_owned(),
        source,
    })?;
    let Prepared {
        proto,
        reader,
        notes,
    } = prepared;
    let mut model = engine(name, reader.model_for_proto_model(&proto))?;
    drop(proto);
    let node = |outlet: &OutletId| model.node(outlet.node).name.clone();
    let label = |outlet: &OutletId| match model.outlet_label(*outlet) {
        Some(label) => label.to_owned(),
        None => node(outlet),
    };
    let inputs = engine(name, model.input_outlets())?;
    let input_names: Vec<String> = inputs.iter().map(node).collect();
    let outputs = engine(name, model.output_outlets())?;
    let output_names: Vec<String> = outputs.iter().map(label).collect();
    for (tensor, shape) in shapes {
        let Some(index) = input_names.iter().position(|known| known == tensor) else {
            let (network, tensor) = (name.to_owned(), tensor.to_string());
            return Err(ModelError::NoTensor {
                network,
                tensor,
                known: input_names,
            });
        };
        engine(
            name,
            model.set_input_fact(index, InferenceFact::dt_shape(f32::datum_type(), *shape)),
        )?;
    }
    // The file's own idea of its outputs' shapes may be of another batch size.
    if !shapes.is_empty() {
        for index in 0..output_names.len() {
            engine(name, model.set_output_fact(index, InferenceFact::default()))?;
        }
    }
    let typed = engine(name, model.into_typed().and_then(fuse::declutter))?;
    let inputs = specs(
        name,
        &typed,
        engine(name, typed.input_outlets())?,
        input_names,
        limits,
    )?;
    let (fused, report) = engine(name, fuse::fuse(typed, precision))?;
    let whole = fuse::whole(&fused);
    let optimized = engine(name, fused.into_optimized())?;
    let outputs = specs(
        name,
        &optimized,
        engine(name, optimized.output_outlets())?,
        output_names,
        limits,
    )?;
    let plan = engine(name, TypedSimplePlan::new(optimized))?;
    Ok(Shared {
        name: name.to_owned(),
        plan,
        whole,
        report,
        notes,
        inputs,
        outputs,
    })
}
