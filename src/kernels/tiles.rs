//! The additions of Winograd's convolution (see `winograd.rs`): from rows of pixels to the values of a row of tiles, and
//! from the products of a row of tiles to a row of pixels.

// Loops over registers are written with indices: iterators over arrays of vectors are not always unrolled, and then
// the registers become memory.
#![allow(clippy::needless_range_loop)]

use super::dense::Finish;
use super::extent::Extent;
use super::layout::BLOCK;
use super::simd::Simd;

/// Values of a tile.
pub const VALUES: usize = 16;

/// The values of one row of tiles, of all blocks of one image.
#[derive(Clone, Copy)]
pub struct ValuesRow<'a> {
    /// The four input rows, from the first pixel of the first tile on.
    pub rows: [&'a [f32]; 4],
    /// Floats from one block of an input row to the next.
    pub block_stride: usize,
    pub blocks: usize,
    pub tiles: usize,
    /// Floats from one value to the next, and from one block of a value to the next.
    pub out_value: usize,
    pub out_block: usize,
}

impl ValuesRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[f32]) {
        assert!(self.blocks > 0 && self.tiles > 0);
        let read = Extent::product(&[4, BLOCK])
            .repeated(self.tiles, 2 * BLOCK)
            .repeated(self.blocks, self.block_stride);
        self.rows
            .iter()
            .for_each(|row| read.check(row.len(), "input"));
        let written = Extent::pixels(self.tiles, 1)
            .repeated(self.blocks, self.out_block)
            .repeated(VALUES, self.out_value);
        written.check(out.len(), "output");
    }
}

/// `[a − c, b + c, c − b, b − d]`: the transformation of an input tile along one axis.
#[inline(always)]
unsafe fn spread<S: Simd>(of: [S::Lanes; 4]) -> [S::Lanes; 4] {
    // SAFETY: arithmetic alone; the processor has `S`.
    unsafe {
        [
            S::sub(of[0], of[2]),
            S::add(of[1], of[2]),
            S::sub(of[2], of[1]),
            S::sub(of[1], of[3]),
        ]
    }
}

/// Makes values.
///
/// # Safety
/// The processor has `S`, and [`ValuesRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn values<S: Simd>(row: &ValuesRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        // SAFETY: `check` has compared every index below with the slices' lengths.
        unsafe {
            let column = |x: usize| {
                let at = block * row.block_stride + x * BLOCK;
                spread::<S>([
                    S::load(row.rows[0].as_ptr().add(at)),
                    S::load(row.rows[1].as_ptr().add(at)),
                    S::load(row.rows[2].as_ptr().add(at)),
                    S::load(row.rows[3].as_ptr().add(at)),
                ])
            };
            // Neighbouring tiles share two columns.
            let mut left = [column(0), column(1)];
            for tile in 0..row.tiles {
                let right = [column(2 * tile + 2), column(2 * tile + 3)];
                let out = out.as_mut_ptr().add(block * row.out_block + tile * BLOCK);
                for y in 0..4 {
                    let line = spread::<S>([left[0][y], left[1][y], right[0][y], right[1][y]]);
                    for x in 0..4 {
                        S::store(out.add((4 * y + x) * row.out_value), line[x]);
                    }
                }
                left = right;
            }
        }
    }
}

/// The safe reference of [`values`].
#[cfg(test)]
pub fn values_reference(row: &ValuesRow, out: &mut [f32]) {
    let spread = |of: [f32; 4]| [of[0] - of[2], of[1] + of[2], of[2] - of[1], of[1] - of[3]];
    for block in 0..row.blocks {
        for (tile, lane) in (0..row.tiles * BLOCK).map(|at| (at / BLOCK, at % BLOCK)) {
            let at = |x: usize| block * row.block_stride + (2 * tile + x) * BLOCK + lane;
            let columns: [[f32; 4]; 4] =
                std::array::from_fn(|x| spread(row.rows.map(|row| row[at(x)])));
            for y in 0..4 {
                for (x, value) in spread(columns.map(|column| column[y]))
                    .into_iter()
                    .enumerate()
                {
                    out[(4 * y + x) * row.out_value
                        + block * row.out_block
                        + tile * BLOCK
                        + lane] = value;
                }
            }
        }
    }
}

/// One row of outputs, from the products of one row of tiles.
#[derive(Clone, Copy)]
pub struct GatherRow<'a> {
    pub products: &'a [f32],
    /// Floats from one product to the next, and from one block of a product to the next.
    pub value_stride: usize,
    pub block_stride: usize,
    /// Whether it is the tiles' second row.
    pub second: bool,
    /// `[block][16]`
    pub bias: &'a [f32],
    pub finish: Finish<'a>,
    pub blocks: usize,
    /// Output pixels: two of each tile, but the last may have one.
    pub pixels: usize,
    /// Floats from one block of the output to the next.
    pub out_block: usize,
}

impl GatherRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[f32]) {
        assert!(self.blocks > 0 && self.pixels > 0);
        let row = |stride, pixels| Extent::pixels(pixels, 1).repeated(self.blocks, stride);
        let products = row(self.block_stride, self.pixels.div_ceil(2));
        products
            .repeated(VALUES, self.value_stride)
            .check(self.products.len(), "products");
        Extent::product(&[self.blocks, BLOCK]).check(self.bias.len(), "bias");
        row(self.out_block, self.pixels).check(out.len(), "output");
        if let Some((skip, stride)) = self.finish.skip {
            row(stride, self.pixels).check(skip.len(), "skip connection");
        }
    }
}

/// Makes outputs.
///
/// # Safety
/// The processor has `S`, and [`GatherRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn gather<S: Simd>(row: &GatherRow, out: &mut [f32]) {
    // SAFETY: handed on.
    unsafe {
        if row.second {
            gather_blocks::<S, true>(row, out);
        } else {
            gather_blocks::<S, false>(row, out);
        }
    }
}

#[inline(always)]
unsafe fn gather_blocks<S: Simd, const SECOND: bool>(row: &GatherRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        for tile in 0..row.pixels.div_ceil(2) {
            // SAFETY: `check` has compared every index below with the slices' lengths.
            unsafe {
                let products = row
                    .products
                    .as_ptr()
                    .add(block * row.block_stride + tile * BLOCK);
                let product =
                    |y: usize, x: usize| S::load(products.add((4 * y + x) * row.value_stride));
                let bias = S::load(row.bias.as_ptr().add(block * BLOCK));
                let mut column = [S::zero(); 4];
                for x in 0..4 {
                    column[x] = if SECOND {
                        S::sub(S::sub(product(1, x), product(2, x)), product(3, x))
                    } else {
                        S::add(S::add(product(0, x), product(1, x)), product(2, x))
                    };
                }
                let sums = [
                    S::add(S::add(S::add(column[0], column[1]), column[2]), bias),
                    S::add(S::sub(S::sub(column[1], column[2]), column[3]), bias),
                ];
                for n in 0..2.min(row.pixels - 2 * tile) {
                    let pixel = (2 * tile + n) * BLOCK;
                    let mut sum = sums[n];
                    if row.finish.relu_first {
                        sum = S::max(sum, S::zero());
                    }
                    if let Some((skip, stride)) = row.finish.skip {
                        sum = S::add(sum, S::load(skip.as_ptr().add(block * stride + pixel)));
                    }
                    if row.finish.relu_last {
                        sum = S::max(sum, S::zero());
                    }
                    S::store(out.as_mut_ptr().add(block * row.out_block + pixel), sum);
                }
            }
        }
    }
}

/// The safe reference of [`gather`].
#[cfg(test)]
pub fn gather_reference(row: &GatherRow, out: &mut [f32]) {
    let weights: [[f32; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];
    for block in 0..row.blocks {
        for (pixel, lane) in (0..row.pixels * BLOCK).map(|at| (at / BLOCK, at % BLOCK)) {
            let at = block * row.block_stride + pixel / 2 * BLOCK + lane;
            let mut sum = row.bias[block * BLOCK + lane];
            for (value, products) in row
                .products
                .chunks(row.value_stride)
                .take(VALUES)
                .enumerate()
            {
                sum += weights[usize::from(row.second)][value / 4]
                    * weights[pixel % 2][value % 4]
                    * products[at];
            }
            if row.finish.relu_first {
                sum = sum.max(0.0);
            }
            if let Some((skip, stride)) = row.finish.skip {
                sum += skip[block * stride + pixel * BLOCK + lane];
            }
            if row.finish.relu_last {
                sum = sum.max(0.0);
            }
            out[block * row.out_block + pixel * BLOCK + lane] = sum;
        }
    }
}
