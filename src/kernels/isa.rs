//! Which instruction set runs the kernels: the best that the processor reports, or the one that `LIPSYNCD_SIMD`
//! names.

use super::dense::{DenseRow, Finish, Source, Start, dense};
use super::int8::ByteKernels;
use super::layout::{BLOCK, Floats};
use super::rows::{DepthwiseRow, StretchRow, blend, depthwise, logistic, stretch};
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};
use super::tiles::{GatherRow, ValuesRow, gather, values};
use std::time::{Duration, Instant};

/// The kernels, compiled for one instruction set. Their slices are checked at every call.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// As `LIPSYNCD_SIMD` spells it.
    pub name: &'static str,
    /// The most blocks of output channels in a panel of packed weights.
    pub panel: usize,
    dense: unsafe fn(&DenseRow, &mut [f32]),
    depthwise: unsafe fn(&DepthwiseRow, &mut [f32]),
    blend: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    stretch: unsafe fn(&StretchRow, &mut [f32]),
    logistic: unsafe fn(&mut [f32]),
    values: unsafe fn(&ValuesRow, &mut [f32]),
    gather: unsafe fn(&GatherRow, &mut [f32]),
    /// The kernels of bytes.
    pub bytes: ByteKernels,
}

/// The entry points of one instruction set: each kernel, inlined into a function that may use its instructions.
macro_rules! entry_points {
    ($name:literal, $simd:ty, $bytes:expr, $(#[$feature:meta])?) => {{
        $(#[$feature])?
        unsafe fn dense_row(row: &DenseRow, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { dense::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn depthwise_row(row: &DepthwiseRow, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { depthwise::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn blend_rows(above: &[f32], below: &[f32], weight: f32, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { blend::<$simd>(above, below, weight, out) }
        }
        $(#[$feature])?
        unsafe fn stretch_row(row: &StretchRow, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { stretch::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn logistic_row(values: &mut [f32]) {
            logistic(values)
        }
        $(#[$feature])?
        unsafe fn values_row(row: &ValuesRow, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { values::<$simd>(row, out) }
        }
        $(#[$feature])?
        unsafe fn gather_row(row: &GatherRow, out: &mut [f32]) {
            // SAFETY: the caller checked the slices, and `Kernels` exists only where the processor has these.
            unsafe { gather::<$simd>(row, out) }
        }
        Kernels {
            name: $name,
            panel: <$simd>::PANEL,
            dense: dense_row,
            depthwise: depthwise_row,
            blend: blend_rows,
            stretch: stretch_row,
            logistic: logistic_row,
            values: values_row,
            gather: gather_row,
            bytes: ByteKernels::first_of(&$bytes),
        }
    }};
}

impl Kernels {
    /// Every instruction set that this processor has, best first; the last is `portable`.
    pub fn available() -> Vec<Kernels> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                found.push(entry_points!(
                    "avx512",
                    Avx512,
                    ["avx512vnni", "avxvnni", "avx2"],
                    #[target_feature(enable = "avx512f,avx2,fma")]
                ));
            }
            if avx2 {
                let avx2 = entry_points!(
                    "avx2",
                    Avx2,
                    ["avx2"],
                    #[target_feature(enable = "avx2,fma")]
                );
                if is_x86_feature_detected!("avxvnni") {
                    found.push(Kernels {
                        name: "avxvnni",
                        bytes: ByteKernels::first_of(&["avxvnni"]),
                        ..avx2
                    });
                }
                found.push(avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(entry_points!(
                "neon",
                Neon,
                ["dotprod", "neon"],
                #[target_feature(enable = "neon")]
            ));
        }
        found.push(entry_points!("portable", Portable, ["portable"],));
        found
    }

    /// The kernels of the instruction set named `forced`, or the best there are.
    ///
    /// # Errors
    /// The names that would do, if the processor (or this build) does not have `forced`.
    pub fn choose(forced: Option<&str>) -> Result<Kernels, UnknownSimd> {
        let available = Kernels::available();
        match forced {
            None => Ok(available[0]),
            Some(name) => available
                .iter()
                .find(|kernels| kernels.name == name)
                .copied()
                .ok_or_else(|| UnknownSimd {
                    asked: name.to_owned(),
                    available: available.iter().map(|kernels| kernels.name).collect(),
                }),
        }
    }

    /// Multiplications and additions a second of one core, measured for about `time` on a row that never leaves the
    /// first-level cache: the speed that no network can pass.
    pub fn peak(&self, time: Duration) -> f64 {
        const CHANNELS: usize = 64;
        const ROUNDS: usize = 256;
        let (panel, pixels) = (self.panel, 24 / self.panel);
        let ones = |blocks: usize| {
            let mut floats = Floats::zeros(blocks * BLOCK);
            floats.fill(1.0);
            floats
        };
        let (data, weights) = (ones(CHANNELS / BLOCK * pixels), ones(CHANNELS * panel));
        let mut out = ones(panel * pixels);
        let block_stride = pixels * BLOCK;
        let row = DenseRow {
            sources: &[Source {
                data: &data,
                channels: CHANNELS,
                block_stride,
            }],
            step: 1,
            weights: &weights,
            panel,
            start: Start::Bias(&weights),
            finish: Finish::default(),
            pixels,
            out_block: block_stride,
        };
        let per_round = (ROUNDS * 2 * CHANNELS * panel * BLOCK * pixels) as f64;
        let (started, mut best) = (Instant::now(), f64::MAX);
        while started.elapsed() < time {
            let round = Instant::now();
            (0..ROUNDS).for_each(|_| self.dense(&row, &mut out));
            best = best.min(round.elapsed().as_secs_f64());
        }
        per_round / best
    }

    /// One row of one panel of a dense convolution.
    ///
    /// # Panics
    /// If the row reaches outside its slices (so do the others).
    pub fn dense(&self, row: &DenseRow, out: &mut [f32]) {
        row.check(out);
        // SAFETY: checked just now, and `self` exists only where the processor has the instruction set.
        unsafe { (self.dense)(row, out) }
    }

    /// One row of a depthwise 3×3 convolution.
    pub fn depthwise(&self, row: &DepthwiseRow, out: &mut [f32]) {
        row.check(out);
        // SAFETY: as above.
        unsafe { (self.depthwise)(row, out) }
    }

    /// `out = above + weight · (below − above)`.
    pub fn blend(&self, above: &[f32], below: &[f32], weight: f32, out: &mut [f32]) {
        assert!(
            above.len() == out.len() && below.len() == out.len() && out.len().is_multiple_of(BLOCK)
        );
        // SAFETY: as above.
        unsafe { (self.blend)(above, below, weight, out) }
    }

    /// Stretches a row sideways.
    pub fn stretch(&self, row: &StretchRow, out: &mut [f32]) {
        row.check(out);
        // SAFETY: as above.
        unsafe { (self.stretch)(row, out) }
    }

    /// The logistic function of every value, in place.
    pub fn logistic(&self, values: &mut [f32]) {
        // SAFETY: works on any slice, and the processor has the instruction set.
        unsafe { (self.logistic)(values) }
    }

    /// The values of one row of Winograd's tiles.
    pub fn values(&self, row: &ValuesRow, out: &mut [f32]) {
        row.check(out);
        // SAFETY: as above.
        unsafe { (self.values)(row, out) }
    }

    /// One row of outputs from the products of one row of Winograd's tiles.
    pub fn gather(&self, row: &GatherRow, out: &mut [f32]) {
        row.check(out);
        // SAFETY: as above.
        unsafe { (self.gather)(row, out) }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Kernels({})", self.name)
    }
}

/// `LIPSYNCD_SIMD` names an instruction set that is not to be had here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSimd {
    pub asked: String,
    pub available: Vec<&'static str>,
}

impl std::fmt::Display for UnknownSimd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let available = self.available.join(", ");
        write!(
            out,
            "LIPSYNCD_SIMD={} is not to be had on this processor; choose one of {available} or off",
            self.asked
        )
    }
}

impl std::error::Error for UnknownSimd {}
