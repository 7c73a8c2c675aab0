//! The kernels of bytes for each instruction set.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{DotProd, Neon};
use super::dense::{ByteOut, ByteRow, dense};
use super::rows::{
    ByteDepthwiseRow, ByteStretchRow, blend, depthwise, dequantise, quantise, stretch,
};
use super::simd::Dot;
#[cfg(target_arch = "x86_64")]
use super::x86::AvxVnni;
use crate::kernels::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::kernels::simd::{Avx2, Avx512};

/// The kernels of bytes, compiled for one instruction set. Their slices are checked at every call.
#[derive(Clone, Copy)]
pub struct ByteKernels {
    /// What they are made of.
    pub name: &'static str,
    /// The most blocks of output channels in a panel of packed weights.
    pub panel: usize,
    /// Taken from every activation before it is multiplied: packed biases make up for it.
    pub offset: i32,
    dense: unsafe fn(&ByteRow, &mut ByteOut),
    depthwise: unsafe fn(&ByteDepthwiseRow, &mut [u8]),
    blend_halves: unsafe fn(&[i16], &[i16], i16, &mut [i16]),
    blend_bytes: unsafe fn(&[u8], &[u8], i16, &mut [i16]),
    stretch_halves: unsafe fn(&ByteStretchRow, &mut [i16]),
    stretch_bytes: unsafe fn(&ByteStretchRow, &mut [u8]),
    quantise: unsafe fn(&[f32], f32, f32, &mut [u8]),
    dequantise: unsafe fn(&[u8], f32, f32, &mut [f32]),
}

/// The entry points of one instruction set: each kernel, inlined into a function that may use its instructions.
macro_rules! entry_points {
    ($name:literal, $simd:ty, $(#[$feature:meta])?) => {{
        $(#[$feature])?
        unsafe fn dense_row(row: &ByteRow, out: &mut ByteOut) {
            // SAFETY: the caller checked the slices, and these kernels exist only where the processor has these.
            unsafe { dense::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn depthwise_row(row: &ByteDepthwiseRow, out: &mut [u8]) {
            // SAFETY: the caller checked the slices, and these kernels exist only where the processor has these.
            unsafe { depthwise::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn blend_halves(above: &[i16], below: &[i16], weight: i16, out: &mut [i16]) {
            blend(above, below, weight, out)
        }
        $(#[$feature])?
        unsafe fn blend_bytes(above: &[u8], below: &[u8], weight: i16, out: &mut [i16]) {
            blend(above, below, weight, out)
        }
        $(#[$feature])?
        unsafe fn stretch_halves(row: &ByteStretchRow, out: &mut [i16]) {
            stretch(row, out)
        }
        $(#[$feature])?
        unsafe fn stretch_bytes(row: &ByteStretchRow, out: &mut [u8]) {
            stretch(row, out)
        }
        $(#[$feature])?
        unsafe fn quantise_all(values: &[f32], inverse: f32, zero: f32, out: &mut [u8]) {
            quantise(values, inverse, zero, out)
        }
        $(#[$feature])?
        unsafe fn dequantise_all(bytes: &[u8], scale: f32, zero: f32, out: &mut [f32]) {
            dequantise(bytes, scale, zero, out)
        }
        ByteKernels {
            name: $name,
            panel: <$simd as Dot>::PANEL,
            offset: <$simd as Dot>::OFFSET,
            dense: dense_row,
            depthwise: depthwise_row,
            blend_halves,
            blend_bytes,
            stretch_halves,
            stretch_bytes,
            quantise: quantise_all,
            dequantise: dequantise_all,
        }
    }};
}

impl ByteKernels {
    /// Every instruction set that this processor has, best first; the last is `portable`.
    pub fn available() -> Vec<ByteKernels> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("avx512vbmi")
            {
                found.push(entry_points!(
                    "avx512vnni",
                    Avx512,
                    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi,avx2,fma")]
                ));
            }
            if avx2 {
                if is_x86_feature_detected!("avxvnni") {
                    found.push(entry_points!(
                        "avxvnni",
                        AvxVnni,
                        #[target_feature(enable = "avxvnni,avx2,fma")]
                    ));
                }
                found.push(entry_points!("avx2", Avx2, #[target_feature(enable = "avx2,fma")]));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(entry_points!(
                    "dotprod",
                    DotProd,
                    #[target_feature(enable = "neon,dotprod")]
                ));
            }
            found.push(entry_points!("neon", Neon, #[target_feature(enable = "neon")]));
        }
        found.push(entry_points!("portable", Portable,));
        found
    }

    /// The first of `names` that this processor has, or `portable`.
    pub fn first_of(names: &[&str]) -> ByteKernels {
        let available = ByteKernels::available();
        let named = |kernels: &&ByteKernels| names.contains(&kernels.name);
        let portable = available[available.len() - 1];
        available.iter().find(named).copied().unwrap_or(portable)
    }

    /// Whether they are plain loops, which are slower than those over floats.
    pub fn is_portable(&self) -> bool {
        self.name == "portable"
    }

    /// One row of one panel of a dense convolution.
    ///
    /// # Panics
    /// If the row reaches outside its slices (so do the others).
    pub fn dense(&self, row: &ByteRow, mut out: ByteOut) {
        row.check(&out);
        // SAFETY: checked just now, and `self` exists only where the processor has the instruction set.
        unsafe { (self.dense)(row, &mut out) }
    }

    /// One row of a depthwise 3×3 convolution.
    pub fn depthwise(&self, row: &ByteDepthwiseRow, out: &mut [u8]) {
        row.check(out);
        // SAFETY: as above.
        unsafe { (self.depthwise)(row, out) }
    }

    /// `out = above + weight · (below − above)`, `weight` in 2^−15.
    pub fn blend_halves(&self, above: &[i16], below: &[i16], weight: i16, out: &mut [i16]) {
        // SAFETY: works on any slices, and the processor has the instruction set. (So do the next ones.)
        unsafe { (self.blend_halves)(above, below, weight, out) }
    }

    /// The same of bytes; each counts 64.
    pub fn blend_bytes(&self, above: &[u8], below: &[u8], weight: i16, out: &mut [i16]) {
        // SAFETY: as above.
        unsafe { (self.blend_bytes)(above, below, weight, out) }
    }

    /// Stretches a row sideways.
    pub fn stretch_halves(&self, row: &ByteStretchRow, out: &mut [i16]) {
        // SAFETY: as above.
        unsafe { (self.stretch_halves)(row, out) }
    }

    /// The same, to bytes; each counts 64.
    pub fn stretch_bytes(&self, row: &ByteStretchRow, out: &mut [u8]) {
        // SAFETY: as above.
        unsafe { (self.stretch_bytes)(row, out) }
    }

    /// Floats as bytes: `value · inverse + zero`, rounded and cut to what a byte holds.
    pub fn quantise(&self, values: &[f32], inverse: f32, zero: u8, out: &mut [u8]) {
        // SAFETY: as above.
        unsafe { (self.quantise)(values, inverse, f32::from(zero), out) }
    }

    /// Bytes as floats: `(byte − zero) · scale`.
    pub fn dequantise(&self, bytes: &[u8], scale: f32, zero: u8, out: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.dequantise)(bytes, scale, f32::from(zero), out) }
    }
}

impl std::fmt::Debug for ByteKernels {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ByteKernels({})", self.name)
    }
}
