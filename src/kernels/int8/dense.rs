//! Dense convolution of one row of bytes: the twin of `kernels/dense.rs`, four input channels at a time.
//!
//! A tile is `M` blocks of output channels by `N` pixels of sums, held in registers. What becomes of the sums
//! (scaling, a skip connection, rounding) happens there too, so no sum is ever written to memory.

// Loops over registers are written with indices: iterators over arrays of vectors are not always unrolled, and then
// the registers become memory.
#![allow(clippy::needless_range_loop)]

use super::simd::{Dot, Lanes};
use crate::kernels::dense::{MAX_SOURCES, Source};
use crate::kernels::extent::Extent;
use crate::kernels::layout::BLOCK;
use crate::kernels::simd::Simd;

/// Input channels whose products are added in one go.
pub const QUAD: usize = 4;

/// Bytes of weights of one block and one quad.
pub(super) const QUAD_WEIGHTS: usize = BLOCK * QUAD;

/// What the sums start from beside the bias: the half of a convolution that was computed before an upsampling.
#[derive(Clone, Copy)]
pub struct Middle<'a> {
    /// From the panel's first block at the first pixel.
    pub data: &'a [i16],
    /// Numbers from one block to the next.
    pub block_stride: usize,
    /// Each counts 2^shift.
    pub shift: u32,
}

/// A skip connection: bytes that are added to scaled sums.
#[derive(Clone, Copy)]
pub struct ByteSkip<'a> {
    /// From the panel's first block at the first pixel.
    pub data: &'a [u8],
    /// Bytes from one block to the next.
    pub block_stride: usize,
    /// What one step of it counts in steps of the output.
    pub ratio: f32,
    /// Added last: what stands for zero in the output, less `ratio` times what does so in the skip connection.
    pub offset: f32,
    /// Whether sums below zero count as zero before they are added.
    pub relu_first: bool,
}

/// One row (or part of a row) of one panel of output channels.
#[derive(Clone, Copy)]
pub struct ByteRow<'a> {
    /// May be empty.
    pub sources: &'a [Source<'a, u8>],
    /// Input pixels from one output pixel to the next: the stride.
    pub step: usize,
    /// `[source][channel / 4, rounded up][panel][16][4]`
    pub weights: &'a [i8],
    /// Blocks of output channels, 1 to 4.
    pub panel: usize,
    /// One for each output channel of the panel, as the next.
    pub bias: &'a [i32],
    /// Every sum is multiplied by its channel's; at most 1, so that the product is a whole number of 32 bits.
    pub multipliers: &'a [f32],
    pub middle: Option<Middle<'a>>,
    /// Output pixels.
    pub pixels: usize,
    /// Numbers from one block of the output to the next.
    pub out_block: usize,
}

/// Where a row goes.
pub enum ByteOut<'a> {
    /// Rounded, and cut to what a byte holds: a ReLU is where zero stands for zero.
    Bytes(&'a mut [u8], Option<ByteSkip<'a>>),
    /// Rounded.
    Halves(&'a mut [i16]),
    /// As they are, or at least zero.
    Floats(&'a mut [f32], bool),
}

impl ByteRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &ByteOut) {
        let row = |blocks: usize, stride: usize, step: usize| {
            Extent::pixels(self.pixels, step).repeated(blocks, stride)
        };
        assert!((1..=4).contains(&self.panel) && self.pixels > 0 && self.step > 0);
        assert!(self.sources.len() <= MAX_SOURCES);
        let mut quads = 0usize;
        for source in self.sources {
            let blocks = source.channels.div_ceil(BLOCK);
            row(blocks, source.block_stride, self.step).check(source.data.len(), "source");
            quads = quads.saturating_add(source.channels.div_ceil(QUAD));
        }
        let weights = Extent::product(&[quads, self.panel, QUAD_WEIGHTS]);
        weights.check(self.weights.len(), "weights");
        assert!(self.panel * BLOCK <= self.bias.len().min(self.multipliers.len()));
        if let Some(middle) = self.middle {
            row(self.panel, middle.block_stride, 1).check(middle.data.len(), "partial sums");
            assert!(middle.shift < 16);
        }
        let length = match out {
            ByteOut::Bytes(out, skip) => {
                if let Some(skip) = skip {
                    let read = row(self.panel, skip.block_stride, 1);
                    read.check(skip.data.len(), "skip connection");
                }
                out.len()
            }
            ByteOut::Halves(out) => out.len(),
            ByteOut::Floats(out, _) => out.len(),
        };
        row(self.panel, self.out_block, 1).check(length, "output");
    }
}

/// The row, tile by tile.
///
/// # Safety
/// The processor has `D`, and [`ByteRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn dense<D: Dot>(row: &ByteRow, out: &mut ByteOut) {
    // SAFETY: handed on.
    unsafe {
        match row.panel {
            1 => tiles::<D, 1>(row, out),
            2 => tiles::<D, 2>(row, out),
            3 => tiles::<D, 3>(row, out),
            _ => tiles::<D, 4>(row, out),
        }
    }
}

/// Four pixels at a time, or eight. The last tile overlaps the one before it, rather than be narrow.
#[inline(always)]
unsafe fn tiles<D: Dot, const M: usize>(row: &ByteRow, out: &mut ByteOut) {
    let mut x = 0;
    while x < row.pixels {
        if M <= D::WIDE_PANEL && row.pixels - x >= 8 {
            // SAFETY: handed on; the tile's pixels lie inside the row's.
            unsafe { tile::<D, M, 8>(row, x, out) };
            x += 8;
        } else {
            let at = x.min(row.pixels.saturating_sub(4));
            // SAFETY: as above; a row of fewer pixels is the tile's own case.
            unsafe { tile::<D, M, 4>(row, at, out) };
            x = at + 4;
        }
    }
}

/// One tile: `M` blocks of channels by `N` pixels from pixel `x` on. In a row of fewer pixels the last one is repeated.
#[inline(always)]
unsafe fn tile<D: Dot, const M: usize, const N: usize>(row: &ByteRow, x: usize, out: &mut ByteOut) {
    // SAFETY: `check` has compared every index below with the slices' lengths.
    unsafe {
        let mut pixel = [0; N];
        for n in 0..N {
            pixel[n] = (x + n).min(row.pixels - 1);
        }
        let mut at = [0; N];
        for n in 0..N {
            at[n] = pixel[n] * row.step * BLOCK;
        }
        let mut sums = [[D::sums(row.bias.as_ptr()); N]; M];
        for m in 1..M {
            sums[m] = [D::sums(row.bias.as_ptr().add(m * BLOCK)); N];
        }
        if let Some(middle) = row.middle {
            for m in 0..M {
                let from = middle.data.as_ptr().add(m * middle.block_stride);
                for n in 0..N {
                    let half = D::halves(from.add(pixel[n] * BLOCK), middle.shift);
                    sums[m][n] = D::add(sums[m][n], half);
                }
            }
        }
        let mut weights = row.weights.as_ptr();
        for source in row.sources {
            let mut data = source.data.as_ptr();
            let mut left = source.channels.div_ceil(QUAD);
            while left > 0 {
                let quads = left.min(BLOCK / QUAD);
                for quad in 0..quads {
                    let mut loaded = [D::weights(weights); M];
                    for m in 1..M {
                        loaded[m] = D::weights(weights.add(m * QUAD_WEIGHTS));
                    }
                    for n in 0..N {
                        let input = D::splat(data.add(at[n] + quad * QUAD));
                        for m in 0..M {
                            sums[m][n] = D::dot(sums[m][n], input, loaded[m]);
                        }
                    }
                    weights = weights.add(M * QUAD_WEIGHTS);
                }
                data = data.wrapping_add(source.block_stride);
                left -= quads;
            }
        }
        let narrow = row.pixels < 4;
        for m in 0..M {
            let scale = D::Float::load(row.multipliers.as_ptr().add(m * BLOCK));
            let none = D::Float::zero();
            let mut scaled = [none; N];
            for n in 0..N {
                scaled[n] = D::Float::fma(D::floats(sums[m][n]), scale, none);
            }
            let first = m * row.out_block + x * BLOCK;
            match out {
                ByteOut::Bytes(out, skip) => {
                    if let Some(skip) = skip {
                        let from = skip.data.as_ptr().add(m * skip.block_stride);
                        add_skip::<D, N>(&mut scaled, skip, from, &pixel);
                    }
                    let mut group = 0;
                    while group < N {
                        let mut rounded = [D::round(scaled[group]); 4];
                        for n in 1..4 {
                            rounded[n] = D::round(scaled[group + n]);
                        }
                        if narrow {
                            let mut four = [0; 4 * BLOCK];
                            D::store_bytes(four.as_mut_ptr(), rounded);
                            let length = row.pixels * BLOCK;
                            out[first..first + length].copy_from_slice(&four[..length]);
                        } else {
                            D::store_bytes(out.as_mut_ptr().add(first + group * BLOCK), rounded);
                        }
                        group += 4;
                    }
                }
                ByteOut::Halves(out) => {
                    let to = out.as_mut_ptr().add(m * row.out_block);
                    for n in 0..N {
                        D::store_halves(to.add(pixel[n] * BLOCK), D::round(scaled[n]));
                    }
                }
                ByteOut::Floats(out, relu) => {
                    if *relu {
                        for n in 0..N {
                            scaled[n] = D::Float::max(scaled[n], none);
                        }
                    }
                    let to = out.as_mut_ptr().add(m * row.out_block);
                    for n in 0..N {
                        D::Float::store(to.add(pixel[n] * BLOCK), scaled[n]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add_skip<D: Dot, const N: usize>(
    scaled: &mut [Lanes<D>; N],
    skip: &ByteSkip,
    from: *const u8,
    pixel: &[usize; N],
) {
    // SAFETY: the caller's pointer is valid for the row's pixels.
    unsafe {
        let none = D::Float::zero();
        let (ratio, offset) = (D::Float::splat(&skip.ratio), D::Float::splat(&skip.offset));
        if skip.relu_first {
            for n in 0..N {
                scaled[n] = D::Float::max(scaled[n], none);
            }
        }
        for n in 0..N {
            let step = D::Float::fma(D::bytes(from.add(pixel[n] * BLOCK)), ratio, none);
            scaled[n] = D::Float::add(D::Float::add(scaled[n], step), offset);
        }
    }
}

/// The safe reference: the same sums, one after another; `offset` is taken from every activation.
#[cfg(test)]
pub fn byte_dense_reference(row: &ByteRow, offset: i32, out: &mut ByteOut) {
    for channel in 0..row.panel * BLOCK {
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        for x in 0..row.pixels {
            let in_block = |stride: usize| block * stride + x * BLOCK + lane;
            let mut sum = row.bias[channel];
            if let Some(middle) = row.middle {
                let half = i32::from(middle.data[in_block(middle.block_stride)]);
                sum = sum.wrapping_add(half << middle.shift);
            }
            let mut weights = row.weights.chunks_exact(row.panel * QUAD_WEIGHTS);
            for source in row.sources {
                for quad in 0..source.channels.div_ceil(QUAD) {
                    let weights = weights.next().expect("weights for every quad");
                    let first = quad * QUAD;
                    let pixel = first / BLOCK * source.block_stride + x * row.step * BLOCK;
                    for k in 0..QUAD {
                        let input = i32::from(source.data[pixel + first % BLOCK + k]) - offset;
                        let weight = i32::from(weights[channel * QUAD + k]);
                        sum = sum.wrapping_add(input * weight);
                    }
                }
            }
            let scaled = sum as f32 * row.multipliers[channel];
            let at = in_block(row.out_block);
            match out {
                ByteOut::Bytes(out, skip) => {
                    let mut value = scaled;
                    if let Some(skip) = skip {
                        if skip.relu_first {
                            value = value.max(0.0);
                        }
                        let step = f32::from(skip.data[in_block(skip.block_stride)]) * skip.ratio;
                        value = value + step + skip.offset;
                    }
                    out[at] = (value.round_ties_even() as i32).clamp(0, 255) as u8;
                }
                ByteOut::Halves(out) => {
                    out[at] = (scaled.round_ties_even() as i32).clamp(-32768, 32767) as i16
                }
                ByteOut::Floats(out, relu) => {
                    out[at] = if *relu { scaled.max(0.0) } else { scaled }
                }
            }
        }
    }
}
