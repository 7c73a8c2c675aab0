//! The kernels beside the dense one, each on one row: depthwise 3×3, the two halves of bilinear upsampling, and the
//! logistic function.

// Loops over registers are written with indices: iterators over arrays of vectors are not always unrolled, and then
// the registers become memory.
#![allow(clippy::needless_range_loop)]

use super::extent::Extent;
use super::layout::BLOCK;
use super::simd::Simd;

/// One row (or part of one) of a depthwise 3×3 convolution.
#[derive(Clone, Copy)]
pub struct DepthwiseRow<'a> {
    /// The three input rows, from the pixel left of the one under the first output pixel.
    pub rows: [&'a [f32]; 3],
    /// Floats from one block of an input row to the next.
    pub block_stride: usize,
    /// Input pixels from one output pixel to the next, 1 or 2.
    pub step: usize,
    /// `[block][3][3][16]`
    pub weights: &'a [f32],
    /// `[block][16]`
    pub bias: &'a [f32],
    pub relu: bool,
    pub blocks: usize,
    /// Output pixels.
    pub pixels: usize,
    /// Floats from one block of the output to the next.
    pub out_block: usize,
}

impl DepthwiseRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[f32]) {
        assert!(self.blocks > 0 && self.pixels > 0 && matches!(self.step, 1 | 2));
        let read = Extent::product(&[3, BLOCK])
            .repeated(self.pixels, self.step * BLOCK)
            .repeated(self.blocks, self.block_stride);
        self.rows
            .iter()
            .for_each(|row| read.check(row.len(), "input"));
        Extent::product(&[self.blocks, 9, BLOCK]).check(self.weights.len(), "weights");
        Extent::product(&[self.blocks, BLOCK]).check(self.bias.len(), "bias");
        let written = Extent::pixels(self.pixels, 1).repeated(self.blocks, self.out_block);
        written.check(out.len(), "output");
    }
}

/// Depthwise 3×3 over one row.
///
/// # Safety
/// The processor has `S`, and [`DepthwiseRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn depthwise<S: Simd>(row: &DepthwiseRow, out: &mut [f32]) {
    // SAFETY: handed on.
    unsafe {
        match row.step {
            1 => depthwise_blocks::<S, 1>(row, out),
            _ => depthwise_blocks::<S, 2>(row, out),
        }
    }
}

#[inline(always)]
unsafe fn depthwise_blocks<S: Simd, const STEP: usize>(row: &DepthwiseRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        let mut x = 0;
        while x < row.pixels {
            // SAFETY: handed on; the tile's pixels lie inside the row's.
            x += unsafe {
                match row.pixels - x {
                    8.. if S::DEPTHWISE >= 8 => depthwise_tile::<S, 8, STEP>(row, block, x, out),
                    4.. if S::DEPTHWISE >= 4 => depthwise_tile::<S, 4, STEP>(row, block, x, out),
                    2.. if S::DEPTHWISE >= 2 => depthwise_tile::<S, 2, STEP>(row, block, x, out),
                    _ => depthwise_tile::<S, 1, STEP>(row, block, x, out),
                }
            };
        }
    }
}

/// `N` pixels of one block.
#[inline(always)]
unsafe fn depthwise_tile<S: Simd, const N: usize, const STEP: usize>(
    row: &DepthwiseRow,
    block: usize,
    x: usize,
    out: &mut [f32],
) -> usize {
    // SAFETY: `check` has compared every index below with the slices' lengths.
    unsafe {
        let weights = row.weights.as_ptr().add(block * 9 * BLOCK);
        let mut sums = [S::load(row.bias.as_ptr().add(block * BLOCK)); N];
        for (dy, input) in row.rows.iter().enumerate() {
            let input = input
                .as_ptr()
                .add(block * row.block_stride + x * STEP * BLOCK);
            for dx in 0..3 {
                let tap = S::load(weights.add((dy * 3 + dx) * BLOCK));
                for n in 0..N {
                    sums[n] = S::fma(S::load(input.add((n * STEP + dx) * BLOCK)), tap, sums[n]);
                }
            }
        }
        let out = out.as_mut_ptr().add(block * row.out_block + x * BLOCK);
        if row.relu {
            for n in 0..N {
                sums[n] = S::max(sums[n], S::zero());
            }
        }
        for n in 0..N {
            S::store(out.add(n * BLOCK), sums[n]);
        }
    }
    N
}

/// The safe reference of [`depthwise`].
#[cfg(test)]
pub fn depthwise_reference(row: &DepthwiseRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        for x in 0..row.pixels {
            for lane in 0..BLOCK {
                let mut sum = row.bias[block * BLOCK + lane];
                for tap in 0..9 {
                    let at = block * row.block_stride + (x * row.step + tap % 3) * BLOCK + lane;
                    sum += row.rows[tap / 3][at] * row.weights[(block * 9 + tap) * BLOCK + lane];
                }
                out[block * row.out_block + x * BLOCK + lane] =
                    if row.relu { sum.max(0.0) } else { sum };
            }
        }
    }
}

/// `out = above + weight · (below − above)`: bilinear upsampling from row to row. All three of one length, a
/// multiple of sixteen.
///
/// # Safety
/// The processor has `S`, and the lengths are as said.
#[inline(always)]
pub(super) unsafe fn blend<S: Simd>(above: &[f32], below: &[f32], weight: f32, out: &mut [f32]) {
    // SAFETY: every index is below the common length.
    unsafe {
        let weight = S::splat(&weight);
        for at in (0..out.len()).step_by(BLOCK) {
            let (a, b) = (
                S::load(above.as_ptr().add(at)),
                S::load(below.as_ptr().add(at)),
            );
            S::store(out.as_mut_ptr().add(at), S::fma(weight, S::sub(b, a), a));
        }
    }
}

/// Where an upsampled pixel comes from: `input[left] + weight · (input[left + 1] − input[left])`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    pub left: u32,
    pub weight: f32,
}

/// Bilinear upsampling from pixel to pixel, one row of all blocks. `base` is taken from each `left`.
#[derive(Clone, Copy)]
pub struct StretchRow<'a> {
    pub input: &'a [f32],
    /// Floats from one block of the input to the next.
    pub block_stride: usize,
    pub between: &'a [Between],
    pub base: u32,
    pub blocks: usize,
    /// Floats from one block of the output to the next.
    pub out_block: usize,
}

impl StretchRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[f32]) {
        assert!(self.blocks > 0 && !self.between.is_empty());
        let mut last = 0;
        for between in self.between {
            assert!(between.left >= self.base);
            last = last.max((between.left - self.base) as usize);
        }
        let read = Extent::product(&[last + 2, BLOCK]).repeated(self.blocks, self.block_stride);
        read.check(self.input.len(), "input");
        let written = Extent::pixels(self.between.len(), 1).repeated(self.blocks, self.out_block);
        written.check(out.len(), "output");
    }
}

/// Stretches one row.
///
/// # Safety
/// The processor has `S`, and [`StretchRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn stretch<S: Simd>(row: &StretchRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        for (x, between) in row.between.iter().enumerate() {
            // SAFETY: `check` has compared every index below with the slices' lengths.
            unsafe {
                let input = row.input.as_ptr().add(block * row.block_stride);
                let input = input.add((between.left - row.base) as usize * BLOCK);
                let (a, b) = (S::load(input), S::load(input.add(BLOCK)));
                let between = S::fma(S::splat(&between.weight), S::sub(b, a), a);
                S::store(
                    out.as_mut_ptr().add(block * row.out_block + x * BLOCK),
                    between,
                );
            }
        }
    }
}

/// The safe reference of [`stretch`].
#[cfg(test)]
pub fn stretch_reference(row: &StretchRow, out: &mut [f32]) {
    for block in 0..row.blocks {
        for (x, between) in row.between.iter().enumerate() {
            for lane in 0..BLOCK {
                let at =
                    block * row.block_stride + (between.left - row.base) as usize * BLOCK + lane;
                let (a, b) = (row.input[at], row.input[at + BLOCK]);
                out[block * row.out_block + x * BLOCK + lane] = a + between.weight * (b - a);
            }
        }
    }
}

/// The logistic function of every value in place, by a polynomial that the compiler can vectorise; the error is
/// below 2e-7.
#[inline(always)]
pub(super) fn logistic(values: &mut [f32]) {
    for value in values {
        *value = 1.0 / (1.0 + exponential(-*value));
    }
}

/// `e^x` for x in −87..=88, clamped there: 2^k · e^r with |r| ≤ ln 2 / 2, and e^r by its Taylor series to the sixth
/// power (remainder below 2e-7 of the result).
#[inline(always)]
fn exponential(x: f32) -> f32 {
    /// Adding and taking away 1.5 · 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2, in a part with few bits (so that its multiples are exact) and the rest.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2.0) - k * LN_2.1;
    let series = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    // The last bits of `shifted` are k as a whole number; a cast would be slower, since it looks for what does not fit.
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}
