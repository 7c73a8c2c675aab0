//! A segment as a list of steps over buffers that are planned once: what runs instead of tract's nodes.

use super::bytes::ByteKind;
use super::calibrate::Observer;
use super::keep::Keep;
use super::simple::{clamped, concat, masked, reshape, spread, sum};
use crate::kernels::{
    Activation, Block, ByteScratch, Convolution, Floats, Image, Kernels, Layout, Quantum, Run,
    Scratch, Upsample, Winograd, clear_halo, export_row, import_rows,
};
use std::ops::Range;
use std::sync::Arc;

/// Images that one step reads, at most.
pub(super) const MAX_INPUTS: usize = 8;

/// An image in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    /// Which image of the graph it is.
    pub id: usize,
    pub slot: usize,
    pub layout: Layout,
    /// What its bytes mean, if it is made of bytes.
    pub quantum: Option<Quantum>,
}

impl Value {
    /// Floats that it takes in a buffer.
    pub fn floats(&self) -> usize {
        match self.quantum {
            None => self.layout.len(),
            // Whole cache lines, so that what lies behind it begins with one.
            Some(_) => self.layout.len().div_ceil(64) * 16,
        }
    }
}

/// What a step computes.
#[derive(Debug)]
pub(super) enum Kind {
    Import(usize),
    Block(Box<Block>),
    Dense(Convolution, Activation),
    Winograd(Winograd, Activation),
    Upsample(Upsample),
    /// Copies its inputs one after another; only where a concatenation is read by something that is not fused.
    Concat,
    /// Sum of one or two inputs and a bias.
    Sum {
        bias: Vec<f32>,
        relu: bool,
    },
    /// Its input times an image of one channel, `[height][width]`.
    Mask(Arc<Vec<f32>>),
    /// Cuts its input to what lies between two values.
    Clamp(f32, f32),
    Logistic,
    /// Repeats its input of one pixel.
    Spread,
    Reshape,
    Export {
        output: usize,
        logistic: bool,
    },
    /// Makes bytes, or makes floats of them.
    Bytes(ByteKind),
}

#[derive(Debug)]
pub(super) struct Step {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<Value>,
    pub skip: Option<Value>,
    /// An export has none.
    pub output: Option<Value>,
    pub multiplications: usize,
}

/// A fused segment: packed weights, steps and the plan of its buffers. Shared by all states.
#[derive(Debug)]
pub(in crate::model) struct Program {
    pub(super) kernels: Kernels,
    pub(super) steps: Vec<Step>,
    /// Floats of each buffer.
    slots: Vec<usize>,
    /// Floats of one blended row, for upsamplings outside blocks.
    blended: usize,
    /// Is shown every image, for calibration.
    observer: Option<Observer>,
}

/// Working memory of one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Workspace {
    pub floats: Scratch,
    pub bytes: ByteScratch,
    /// One row of floats that become bytes.
    pub row: Floats,
}

/// The buffers of one running state: made once, overwritten by every run.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Arena {
    pub(super) slots: Vec<Floats>,
    /// One for each thread that it ever had.
    pub(super) scratch: Vec<Workspace>,
    pub(super) threads: usize,
    blended: Floats,
}

/// A band is never lower than this: its edge rows are made twice.
const BAND_ROWS: usize = 4;

impl Arena {
    /// Computes images on `threads` threads from now on.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
        let scratch = self.scratch[0].clone();
        self.scratch
            .resize(self.scratch.len().max(self.threads), scratch);
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let rows = self.scratch.iter().map(|workspace| workspace.row.len());
        let floats: usize = self.slots.iter().map(|slot| slot.len()).chain(rows).sum();
        let scratch = |workspace: &Workspace| workspace.floats.bytes() + workspace.bytes.bytes();
        (floats + self.blended.len()) * size_of::<f32>()
            + self.scratch.iter().map(scratch).sum::<usize>()
    }
}

impl Program {
    pub(super) fn new(
        kernels: Kernels,
        steps: Vec<Step>,
        slots: Vec<usize>,
        observer: Option<Observer>,
    ) -> Program {
        let blended = steps
            .iter()
            .filter(|step| matches!(step.kind, Kind::Upsample(_)))
            .map(|step| step.inputs[0].layout.row_len())
            .max()
            .unwrap_or(0);
        Program {
            kernels,
            steps,
            slots,
            blended,
            observer,
        }
    }

    /// Buffers for one state, which computes every image on one thread.
    pub fn arena(&self) -> Arena {
        let slots = self
            .slots
            .iter()
            .map(|length| Floats::zeros(*length))
            .collect();
        let mut scratch = Workspace::default();
        for step in &self.steps {
            match &step.kind {
                Kind::Block(block) => scratch.floats.grow(&block.scratch()),
                Kind::Winograd(winograd, _) => scratch.floats.grow(&winograd.scratch()),
                Kind::Bytes(kind) => kind.grow(step, &mut scratch),
                _ => {}
            }
        }
        Arena {
            slots,
            scratch: vec![scratch],
            threads: 1,
            blended: Floats::zeros(self.blended),
        }
    }

    /// Each step's name, kind and multiplications, in the order of execution.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &'static str, usize)> {
        self.steps
            .iter()
            .map(|step| (&step.name[..], step.kind.name(), step.multiplications))
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let bytes = |step: &Step| match &step.kind {
            Kind::Block(block) => block.bytes(),
            Kind::Dense(convolution, _) => convolution.bytes(),
            Kind::Winograd(winograd, _) => winograd.bytes(),
            Kind::Bytes(kind) => kind.bytes(),
            _ => 0,
        };
        self.steps.iter().map(bytes).sum()
    }

    /// Bytes of all images, as if none shared a buffer: what an executor without a plan touches.
    pub fn activation_bytes(&self) -> usize {
        self.steps
            .iter()
            .filter_map(|step| step.output)
            .map(|value| value.floats() * size_of::<f32>())
            .sum()
    }

    /// Runs every step that `keep` does not spare. Inputs and outputs are planar (`[channels][height][width]`). With
    /// an arena of several threads, bands of each image are computed at once in the current rayon pool.
    ///
    /// # Panics
    /// If a slice has not the size of its image, or the arena is another program's.
    pub fn run(
        &self,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]> + Sync],
        outputs: &mut [impl AsMut<[f32]>],
        keep: Keep,
    ) {
        self.run_timed(arena, inputs, outputs, keep, &mut |_, _| ());
    }

    /// As [`Program::run`], telling `watch` each step's number as it starts (`true`) and ends (`false`).
    pub fn run_timed(
        &self,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]> + Sync],
        outputs: &mut [impl AsMut<[f32]>],
        mut keep: Keep,
        watch: &mut dyn FnMut(usize, bool),
    ) {
        for (number, step) in self.steps.iter().enumerate() {
            watch(number, true);
            if !keep.spares(number) {
                match step.output {
                    Some(output) => {
                        match &step.kind {
                            Kind::Bytes(kind) => {
                                self.byte_step(kind, step, output, arena, inputs, &keep);
                            }
                            _ => self.step(step, output, arena, inputs, &keep),
                        }
                        keep.store(output, &arena.slots[output.slot]);
                        if let Some(observer) = &self.observer {
                            observer.see(output.id, keep.image(output, &arena.slots));
                        }
                    }
                    None => self.export(step, arena, outputs, &keep),
                }
            }
            watch(number, false);
        }
    }

    fn step(
        &self,
        step: &Step,
        output: Value,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]> + Sync],
        keep: &Keep,
    ) {
        // Taken out of the arena while it is written, so that the inputs can be borrowed from the rest.
        let mut buffer = std::mem::take(&mut arena.slots[output.slot]);
        let Arena {
            slots,
            scratch,
            threads,
            blended,
        } = arena;
        let scratch = &mut scratch[..*threads];
        let layout = output.layout;
        let data = &mut buffer[..layout.len()];
        let row_len = layout.row_len();
        let body = &mut data[layout.halo * row_len..][..layout.height * row_len];
        let mut images = [Image {
            layout: Layout::EMPTY,
            data: &[],
        }; MAX_INPUTS];
        for (image, input) in images.iter_mut().zip(&step.inputs) {
            *image = keep.image(*input, slots);
        }
        let images = &images[..step.inputs.len()];
        let skip = step.skip.map(|value| keep.image(value, slots));
        let run = |rows| Run {
            kernels: &self.kernels,
            inputs: images,
            skip,
            layout,
            rows,
        };
        match &step.kind {
            Kind::Import(number) => {
                let planes = inputs[*number].as_ref();
                in_bands(layout, body, scratch, |rows, out, _| {
                    import_rows(planes, layout, rows, out)
                });
            }
            Kind::Block(block) => in_bands(layout, body, scratch, |rows, out, scratch| {
                block.run(&run(rows), &mut scratch.floats, out);
            }),
            Kind::Dense(convolution, activation) => {
                in_bands(layout, body, scratch, |rows, out, _| {
                    convolution.rows(&run(rows), *activation, out);
                })
            }
            Kind::Winograd(winograd, activation) => {
                in_bands(layout, body, scratch, |rows, out, scratch| {
                    winograd.rows(&run(rows), *activation, &mut scratch.floats, out);
                })
            }
            Kind::Upsample(upsample) => {
                for (y, out) in body.chunks_exact_mut(row_len).enumerate() {
                    upsample.whole_row(&self.kernels, images[0], y, layout, blended, out);
                }
            }
            Kind::Concat => concat(images, layout, body),
            Kind::Sum { bias, relu } => sum(images, bias, *relu, layout, body),
            Kind::Mask(mask) => masked(images[0], mask, layout, body),
            Kind::Clamp(low, high) => clamped(images[0], (*low, *high), layout, body),
            Kind::Spread => spread(images[0], layout, body),
            Kind::Logistic => {
                sum(images, &[], false, layout, body);
                self.kernels.logistic(body);
            }
            Kind::Reshape => reshape(images[0], layout, body),
            Kind::Export { .. } | Kind::Bytes(_) => {}
        }
        // After the step, whatever it computes: a step that fills whole rows writes over the borders, and not every
        // operator makes zero of zero.
        clear_halo(layout, 0.0, data);
        slots[output.slot] = buffer;
    }

    fn export(&self, step: &Step, arena: &Arena, outputs: &mut [impl AsMut<[f32]>], keep: &Keep) {
        let Kind::Export { output, logistic } = step.kind else {
            return;
        };
        let image = keep.image(step.inputs[0], &arena.slots);
        let planes = outputs[output].as_mut();
        (0..image.layout.height).for_each(|y| export_row(image, y, planes));
        if logistic {
            self.kernels.logistic(planes);
        }
    }
}

impl Step {
    pub(super) fn reads(&self) -> impl Iterator<Item = &Value> {
        self.inputs.iter().chain(&self.skip)
    }
}

/// Calls `work(rows, their numbers, workspace)` for the whole image, or for a band of it per workspace, all at once.
pub(super) fn in_bands<T: Send>(
    layout: Layout,
    body: &mut [T],
    scratch: &mut [Workspace],
    work: impl Fn(Range<usize>, &mut [T], &mut Workspace) + Sync,
) {
    let bands = scratch.len().min(layout.height / BAND_ROWS);
    if bands < 2 {
        return work(0..layout.height, body, &mut scratch[0]);
    }
    let height = layout.height.div_ceil(bands);
    rayon::scope(|scope| {
        for (band, (body, scratch)) in body
            .chunks_mut(height * layout.row_len())
            .zip(scratch)
            .enumerate()
        {
            let work = &work;
            scope.spawn(move |_| {
                let first = band * height;
                work(first..first + body.len() / layout.row_len(), body, scratch);
            });
        }
    });
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Import(_) => "import",
            Kind::Block(_) => "block",
            Kind::Dense(..) => "convolution",
            Kind::Winograd(..) => "winograd",
            Kind::Upsample(_) => "upsample",
            Kind::Concat => "concat",
            Kind::Sum { .. } => "sum",
            Kind::Mask(_) => "mask",
            Kind::Clamp(..) => "clamp",
            Kind::Spread => "spread",
            Kind::Logistic => "logistic",
            Kind::Reshape => "reshape",
            Kind::Export { .. } => "export",
            Kind::Bytes(kind) => kind.name(),
        }
    }
}
