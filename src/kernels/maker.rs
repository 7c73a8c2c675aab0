//! Rows of one part of a block, made as the depthwise convolution needs them.

use super::block::Block;
use super::convolution::{Convolution, Panel, PanelRow, Sources};
use super::dense::Finish;
use super::isa::Kernels;
use super::layout::{BLOCK, Image};
use super::part::{Depthwise, Part};
use super::rows::DepthwiseRow;
use super::upsample::Upsample;
use std::ops::Range;

/// The part of an image that is being made: which blocks of a part, which columns of the depthwise input.
pub(super) struct Window {
    pub blocks: Range<usize>,
    /// Its first block among those of all parts.
    pub first_block: usize,
    /// First column, −1 if the strip starts at the left edge.
    pub left: isize,
    /// Columns, of which those outside the image are zero.
    pub columns: usize,
    /// Those inside the image.
    pub inside: Range<usize>,
    /// Columns of the depthwise output.
    pub pixels: usize,
}

impl Window {
    /// What output columns `columns` need of a depthwise input of `width` columns.
    pub fn of(
        blocks: Range<usize>,
        first_block: usize,
        columns: &Range<usize>,
        stride: usize,
        width: usize,
    ) -> Window {
        let left = (columns.start * stride) as isize - 1;
        let count = (columns.len() - 1) * stride + 3;
        Window {
            blocks,
            first_block,
            left,
            columns: count,
            inside: left.max(0) as usize..((left + count as isize) as usize).min(width),
            pixels: columns.len(),
        }
    }

    pub fn block_stride(&self) -> usize {
        self.columns * BLOCK
    }

    pub fn row_len(&self) -> usize {
        self.blocks.len() * self.block_stride()
    }

    /// Numbers of one row that is stretched to the window: where an upsampling hardly grows, it needs one column more
    /// than it makes.
    pub fn low_row_len(&self) -> usize {
        self.row_len() + self.blocks.len() * BLOCK
    }
}

/// Makes the rows of one part, as they are needed, and keeps the last three.
pub(super) struct Maker<'a> {
    block: &'a Block,
    kernels: &'a Kernels,
    pub part: &'a Part,
    inputs: &'a [Image<'a>],
    pub window: Window,
    ring: &'a mut [f32],
    low: &'a mut [f32],
    /// Next row to make.
    next: usize,
    /// Next row of the low-resolution convolution.
    next_low: usize,
}

impl<'a> Maker<'a> {
    /// `ring` holds three rows of the window, `low` two of the low-resolution convolution.
    pub fn new(
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
    pub fn depthwise_row(
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
        let end = ((top + 3) as usize).min(self.block.walk.height);
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
            } else if y < 0 || y as usize >= self.block.walk.height {
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
                    for panel in within(convolution.panels(), &self.window.blocks) {
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
            for panel in within(convolution.panels(), &self.window.blocks) {
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

/// Those of `panels` that lie in `blocks`.
pub(super) fn within<'a>(
    panels: &'a [Panel],
    blocks: &'a Range<usize>,
) -> impl Iterator<Item = Panel> + 'a {
    panels
        .iter()
        .copied()
        .filter(|panel| blocks.contains(&panel.first_block))
}
