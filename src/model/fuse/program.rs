//! A segment as a list of steps over buffers that are planned once: what runs instead of tract's nodes.

use crate::kernels::{
    Activation, BLOCK, Block, Convolution, Floats, Image, Kernels, Layout, Run, Scratch,
    ScratchSizes, Upsample, Winograd, clear_halo, export_row, import_rows,
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
    Logistic,
    Reshape,
    Export {
        output: usize,
        logistic: bool,
    },
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
    kernels: Kernels,
    steps: Vec<Step>,
    /// Floats of each buffer.
    slots: Vec<usize>,
    scratch: Vec<ScratchSizes>,
    /// Floats of one blended row, for upsamplings outside blocks.
    blended: usize,
}

/// The buffers of one running state: made once, overwritten by every run.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Arena {
    slots: Vec<Floats>,
    /// One for each thread that it ever had.
    scratch: Vec<Scratch>,
    threads: usize,
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
        let floats: usize = self.slots.iter().map(|slot| slot.len()).sum();
        (floats + self.blended.len()) * size_of::<f32>()
            + self.scratch.iter().map(Scratch::bytes).sum::<usize>()
    }
}

impl Program {
    pub(super) fn new(kernels: Kernels, steps: Vec<Step>, slots: Vec<usize>) -> Program {
        let scratch = steps
            .iter()
            .filter_map(|step| match &step.kind {
                Kind::Block(block) => Some(block.scratch()),
                Kind::Winograd(winograd, _) => Some(winograd.scratch()),
                _ => None,
            })
            .collect();
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
            scratch,
            blended,
        }
    }

    /// Buffers for one state, which computes every image on one thread.
    pub fn arena(&self) -> Arena {
        let slots = self
            .slots
            .iter()
            .map(|length| Floats::zeros(*length))
            .collect();
        let mut scratch = Scratch::default();
        self.scratch.iter().for_each(|sizes| scratch.grow(sizes));
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
            _ => 0,
        };
        self.steps.iter().map(bytes).sum()
    }

    /// Bytes of all images, as if none shared a buffer: what an executor without a plan touches.
    pub fn activation_bytes(&self) -> usize {
        self.steps
            .iter()
            .filter_map(|step| step.output)
            .map(|value| value.layout.len() * size_of::<f32>())
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
                        self.step(step, output, arena, inputs, &keep);
                        keep.store(output, &arena.slots[output.slot]);
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
        clear_halo(layout, data);
        let row_len = layout.row_len();
        let body = &mut data[layout.halo * row_len..][..layout.height * row_len];
        let empty = Layout {
            channels: 0,
            height: 0,
            width: 0,
            halo: 0,
        };
        let mut images = [Image {
            layout: empty,
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
                block.run(&run(rows), scratch, out);
            }),
            Kind::Dense(convolution, activation) => {
                in_bands(layout, body, scratch, |rows, out, _| {
                    convolution.rows(&run(rows), *activation, out);
                })
            }
            Kind::Winograd(winograd, activation) => {
                in_bands(layout, body, scratch, |rows, out, scratch| {
                    winograd.rows(&run(rows), *activation, scratch, out);
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
            Kind::Logistic => {
                sum(images, &[], false, layout, body);
                self.kernels.logistic(body);
            }
            Kind::Reshape => reshape(images[0], layout, body),
            Kind::Export { .. } => {}
        }
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

    /// Plans what to keep of each frame: images that depend on input `frame_input` alone and that others read, at
    /// most `bytes` of them. Those nearest to the input are the largest and save the least, so they are given up
    /// first and computed again. `None` if nothing is won within `bytes`.
    pub fn keep_plan(&self, frame_input: usize, bytes: u64) -> Option<KeepPlan> {
        let mut of_frame = vec![false; self.values()];
        for step in &self.steps {
            let Some(output) = step.output else { continue };
            of_frame[output.id] = match step.kind {
                Kind::Import(number) => number == frame_input,
                _ => step.reads().all(|value| of_frame[value.id]),
            };
        }
        let mut wanted = vec![false; self.values()];
        for step in &self.steps {
            if step.output.is_none_or(|output| !of_frame[output.id]) {
                step.reads()
                    .filter(|value| of_frame[value.id])
                    .for_each(|value| wanted[value.id] = true);
            }
        }
        let kept: Vec<Value> = self
            .steps
            .iter()
            .filter_map(|step| step.output)
            .filter(|value| wanted[value.id])
            .collect();
        let size = |values: &[Value]| values.iter().map(|value| value.layout.len()).sum::<usize>();
        let given_up = (0..kept.len())
            .find(|first| (size(&kept[*first..]) * size_of::<f32>()) as u64 <= bytes)?;
        let mut plan = KeepPlan {
            at: vec![None; self.values()],
            spared: Vec::new(),
            floats: 0,
            saved: 0,
        };
        for value in &kept[given_up..] {
            plan.at[value.id] = Some(plan.floats);
            plan.floats += value.layout.len();
        }
        let mut needed = vec![false; self.values()];
        for step in self.steps.iter().rev() {
            let runs = step.output.is_none_or(|output| needed[output.id]);
            plan.spared.push(!runs);
            if runs {
                let made = step.reads().filter(|value| plan.at[value.id].is_none());
                made.for_each(|value| needed[value.id] = true);
            } else {
                plan.saved += step.multiplications;
            }
        }
        plan.spared.reverse();
        (plan.saved > 0).then_some(plan)
    }

    fn values(&self) -> usize {
        self.steps
            .iter()
            .filter_map(|step| step.output)
            .map(|value| value.id + 1)
            .max()
            .unwrap_or(0)
    }
}

impl Step {
    fn reads(&self) -> impl Iterator<Item = &Value> {
        self.inputs.iter().chain(&self.skip)
    }
}

/// Calls `work(rows, their floats, scratch)` for the whole image, or for a band of it per scratch, all at once.
fn in_bands(
    layout: Layout,
    body: &mut [f32],
    scratch: &mut [Scratch],
    work: impl Fn(Range<usize>, &mut [f32], &mut Scratch) + Sync,
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

/// What is kept of a frame between runs: made by [`Program::keep_plan`].
#[derive(Clone, Debug)]
pub(in crate::model) struct KeepPlan {
    /// Where each image lies, by its id.
    at: Vec<Option<usize>>,
    /// Steps that a kept frame spares.
    spared: Vec<bool>,
    floats: usize,
    /// Multiplications that a kept frame spares.
    pub saved: usize,
}

impl KeepPlan {
    /// Bytes kept of one frame.
    pub fn bytes(&self) -> usize {
        self.floats * size_of::<f32>()
    }

    /// Room for one frame.
    pub fn room(&self) -> Floats {
        Floats::zeros(self.floats)
    }
}

/// What a run does with what is kept of its frame.
pub(in crate::model) enum Keep<'a> {
    /// Nothing is kept.
    No,
    /// The frame is new: fill the room.
    Fill(&'a KeepPlan, &'a mut Floats),
    /// The frame was seen before: take what is kept, spare what made it.
    Use(&'a KeepPlan, &'a Floats),
}

impl Keep<'_> {
    fn spares(&self, step: usize) -> bool {
        matches!(self, Keep::Use(plan, _) if plan.spared[step])
    }

    fn store(&mut self, value: Value, made: &[f32]) {
        let Keep::Fill(plan, room) = self else { return };
        if let Some(at) = plan.at[value.id] {
            let length = value.layout.len();
            room[at..at + length].copy_from_slice(&made[..length]);
        }
    }

    fn image<'b>(&'b self, value: Value, slots: &'b [Floats]) -> Image<'b> {
        let layout = value.layout;
        match self {
            Keep::Use(KeepPlan { at, .. }, room) => match at[value.id] {
                Some(at) => Image {
                    layout,
                    data: &room[at..at + layout.len()],
                },
                None => Image {
                    layout,
                    data: &slots[value.slot],
                },
            },
            _ => Image {
                layout,
                data: &slots[value.slot],
            },
        }
    }
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
            Kind::Logistic => "logistic",
            Kind::Reshape => "reshape",
            Kind::Export { .. } => "export",
        }
    }
}

/// Row after row, block after block, pixel after pixel: `write(y, block, output pixels)`.
fn each_block(layout: Layout, body: &mut [f32], mut write: impl FnMut(usize, usize, &mut [f32])) {
    for (y, row) in body.chunks_exact_mut(layout.row_len()).enumerate() {
        for (block, out) in row.chunks_exact_mut(layout.block_len()).enumerate() {
            write(
                y,
                block,
                &mut out[layout.halo * BLOCK..][..layout.width * BLOCK],
            );
        }
    }
}

/// `block` of row `y`, from its first pixel on.
fn pixels<'a>(image: Image<'a>, y: usize, block: usize) -> &'a [f32] {
    &image.at(y as isize, 0)[block * image.layout.block_len()..][..image.layout.width * BLOCK]
}

fn sum(images: &[Image], bias: &[f32], relu: bool, layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        out.copy_from_slice(pixels(images[0], y, block));
        for image in &images[1..] {
            out.iter_mut()
                .zip(pixels(*image, y, block))
                .for_each(|(out, value)| *out += value);
        }
        let bias = bias.get(block * BLOCK..).unwrap_or_default();
        for pixel in out.chunks_exact_mut(BLOCK) {
            pixel
                .iter_mut()
                .zip(bias)
                .for_each(|(out, bias)| *out += bias);
            if relu {
                pixel.iter_mut().for_each(|out| *out = out.max(0.0));
            }
        }
    });
}

fn masked(image: Image, mask: &[f32], layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        let pixels = pixels(image, y, block).chunks_exact(BLOCK);
        let factors = &mask[y * layout.width..];
        for ((out, pixel), factor) in out.chunks_exact_mut(BLOCK).zip(pixels).zip(factors) {
            out.iter_mut()
                .zip(pixel)
                .for_each(|(out, value)| *out = value * factor);
        }
    });
}

fn concat(images: &[Image], layout: Layout, body: &mut [f32]) {
    each_block(layout, body, |y, block, out| {
        out.fill(0.0);
        let mut first = 0;
        for image in images {
            for channel in
                first.max(block * BLOCK)..(first + image.layout.channels).min((block + 1) * BLOCK)
            {
                let from =
                    &pixels(*image, y, (channel - first) / BLOCK)[(channel - first) % BLOCK..];
                let to = out[channel % BLOCK..].iter_mut().step_by(BLOCK);
                to.zip(from.iter().step_by(BLOCK))
                    .for_each(|(to, from)| *to = *from);
            }
            first += image.layout.channels;
        }
    });
}

/// Value by value: only small images are reshaped.
fn reshape(image: Image, layout: Layout, body: &mut [f32]) {
    let from = image.layout;
    let (plane, row) = (from.height * from.width, from.width);
    each_block(layout, body, |y, block, out| {
        for (x, pixel) in out.chunks_exact_mut(BLOCK).enumerate() {
            for (lane, out) in pixel.iter_mut().enumerate() {
                let channel = block * BLOCK + lane;
                let at = (channel * layout.height + y) * layout.width + x;
                *out = if channel < layout.channels {
                    let (channel, y, x) = (at / plane, at % plane / row, at % row);
                    pixels(image, y, channel / BLOCK)[x * BLOCK + channel % BLOCK]
                } else {
                    0.0
                };
            }
        }
    });
}
