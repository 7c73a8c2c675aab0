//! The arithmetic of the networks: pure functions on slices, and the only place in the project with `unsafe`.
//!
//! docs/KERNELS.md explains the layout and the algorithms with a drawing. The row kernels ([`Kernels`]) are compiled
//! once for each instruction set and chosen at run time; what is built from them ([`Dense`], [`Block`], …) is safe
//! code that decides which rows to compute when, so that what is read next is still in the cache.

mod block;
#[cfg(test)]
mod bounds;
mod convolution;
mod dense;
mod extent;
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

pub use block::{Block, MAX_PARTS, Scratch};
pub use convolution::{Activation, Convolution, Geometry, Run};
pub use dense::{MAX_SOURCES, Source};
pub use int8::*;
pub use isa::Kernels;
pub use layout::{BLOCK, Floats, Image, Layout, clear_halo, export_row, import_rows};
pub use part::{Depthwise, Part};
pub use upsample::Upsample;
pub use winograd::Winograd;

// The row kernels are called by what is built from them; tests call them one by one.
#[cfg(test)]
use {
    dense::{DenseRow, Finish, Start, dense_reference},
    rows::{Between, DepthwiseRow, StretchRow, depthwise_reference, stretch_reference},
    tiles::{GatherRow, ValuesRow},
};
