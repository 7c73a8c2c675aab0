//! One vector of sixteen `f32`, as each instruction set offers it.
//!
//! Every kernel is written once, over [`Simd`]; an instruction set is one implementation of it plus one list of
//! entry points (see `isa.rs`). Sixteen is the number of channels in a block of the layout, so a logical vector is
//! one AVX-512 register, two of AVX2, four of NEON, or an array the compiler vectorises as it can.

/// Arithmetic on sixteen lanes.
///
/// # Safety
/// Every method is sound only on a processor that has the instruction set; the pointers must be valid for sixteen
/// `f32` (one for `splat`). No alignment is needed.
pub(super) trait Simd: Copy {
    /// Sixteen lanes.
    type Lanes: Copy;
    /// How many [`Simd::Lanes`] fit into registers as accumulators, with room for weights and inputs.
    const ACCUMULATORS: usize;
    /// The most blocks of output channels that one tile of [`super::dense`] computes together.
    const PANEL: usize;
    /// Pixels that one tile of the depthwise kernel computes together.
    const DEPTHWISE: usize;

    unsafe fn zero() -> Self::Lanes;
    unsafe fn load(from: *const f32) -> Self::Lanes;
    unsafe fn store(to: *mut f32, lanes: Self::Lanes);
    unsafe fn splat(from: *const f32) -> Self::Lanes;
    /// `a * b + c`, rounded once where the processor can.
    unsafe fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    unsafe fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn sub(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn max(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
}

/// Plain Rust: the twin that every other implementation is compared with, and what runs where nothing else does.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Applies `op` lane by lane.
#[inline(always)]
fn each(op: impl Fn(usize) -> f32) -> [f32; 16] {
    std::array::from_fn(op)
}

// SAFETY of the whole block: needs no instruction set; pointers as the trait demands.
impl Simd for Portable {
    type Lanes = [f32; 16];
    const ACCUMULATORS: usize = 2;
    const PANEL: usize = 1;
    const DEPTHWISE: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> Self::Lanes {
        [0.0; 16]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Lanes {
        // SAFETY: the caller's pointer is valid for sixteen floats.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, lanes: Self::Lanes) {
        // SAFETY: the caller's pointer is valid for sixteen floats.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(lanes) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self::Lanes {
        // SAFETY: the caller's pointer is valid for one float.
        [unsafe { *from }; 16]
    }
    #[inline(always)]
    unsafe fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX-512 F: one register of sixteen lanes, thirty-two registers.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Avx512;

    // SAFETY of the whole block: called only below entry points that enable AVX-512 F, which `isa.rs` hands out
    // only where the processor reports it; pointers as the trait demands.
    impl Simd for Avx512 {
        type Lanes = __m512;
        const ACCUMULATORS: usize = 24;
        const PANEL: usize = 4;
        const DEPTHWISE: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, lanes: __m512) {
            // SAFETY: see the block.
            unsafe { _mm512_storeu_ps(to, lanes) }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_set1_ps(*from) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the block.
            unsafe { _mm512_max_ps(a, b) }
        }
    }

    /// AVX2 with FMA: two registers of eight lanes, sixteen registers.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Avx2;

    // SAFETY of the whole block: as above, with AVX2 and FMA.
    impl Simd for Avx2 {
        type Lanes = [__m256; 2];
        const ACCUMULATORS: usize = 6;
        const PANEL: usize = 1;
        const DEPTHWISE: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_setzero_ps(); 2] }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, lanes: Self::Lanes) {
            // SAFETY: see the block.
            unsafe {
                _mm256_storeu_ps(to, lanes[0]);
                _mm256_storeu_ps(to.add(8), lanes[1]);
            }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_broadcast_ss(&*from); 2] }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe {
                [
                    _mm256_fmadd_ps(a[0], b[0], c[0]),
                    _mm256_fmadd_ps(a[1], b[1], c[1]),
                ]
            }
        }
        #[inline(always)]
        unsafe fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn sub(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn max(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::Neon;

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Simd;
    use std::arch::aarch64::*;

    /// NEON: four registers of four lanes, thirty-two registers.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Neon;

    /// Applies `op` register by register.
    #[inline(always)]
    fn each(op: impl Fn(usize) -> float32x4_t) -> [float32x4_t; 4] {
        [op(0), op(1), op(2), op(3)]
    }

    // SAFETY of the whole block: NEON is part of every aarch64 processor that Rust's targets name; pointers as the
    // trait demands.
    impl Simd for Neon {
        type Lanes = [float32x4_t; 4];
        const ACCUMULATORS: usize = 6;
        const PANEL: usize = 1;
        const DEPTHWISE: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [vdupq_n_f32(0.0); 4] }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Lanes {
            // SAFETY: see the block.
            each(|i| unsafe { vld1q_f32(from.add(4 * i)) })
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, lanes: Self::Lanes) {
            for (i, lane) in lanes.into_iter().enumerate() {
                // SAFETY: see the block.
                unsafe { vst1q_f32(to.add(4 * i), lane) }
            }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> Self::Lanes {
            // SAFETY: see the block.
            unsafe { [vld1q_dup_f32(from); 4] }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            each(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
        }
        #[inline(always)]
        unsafe fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            each(|i| unsafe { vaddq_f32(a[i], b[i]) })
        }
        #[inline(always)]
        unsafe fn sub(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            each(|i| unsafe { vsubq_f32(a[i], b[i]) })
        }
        #[inline(always)]
        unsafe fn max(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
            // SAFETY: see the block.
            each(|i| unsafe { vmaxq_f32(a[i], b[i]) })
        }
    }
}
