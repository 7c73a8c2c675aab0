//! Dense convolution of one row: 1×1 over any number of inputs, or k×k as k² inputs that are shifted by a pixel.
//!
//! A tile is `M` blocks of output channels by `N` pixels, held in registers. For each input channel it loads `M`
//! vectors of weights and multiplies them with `N` broadcast pixels. With AVX-512, 24 of the 32 registers are
//! accumulators, and 24 multiplications share about ten loads, so the multiplier is the limit.

// Loops over registers are written with indices: iterators over arrays of vectors are not always unrolled, and then
// the registers become memory.
#![allow(clippy::needless_range_loop)]

use super::extent::Extent;
use super::layout::BLOCK;
use super::simd::Simd;

/// Inputs of one call at most: taps times inputs, or the panels of a whole plane.
pub const MAX_SOURCES: usize = 64;

/// One input of a dense convolution: a row of pixels, in blocks of channels.
#[derive(Clone, Copy)]
pub struct Source<'a, T = f32> {
    /// From the pixel that the first output pixel sees.
    pub data: &'a [T],
    pub channels: usize,
    /// Numbers from one block of channels to the next.
    pub block_stride: usize,
}

/// What the accumulators start from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// The bias, one float per output channel of the panel.
    Bias(&'a [f32]),
    /// What the output holds already.
    Output,
}

/// What happens to a sum before it is stored: `relu_first`, then add `skip`, then `relu_last`.
#[derive(Clone, Copy, Default)]
pub struct Finish<'a> {
    pub relu_first: bool,
    /// Laid out as the output: from the panel's first block at the first pixel, and floats from block to block.
    pub skip: Option<(&'a [f32], usize)>,
    pub relu_last: bool,
}

/// One row (or part of a row) of one panel of output channels.
#[derive(Clone, Copy)]
pub struct DenseRow<'a> {
    pub sources: &'a [Source<'a>],
    /// Input pixels from one output pixel to the next: the stride.
    pub step: usize,
    /// `[source][channel][panel][16]`
    pub weights: &'a [f32],
    /// Blocks of output channels, 1 to 4.
    pub panel: usize,
    pub start: Start<'a>,
    pub finish: Finish<'a>,
    /// Output pixels.
    pub pixels: usize,
    /// Floats from one block of the output to the next.
    pub out_block: usize,
}

impl DenseRow<'_> {
    /// Panics unless every access of the kernel lies inside its slice: what makes the kernel's pointers sound.
    pub(super) fn check(&self, out: &[f32]) {
        let row = |blocks: usize, stride: usize, step: usize| {
            Extent::pixels(self.pixels, step).repeated(blocks, stride)
        };
        assert!((1..=4).contains(&self.panel) && self.pixels > 0 && self.step > 0);
        assert!(!self.sources.is_empty() && self.sources.len() <= MAX_SOURCES);
        let mut channels = 0usize;
        for source in self.sources {
            let blocks = source.channels.div_ceil(BLOCK);
            row(blocks, source.block_stride, self.step).check(source.data.len(), "source");
            channels = channels.saturating_add(source.channels);
        }
        Extent::product(&[channels, self.panel, BLOCK]).check(self.weights.len(), "weights");
        row(self.panel, self.out_block, 1).check(out.len(), "output");
        if let Start::Bias(bias) = self.start {
            assert!(self.panel * BLOCK <= bias.len());
        }
        if let Some((skip, stride)) = self.finish.skip {
            row(self.panel, stride, 1).check(skip.len(), "skip connection");
        }
    }
}

/// The row, tile by tile.
///
/// # Safety
/// The processor has `S`, and [`DenseRow::check`] passed.
#[inline(always)]
pub(super) unsafe fn dense<S: Simd>(row: &DenseRow, out: &mut [f32]) {
    // SAFETY: handed on.
    unsafe {
        match (row.panel, row.step) {
            (1, 1) => tiles::<S, 1, 1>(row, out),
            (2, 1) => tiles::<S, 2, 1>(row, out),
            (3, 1) => tiles::<S, 3, 1>(row, out),
            (4, 1) => tiles::<S, 4, 1>(row, out),
            (1, _) => tiles::<S, 1, 0>(row, out),
            (2, _) => tiles::<S, 2, 0>(row, out),
            (3, _) => tiles::<S, 3, 0>(row, out),
            _ => tiles::<S, 4, 0>(row, out),
        }
    }
}

/// Cuts the pixels into tiles of nearly equal width: a last tile of one pixel would wait for its own additions.
#[inline(always)]
unsafe fn tiles<S: Simd, const M: usize, const STEP: usize>(row: &DenseRow, out: &mut [f32]) {
    // Strided tiles address each pixel by a register of its own, so they are kept narrow.
    let widest = (S::ACCUMULATORS / M).clamp(1, if STEP == 1 { 24 } else { 8 });
    let mut x = 0;
    while x < row.pixels {
        let left = row.pixels - x;
        let width = left.div_ceil(left.div_ceil(widest));
        macro_rules! pick {
            ($($n:literal)*) => {
                match width {
                    // SAFETY: handed on; the tile's pixels lie inside the row's.
                    $($n.. if $n <= widest => unsafe { tile::<S, M, $n, STEP>(row, x, out.as_mut_ptr()); $n },)*
                    // SAFETY: as above.
                    _ => unsafe { tile::<S, M, 1, STEP>(row, x, out.as_mut_ptr()); 1 },
                }
            };
        }
        x += pick!(24 20 16 12 10 8 7 6 5 4 3 2);
    }
}

/// One tile: `M` blocks of channels by `N` pixels from pixel `x` on. `STEP` 1 is known at compile time, 0 is read.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize, const STEP: usize>(
    row: &DenseRow,
    x: usize,
    out: *mut f32,
) {
    let pixel = if STEP == 0 {
        row.step * BLOCK
    } else {
        STEP * BLOCK
    };
    // SAFETY: `check` has compared every index below with the slices' lengths.
    unsafe {
        let out = out.add(x * BLOCK);
        let mut sums = [[S::zero(); N]; M];
        match row.start {
            Start::Bias(bias) => {
                for m in 0..M {
                    sums[m] = [S::load(bias.as_ptr().add(m * BLOCK)); N];
                }
            }
            Start::Output => {
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = S::load(out.add(m * row.out_block + n * BLOCK));
                    }
                }
            }
        }
        let mut weights = row.weights.as_ptr();
        for source in row.sources {
            let mut data = source.data.as_ptr().add(x * pixel);
            let mut left = source.channels;
            while left > 0 {
                let lanes = left.min(BLOCK);
                for lane in 0..lanes {
                    let mut loaded = [S::zero(); M];
                    for m in 0..M {
                        loaded[m] = S::load(weights.add(m * BLOCK));
                    }
                    for n in 0..N {
                        let input = S::splat(data.add(n * pixel + lane));
                        for m in 0..M {
                            sums[m][n] = S::fma(input, loaded[m], sums[m][n]);
                        }
                    }
                    weights = weights.add(M * BLOCK);
                }
                data = data.wrapping_add(source.block_stride);
                left -= lanes;
            }
        }
        // One small loop per step, so that each is unrolled and `sums` stays in registers throughout.
        let zero = S::zero();
        if row.finish.relu_first {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = S::max(sums[m][n], zero);
                }
            }
        }
        if let Some((skip, stride)) = row.finish.skip {
            let skip = skip.as_ptr().add(x * BLOCK);
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = S::add(sums[m][n], S::load(skip.add(m * stride + n * BLOCK)));
                }
            }
        }
        if row.finish.relu_last {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = S::max(sums[m][n], zero);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                S::store(out.add(m * row.out_block + n * BLOCK), sums[m][n]);
            }
        }
    }
}

/// The safe reference: the same sums, one after another.
#[cfg(test)]
pub fn dense_reference(row: &DenseRow, out: &mut [f32]) {
    for channel in 0..row.panel * BLOCK {
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        for x in 0..row.pixels {
            let at = block * row.out_block + x * BLOCK + lane;
            let mut sum = match row.start {
                Start::Bias(bias) => bias[channel],
                Start::Output => out[at],
            };
            let mut weights = row.weights.chunks_exact(row.panel * BLOCK);
            for source in row.sources {
                for input in 0..source.channels {
                    let pixel =
                        input / BLOCK * source.block_stride + x * row.step * BLOCK + input % BLOCK;
                    sum += source.data[pixel]
                        * weights.next().expect("a weight per input channel")[channel];
                }
            }
            if row.finish.relu_first {
                sum = sum.max(0.0);
            }
            if let Some((skip, stride)) = row.finish.skip {
                sum += skip[block * stride + x * BLOCK + lane];
            }
            if row.finish.relu_last {
                sum = sum.max(0.0);
            }
            out[at] = sum;
        }
    }
}
