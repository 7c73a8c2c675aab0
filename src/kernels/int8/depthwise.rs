//! A depthwise convolution of bytes with its weights quantised and packed for the kernel.

use super::convolution::{MAX_SUM, MAX_WEIGHT, Quantum, whole};
use super::isa::ByteKernels;
use super::rows::DEPTHWISE_WEIGHTS;
use crate::kernels::layout::{Aligned, BLOCK};

/// Depthwise 3×3, padding 1, of bytes: weights of all channels, block after block.
#[derive(Clone, Debug)]
pub struct ByteDepthwise {
    /// 1 or 2
    pub stride: usize,
    pub(super) weights: Aligned<i8>,
    pub(super) bias: Aligned<i32>,
    pub(super) multipliers: Aligned<f32>,
}

impl ByteDepthwise {
    /// Quantises and packs `weight(channel, tap)`. The channels of each part of `parts` start at a block of their own;
    /// `input(channel)` says what their bytes mean. `out` is at least zero (a ReLU) where its `zero` is 0.
    pub fn pack(
        stride: usize,
        bias: &[f32],
        parts: &[usize],
        input: impl Fn(usize) -> Quantum,
        out: Quantum,
        kernels: &ByteKernels,
        weight: impl Fn(usize, usize) -> f32,
    ) -> ByteDepthwise {
        let blocks: usize = parts.iter().map(|channels| channels.div_ceil(BLOCK)).sum();
        let mut packed = ByteDepthwise {
            stride,
            weights: Aligned::zeros(blocks * DEPTHWISE_WEIGHTS),
            bias: Aligned::zeros(blocks * BLOCK),
            multipliers: Aligned::zeros(blocks * BLOCK),
        };
        let (mut block, mut first) = (0, 0);
        for part in parts {
            for at in 0..*part {
                let (block, lane, channel) = (block + at / BLOCK, at % BLOCK, first + at);
                let quantum = input(channel);
                let scaled = |tap: usize| weight(channel, tap) * quantum.scale;
                let most = (0..9).map(|tap| scaled(tap).abs()).fold(0.0, f32::max);
                // A channel that adds nothing to what can be seen has no weights.
                let unit = (most / MAX_WEIGHT as f32).max(out.scale / (1 << 20) as f32);
                let mut sum = 0;
                for tap in 0..9 {
                    let whole = whole(scaled(tap), unit);
                    sum += whole;
                    let row = block * DEPTHWISE_WEIGHTS + tap / 3 * 2 * BLOCK * 4 + lane * 4;
                    packed.weights[row + tap % 3] = whole as i8;
                    packed.weights[row + BLOCK * 4 + tap % 3 + 1] = whole as i8;
                }
                let unit = f64::from(unit);
                let start = (f64::from(bias[channel]) + f64::from(out.zero) * f64::from(out.scale))
                    / unit
                    - f64::from(sum) * f64::from(i32::from(quantum.zero) - kernels.offset);
                let at = block * BLOCK + lane;
                packed.bias[at] = start.round().clamp(-MAX_SUM, MAX_SUM) as i32;
                packed.multipliers[at] = (unit / f64::from(out.scale)).min(1.0) as f32;
            }
            block += part.div_ceil(BLOCK);
            first += part;
        }
        packed
    }

    pub(super) fn bytes(&self) -> usize {
        self.weights.len() + (self.bias.len() + self.multipliers.len()) * size_of::<f32>()
    }
}
