//! Convolutions of bytes with their weights quantised and packed for the kernels.

use super::dense::{ByteOut, ByteRow, ByteSkip, Middle, QUAD, QUAD_WEIGHTS};
use super::isa::ByteKernels;
use crate::kernels::convolution::{Geometry, Panel, Sources};
use crate::kernels::dense::{MAX_SOURCES, Source};
use crate::kernels::layout::{Aligned, BLOCK, Image, Layout};
use std::ops::Range;

/// What the bytes of an image mean: `value = (byte − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantum {
    pub scale: f32,
    pub zero: u8,
}

impl Quantum {
    /// The finest that holds every value from `least` to `most`, and zero exactly.
    pub fn holding(least: f32, most: f32) -> Quantum {
        let (least, most) = (least.min(0.0), most.max(0.0));
        let scale = ((most - least) / 255.0).max(f32::MIN_POSITIVE * 1e6);
        Quantum {
            scale,
            zero: (-least / scale).round().min(255.0) as u8,
        }
    }
}

/// The largest quantised weight. Two products of it and a byte fit into 16 bits, where AVX2 adds them.
pub const MAX_WEIGHT: i32 = 64;

/// Sums and what is added to them stay below this, so that nothing overflows and every product with a multiplier of at
/// most 1 is a whole number of 32 bits.
pub(super) const MAX_SUM: f64 = (1 << 29) as f64;

/// What is between the two halves of an upsampling stays below this.
const MAX_HALF: f64 = 16383.0;

/// Channels of half a block.
const HALF_BLOCK: usize = BLOCK / 2;

/// What a convolution makes.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Bytes of one scale for each output channel (or of one for all), and what stands for zero.
    Bytes { scales: &'a [f32], zero: u8 },
    /// Bytes, with another image added; what the bytes of both mean.
    Sum {
        own: Quantum,
        skip: Quantum,
        relu_first: bool,
    },
    /// Floats, at least zero if `relu`.
    Floats { relu: bool },
    /// Halves for another convolution's sums, whose units these are; see [`ByteConvolution::unit`].
    Middle { units: &'a [f32] },
}

/// What is done with the sums, of those things that are the same for all channels.
#[derive(Clone, Copy, Debug)]
enum Finish {
    Bytes,
    Sum {
        ratio: f32,
        offset: f32,
        relu_first: bool,
    },
    Floats {
        relu: bool,
    },
    /// Floats, of which each is the sum of two half a block apart.
    Halves {
        relu: bool,
    },
    Middle,
}

impl Finish {
    fn of(target: Target) -> Finish {
        match target {
            Target::Bytes { .. } => Finish::Bytes,
            Target::Sum {
                own,
                skip,
                relu_first,
            } => {
                let ratio = skip.scale / own.scale;
                Finish::Sum {
                    ratio,
                    offset: f32::from(own.zero) - ratio * f32::from(skip.zero),
                    relu_first,
                }
            }
            Target::Floats { relu } => Finish::Floats { relu },
            Target::Middle { .. } => Finish::Middle,
        }
    }
}

/// A dense convolution of one or more images of bytes, as if they were concatenated.
#[derive(Clone, Debug)]
pub struct ByteConvolution {
    pub geometry: Geometry,
    pub out_channels: usize,
    panels: Vec<Panel>,
    /// `[panel][input][tap][channel / 4][block of the panel][16][4]`
    weights: Aligned<i8>,
    bias: Aligned<i32>,
    multipliers: Aligned<f32>,
    finish: Finish,
    /// As [`Middle::shift`], for what is made for another convolution.
    shift: u32,
}

/// The weights of a convolution before they are quantised.
pub struct Weights<'a> {
    pub geometry: Geometry,
    pub bias: &'a [f32],
    /// Channels of each input, and what its bytes mean; may be empty.
    pub inputs: &'a [(usize, Quantum)],
    /// `(out, input, channel of the input, tap)`
    pub weight: &'a dyn Fn(usize, usize, usize, usize) -> f32,
}

impl Weights<'_> {
    /// What one counts in each output channel's sums: the finest for its largest weight, but at least `least`, and
    /// not so fine that its bias could not be counted.
    pub fn units(&self, least: impl Fn(usize) -> f32) -> Vec<f32> {
        let unit = |out: usize| {
            let mut most = 0f32;
            for (input, (channels, quantum)) in self.inputs.iter().enumerate() {
                for channel in 0..*channels {
                    for tap in 0..self.geometry.taps() {
                        let weight = (self.weight)(out, input, channel, tap) * quantum.scale;
                        most = most.max(weight.abs());
                    }
                }
            }
            let coarse = least(out).max(self.bias[out].abs() / (1 << 28) as f32);
            (most / MAX_WEIGHT as f32)
                .max(coarse)
                .max(f32::MIN_POSITIVE)
        };
        (0..self.bias.len()).map(unit).collect()
    }

    /// Quantises and packs them; `units` as [`Weights::units`] says.
    ///
    /// # Panics
    /// If there are more inputs and taps than [`MAX_SOURCES`].
    pub fn pack(&self, units: &[f32], target: Target, kernels: &ByteKernels) -> ByteConvolution {
        let taps = self.geometry.taps();
        assert!(self.inputs.len() * taps <= MAX_SOURCES);
        let out_channels = self.bias.len();
        let blocks = out_channels.div_ceil(BLOCK);
        let quads: usize = self
            .inputs
            .iter()
            .map(|(channels, _)| channels.div_ceil(QUAD))
            .sum();
        let mut weights = Aligned::<i8>::zeros(blocks * taps * quads * QUAD_WEIGHTS);
        let mut bias = Aligned::<i32>::zeros(blocks * BLOCK);
        let mut multipliers = Aligned::<f32>::zeros(blocks * BLOCK);
        // Sums of weights by channel: for what stands for zero, and for the largest sum there can be.
        let (mut zeros, mut largest) = (vec![0i64; out_channels], vec![0i64; out_channels]);
        let mut panels = Vec::new();
        let (mut at, mut first_block) = (0, 0);
        while first_block < blocks {
            let left = blocks - first_block;
            let panel = left.div_ceil(left.div_ceil(kernels.panel));
            panels.push(Panel::new(first_block, panel, at));
            for (input, (channels, quantum)) in self.inputs.iter().enumerate() {
                for tap in 0..taps {
                    for quad in 0..channels.div_ceil(QUAD) {
                        for lane in 0..panel * BLOCK {
                            let out = first_block * BLOCK + lane;
                            if out >= out_channels {
                                break;
                            }
                            for k in 0..QUAD.min(channels - quad * QUAD) {
                                let weight = (self.weight)(out, input, quad * QUAD + k, tap);
                                let whole = whole(weight * quantum.scale, units[out]);
                                weights[at + lane * QUAD + k] = whole as i8;
                                zeros[out] += i64::from(whole)
                                    * (i64::from(quantum.zero) - i64::from(kernels.offset));
                                largest[out] += 255 * i64::from(whole.abs());
                            }
                        }
                        at += panel * QUAD_WEIGHTS;
                    }
                }
            }
            first_block += panel;
        }
        let shift = self.shift(units, target, &largest);
        for out in 0..out_channels {
            let unit = f64::from(units[out]);
            let (multiplier, added) = match target {
                Target::Bytes { scales, zero } => {
                    let scale = f64::from(scales[out % scales.len()]);
                    (unit / scale, f64::from(zero) * scale / unit)
                }
                Target::Sum { own, .. } => (unit / f64::from(own.scale), 0.0),
                Target::Floats { .. } => (unit, 0.0),
                Target::Middle { units } => {
                    (unit / f64::from(units[out]) / f64::from(1u32 << shift), 0.0)
                }
            };
            multipliers[out] = multiplier.min(1.0) as f32;
            let start = f64::from(self.bias[out]) / unit + added - zeros[out] as f64;
            bias[out] = start.round().clamp(-MAX_SUM, MAX_SUM) as i32;
        }
        ByteConvolution {
            geometry: self.geometry,
            out_channels,
            panels,
            weights,
            bias,
            multipliers,
            finish: Finish::of(target),
            shift,
        }
    }

    /// As [`Middle::shift`]; `largest` is the largest sum that the weights of each channel can make.
    fn shift(&self, units: &[f32], target: Target, largest: &[i64]) -> u32 {
        let Target::Middle { units: of } = target else {
            return 0;
        };
        let most = |out: usize| {
            let counts = largest[out] as f64 + f64::from((self.bias[out] / units[out]).abs());
            counts * f64::from(units[out] / of[out]) / MAX_HALF
        };
        let most = (0..largest.len()).map(most).fold(1.0, f64::max);
        (most.log2().ceil() as u32).min(15)
    }

    /// Packs a convolution that makes floats, at least zero if `relu`. If half a block has room for its channels, the
    /// other half makes what their rounding lost, and both are added: twice the bits for the last convolution of a
    /// network, whose errors are seen as they are, at the same speed.
    pub fn pack_floats(&self, relu: bool, kernels: &ByteKernels) -> ByteConvolution {
        let units = self.units(|_| 0.0);
        let channels = self.bias.len();
        if channels > HALF_BLOCK {
            return self.pack(&units, Target::Floats { relu }, kernels);
        }
        let mut bias = [0.0; BLOCK];
        bias[..channels].copy_from_slice(self.bias);
        let halves = |out: usize, input: usize, channel: usize, tap: usize| {
            let of = out % HALF_BLOCK;
            if of >= channels {
                return 0.0;
            }
            let weight = (self.weight)(of, input, channel, tap);
            let unit = units[of] / self.inputs[input].1.scale;
            let rounded = (weight / unit).round() * unit;
            if out < HALF_BLOCK {
                rounded
            } else {
                weight - rounded
            }
        };
        let both = Weights {
            geometry: self.geometry,
            bias: &bias,
            inputs: self.inputs,
            weight: &halves,
        };
        let first_units = |out: usize| units.get(out).copied().unwrap_or(0.0);
        let units = both.units(first_units);
        ByteConvolution {
            out_channels: channels,
            finish: Finish::Halves { relu },
            ..both.pack(&units, Target::Floats { relu: false }, kernels)
        }
    }
}

/// Adds the second half of every pixel to the first, and leaves it zero.
fn add_halves(pixels: &mut [f32], relu: bool) {
    for pixel in pixels.chunks_exact_mut(BLOCK) {
        let (first, second) = pixel.split_at_mut(HALF_BLOCK);
        for (first, second) in first.iter_mut().zip(second) {
            let sum = *first + *second;
            *first = if relu { sum.max(0.0) } else { sum };
            *second = 0.0;
        }
    }
}

/// A weight in whole units.
pub(super) fn whole(weight: f32, unit: f32) -> i32 {
    // A weight that is no number becomes zero.
    (weight / unit)
        .round()
        .clamp(-MAX_WEIGHT as f32, MAX_WEIGHT as f32) as i32
}

/// How one panel's row is laid out.
#[derive(Clone, Copy, Default)]
pub struct ByteStrip<'a> {
    pub middle: Option<Middle<'a>>,
    /// From the panel's first block at the first pixel, and bytes from block to block.
    pub skip: Option<(&'a [u8], usize)>,
    pub pixels: usize,
    pub out_block: usize,
}

/// Rows of what a convolution makes.
pub enum ByteRows<'a> {
    Bytes(&'a mut [u8]),
    Floats(&'a mut [f32]),
}

impl ByteConvolution {
    /// The panels, in the order of their blocks.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// As [`Middle::shift`].
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// Bytes of packed weights, and of what belongs to each output channel.
    pub fn bytes(&self) -> usize {
        self.weights.len() + (self.bias.len() + self.multipliers.len()) * size_of::<f32>()
    }

    fn row<'a>(
        &'a self,
        panel: Panel,
        sources: &'a [Source<'a, u8>],
        strip: ByteStrip<'a>,
    ) -> ByteRow<'a> {
        let channels = panel.first_block * BLOCK..(panel.first_block + panel.blocks) * BLOCK;
        ByteRow {
            sources,
            step: self.geometry.stride.1,
            weights: &self.weights[panel.weights()..],
            panel: panel.blocks,
            bias: &self.bias[channels.clone()],
            multipliers: &self.multipliers[channels],
            middle: strip.middle,
            pixels: strip.pixels,
            out_block: strip.out_block,
        }
    }

    /// One panel over one row, from ready-made sources, to bytes.
    pub fn panel_row(
        &self,
        kernels: &ByteKernels,
        panel: Panel,
        sources: &[Source<u8>],
        strip: ByteStrip,
        out: &mut [u8],
    ) {
        let skip = match (self.finish, strip.skip) {
            (
                Finish::Sum {
                    ratio,
                    offset,
                    relu_first,
                },
                Some((data, block_stride)),
            ) => Some(ByteSkip {
                data,
                block_stride,
                ratio,
                offset,
                relu_first,
            }),
            _ => None,
        };
        kernels.dense(&self.row(panel, sources, strip), ByteOut::Bytes(out, skip));
    }

    /// The same, to halves.
    pub fn panel_row_halves(
        &self,
        kernels: &ByteKernels,
        panel: Panel,
        sources: &[Source<u8>],
        strip: ByteStrip,
        out: &mut [i16],
    ) {
        kernels.dense(&self.row(panel, sources, strip), ByteOut::Halves(out));
    }

    /// The same, to floats.
    pub fn panel_row_floats(
        &self,
        kernels: &ByteKernels,
        panel: Panel,
        sources: &[Source<u8>],
        strip: ByteStrip,
        out: &mut [f32],
    ) {
        let relu = matches!(self.finish, Finish::Floats { relu: true });
        let row = self.row(panel, sources, strip);
        kernels.dense(&row, ByteOut::Floats(out, relu));
        if let Finish::Halves { relu } = self.finish {
            // Its channels are one block.
            add_halves(&mut out[..strip.pixels * BLOCK], relu);
        }
    }

    /// The rows that `run` names, into `out` (those rows of its layout, halo columns included and untouched). The
    /// inputs' halos must hold the padding.
    pub fn rows(&self, run: &ByteRun, out: ByteRows) {
        self.rows_from(run, &|y| self.sources(run.inputs, y), out);
    }

    /// As [`ByteConvolution::rows`], for inputs that are no [`Image`]s: `sources(y)` names what row `y` reads.
    pub fn rows_from<'a>(
        &self,
        run: &ByteRun,
        sources: &dyn Fn(usize) -> Sources<'a, u8>,
        mut out: ByteRows,
    ) {
        let (row_len, block_len) = (run.layout.row_len(), run.layout.block_len());
        for panel in &self.panels {
            for (row, y) in run.rows.clone().enumerate() {
                let skip = run.skip.map(|image| {
                    let stride = image.layout.block_len();
                    (
                        &image.at(y as isize, 0)[panel.first_block * stride..],
                        stride,
                    )
                });
                let strip = ByteStrip {
                    middle: None,
                    skip,
                    pixels: run.layout.width,
                    out_block: block_len,
                };
                let at = row * row_len + panel.first_block * block_len + run.layout.halo * BLOCK;
                let end = (row + 1) * row_len;
                let (sources, kernels) = (sources(y), run.kernels);
                match &mut out {
                    ByteRows::Bytes(out) => self.panel_row(
                        kernels,
                        *panel,
                        sources.as_slice(),
                        strip,
                        &mut out[at..end],
                    ),
                    ByteRows::Floats(out) => self.panel_row_floats(
                        kernels,
                        *panel,
                        sources.as_slice(),
                        strip,
                        &mut out[at..end],
                    ),
                }
            }
        }
    }

    /// What output row `y` reads: every tap of every input, in the order of the packed weights.
    fn sources<'a>(&self, inputs: &[Image<'a, u8>], y: usize) -> Sources<'a, u8> {
        let Geometry {
            kernel,
            stride,
            pad,
        } = self.geometry;
        let mut sources = Sources::default();
        for image in inputs {
            for tap_y in 0..kernel.0 {
                for tap_x in 0..kernel.1 {
                    let y = (y * stride.0 + tap_y) as isize - pad.0 as isize;
                    sources.push(image.source(y, tap_x as isize - pad.1 as isize));
                }
            }
        }
        sources
    }
}

/// What a whole convolution or block of bytes reads, and which rows of which output it writes.
pub struct ByteRun<'a> {
    pub kernels: &'a ByteKernels,
    pub inputs: &'a [Image<'a, u8>],
    /// Added to the output, and of its shape.
    pub skip: Option<Image<'a, u8>>,
    /// Of the whole output.
    pub layout: Layout,
    pub rows: Range<usize>,
}
