//! The kernels beside the dense one, each on one row of bytes: depthwise 3×3, and the two halves of bilinear
//! upsampling in fixed point.

// As in `dense.rs`.
#![allow(clippy::needless_range_loop)]

use super::simd::Dot;
use crate::kernels::extent::Extent;
use crate::kernels::layout::BLOCK;
use crate::kernels::simd::Simd;

/// Bytes of one block's weights: three rows, each at two places in a quad.
pub(super) const DEPTHWISE_WEIGHTS: usize = 3 * 2 * BLOCK * 4;

/// Columns that four output pixels of stride two see, and what is read beside them.
const NARROW_COLUMNS: usize = 10;

/// One row (or part of one) of a depthwise 3×3 convolution.
#[derive(Clone, Copy)]
pub struct ByteDepthwiseRow<'a> {
    /// The three input rows, from the pixel left of the one under the first output pixel.
    pub rows: [&'a [u8]; 3],
    /// Bytes from one block of an input row to the next.
    pub block_stride: usize,
    /// Input pixels from one output pixel to the next, 1 or 2.
    pub step: usize,
    /// `[block][row][place][16][4]`: a row's three taps, then a zero; and at the second place a zero, then the taps.
    pub weights: &'a [i8],
    /// `[block][16]`, as the next.
    pub bias: &'a [i32],
    /// Every sum is multiplied by its channel's; at most 1.
    pub multipliers: &'a [f32],
    pub blocks: usize,
    /// Output pixels.
    pub pixels: usize,
    /// Bytes from one block of the output to the next.
    pub out_block: usize,
}

impl ByteDepthwiseRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[u8]) {
        assert!(self.blocks > 0 && self.pixels > 0 && matches!(self.step, 1 | 2));
        let read = Extent::product(&[3, BLOCK])
            .repeated(self.pixels, self.step * BLOCK)
            .repeated(self.blocks, self.block_stride);
        self.rows
            .iter()
            .for_each(|row| read.check(row.len(), "input"));
        let weights = Extent::product(&[self.blocks, DEPTHWISE_WEIGHTS]);
        weights.check(self.weights.len(), "weights");
        let channels = Extent::product(&[self.blocks, BLOCK]);
        channels.check(self.bias.len(), "bias");
        channels.check(self.multipliers.len(), "multipliers");
        let written = Extent::pixels(self.pixels, 1).repeated(self.blocks, self.out_block);
        written.check(out.len(), "output");
    }

    fn columns(&self) -> usize {
        (self.pixels - 1) * self.step + 3
    }
}

/// Depthwise 3×3 over one row.
///
/// # Safety
/// The processor has `D`, and [`ByteDepthwiseRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn depthwise<D: Dot>(row: &ByteDepthwiseRow, out: &mut [u8]) {
    for block in 0..row.blocks {
        let first = block * row.out_block;
        if row.pixels < 4 {
            // Too narrow for a tile: in a wider room, of which the rest is thrown away.
            let mut rooms = [[0; NARROW_COLUMNS * BLOCK]; 3];
            for (room, input) in rooms.iter_mut().zip(row.rows) {
                let length = row.columns() * BLOCK;
                room[..length].copy_from_slice(&input[block * row.block_stride..][..length]);
            }
            let mut four = [0; 4 * BLOCK];
            let inputs = [0, 1, 2].map(|row: usize| rooms[row].as_ptr());
            // SAFETY: handed on; the rooms hold what four pixels see.
            unsafe { depthwise_tile::<D>(row, block, inputs, four.as_mut_ptr()) };
            let length = row.pixels * BLOCK;
            out[first..first + length].copy_from_slice(&four[..length]);
            continue;
        }
        let mut x = 0;
        while x < row.pixels {
            // The last tile overlaps the one before it, rather than be narrow.
            let at = x.min(row.pixels - 4);
            let from = block * row.block_stride + at * row.step * BLOCK;
            // SAFETY: `check` has compared every index with the slices' lengths.
            unsafe {
                let inputs = [0, 1, 2].map(|dy: usize| row.rows[dy].as_ptr().add(from));
                let to = out.as_mut_ptr().add(first + at * BLOCK);
                depthwise_tile::<D>(row, block, inputs, to);
            }
            x = at + 4;
        }
    }
}

/// Four pixels of one block.
#[inline(always)]
unsafe fn depthwise_tile<D: Dot>(
    row: &ByteDepthwiseRow,
    block: usize,
    inputs: [*const u8; 3],
    out: *mut u8,
) {
    // SAFETY: `check` has compared every index below with the slices' lengths.
    unsafe {
        let weights = row.weights.as_ptr().add(block * DEPTHWISE_WEIGHTS);
        let mut sums = [D::sums(row.bias.as_ptr().add(block * BLOCK)); 4];
        for dy in 0..3 {
            let input = inputs[dy];
            let left = D::weights(weights.add(dy * 2 * BLOCK * 4));
            let right = D::weights(weights.add((dy * 2 + 1) * BLOCK * 4));
            if row.step == 1 {
                // Four pixels hold what two neighbours see.
                for pair in 0..2 {
                    let pixels = D::pixels(input.add(2 * pair * BLOCK));
                    sums[2 * pair] = D::dot(sums[2 * pair], pixels, left);
                    sums[2 * pair + 1] = D::dot(sums[2 * pair + 1], pixels, right);
                }
            } else {
                for n in 0..3 {
                    sums[n] = D::dot(sums[n], D::pixels(input.add(2 * n * BLOCK)), left);
                }
                // A pixel to the left, so that nothing is read behind the row.
                sums[3] = D::dot(sums[3], D::pixels(input.add(5 * BLOCK)), right);
            }
        }
        let scale = D::Float::load(row.multipliers.as_ptr().add(block * BLOCK));
        let none = D::Float::zero();
        for n in 0..4 {
            sums[n] = D::round(D::Float::fma(D::floats(sums[n]), scale, none));
        }
        D::store_bytes(out, sums);
    }
}

/// The safe reference of [`depthwise`]; `offset` is taken from every activation.
#[cfg(test)]
pub fn byte_depthwise_reference(row: &ByteDepthwiseRow, offset: i32, out: &mut [u8]) {
    for block in 0..row.blocks {
        for x in 0..row.pixels {
            for lane in 0..BLOCK {
                let mut sum = row.bias[block * BLOCK + lane];
                for tap in 0..9 {
                    let at = block * row.block_stride + (x * row.step + tap % 3) * BLOCK + lane;
                    let weights =
                        &row.weights[block * DEPTHWISE_WEIGHTS + tap / 3 * 2 * BLOCK * 4..];
                    sum += (i32::from(row.rows[tap / 3][at]) - offset)
                        * i32::from(weights[lane * 4 + tap % 3]);
                }
                let scaled = sum as f32 * row.multipliers[block * BLOCK + lane];
                out[block * row.out_block + x * BLOCK + lane] =
                    (scaled.round_ties_even() as i32).clamp(0, 255) as u8;
            }
        }
    }
}

/// What a byte counts in the `i16` between the two halves of an upsampling: the largest power of two that leaves room
/// for the difference of two.
const BYTE_SHIFT: u32 = 6;

/// `a + weight · (b − a)`, `weight` in 2^−15, rounded half up: the product of `pmulhrsw` and `sqrdmulh`.
#[inline(always)]
fn between(a: i16, b: i16, weight: i16) -> i16 {
    let product = i32::from(b.wrapping_sub(a)) * i32::from(weight);
    a.wrapping_add((((product >> 14) + 1) >> 1) as i16)
}

/// Rows that can be blended: `i16` between −2^14 and 2^14, or bytes.
pub(super) trait Blend: Copy {
    fn half(self) -> i16;
}

impl Blend for i16 {
    #[inline(always)]
    fn half(self) -> i16 {
        self
    }
}

impl Blend for u8 {
    #[inline(always)]
    fn half(self) -> i16 {
        i16::from(self) << BYTE_SHIFT
    }
}

/// Bilinear upsampling from row to row. All three of one length, a multiple of sixteen.
#[inline(always)]
pub(super) fn blend<T: Blend>(above: &[T], below: &[T], weight: i16, out: &mut [i16]) {
    for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
        *out = between(above.half(), below.half(), weight);
    }
}

/// Bilinear upsampling from pixel to pixel, one row of all blocks: pixel x lies between input pixels
/// `left[x] − base` and the next.
#[derive(Clone, Copy)]
pub struct ByteStretchRow<'a> {
    pub input: &'a [i16],
    /// Numbers from one block of the input to the next.
    pub block_stride: usize,
    /// Left neighbour, and the weight of the right one in 2^−15.
    pub between: &'a [(u32, i16)],
    pub base: u32,
    pub blocks: usize,
    /// Numbers from one block of the output to the next.
    pub out_block: usize,
}

/// What a stretched row can be.
pub(super) trait Stretched: Copy {
    fn from_half(half: i16) -> Self;
}

impl Stretched for i16 {
    #[inline(always)]
    fn from_half(half: i16) -> i16 {
        half
    }
}

impl Stretched for u8 {
    #[inline(always)]
    fn from_half(half: i16) -> u8 {
        ((half + (1 << (BYTE_SHIFT - 1))) >> BYTE_SHIFT) as u8
    }
}

/// Stretches one row.
#[inline(always)]
pub(super) fn stretch<T: Stretched>(row: &ByteStretchRow, out: &mut [T]) {
    for block in 0..row.blocks {
        let input = &row.input[block * row.block_stride..];
        let out = &mut out[block * row.out_block..][..row.between.len() * BLOCK];
        for (out, (left, weight)) in out.chunks_exact_mut(BLOCK).zip(row.between) {
            let pair = &input[(left - row.base) as usize * BLOCK..][..2 * BLOCK];
            for lane in 0..BLOCK {
                out[lane] = T::from_half(between(pair[lane], pair[BLOCK + lane], *weight));
            }
        }
    }
}

/// Floats as bytes: `value · inverse + zero`, rounded to the nearest and cut to what a byte holds.
#[inline(always)]
pub(super) fn quantise(values: &[f32], inverse: f32, zero: f32, out: &mut [u8]) {
    /// Adding 2^23 leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 8_388_608.0;
    for (out, value) in out.iter_mut().zip(values) {
        *out = ((value * inverse + zero).clamp(0.0, 255.0) + ROUND).to_bits() as u8;
    }
}

/// The inverse: `(byte − zero) · scale`.
#[inline(always)]
pub(super) fn dequantise(bytes: &[u8], scale: f32, zero: f32, out: &mut [f32]) {
    for (out, byte) in out.iter_mut().zip(bytes) {
        *out = (f32::from(*byte) - zero) * scale;
    }
}
