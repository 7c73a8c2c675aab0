//! The fused block of bytes: the same shape as `kernels/block.rs` (see there), with a ring of bytes.

use super::convolution::{ByteConvolution, ByteRows, ByteRun, ByteStrip};
use super::depthwise::ByteDepthwise;
use super::maker::Maker;
use crate::kernels::block::MAX_PARTS;
use crate::kernels::convolution::{Panel, Sources};
use crate::kernels::dense::Source;
use crate::kernels::layout::{Aligned, BLOCK};
use crate::kernels::upsample::Upsample;
use crate::kernels::walk::Walk;
use std::ops::Range;

/// What makes some of the channels that the depthwise convolution sees. Each part reads inputs of its own.
// There are a few dozen of these in a network: their size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum BytePart {
    /// One input, as it is; its halo must be at least 1.
    Memory { channels: usize },
    /// One input, upsampled; `zero` stands for zero in it.
    Upsample {
        channels: usize,
        upsample: Upsample,
        zero: u8,
    },
    /// A 1×1 convolution of `inputs` inputs (none, if all is computed before an upsampling), plus one of a further
    /// input that is upsampled afterwards. `zero` stands for zero in what it makes.
    Expand {
        full: ByteConvolution,
        inputs: usize,
        low: Option<(ByteConvolution, Upsample)>,
        zero: u8,
    },
}

impl BytePart {
    /// Channels it makes.
    pub fn channels(&self) -> usize {
        match self {
            BytePart::Memory { channels } | BytePart::Upsample { channels, .. } => *channels,
            BytePart::Expand { full, .. } => full.out_channels,
        }
    }

    /// Inputs it reads.
    pub fn inputs(&self) -> usize {
        match self {
            BytePart::Memory { .. } | BytePart::Upsample { .. } => 1,
            BytePart::Expand { inputs, low, .. } => inputs + usize::from(low.is_some()),
        }
    }

    /// What stands for zero around what it makes.
    pub(super) fn zero(&self) -> u8 {
        match self {
            BytePart::Memory { .. } => 0,
            BytePart::Upsample { zero, .. } | BytePart::Expand { zero, .. } => *zero,
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.channels().div_ceil(BLOCK)
    }

    /// The blocks of each panel if it is an expansion, else all its blocks at once.
    fn panels(&self) -> impl Iterator<Item = Range<usize>> {
        let panels = match self {
            BytePart::Expand { full, .. } => full.panels(),
            _ => &[],
        };
        let whole = panels.is_empty().then(|| 0..self.blocks());
        let range = |panel: &Panel| panel.first_block..panel.first_block + panel.blocks;
        panels.iter().map(range).chain(whole)
    }
}

/// The fused block.
#[derive(Clone, Debug)]
pub struct ByteBlock {
    parts: Vec<BytePart>,
    pub(super) depthwise: ByteDepthwise,
    /// Without one, the output is the depthwise row of the only part.
    project: Option<ByteConvolution>,
    pub(super) walk: Walk,
}

/// Working memory of one run of a [`ByteBlock`]; made once and reused.
#[derive(Clone, Debug, Default)]
pub struct ByteScratch {
    pub(super) ring: Aligned<u8>,
    pub(super) zeros: Aligned<u8>,
    pub(super) depthwise: Aligned<u8>,
    pub(super) low: Aligned<i16>,
    pub(super) blended: Aligned<i16>,
    pub(super) stretched: Aligned<i16>,
}

impl ByteScratch {
    /// Makes it large enough for `block`, too.
    pub fn grow(&mut self, block: &ByteBlock) {
        let (mut ring, mut low, mut row, mut low_row) = (0, 0, 0, 0);
        for part in &block.parts {
            let blocks = if block.walk.small {
                part.panels().map(|panel| panel.len()).max().unwrap_or(0)
            } else {
                part.blocks()
            };
            let (length, low_length) = (block.walk.ring_row(blocks), block.walk.low_row(blocks));
            ring += 3 * length;
            low += 2 * low_length;
            row = row.max(length);
            low_row = low_row.max(low_length);
        }
        self.ring.grow(ring);
        self.zeros.grow(row);
        self.depthwise.grow(block.walk.depthwise());
        let upsamples = block.parts.iter().any(|part| {
            matches!(
                part,
                BytePart::Upsample { .. } | BytePart::Expand { low: Some(_), .. }
            )
        });
        if upsamples {
            self.low.grow(low);
            self.blended.grow(low_row);
            self.stretched.grow(row);
        }
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let bytes = self.ring.len() + self.zeros.len() + self.depthwise.len();
        let halves = self.low.len() + self.blended.len() + self.stretched.len();
        bytes + halves * size_of::<i16>()
    }
}

impl ByteBlock {
    /// Puts the pieces together for a depthwise input of `height` × `width` pixels.
    pub fn new(
        parts: Vec<BytePart>,
        depthwise: ByteDepthwise,
        project: Option<ByteConvolution>,
        shape: (usize, usize),
    ) -> ByteBlock {
        assert!((1..=MAX_PARTS).contains(&parts.len()) && (project.is_some() || parts.len() == 1));
        let walk = Walk::new(
            depthwise.stride,
            parts.iter().map(BytePart::blocks).sum(),
            shape,
            size_of::<u8>(),
            project.is_some(),
        );
        ByteBlock {
            parts,
            depthwise,
            project,
            walk,
        }
    }

    /// Shape of the output.
    pub fn output(&self) -> (usize, usize, usize) {
        let made = || self.parts.iter().map(BytePart::channels).sum();
        let channels = self
            .project
            .as_ref()
            .map_or_else(made, |project| project.out_channels);
        (channels, self.walk.out_height, self.walk.out_width)
    }

    /// Inputs it reads, over all parts.
    pub fn inputs(&self) -> usize {
        self.parts.iter().map(BytePart::inputs).sum()
    }

    /// Whether input `number` is read by the depthwise convolution itself, which wants a halo of 1.
    pub fn reads_memory(&self, number: usize) -> bool {
        let mut first = 0;
        self.parts.iter().any(|part| {
            let range = first..first + part.inputs();
            first = range.end;
            matches!(part, BytePart::Memory { .. }) && range.contains(&number)
        })
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            BytePart::Expand { full, low, .. } => {
                full.bytes() + low.as_ref().map_or(0, |(low, _)| low.bytes())
            }
            _ => 0,
        });
        let project = self.project.as_ref().map_or(0, ByteConvolution::bytes);
        parts.sum::<usize>() + self.depthwise.bytes() + project
    }

    /// The rows that `run` names, into `out` (those rows of its layout, halo columns included and untouched).
    pub fn run(&self, run: &ByteRun, scratch: &mut ByteScratch, out: &mut [u8]) {
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
    fn run_strip(
        &self,
        run: &ByteRun,
        columns: Range<usize>,
        scratch: &mut ByteScratch,
        out: &mut [u8],
    ) {
        let ByteScratch {
            ring,
            zeros,
            depthwise,
            low,
            blended,
            stretched,
        } = scratch;
        let (mut ring, mut low) = (&mut ring[..], &mut low[..]);
        let mut makers: [Option<Maker>; MAX_PARTS] = Default::default();
        let (mut input, mut first_block) = (0, 0);
        for (maker, part) in makers.iter_mut().zip(&self.parts) {
            let window = self.walk.window(0..part.blocks(), first_block, &columns);
            let own_ring = ring
                .split_off_mut(..3 * window.row_len())
                .expect("grown for all parts");
            let low_len = (2 * window.low_row_len()).min(low.len());
            let own_low = low.split_off_mut(..low_len).expect("at most as long");
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
        let (blended, stretched, zeros) = (&mut blended[..], &mut stretched[..], &mut zeros[..]);
        let out_block = run.layout.block_len();
        let left = (run.layout.halo + columns.start) * BLOCK;
        let row_block = columns.len() * BLOCK;
        let rows = run
            .rows
            .clone()
            .zip(out.chunks_exact_mut(run.layout.row_len()));
        for (y, out) in rows {
            let Some(project) = &self.project else {
                let only = makers[0].as_mut().expect("a block has a part");
                only.depthwise_row(y, (blended, stretched, zeros), &mut out[left..], out_block);
                continue;
            };
            for maker in makers.iter_mut().flatten() {
                let row = &mut depthwise[maker.window.first_block * row_block..];
                maker.depthwise_row(y, (blended, stretched, zeros), row, row_block);
            }
            let mut sources = Sources::default();
            for maker in makers.iter().flatten() {
                sources.push(Source {
                    data: &depthwise[maker.window.first_block * row_block..],
                    channels: maker.part.channels(),
                    block_stride: row_block,
                });
            }
            for panel in project.panels() {
                let skip = run.skip.map(|image| {
                    let stride = image.layout.block_len();
                    let row = image.at(y as isize, columns.start as isize);
                    (&row[panel.first_block * stride..], stride)
                });
                let strip = ByteStrip {
                    middle: None,
                    skip,
                    pixels: columns.len(),
                    out_block,
                };
                let out = &mut out[panel.first_block * out_block + left..];
                project.panel_row(run.kernels, *panel, sources.as_slice(), strip, out);
            }
        }
    }

    /// All rows, panel after panel, then the projection.
    fn run_small(
        &self,
        run: &ByteRun,
        project: &ByteConvolution,
        scratch: &mut ByteScratch,
        out: &mut [u8],
    ) {
        let ByteScratch {
            ring,
            zeros,
            depthwise,
            low,
            blended,
            stretched,
        } = scratch;
        let row_block = self.walk.out_width * BLOCK;
        let blocks: usize = self.parts.iter().map(BytePart::blocks).sum();
        let row_len = blocks * row_block;
        let (mut input, mut first_block) = (0, 0);
        for part in &self.parts {
            let inputs = &run.inputs[input..input + part.inputs()];
            for panel in part.panels() {
                let first_block = first_block + panel.start;
                let window = self
                    .walk
                    .window(panel, first_block, &(0..self.walk.out_width));
                let rooms = (&mut ring[..], &mut low[..]);
                let mut maker = Maker::new(self, run.kernels, part, inputs, window, rooms);
                for y in run.rows.clone() {
                    let at = (y - run.rows.start) * row_len + first_block * row_block;
                    let rooms = (&mut blended[..], &mut stretched[..], &mut zeros[..]);
                    maker.depthwise_row(y, rooms, &mut depthwise[at..], row_block);
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
        project.rows_from(run, &sources, ByteRows::Bytes(out));
    }
}
