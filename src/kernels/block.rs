//! The block that these networks are made of, without its intermediate tensors: something that makes channels (a 1×1
//! expansion, an upsampling, or just memory) → depthwise 3×3 → 1×1 projection (+ skip connection).
//!
//! The made channels live in a ring of three rows, which is all that a 3×3 convolution ever sees; the depthwise
//! output lives for one row. Wide images are cut into vertical strips, so that ring, row and weights stay in the
//! second-level cache. Small images with many channels (where the weights are larger than the image) go panel by
//! panel instead: all rows for four blocks of channels, then the next four, so that every weight is read once.
//!
//! A 1×1 convolution of an upsampled input is computed before the upsampling, on a quarter of the pixels: both are
//! linear, along different axes.

use super::convolution::{Activation, Convolution, Panel, PanelRow, Run, Sources};
use super::dense::{Finish, Source};
use super::isa::Kernels;
use super::layout::{BLOCK, Floats, Image};
use super::rows::DepthwiseRow;
use super::upsample::Upsample;
use std::ops::Range;

/// Ring, depthwise row and what feeds them should fit into this: half of a common second-level cache.
const STRIP_BYTES: usize = 448 << 10;

/// Parts of one block, at most.
pub const MAX_PARTS: usize = 8;

/// Images of at most this many output pixels go panel by panel.
const SMALL_PIXELS: usize = 400;

/// Depthwise 3×3, padding 1: weights and biases of all channels, block after block.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// 1 or 2
    pub stride: usize,
    pub relu: bool,
    weights: Floats,
    bias: Floats,
}

impl Depthwise {
    /// Packs `weight(channel, tap)`; the channels of each part of `parts` start at a block of their own.
    pub fn pack(
        stride: usize,
        relu: bool,
        bias: &[f32],
        parts: &[usize],
        weight: impl Fn(usize, usize) -> f32,
    ) -> Depthwise {
        assert_eq!(bias.len(), parts.iter().sum::<usize>());
        let blocks: usize = parts.iter().map(|channels| channels.div_ceil(BLOCK)).sum();
        let mut packed = Depthwise {
            stride,
            relu,
            weights: Floats::zeros(blocks * 9 * BLOCK),
            bias: Floats::zeros(blocks * BLOCK),
        };
        let (mut block, mut channel) = (0, 0);
        for part in parts {
            for at in 0..*part {
                let (block, lane) = (block + at / BLOCK, at % BLOCK);
                packed.bias[block * BLOCK + lane] = bias[channel + at];
                for tap in 0..9 {
                    packed.weights[(block * 9 + tap) * BLOCK + lane] = weight(channel + at, tap);
                }
            }
            block += part.div_ceil(BLOCK);
            channel += part;
        }
        packed
    }
}

/// What makes some of the channels that the depthwise convolution sees. Each part reads inputs of its own.
// There are a few dozen of these in a network: their size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Part {
    /// One input, as it is; its halo must be at least 1.
    Memory { channels: usize },
    /// One input, upsampled.
    Upsample { channels: usize, upsample: Upsample },
    /// A 1×1 convolution of `inputs` inputs, plus one of a further input that is upsampled afterwards.
    Expand {
        full: Option<Convolution>,
        inputs: usize,
        low: Option<(Convolution, Upsample)>,
        relu: bool,
    },
}

impl Part {
    /// Channels it makes.
    pub fn channels(&self) -> usize {
        match self {
            Part::Memory { channels } | Part::Upsample { channels, .. } => *channels,
            Part::Expand { full, low, .. } => full
                .as_ref()
                .or(low.as_ref().map(|(low, _)| low))
                .map_or(0, |convolution| convolution.out_channels),
        }
    }

    /// Inputs it reads.
    pub fn inputs(&self) -> usize {
        match self {
            Part::Memory { .. } | Part::Upsample { .. } => 1,
            Part::Expand { inputs, low, .. } => inputs + usize::from(low.is_some()),
        }
    }

    fn blocks(&self) -> usize {
        self.channels().div_ceil(BLOCK)
    }

    /// The blocks of each panel if it is an expansion, else all its blocks at once.
    fn panels(&self) -> impl Iterator<Item = Range<usize>> {
        let panels = match self {
            Part::Expand { full: Some(of), .. }
            | Part::Expand {
                low: Some((of, _)), ..
            } => of.panels(),
            _ => &[],
        };
        let whole = panels.is_empty().then(|| 0..self.blocks());
        let range = |panel: &Panel| panel.first_block..panel.first_block + panel.blocks;
        panels.iter().map(range).chain(whole)
    }
}

/// The fused block.
#[derive(Clone, Debug)]
pub struct Block {
    parts: Vec<Part>,
    depthwise: Depthwise,
    /// Without one, the output is the depthwise row of the only part.
    project: Option<Convolution>,
    activation: Activation,
    /// Shape that the depthwise convolution sees.
    height: usize,
    width: usize,
    /// Shape of the output.
    out_height: usize,
    out_width: usize,
    /// Output columns of a strip.
    strip: usize,
    small: bool,
}

/// Working memory of one run of a [`Block`]; made once, by [`Block::scratch`], and reused.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    ring: Floats,
    low: Floats,
    blended: Floats,
    zeros: Floats,
    depthwise: Floats,
}

impl Scratch {
    /// Makes it large enough for whatever `other` serves, too.
    pub fn grow(&mut self, other: &ScratchSizes) {
        for (floats, length) in [
            (&mut self.ring, other.ring),
            (&mut self.low, other.low),
            (&mut self.blended, other.blended),
            (&mut self.zeros, other.zeros),
            (&mut self.depthwise, other.depthwise),
        ] {
            if floats.len() < length {
                *floats = Floats::zeros(length);
            }
        }
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let lengths = [
            &self.ring,
            &self.low,
            &self.blended,
            &self.zeros,
            &self.depthwise,
        ]
        .map(|floats| floats.len());
        lengths.iter().sum::<usize>() * size_of::<f32>()
    }
}

/// Floats that one run needs, by purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScratchSizes {
    ring: usize,
    low: usize,
    blended: usize,
    zeros: usize,
    depthwise: usize,
}

/// The part of an image that is being made: which blocks of a part, which columns of the depthwise input.
struct Window {
    blocks: Range<usize>,
    /// Its first block among those of all parts.
    first_block: usize,
    /// First column, −1 if the strip starts at the left edge.
    left: isize,
    /// Columns, of which those outside the image are zero.
    columns: usize,
    /// Those inside the image.
    inside: Range<usize>,
    /// Columns of the depthwise output.
    pixels: usize,
}

impl Window {
    fn block_stride(&self) -> usize {
        self.columns * BLOCK
    }

    fn row_len(&self) -> usize {
        self.blocks.len() * self.block_stride()
    }
}

impl Block {
    /// Puts the pieces together for a depthwise input of `height` × `width` pixels.
    pub fn new(
        parts: Vec<Part>,
        depthwise: Depthwise,
        project: Option<Convolution>,
        activation: Activation,
        (height, width): (usize, usize),
    ) -> Block {
        assert!((1..=MAX_PARTS).contains(&parts.len()) && (project.is_some() || parts.len() == 1));
        let (out_height, out_width) = (
            height.div_ceil(depthwise.stride),
            width.div_ceil(depthwise.stride),
        );
        let blocks: usize = parts.iter().map(Part::blocks).sum();
        let per_column = (3 * depthwise.stride + 1) * blocks * BLOCK * size_of::<f32>();
        let strips = (out_width * per_column).div_ceil(STRIP_BYTES);
        let strip = out_width.div_ceil(strips);
        let small = project.is_some() && out_height * out_width <= SMALL_PIXELS;
        Block {
            parts,
            depthwise,
            project,
            activation,
            height,
            width,
            out_height,
            out_width,
            strip,
            small,
        }
    }

    /// Shape of the output.
    pub fn output(&self) -> (usize, usize, usize) {
        let made = || self.parts.iter().map(Part::channels).sum();
        (
            self.project
                .as_ref()
                .map_or_else(made, |project| project.out_channels),
            self.out_height,
            self.out_width,
        )
    }

    /// Inputs it reads, over all parts.
    pub fn inputs(&self) -> usize {
        self.parts.iter().map(Part::inputs).sum()
    }

    /// Whether input `number` is read by the depthwise convolution itself, which wants a halo of 1.
    pub fn reads_memory(&self, number: usize) -> bool {
        let mut first = 0;
        self.parts.iter().any(|part| {
            let range = first..first + part.inputs();
            first = range.end;
            matches!(part, Part::Memory { .. }) && range.contains(&number)
        })
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Expand { full, low, .. } => {
                full.as_ref().map_or(0, Convolution::bytes)
                    + low.as_ref().map_or(0, |(low, _)| low.bytes())
            }
            _ => 0,
        });
        let depthwise =
            (self.depthwise.weights.len() + self.depthwise.bias.len()) * size_of::<f32>();
        parts.sum::<usize>() + depthwise + self.project.as_ref().map_or(0, Convolution::bytes)
    }

    /// What [`Block::run`] needs in its scratch.
    pub fn scratch(&self) -> ScratchSizes {
        let stride = self.depthwise.stride;
        let columns = if self.small {
            self.out_width
        } else {
            self.strip
        };
        let ring_columns = (columns - 1) * stride + 3;
        let mut sizes = ScratchSizes::default();
        for part in &self.parts {
            let blocks = if self.small {
                part.panels().map(|panel| panel.len()).max().unwrap_or(0)
            } else {
                part.blocks()
            };
            let row = blocks * ring_columns * BLOCK;
            if !matches!(part, Part::Memory { .. }) {
                sizes.ring += 3 * row;
                // An upsampled strip needs no more input columns than it has itself.
                sizes.low += 2 * row;
                sizes.blended = sizes.blended.max(row);
            }
            sizes.zeros = sizes.zeros.max(row);
        }
        let blocks: usize = self.parts.iter().map(Part::blocks).sum();
        let rows = if self.small { self.out_height } else { 1 };
        sizes.depthwise = blocks * columns * rows * BLOCK;
        sizes
    }

    /// The rows that `run` names, into `out` (those rows of its layout, halo columns included and untouched).
    pub fn run(&self, run: &Run, scratch: &mut Scratch, out: &mut [f32]) {
        let layout = run.layout;
        assert_eq!(
            (layout.channels, layout.height, layout.width),
            self.output()
        );
        assert_eq!(run.inputs.len(), self.inputs());
        match &self.project {
            Some(project) if self.small => self.run_small(run, project, scratch, out),
            _ => {
                for start in (0..self.out_width).step_by(self.strip) {
                    let columns = start..(start + self.strip).min(self.out_width);
                    self.run_strip(run, columns, scratch, out);
                }
            }
        }
    }

    /// One vertical strip, row after row.
    fn run_strip(&self, run: &Run, columns: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) {
        let Scratch {
            ring,
            low,
            blended,
            zeros,
            depthwise,
        } = scratch;
        let (mut ring, mut low) = (&mut ring[..], &mut low[..]);
        let mut makers: [Option<Maker>; MAX_PARTS] = Default::default();
        let (mut input, mut first_block) = (0, 0);
        for (maker, part) in makers.iter_mut().zip(&self.parts) {
            let window = self.window(0..part.blocks(), first_block, &columns);
            let length = if matches!(part, Part::Memory { .. }) {
                0
            } else {
                window.row_len()
            };
            let (own_ring, ring_rest) = ring.split_at_mut(3 * length);
            let (own_low, low_rest) = low.split_at_mut(2 * length);
            (ring, low) = (ring_rest, low_rest);
            let inputs = &run.inputs[input..input + part.inputs()];
            *maker = Some(Maker::new(
                self,
                run.kernels,
                part,
                inputs,
                window,
                (own_ring, own_low),
            ));
            input += part.inputs();
            first_block += part.blocks();
        }
        let out_block = run.layout.block_len();
        let left = (run.layout.halo + columns.start) * BLOCK;
        let row_block = columns.len() * BLOCK;
        for (y, out) in run
            .rows
            .clone()
            .zip(out.chunks_exact_mut(run.layout.row_len()))
        {
            let Some(project) = &self.project else {
                let only = makers[0].as_mut().expect("a block has a part");
                only.depthwise_row(y, blended, zeros, &mut out[left..], out_block);
                continue;
            };
            for maker in makers.iter_mut().flatten() {
                let row = &mut depthwise[maker.window.first_block * row_block..];
                maker.depthwise_row(y, blended, zeros, row, row_block);
            }
            let mut sources = Sources::default();
            for maker in makers.iter().flatten() {
                let data = &depthwise[maker.window.first_block * row_block..];
                sources.push(Source {
                    data,
                    channels: maker.part.channels(),
                    block_stride: row_block,
                });
            }
            for panel in project.panels() {
                let skip = run.skip.map(|image| {
                    let stride = image.layout.block_len();
                    (
                        &image.at(y as isize, columns.start as isize)[panel.first_block * stride..],
                        stride,
                    )
                });
                let Activation {
                    relu_first,
                    relu_last,
                } = self.activation;
                let finish = Finish {
                    relu_first,
                    skip,
                    relu_last,
                };
                let row = PanelRow {
                    onto: false,
                    finish,
                    pixels: columns.len(),
                    out_block,
                };
                let out = &mut out[panel.first_block * out_block + left..];
                project.panel_row(run.kernels, *panel, sources.as_slice(), row, out);
            }
        }
    }

    /// All rows, panel after panel, then the projection.
    fn run_small(&self, run: &Run, project: &Convolution, scratch: &mut Scratch, out: &mut [f32]) {
        let Scratch {
            ring,
            low,
            blended,
            zeros,
            depthwise,
        } = scratch;
        let row_block = self.out_width * BLOCK;
        let blocks: usize = self.parts.iter().map(Part::blocks).sum();
        let row_len = blocks * row_block;
        let (mut input, mut first_block) = (0, 0);
        for part in &self.parts {
            let inputs = &run.inputs[input..input + part.inputs()];
            for panel in part.panels() {
                let first_block = first_block + panel.start;
                let window = self.window(panel, first_block, &(0..self.out_width));
                let mut maker = Maker::new(
                    self,
                    run.kernels,
                    part,
                    inputs,
                    window,
                    (&mut *ring, &mut *low),
                );
                for y in run.rows.clone() {
                    let row =
                        &mut depthwise[(y - run.rows.start) * row_len + first_block * row_block..];
                    maker.depthwise_row(y, blended, zeros, row, row_block);
                }
            }
            input += part.inputs();
            first_block += part.blocks();
        }
        let depthwise = &depthwise[..];
        let sources = |y: usize| {
            let mut sources = Sources::default();
            let mut at = (y - run.rows.start) * row_len;
            for part in &self.parts {
                sources.push(Source {
                    data: &depthwise[at..],
                    channels: part.channels(),
                    block_stride: row_block,
                });
                at += part.blocks() * row_block;
            }
            sources
        };
        project.rows_from(run, &sources, self.activation, out);
    }

    /// The window onto the depthwise input that output columns `columns` need.
    fn window(&self, blocks: Range<usize>, first_block: usize, columns: &Range<usize>) -> Window {
        let stride = self.depthwise.stride;
        let left = (columns.start * stride) as isize - 1;
        let count = (columns.len() - 1) * stride + 3;
        let inside = left.max(0) as usize..((left + count as isize) as usize).min(self.width);
        Window {
            blocks,
            first_block,
            left,
            columns: count,
            inside,
            pixels: columns.len(),
        }
    }
}

/// Makes the rows of one part, as they are needed, and keeps the last three.
struct Maker<'a> {
    block: &'a Block,
    kernels: &'a Kernels,
    part: &'a Part,
    inputs: &'a [Image<'a>],
    window: Window,
    ring: &'a mut [f32],
    low: &'a mut [f32],
    /// Next row to make.
    next: usize,
    /// Next row of the low-resolution convolution.
    next_low: usize,
}

impl<'a> Maker<'a> {
    /// `ring` holds three rows of the window, `low` two of the low-resolution convolution.
    fn new(
        block: &'a Block,
        kernels: &'a Kernels,
        part: &'a Part,
        inputs: &'a [Image<'a>],
        window: Window,
        (ring, low): (&'a mut [f32], &'a mut [f32]),
    ) -> Self {
        if !matches!(part, Part::Memory { .. }) {
            let before = (window.inside.start as isize - window.left) as usize * BLOCK;
            let after = before + window.inside.len() * BLOCK;
            for block in ring[..3 * window.row_len()].chunks_exact_mut(window.block_stride()) {
                block[..before].fill(0.0);
                block[after..].fill(0.0);
            }
        }
        Maker {
            block,
            kernels,
            part,
            inputs,
            window,
            ring,
            low,
            next: 0,
            next_low: 0,
        }
    }

    /// Depthwise row `y` of the window, into `out`, after making the rows that it sees.
    fn depthwise_row(
        &mut self,
        y: usize,
        blended: &mut [f32],
        zeros: &[f32],
        out: &mut [f32],
        out_block: usize,
    ) {
        let Depthwise {
            stride,
            relu,
            weights,
            bias,
        } = &self.block.depthwise;
        let top = (y * stride) as isize - 1;
        let start = self.next.max(top.max(0) as usize);
        let end = ((top + 3) as usize).min(self.block.height);
        for row in start..end {
            self.make_row(row, blended);
        }
        self.next = end.max(start);
        let (length, block_stride) = match self.part {
            Part::Memory { .. } => (0, self.inputs[0].layout.block_len()),
            _ => (self.window.row_len(), self.window.block_stride()),
        };
        let row = |dy: isize| {
            let y = top + dy;
            if let Part::Memory { .. } = self.part {
                self.inputs[0].at(y, self.window.left)
            } else if y < 0 || y as usize >= self.block.height {
                zeros
            } else {
                &self.ring[y as usize % 3 * length..][..length]
            }
        };
        self.kernels.depthwise(
            &DepthwiseRow {
                rows: [row(0), row(1), row(2)],
                block_stride,
                step: *stride,
                weights: &weights[self.window.first_block * 9 * BLOCK..],
                bias: &bias[self.window.first_block * BLOCK..],
                relu: *relu,
                blocks: self.window.blocks.len(),
                pixels: self.window.pixels,
                out_block,
            },
            out,
        );
    }

    /// Makes row `y` of the depthwise input.
    fn make_row(&mut self, y: usize, blended: &mut [f32]) {
        let kernels = self.kernels;
        let stride = self.window.block_stride();
        let length = self.window.row_len();
        let inside = self.window.inside.clone();
        let skipped = (inside.start as isize - self.window.left) as usize * BLOCK;
        let slot = y % 3 * length;
        match self.part {
            Part::Memory { .. } => {}
            Part::Upsample { upsample, .. } => {
                let needed = upsample.needed(&inside);
                let blended = &mut blended[..self.window.blocks.len() * needed.len() * BLOCK];
                upsample.blend(kernels, self.inputs[0], y, &needed, blended);
                upsample.stretch(
                    kernels,
                    blended,
                    &inside,
                    stride,
                    &mut self.ring[slot + skipped..slot + length],
                );
            }
            Part::Expand {
                full,
                inputs,
                low,
                relu,
            } => {
                if let Some((convolution, upsample)) = low {
                    self.make_low(convolution, upsample, self.inputs[*inputs], y, blended);
                    let blended = &blended
                        [..self.window.blocks.len() * upsample.needed(&inside).len() * BLOCK];
                    let out = &mut self.ring[slot + skipped..slot + length];
                    upsample.stretch(kernels, blended, &inside, stride, out);
                    if full.is_none() && *relu {
                        self.ring[slot..slot + length]
                            .iter_mut()
                            .for_each(|value| *value = value.max(0.0));
                    }
                }
                if let Some(convolution) = full {
                    let mut sources = Sources::default();
                    for image in &self.inputs[..*inputs] {
                        sources.push(image.source(y as isize, inside.start as isize));
                    }
                    let finish = Finish {
                        relu_first: *relu,
                        ..Finish::default()
                    };
                    let row = PanelRow {
                        onto: low.is_some(),
                        finish,
                        pixels: inside.len(),
                        out_block: stride,
                    };
                    for panel in within(convolution, &self.window.blocks) {
                        let at = slot
                            + (panel.first_block - self.window.blocks.start) * stride
                            + skipped;
                        let out = &mut self.ring[at..slot + length];
                        convolution.panel_row(kernels, panel, sources.as_slice(), row, out);
                    }
                }
            }
        }
    }

    /// Makes the low-resolution rows that row `y` lies between, and blends them.
    fn make_low(
        &mut self,
        convolution: &Convolution,
        upsample: &Upsample,
        image: Image,
        y: usize,
        blended: &mut [f32],
    ) {
        let kernels = self.kernels;
        let needed = upsample.needed(&self.window.inside);
        let stride = needed.len() * BLOCK;
        let length = self.window.blocks.len() * stride;
        let (above, weight) = upsample.row(y);
        for low_y in self.next_low.max(above)..above + 2 {
            let mut sources = Sources::default();
            sources.push(image.source(low_y as isize, needed.start as isize));
            let row = PanelRow {
                onto: false,
                finish: Finish::default(),
                pixels: needed.len(),
                out_block: stride,
            };
            for panel in within(convolution, &self.window.blocks) {
                let at =
                    low_y % 2 * length + (panel.first_block - self.window.blocks.start) * stride;
                let out = &mut self.low[at..(low_y % 2 + 1) * length];
                convolution.panel_row(kernels, panel, sources.as_slice(), row, out);
            }
        }
        self.next_low = above + 2;
        let (even, odd) = self.low[..2 * length].split_at(length);
        let (above, below) = if above % 2 == 0 {
            (even, odd)
        } else {
            (odd, even)
        };
        kernels.blend(above, below, weight, &mut blended[..length]);
    }
}

/// The panels of `convolution` that lie in `blocks`.
fn within<'a>(
    convolution: &'a Convolution,
    blocks: &'a Range<usize>,
) -> impl Iterator<Item = Panel> + 'a {
    convolution
        .panels()
        .iter()
        .copied()
        .filter(|panel| blocks.contains(&panel.first_block))
}
