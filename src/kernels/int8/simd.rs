//! Sums of products of bytes, as each instruction set offers them.
//!
//! The unit is a *quad*: four bytes for each of the sixteen channels of a block, multiplied with four others and added
//! to sixteen sums of 32 bits. Activations are unsigned, weights signed; no sum is ever rounded or saturated, so all
//! instruction sets give the same bits.

use crate::kernels::simd::{Portable, Simd};

/// Sixteen logical lanes of floats.
pub(super) type Lanes<D> = <<D as Dot>::Float as Simd>::Lanes;

/// Integer arithmetic on sixteen channels.
///
/// # Safety
/// Every method is sound only on a processor that has the instruction set; the pointers must be valid for as many
/// numbers as each method names. No alignment is needed.
pub(super) trait Dot: Copy {
    /// Arithmetic on what becomes of the sums.
    type Float: Simd;
    /// Sixteen `i32`.
    type Sums: Copy;
    /// Sixty-four bytes, four for each channel.
    type Quads: Copy;
    /// The most blocks of output channels that one tile of the dense kernel computes together, with four pixels each.
    const PANEL: usize;
    /// As `PANEL`, with eight pixels each.
    const WIDE_PANEL: usize;
    /// Taken from every activation before it is multiplied.
    const OFFSET: i32 = 0;

    /// Sixteen `i32`.
    unsafe fn sums(from: *const i32) -> Self::Sums;
    /// Sixteen `i16`, each times 2^`shift`.
    unsafe fn halves(from: *const i16, shift: u32) -> Self::Sums;
    unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// Sixty-four weights.
    unsafe fn weights(from: *const i8) -> Self::Quads;
    /// Four activations, for every channel the same.
    unsafe fn splat(from: *const u8) -> Self::Quads;
    /// Sixty-four activations, sixteen channels of four pixels: for every channel its four pixels.
    unsafe fn pixels(from: *const u8) -> Self::Quads;
    /// `sums + Σ (activations − OFFSET) · weights` over the four of each channel.
    unsafe fn dot(sums: Self::Sums, activations: Self::Quads, weights: Self::Quads) -> Self::Sums;
    unsafe fn floats(sums: Self::Sums) -> Lanes<Self>;
    /// Sixteen `u8`.
    unsafe fn bytes(from: *const u8) -> Lanes<Self>;
    /// To the nearest whole number, of two the even one; all are between −2^31 and 2^31.
    unsafe fn round(floats: Lanes<Self>) -> Self::Sums;
    /// Four pixels, one after another, as `u8` (what is outside becomes 0 or 255).
    unsafe fn store_bytes(to: *mut u8, pixels: [Self::Sums; 4]);
    /// Sixteen `i16`; what is outside becomes the nearest one.
    unsafe fn store_halves(to: *mut i16, sums: Self::Sums);
}

// SAFETY of the whole block: needs no instruction set; pointers as the trait demands.
impl Dot for Portable {
    type Float = Portable;
    type Sums = [i32; 16];
    type Quads = [[i32; 4]; 16];
    const PANEL: usize = 1;
    const WIDE_PANEL: usize = 0;

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> Self::Sums {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { from.cast::<[i32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn halves(from: *const i16, shift: u32) -> Self::Sums {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        let halves = unsafe { from.cast::<[i16; 16]>().read_unaligned() };
        halves.map(|half| i32::from(half) << shift)
    }
    #[inline(always)]
    unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Quads {
        // SAFETY: the caller's pointer is valid for sixty-four bytes.
        let quads = unsafe { from.cast::<[[i8; 4]; 16]>().read_unaligned() };
        quads.map(|quad| quad.map(i32::from))
    }
    #[inline(always)]
    unsafe fn splat(from: *const u8) -> Self::Quads {
        // SAFETY: the caller's pointer is valid for four bytes.
        let quad = unsafe { from.cast::<[u8; 4]>().read_unaligned() };
        [quad.map(i32::from); 16]
    }
    #[inline(always)]
    unsafe fn pixels(from: *const u8) -> Self::Quads {
        // SAFETY: the caller's pointer is valid for sixty-four bytes.
        let pixels = unsafe { from.cast::<[[u8; 16]; 4]>().read_unaligned() };
        std::array::from_fn(|channel| {
            std::array::from_fn(|pixel| i32::from(pixels[pixel][channel]))
        })
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, a: Self::Quads, w: Self::Quads) -> Self::Sums {
        std::array::from_fn(|i| (0..4).fold(sums[i], |sum, k| sum.wrapping_add(a[i][k] * w[i][k])))
    }
    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Lanes<Self> {
        sums.map(|sum| sum as f32)
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Lanes<Self> {
        // SAFETY: the caller's pointer is valid for sixteen bytes.
        unsafe { from.cast::<[u8; 16]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn round(floats: Lanes<Self>) -> Self::Sums {
        floats.map(|value| value.round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, pixels: [Self::Sums; 4]) {
        let bytes = pixels.map(|sums| sums.map(|sum| sum.clamp(0, 255) as u8));
        // SAFETY: the caller's pointer is valid for sixty-four bytes.
        unsafe { to.cast::<[[u8; 16]; 4]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn store_halves(to: *mut i16, sums: Self::Sums) {
        let halves = sums.map(|sum| sum.clamp(-32768, 32767) as i16);
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { to.cast::<[i16; 16]>().write_unaligned(halves) }
    }
}
