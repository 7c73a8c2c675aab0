//! What a [`super::Block`] is made of: the depthwise convolution, and what makes the channels that it sees.

use super::convolution::{Convolution, Panel};
use super::layout::{BLOCK, Floats};
use super::upsample::Upsample;
use std::ops::Range;

/// Depthwise 3×3, padding 1: weights and biases of all channels, block after block.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// 1 or 2
    pub stride: usize,
    pub relu: bool,
    pub(super) weights: Floats,
    pub(super) bias: Floats,
}

impl Depthwise {
    /// Packs `weight(channel, tap)`; the channels of each part of `parts` start at a block of their own.
    pub fn pack(
        stride: usize,
        relu: bool,
        bias: &[f32],
        parts: &[usize],
        weight: impl Fn(usize, usize) -> f32,
    ) -> Depthwise {
        assert_eq!(bias.len(), parts.iter().sum::<usize>());
        let blocks: usize = parts.iter().map(|channels| channels.div_ceil(BLOCK)).sum();
        let mut packed = Depthwise {
            stride,
            relu,
            weights: Floats::zeros(blocks * 9 * BLOCK),
            bias: Floats::zeros(blocks * BLOCK),
        };
        let (mut block, mut channel) = (0, 0);
        for part in parts {
            for at in 0..*part {
                let (block, lane) = (block + at / BLOCK, at % BLOCK);
                packed.bias[block * BLOCK + lane] = bias[channel + at];
                for tap in 0..9 {
                    packed.weights[(block * 9 + tap) * BLOCK + lane] = weight(channel + at, tap);
                }
            }
            block += part.div_ceil(BLOCK);
            channel += part;
        }
        packed
    }
}

/// What makes some of the channels that the depthwise convolution sees. Each part reads inputs of its own.
// There are a few dozen of these in a network: their size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Part {
    /// One input, as it is; its halo must be at least 1.
    Memory { channels: usize },
    /// One input, upsampled.
    Upsample { channels: usize, upsample: Upsample },
    /// A 1×1 convolution of `inputs` inputs, plus one of a further input that is upsampled afterwards.
    Expand {
        full: Option<Convolution>,
        inputs: usize,
        low: Option<(Convolution, Upsample)>,
        relu: bool,
    },
}

impl Part {
    /// Channels it makes.
    pub fn channels(&self) -> usize {
        match self {
            Part::Memory { channels } | Part::Upsample { channels, .. } => *channels,
            Part::Expand { full, low, .. } => full
                .as_ref()
                .or(low.as_ref().map(|(low, _)| low))
                .map_or(0, |convolution| convolution.out_channels),
        }
    }

    /// Inputs it reads.
    pub fn inputs(&self) -> usize {
        match self {
            Part::Memory { .. } | Part::Upsample { .. } => 1,
            Part::Expand { inputs, low, .. } => inputs + usize::from(low.is_some()),
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.channels().div_ceil(BLOCK)
    }

    /// The blocks of each panel if it is an expansion, else all its blocks at once.
    pub(super) fn panels(&self) -> impl Iterator<Item = Range<usize>> {
        let panels = match self {
            Part::Expand { full: Some(of), .. }
            | Part::Expand {
                low: Some((of, _)), ..
            } => of.panels(),
            _ => &[],
        };
        let whole = panels.is_empty().then(|| 0..self.blocks());
        let range = |panel: &Panel| panel.first_block..panel.first_block + panel.blocks;
        panels.iter().map(range).chain(whole)
    }
}
