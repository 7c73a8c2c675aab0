//! Bilinear upsampling, row by row: first two input rows are blended, then the blend is stretched sideways.

use super::isa::Kernels;
use super::layout::{BLOCK, Image, Layout};
use super::rows::{Between, StretchRow};
use std::ops::Range;

/// Where every output row and column comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    rows: Vec<Between>,
    columns: Vec<Between>,
    /// The columns again, with weights in 2^−15.
    fixed: Vec<(u32, i16)>,
}

/// A weight between 0 and 1 in 2^−15; 1 is one less, which makes no difference to numbers of 14 bits.
fn fixed(weight: f32) -> i16 {
    (weight * 32768.0).round().min(32767.0) as i16
}

impl Upsample {
    /// From input to output (height, width), with `position(axis, output index, output length, input length)` the place
    /// on the input axis (0 is vertical, 1 horizontal); places outside it are moved to its ends. The input has at least
    /// two rows and columns.
    pub fn new(
        input: (usize, usize),
        output: (usize, usize),
        position: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let along = |axis: usize, input: usize, output: usize| {
            assert!(input >= 2, "upsampling needs two input pixels");
            let between = |at| {
                let place = position(axis, at, output, input).clamp(0.0, (input - 1) as f32);
                let left = (place as usize).min(input - 2);
                Between {
                    left: left as u32,
                    weight: place - left as f32,
                }
            };
            (0..output).map(between).collect()
        };
        let columns: Vec<Between> = along(1, input.1, output.1);
        Upsample {
            rows: along(0, input.0, output.0),
            fixed: columns
                .iter()
                .map(|between| (between.left, fixed(between.weight)))
                .collect(),
            columns,
        }
    }

    /// The upper of the two input rows that row `y` lies between, and the weight of the lower.
    pub fn row(&self, y: usize) -> (usize, f32) {
        (self.rows[y].left as usize, self.rows[y].weight)
    }

    /// The same, with the weight in 2^−15.
    pub(super) fn fixed_row(&self, y: usize) -> (usize, i16) {
        (self.rows[y].left as usize, fixed(self.rows[y].weight))
    }

    /// Left neighbours of `columns`, and the weights of the right ones in 2^−15.
    pub(super) fn fixed_columns(&self, columns: &Range<usize>) -> &[(u32, i16)] {
        &self.fixed[columns.clone()]
    }

    /// Input columns that output columns `columns` need.
    pub fn needed(&self, columns: &Range<usize>) -> Range<usize> {
        self.columns[columns.start].left as usize..self.columns[columns.end - 1].left as usize + 2
    }

    /// Stretches `blended` (blocks of the input columns `needed(columns)`, nothing between them) to `columns`.
    pub fn stretch(
        &self,
        kernels: &Kernels,
        blended: &[f32],
        columns: &Range<usize>,
        out_block: usize,
        out: &mut [f32],
    ) {
        kernels.stretch(&self.stretch_row(blended, columns, out_block), out);
    }

    /// What [`Upsample::stretch`] asks of the kernel.
    pub(super) fn stretch_row<'a>(
        &'a self,
        blended: &'a [f32],
        columns: &Range<usize>,
        out_block: usize,
    ) -> StretchRow<'a> {
        let needed = self.needed(columns);
        let block_stride = needed.len() * BLOCK;
        StretchRow {
            input: blended,
            block_stride,
            between: &self.columns[columns.clone()],
            base: needed.start as u32,
            blocks: blended.len() / block_stride,
            out_block,
        }
    }

    /// Blends the two rows of `image` that row `y` lies between, over the input columns `needed`, into `out` (blocks of
    /// those columns, nothing between them).
    pub fn blend(
        &self,
        kernels: &Kernels,
        image: Image,
        y: usize,
        needed: &Range<usize>,
        out: &mut [f32],
    ) {
        let (above, weight) = self.row(y);
        let length = needed.len() * BLOCK;
        let rows = [above, above + 1].map(|y| image.at(y as isize, needed.start as isize));
        for (block, out) in out.chunks_exact_mut(length).enumerate() {
            let at = block * image.layout.block_len();
            kernels.blend(
                &rows[0][at..at + length],
                &rows[1][at..at + length],
                weight,
                out,
            );
        }
    }

    /// A whole row `y` of the output (halo columns included, untouched), with `scratch` for a blended input row.
    pub fn whole_row(
        &self,
        kernels: &Kernels,
        image: Image,
        y: usize,
        layout: Layout,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let columns = 0..layout.width;
        let needed = self.needed(&columns);
        let blended = &mut scratch[..layout.blocks() * needed.len() * BLOCK];
        self.blend(kernels, image, y, &needed, blended);
        self.stretch(
            kernels,
            blended,
            &columns,
            layout.block_len(),
            &mut out[layout.halo * BLOCK..],
        );
    }
}
