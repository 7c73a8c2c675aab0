//! The same blocks in bytes: activations of eight bits with one scale for each image (for each channel inside a block),
//! weights of seven bits with one scale for each output channel, sums of 32 bits.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod block;
mod convolution;
mod dense;
mod depthwise;
mod isa;
mod maker;
mod rows;
mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use block::{ByteBlock, BytePart, ByteScratch};
pub use convolution::{ByteConvolution, ByteRows, ByteRun, Quantum, Target, Weights};
pub use depthwise::ByteDepthwise;
pub use isa::ByteKernels;

// As in the room above.
#[cfg(test)]
pub use {
    convolution::MAX_WEIGHT,
    dense::{ByteOut, ByteRow, ByteSkip, Middle, byte_dense_reference},
    rows::{ByteDepthwiseRow, ByteStretchRow, byte_depthwise_reference},
};
