//! Sums of products of bytes on aarch64. Both of its dot products that every such core has multiply bytes of one sign,
//! so activations are made signed by taking 128 away ([`Dot::OFFSET`]).

use super::simd::{Dot, Lanes};
use crate::kernels::simd::Neon as Floats;
use std::arch::aarch64::*;

/// NEON without the dot product: products of 16 bits, which are added in pairs.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// NEON with the dot product (`asimddp`).
#[derive(Clone, Copy)]
pub(super) struct DotProd;

/// Four registers each, and everything but the dot product.
macro_rules! four_registers {
    ($simd:ty, $dot:ident) => {
        // SAFETY of the whole block: NEON is part of every aarch64 processor that Rust's targets name, and the dot
        // product is used only below entry points that `isa.rs` hands out where the processor reports it; pointers as
        // the trait demands.
        impl Dot for $simd {
            type Float = Floats;
            type Sums = [int32x4_t; 4];
            type Quads = [int8x16_t; 4];
            const PANEL: usize = 1;
            const WIDE_PANEL: usize = 0;
            const OFFSET: i32 = 128;

            #[inline(always)]
            unsafe fn sums(from: *const i32) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { [0, 1, 2, 3].map(|i: usize| vld1q_s32(from.add(4 * i))) }
            }
            #[inline(always)]
            unsafe fn halves(from: *const i16, shift: u32) -> Self::Sums {
                // SAFETY: see the block.
                unsafe {
                    let count = vdupq_n_s32(shift as i32);
                    [0, 1, 2, 3]
                        .map(|i: usize| vshlq_s32(vmovl_s16(vld1_s16(from.add(4 * i))), count))
                }
            }
            #[inline(always)]
            unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { [0, 1, 2, 3].map(|i: usize| vaddq_s32(a[i], b[i])) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe { [0, 1, 2, 3].map(|i: usize| vld1q_s8(from.add(16 * i))) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe {
                    let four = vdupq_n_u32(from.cast::<u32>().read_unaligned());
                    [signed(vreinterpretq_u8_u32(four)); 4]
                }
            }
            #[inline(always)]
            unsafe fn pixels(from: *const u8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe {
                    let [p, q, r, s] = [0, 1, 2, 3].map(|i: usize| vld1q_u8(from.add(16 * i)));
                    let low =
                        [vzip1q_u8(p, q), vzip1q_u8(r, s)].map(|pair| vreinterpretq_u16_u8(pair));
                    let high =
                        [vzip2q_u8(p, q), vzip2q_u8(r, s)].map(|pair| vreinterpretq_u16_u8(pair));
                    [
                        vzip1q_u16(low[0], low[1]),
                        vzip2q_u16(low[0], low[1]),
                        vzip1q_u16(high[0], high[1]),
                        vzip2q_u16(high[0], high[1]),
                    ]
                    .map(|quads| signed(vreinterpretq_u8_u16(quads)))
                }
            }
            #[inline(always)]
            unsafe fn dot(sums: Self::Sums, a: Self::Quads, w: Self::Quads) -> Self::Sums {
                // SAFETY: see the block.
                unsafe {
                    [
                        $dot(sums[0], a[0], w[0]),
                        $dot(sums[1], a[1], w[1]),
                        $dot(sums[2], a[2], w[2]),
                        $dot(sums[3], a[3], w[3]),
                    ]
                }
            }
            #[inline(always)]
            unsafe fn floats(sums: Self::Sums) -> Lanes<Self> {
                // SAFETY: see the block.
                unsafe { sums.map(|four| vcvtq_f32_s32(four)) }
            }
            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Lanes<Self> {
                // SAFETY: see the block.
                unsafe {
                    let bytes = vld1q_u8(from);
                    let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
                    [
                        vmovl_u16(vget_low_u16(low)),
                        vmovl_high_u16(low),
                        vmovl_u16(vget_low_u16(high)),
                        vmovl_high_u16(high),
                    ]
                    .map(|four| vcvtq_f32_u32(four))
                }
            }
            #[inline(always)]
            unsafe fn round(floats: Lanes<Self>) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { floats.map(|four| vcvtnq_s32_f32(four)) }
            }
            #[inline(always)]
            unsafe fn store_bytes(to: *mut u8, pixels: [Self::Sums; 4]) {
                // SAFETY: see the block.
                unsafe {
                    for (p, sums) in pixels.into_iter().enumerate() {
                        let low = vcombine_s16(vqmovn_s32(sums[0]), vqmovn_s32(sums[1]));
                        let high = vcombine_s16(vqmovn_s32(sums[2]), vqmovn_s32(sums[3]));
                        let bytes = vcombine_u8(vqmovun_s16(low), vqmovun_s16(high));
                        vst1q_u8(to.add(16 * p), bytes);
                    }
                }
            }
            #[inline(always)]
            unsafe fn store_halves(to: *mut i16, sums: Self::Sums) {
                // SAFETY: see the block.
                unsafe {
                    for (i, four) in sums.into_iter().enumerate() {
                        vst1_s16(to.add(4 * i), vqmovn_s32(four));
                    }
                }
            }
        }
    };
}

/// 128 less, as signed bytes.
///
/// # Safety
/// None beyond NEON, which every aarch64 processor has.
#[inline(always)]
unsafe fn signed(bytes: uint8x16_t) -> int8x16_t {
    // SAFETY: see above.
    unsafe { vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))) }
}

/// Pairs of products fit into 16 bits: 2 · 128 · 64 < 2^15.
///
/// # Safety
/// None beyond NEON.
#[inline(always)]
unsafe fn pairs(sums: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: see above.
    unsafe {
        let low = vmull_s8(vget_low_s8(a), vget_low_s8(w));
        let high = vmull_high_s8(a, w);
        // Neighbours are added first, so that each quad's four products end in one sum.
        vpadalq_s16(sums, vpaddq_s16(low, high))
    }
}

/// The instruction itself: its intrinsic is not stable in all compilers that this is built with. The assembler is told
/// of it here, since a compiler may emit this function on its own, outside the entry points.
///
/// # Safety
/// The processor has `asimddp`.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes these three registers, and the processor has it.
    unsafe {
        std::arch::asm!(
            ".arch_extension dotprod",
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums,
            in(vreg) a,
            in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

four_registers!(Neon, pairs);
four_registers!(DotProd, sdot);
