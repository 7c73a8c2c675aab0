//! Sums of products of bytes on x86-64.

use super::simd::{Dot, Lanes};
use crate::kernels::simd::{Avx2, Avx512};
use std::arch::x86_64::*;

/// What [`Dot::pixels`] takes from where: byte `4 c + p` is channel `c` of pixel `p`.
static BY_CHANNEL: [u8; 64] = {
    let mut from = [0; 64];
    let mut at = 0;
    while at < 64 {
        from[at] = (at % 4 * 16 + at / 4) as u8;
        at += 1;
    }
    from
};

/// The same for words of 32 bits, four by four: what packing has put by channels goes by pixels again.
static BY_PIXEL: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

// SAFETY of the whole block: called only below entry points that enable AVX-512 F, BW, VNNI and VBMI, which `isa.rs`
// hands out only where the processor reports them; pointers as the trait demands.
impl Dot for Avx512 {
    type Float = Avx512;
    type Sums = __m512i;
    type Quads = __m512i;
    const PANEL: usize = 4;
    const WIDE_PANEL: usize = 2;

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn halves(from: *const i16, shift: u32) -> __m512i {
        // SAFETY: see the block.
        unsafe {
            let wide = _mm512_cvtepi16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_sll_epi32(wide, _mm_cvtsi32_si128(shift as i32))
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const u8) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn pixels(from: *const u8) -> __m512i {
        // SAFETY: see the block; the table has sixty-four bytes.
        unsafe {
            let order = _mm512_loadu_si512(BY_CHANNEL.as_ptr().cast());
            _mm512_permutexvar_epi8(order, _mm512_loadu_si512(from.cast()))
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, activations: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_dpbusd_epi32(sums, activations, weights) }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512i) -> Lanes<Self> {
        // SAFETY: see the block.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Lanes<Self> {
        // SAFETY: see the block.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn round(floats: Lanes<Self>) -> __m512i {
        // SAFETY: see the block.
        unsafe { _mm512_cvtps_epi32(floats) }
    }
    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, [a, b, c, d]: [__m512i; 4]) {
        // SAFETY: see the block; the table has sixteen words.
        unsafe {
            // Packing works in each quarter of a register: four channels of four pixels.
            let packed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let order = _mm512_loadu_si512(BY_PIXEL.as_ptr().cast());
            _mm512_storeu_si512(to.cast(), _mm512_permutexvar_epi32(order, packed));
        }
    }
    #[inline(always)]
    unsafe fn store_halves(to: *mut i16, sums: __m512i) {
        // SAFETY: see the block.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtsepi32_epi16(sums)) }
    }
}

/// AVX-VNNI: AVX2 with the dot product of bytes in one instruction.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

/// Two AVX2 registers each, and everything but the dot product.
macro_rules! two_registers {
    ($simd:ty, |$sums:ident, $activations:ident, $weights:ident| $dot:expr) => {
        // SAFETY of the whole block: called only below entry points that enable AVX2 and FMA (and AVX-VNNI where it is
        // used), which `isa.rs` hands out only where the processor reports them; pointers as the trait demands.
        impl Dot for $simd {
            type Float = Avx2;
            type Sums = [__m256i; 2];
            type Quads = [__m256i; 2];
            const PANEL: usize = 1;
            const WIDE_PANEL: usize = 0;

            #[inline(always)]
            unsafe fn sums(from: *const i32) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { two(from.cast()) }
            }
            #[inline(always)]
            unsafe fn halves(from: *const i16, shift: u32) -> Self::Sums {
                // SAFETY: see the block.
                unsafe {
                    let count = _mm_cvtsi32_si128(shift as i32);
                    let low = _mm256_cvtepi16_epi32(_mm_loadu_si128(from.cast()));
                    let high = _mm256_cvtepi16_epi32(_mm_loadu_si128(from.add(8).cast()));
                    [_mm256_sll_epi32(low, count), _mm256_sll_epi32(high, count)]
                }
            }
            #[inline(always)]
            unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe { two(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe { [_mm256_set1_epi32(from.cast::<i32>().read_unaligned()); 2] }
            }
            #[inline(always)]
            unsafe fn pixels(from: *const u8) -> Self::Quads {
                // SAFETY: see the block.
                unsafe {
                    let pixel = |p: usize| _mm_loadu_si128(from.add(16 * p).cast());
                    let (p, q, r, s) = (pixel(0), pixel(1), pixel(2), pixel(3));
                    let (front, back) = (_mm_unpacklo_epi8(p, q), _mm_unpacklo_epi8(r, s));
                    let low = (
                        _mm_unpacklo_epi16(front, back),
                        _mm_unpackhi_epi16(front, back),
                    );
                    let (front, back) = (_mm_unpackhi_epi8(p, q), _mm_unpackhi_epi8(r, s));
                    let high = (
                        _mm_unpacklo_epi16(front, back),
                        _mm_unpackhi_epi16(front, back),
                    );
                    [
                        _mm256_set_m128i(low.1, low.0),
                        _mm256_set_m128i(high.1, high.0),
                    ]
                }
            }
            #[inline(always)]
            unsafe fn dot(
                $sums: Self::Sums,
                $activations: Self::Quads,
                $weights: Self::Quads,
            ) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { $dot }
            }
            #[inline(always)]
            unsafe fn floats(sums: Self::Sums) -> Lanes<Self> {
                // SAFETY: see the block.
                unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
            }
            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Lanes<Self> {
                // SAFETY: see the block.
                unsafe {
                    let bytes = _mm_loadu_si128(from.cast());
                    let high = _mm_unpackhi_epi64(bytes, bytes);
                    let floats = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                    [floats(bytes), floats(high)]
                }
            }
            #[inline(always)]
            unsafe fn round(floats: Lanes<Self>) -> Self::Sums {
                // SAFETY: see the block.
                unsafe { [_mm256_cvtps_epi32(floats[0]), _mm256_cvtps_epi32(floats[1])] }
            }
            #[inline(always)]
            unsafe fn store_bytes(to: *mut u8, pixels: [Self::Sums; 4]) {
                // SAFETY: see the block.
                unsafe {
                    for pair in 0..2 {
                        let (a, b) = (pixels[2 * pair], pixels[2 * pair + 1]);
                        // By halves of a register: a's channels 0–3, 8–11, b's, then a's 4–7, 12–15, b's.
                        let halves = _mm256_packus_epi16(
                            _mm256_packs_epi32(a[0], a[1]),
                            _mm256_packs_epi32(b[0], b[1]),
                        );
                        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                        let ordered = _mm256_permutevar8x32_epi32(halves, order);
                        _mm256_storeu_si256(to.add(32 * pair).cast(), ordered);
                    }
                }
            }
            #[inline(always)]
            unsafe fn store_halves(to: *mut i16, sums: Self::Sums) {
                // SAFETY: see the block.
                unsafe {
                    let packed = _mm256_packs_epi32(sums[0], sums[1]);
                    let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                    _mm256_storeu_si256(to.cast(), ordered);
                }
            }
        }
    };
}

/// Sixty-four bytes in two registers.
///
/// # Safety
/// The pointer is valid for them, and the processor has AVX2.
#[inline(always)]
unsafe fn two(from: *const __m256i) -> [__m256i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))] }
}

two_registers!(AvxVnni, |sums, activations, weights| [
    _mm256_dpbusd_avx_epi32(sums[0], activations[0], weights[0]),
    _mm256_dpbusd_avx_epi32(sums[1], activations[1], weights[1]),
]);

// Products of bytes are added in pairs of 16 bits, which `MAX_WEIGHT` keeps from saturating: 2 · 255 · 64 < 2^15.
two_registers!(Avx2, |sums, activations, weights| {
    let ones = _mm256_set1_epi16(1);
    let quads = |half: usize| {
        _mm256_madd_epi16(_mm256_maddubs_epi16(activations[half], weights[half]), ones)
    };
    [
        _mm256_add_epi32(sums[0], quads(0)),
        _mm256_add_epi32(sums[1], quads(1)),
    ]
});
