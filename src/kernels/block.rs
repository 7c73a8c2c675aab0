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

use super::convolution::{Activation, Convolution, PanelRow, Run, Sources};
use super::dense::Source;
use super::layout::{BLOCK, Floats};
use super::maker::Maker;
use super::part::{Depthwise, Part};
use super::walk::Walk;
use std::ops::Range;

/// Parts of one block, at most.
pub const MAX_PARTS: usize = 8;

/// The fused block.
#[derive(Clone, Debug)]
pub struct Block {
    parts: Vec<Part>,
    pub(super) depthwise: Depthwise,
    /// Without one, the output is the depthwise row of the only part.
    project: Option<Convolution>,
    activation: Activation,
    pub(super) walk: Walk,
}

/// Working memory of one run of a [`Block`] or a [`super::Winograd`]; made once for all of them, and reused.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(super) ring: Floats,
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

impl ScratchSizes {
    /// Of one run that needs `length` floats in `ring` alone.
    pub(super) fn one(length: usize) -> ScratchSizes {
        ScratchSizes {
            ring: length,
            ..ScratchSizes::default()
        }
    }
}

impl Block {
    /// Puts the pieces together for a depthwise input of `height` × `width` pixels.
    pub fn new(
        parts: Vec<Part>,
        depthwise: Depthwise,
        project: Option<Convolution>,
        activation: Activation,
        shape: (usize, usize),
    ) -> Block {
        assert!((1..=MAX_PARTS).contains(&parts.len()) && (project.is_some() || parts.len() == 1));
        let walk = Walk::new(
            depthwise.stride,
            parts.iter().map(Part::blocks).sum(),
            shape,
            size_of::<f32>(),
            project.is_some(),
        );
        Block {
            parts,
            depthwise,
            project,
            activation,
            walk,
        }
    }

    /// Shape of the output.
    pub fn output(&self) -> (usize, usize, usize) {
        let made = || self.parts.iter().map(Part::channels).sum();
        (
            self.project
                .as_ref()
                .map_or_else(made, |project| project.out_channels),
            self.walk.out_height,
            self.walk.out_width,
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
        let mut sizes = ScratchSizes::default();
        for part in &self.parts {
            let blocks = if self.walk.small {
                part.panels().map(|panel| panel.len()).max().unwrap_or(0)
            } else {
                part.blocks()
            };
            let row = self.walk.ring_row(blocks);
            if !matches!(part, Part::Memory { .. }) {
                sizes.ring += 3 * row;
                sizes.low += 2 * self.walk.low_row(blocks);
                sizes.blended = sizes.blended.max(self.walk.low_row(blocks));
            }
            sizes.zeros = sizes.zeros.max(row);
        }
        sizes.depthwise = self.walk.depthwise();
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
            Some(project) if self.walk.small => self.run_small(run, project, scratch, out),
            _ => {
                for columns in self.walk.strips() {
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
            let window = self.walk.window(0..part.blocks(), first_block, &columns);
            let (length, low_length) = match part {
                Part::Memory { .. } => (0, 0),
                _ => (window.row_len(), window.low_row_len()),
            };
            let (own_ring, ring_rest) = ring.split_at_mut(3 * length);
            let (own_low, low_rest) = low.split_at_mut(2 * low_length);
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
                let finish = self.activation.after(skip);
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
        let row_block = self.walk.out_width * BLOCK;
        let blocks: usize = self.parts.iter().map(Part::blocks).sum();
        let row_len = blocks * row_block;
        let (mut input, mut first_block) = (0, 0);
        for part in &self.parts {
            let inputs = &run.inputs[input..input + part.inputs()];
            for panel in part.panels() {
                let first_block = first_block + panel.start;
                let window = self
                    .walk
                    .window(panel, first_block, &(0..self.walk.out_width));
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
}
