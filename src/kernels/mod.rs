//! The arithmetic of the networks: pure functions on slices, and the only place in the project with `unsafe`.
//!
//! docs/KERNELS.md explains the layout and the algorithms with a drawing. The row kernels ([`Kernels`]) are compiled
//! once for each instruction set and chosen at run time; what is built from them ([`Dense`], [`Block`], …) is safe
//! code that decides which rows to compute when, so that what is read next is still in the cache.

mod block;
mod convolution;
mod dense;
mod int8;
mod isa;
mod layout;
mod maker;
mod part;
mod rows;
mod simd;
#[cfg(test)]
mod tests;
mod tiles;
mod upsample;
mod walk;
mod winograd;

pub use block::{Block, MAX_PARTS, Scratch, ScratchSizes};
pub use convolution::{Activation, Convolution, Geometry, Panel, PanelRow, Run, Sources};
pub use dense::{DenseRow, Finish, MAX_SOURCES, Source, Start, dense_twin};
pub use int8::*;
pub use isa::{Kernels, UnknownSimd};
pub use layout::{Aligned, BLOCK, Floats, Image, Layout, clear_halo, export_row, import_rows};
pub use part::{Depthwise, Part};
pub use rows::{Between, DepthwiseRow, StretchRow, depthwise_twin, stretch_twin};
pub use tiles::{GatherRow, ValuesRow, gather_twin, values_twin};
pub use upsample::Upsample;
pub use winograd::Winograd;
