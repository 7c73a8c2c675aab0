//! Rows of bytes of one part of a block, made as the depthwise convolution needs them.

use super::block::{ByteBlock, BytePart};
use super::convolution::{ByteConvolution, ByteStrip};
use super::dense::Middle;
use super::isa::ByteKernels;
use super::rows::{ByteDepthwiseRow, ByteStretchRow, DEPTHWISE_WEIGHTS};
use crate::kernels::convolution::Sources;
use crate::kernels::layout::{BLOCK, Image};
use crate::kernels::maker::{Window, within};
use crate::kernels::upsample::Upsample;
use std::ops::Range;

/// Rooms for one row each: blended, stretched, and zeros.
pub(super) type Rooms<'a> = (&'a mut [i16], &'a mut [i16], &'a mut [u8]);

/// Makes the rows of one part, as they are needed, and keeps the last three.
pub(super) struct Maker<'a> {
    block: &'a ByteBlock,
    kernels: &'a ByteKernels,
    pub part: &'a BytePart,
    inputs: &'a [Image<'a, u8>],
    pub window: Window,
    ring: &'a mut [u8],
    low: &'a mut [i16],
    /// Next row to make.
    next: usize,
    /// Next row of the low-resolution convolution.
    next_low: usize,
}

impl<'a> Maker<'a> {
    /// `ring` holds three rows of the window, `low` two of the low-resolution convolution, if there is one.
    pub fn new(
        block: &'a ByteBlock,
        kernels: &'a ByteKernels,
        part: &'a BytePart,
        inputs: &'a [Image<'a, u8>],
        window: Window,
        (ring, low): (&'a mut [u8], &'a mut [i16]),
    ) -> Self {
        if !matches!(part, BytePart::Memory { .. }) {
            let before = (window.inside.start as isize - window.left) as usize * BLOCK;
            let after = before + window.inside.len() * BLOCK;
            for block in ring[..3 * window.row_len()].chunks_exact_mut(window.block_stride()) {
                block[..before].fill(part.zero());
                block[after..].fill(part.zero());
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
    pub fn depthwise_row(
        &mut self,
        y: usize,
        (blended, stretched, zeros): Rooms,
        out: &mut [u8],
        out_block: usize,
    ) {
        let depthwise = &self.block.depthwise;
        let stride = depthwise.stride;
        let top = (y * stride) as isize - 1;
        let start = self.next.max(top.max(0) as usize);
        let end = ((top + 3) as usize).min(self.block.walk.height);
        for row in start..end {
            self.make_row(row, blended, stretched);
        }
        self.next = end.max(start);
        let memory = matches!(self.part, BytePart::Memory { .. });
        let (length, block_stride) = if memory {
            (0, self.inputs[0].layout.block_len())
        } else {
            (self.window.row_len(), self.window.block_stride())
        };
        if !memory && (top < 0 || top + 3 > self.block.walk.height as isize) {
            zeros[..length].fill(self.part.zero());
        }
        let row = |dy: isize| {
            let y = top + dy;
            if memory {
                self.inputs[0].at(y, self.window.left)
            } else if y < 0 || y as usize >= self.block.walk.height {
                &zeros[..length]
            } else {
                &self.ring[y as usize % 3 * length..][..length]
            }
        };
        let first = self.window.first_block;
        self.kernels.depthwise(
            &ByteDepthwiseRow {
                rows: [row(0), row(1), row(2)],
                block_stride,
                step: stride,
                weights: &depthwise.weights[first * DEPTHWISE_WEIGHTS..],
                bias: &depthwise.bias[first * BLOCK..],
                multipliers: &depthwise.multipliers[first * BLOCK..],
                blocks: self.window.blocks.len(),
                pixels: self.window.pixels,
                out_block,
            },
            out,
        );
    }

    /// Makes row `y` of the depthwise input.
    fn make_row(&mut self, y: usize, blended: &mut [i16], stretched: &mut [i16]) {
        let kernels = self.kernels;
        let stride = self.window.block_stride();
        let length = self.window.row_len();
        let inside = self.window.inside.clone();
        let skipped = (inside.start as isize - self.window.left) as usize * BLOCK;
        let slot = y % 3 * length;
        match self.part {
            BytePart::Memory { .. } => {}
            BytePart::Upsample { upsample, .. } => {
                let needed = upsample.needed(&inside);
                let blended = &mut blended[..self.window.blocks.len() * needed.len() * BLOCK];
                blend_image(kernels, upsample, self.inputs[0], y, &needed, blended);
                let row = stretch_row(upsample, blended, &inside, stride);
                kernels.stretch_bytes(&row, &mut self.ring[slot + skipped..slot + length]);
            }
            BytePart::Expand {
                full, inputs, low, ..
            } => {
                let blocks = self.window.blocks.clone();
                if let Some((convolution, upsample)) = low {
                    self.make_low(convolution, upsample, self.inputs[*inputs], y, blended);
                    let blended = &blended[..blocks.len() * upsample.needed(&inside).len() * BLOCK];
                    let row = stretch_row(upsample, blended, &inside, inside.len() * BLOCK);
                    kernels.stretch_halves(&row, stretched);
                }
                let mut sources = Sources::default();
                for image in &self.inputs[..*inputs] {
                    sources.push(image.source(y as isize, inside.start as isize));
                }
                for panel in within(full.panels(), &blocks) {
                    let first = panel.first_block - blocks.start;
                    let middle = low.as_ref().map(|(convolution, _)| Middle {
                        data: &stretched[first * inside.len() * BLOCK..],
                        block_stride: inside.len() * BLOCK,
                        shift: convolution.shift(),
                    });
                    let strip = ByteStrip {
                        middle,
                        skip: None,
                        pixels: inside.len(),
                        out_block: stride,
                    };
                    let out = &mut self.ring[slot + first * stride + skipped..slot + length];
                    full.panel_row(kernels, panel, sources.as_slice(), strip, out);
                }
            }
        }
    }

    /// Makes the low-resolution rows that row `y` lies between, and blends them.
    fn make_low(
        &mut self,
        convolution: &ByteConvolution,
        upsample: &Upsample,
        image: Image<u8>,
        y: usize,
        blended: &mut [i16],
    ) {
        let kernels = self.kernels;
        let needed = upsample.needed(&self.window.inside);
        let stride = needed.len() * BLOCK;
        let length = self.window.blocks.len() * stride;
        let (above, weight) = upsample.fixed_row(y);
        for low_y in self.next_low.max(above)..above + 2 {
            let mut sources = Sources::default();
            sources.push(image.source(low_y as isize, needed.start as isize));
            let strip = ByteStrip {
                pixels: needed.len(),
                out_block: stride,
                ..ByteStrip::default()
            };
            for panel in within(convolution.panels(), &self.window.blocks) {
                let at =
                    low_y % 2 * length + (panel.first_block - self.window.blocks.start) * stride;
                let out = &mut self.low[at..(low_y % 2 + 1) * length];
                convolution.panel_row_halves(kernels, panel, sources.as_slice(), strip, out);
            }
        }
        self.next_low = above + 2;
        let (even, odd) = self.low[..2 * length].split_at(length);
        let (above, below) = if above % 2 == 0 {
            (even, odd)
        } else {
            (odd, even)
        };
        kernels.blend_halves(above, below, weight, &mut blended[..length]);
    }
}

/// Blends the two rows of `image` that row `y` lies between, over the input columns `needed`, into `out` (blocks of
/// those columns, nothing between them).
fn blend_image(
    kernels: &ByteKernels,
    upsample: &Upsample,
    image: Image<u8>,
    y: usize,
    needed: &Range<usize>,
    out: &mut [i16],
) {
    let (above, weight) = upsample.fixed_row(y);
    let length = needed.len() * BLOCK;
    let rows = [above, above + 1].map(|y| image.at(y as isize, needed.start as isize));
    for (block, out) in out.chunks_exact_mut(length).enumerate() {
        let at = block * image.layout.block_len();
        let (above, below) = (&rows[0][at..at + length], &rows[1][at..at + length]);
        kernels.blend_bytes(above, below, weight, out);
    }
}

/// How `blended` (blocks of the input columns that `columns` need) is stretched.
fn stretch_row<'a>(
    upsample: &'a Upsample,
    blended: &'a [i16],
    columns: &Range<usize>,
    out_block: usize,
) -> ByteStretchRow<'a> {
    let needed = upsample.needed(columns);
    let block_stride = needed.len() * BLOCK;
    ByteStretchRow {
        input: blended,
        block_stride,
        between: upsample.fixed_columns(columns),
        base: needed.start as u32,
        blocks: blended.len() / block_stride,
        out_block,
    }
}
