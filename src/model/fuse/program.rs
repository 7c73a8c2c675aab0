//! A segment as a list of steps over buffers that are planned once: what runs instead of tract's nodes.

use crate::kernels::{
    Activation, BLOCK, Block, Convolution, Floats, Image, Kernels, Layout, Scratch, ScratchSizes,
    Upsample, clear_halo, export_row, import_rows,
};

/// Images that one step reads, at most.
pub(super) const MAX_INPUTS: usize = 8;

/// An image in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub slot: usize,
    pub layout: Layout,
}

/// What a step computes.
#[derive(Debug)]
pub(super) enum Kind {
    Import(usize),
    Block(Box<Block>),
    Dense(Convolution, Activation),
    Upsample(Upsample),
    /// Copies its inputs one after another; only where a concatenation is read by something that is not fused.
    Concat,
    /// Sum of one or two inputs and a bias.
    Sum {
        bias: Vec<f32>,
        relu: bool,
    },
    Logistic,
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
    scratch: Scratch,
    blended: Floats,
}

impl Arena {
    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let floats: usize = self.slots.iter().map(|slot| slot.len()).sum();
        (floats + self.blended.len()) * size_of::<f32>() + self.scratch.bytes()
    }
}

impl Program {
    pub(super) fn new(kernels: Kernels, steps: Vec<Step>, slots: Vec<usize>) -> Program {
        let scratch = steps
            .iter()
            .filter_map(|step| match &step.kind {
                Kind::Block(block) => Some(block.scratch()),
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

    /// Buffers for one state.
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
            scratch,
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

    /// Runs every step. Inputs and outputs are planar (`[channels][height][width]`).
    ///
    /// # Panics
    /// If a slice has not the size of its image, or the arena is another program's.
    pub fn run(
        &self,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]>],
        outputs: &mut [impl AsMut<[f32]>],
    ) {
        self.run_timed(arena, inputs, outputs, &mut |_, _| ());
    }

    /// As [`Program::run`], telling `watch` each step's number as it starts (`true`) and ends (`false`).
    pub fn run_timed(
        &self,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]>],
        outputs: &mut [impl AsMut<[f32]>],
        watch: &mut dyn FnMut(usize, bool),
    ) {
        for (number, step) in self.steps.iter().enumerate() {
            watch(number, true);
            self.step(step, arena, inputs, outputs);
            watch(number, false);
        }
    }

    fn step(
        &self,
        step: &Step,
        arena: &mut Arena,
        inputs: &[impl AsRef<[f32]>],
        outputs: &mut [impl AsMut<[f32]>],
    ) {
        let Some(output) = step.output else {
            return self.export(step, arena, outputs);
        };
        // Taken out of the arena while it is written, so that the inputs can be borrowed from the rest.
        let mut buffer = std::mem::take(&mut arena.slots[output.slot]);
        let layout = output.layout;
        let data = &mut buffer[..layout.len()];
        clear_halo(layout, data);
        let body = &mut data[layout.halo * layout.row_len()..][..layout.height * layout.row_len()];
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
            *image = Image {
                layout: input.layout,
                data: &arena.slots[input.slot],
            };
        }
        let images = &images[..step.inputs.len()];
        let skip = step.skip.map(|value| Image {
            layout: value.layout,
            data: &arena.slots[value.slot],
        });
        let rows = 0..layout.height;
        match &step.kind {
            Kind::Import(number) => import_rows(inputs[*number].as_ref(), layout, rows, body),
            Kind::Block(block) => block.run(
                &self.kernels,
                images,
                skip,
                layout,
                rows,
                &mut arena.scratch,
                body,
            ),
            Kind::Dense(convolution, activation) => {
                convolution.rows(&self.kernels, images, skip, *activation, layout, rows, body);
            }
            Kind::Upsample(upsample) => {
                for (y, out) in body.chunks_exact_mut(layout.row_len()).enumerate() {
                    upsample.whole_row(
                        &self.kernels,
                        images[0],
                        y,
                        layout,
                        &mut arena.blended,
                        out,
                    );
                }
            }
            Kind::Concat => concat(images, layout, body),
            Kind::Sum { bias, relu } => sum(images, bias, *relu, layout, body),
            Kind::Logistic => {
                sum(images, &[], false, layout, body);
                self.kernels.logistic(body);
            }
            Kind::Export { .. } => {}
        }
        arena.slots[output.slot] = buffer;
    }

    fn export(&self, step: &Step, arena: &Arena, outputs: &mut [impl AsMut<[f32]>]) {
        let Kind::Export { output, logistic } = step.kind else {
            return;
        };
        let value = step.inputs[0];
        let image = Image {
            layout: value.layout,
            data: &arena.slots[value.slot],
        };
        let planes = outputs[output].as_mut();
        (0..value.layout.height).for_each(|y| export_row(image, y, planes));
        if logistic {
            self.kernels.logistic(planes);
        }
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Import(_) => "import",
            Kind::Block(_) => "block",
            Kind::Dense(..) => "convolution",
            Kind::Upsample(_) => "upsample",
            Kind::Concat => "concat",
            Kind::Sum { .. } => "sum",
            Kind::Logistic => "logistic",
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
