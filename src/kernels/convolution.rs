//! A dense convolution with its weights packed for the kernel, over whole rows and planes.

use super::dense::{DenseRow, Finish, MAX_SOURCES, Source, Start};
use super::isa::Kernels;
use super::layout::{BLOCK, Floats, Image, Layout};
use std::ops::Range;

/// Weights of one pass over the rows stay below this, so that they are still in the second-level cache when the next
/// row wants them.
const PASS_BYTES: usize = 256 << 10;

/// Kernel size, stride and padding (top, left), each as (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub kernel: (usize, usize),
    pub stride: (usize, usize),
    pub pad: (usize, usize),
}

impl Geometry {
    /// A 1×1 convolution: a matrix applied to every pixel.
    pub const POINT: Geometry = Geometry {
        kernel: (1, 1),
        stride: (1, 1),
        pad: (0, 0),
    };

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }
}

/// What is done to the sums of a whole convolution; see [`Finish`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    pub relu_first: bool,
    /// After the skip connection is added.
    pub relu_last: bool,
}

impl Activation {
    /// What happens to sums to which `skip` is added.
    pub(super) fn after<'a>(&self, skip: Option<(&'a [f32], usize)>) -> Finish<'a> {
        Finish {
            relu_first: self.relu_first,
            skip,
            relu_last: self.relu_last,
        }
    }
}

/// A panel: up to four blocks of output channels whose weights lie together.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub first_block: usize,
    pub blocks: usize,
    weights: usize,
}

impl Panel {
    /// Whose packed weights start at `weights`.
    pub(super) fn new(first_block: usize, blocks: usize, weights: usize) -> Panel {
        Panel {
            first_block,
            blocks,
            weights,
        }
    }

    /// Where its packed weights start.
    pub(super) fn weights(&self) -> usize {
        self.weights
    }
}

/// A dense convolution of one or more inputs, as if they were concatenated.
#[derive(Clone, Debug)]
pub struct Convolution {
    pub geometry: Geometry,
    pub out_channels: usize,
    panels: Vec<Panel>,
    /// `[panel][input][tap][channel][block of the panel][16]`
    weights: Floats,
    bias: Floats,
    inputs: Vec<usize>,
}

impl Convolution {
    /// Packs `weight(out, input, channel of the input, tap)` for inputs of the given channel counts.
    ///
    /// # Panics
    /// If there are more inputs and taps than [`MAX_SOURCES`].
    pub fn pack(
        geometry: Geometry,
        bias: &[f32],
        inputs: &[usize],
        max_panel: usize,
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Convolution {
        assert!(inputs.len() * geometry.taps() <= MAX_SOURCES);
        let out_channels = bias.len();
        let blocks = out_channels.div_ceil(BLOCK);
        let depth: usize = inputs.iter().sum::<usize>() * geometry.taps();
        let mut packed = Floats::zeros(blocks * BLOCK * depth);
        let mut panels = Vec::new();
        let mut at = 0;
        let mut first_block = 0;
        while first_block < blocks {
            let left = blocks - first_block;
            let panel = left.div_ceil(left.div_ceil(max_panel));
            panels.push(Panel {
                first_block,
                blocks: panel,
                weights: at,
            });
            for (input, channels) in inputs.iter().enumerate() {
                for tap in 0..geometry.taps() {
                    for channel in 0..*channels {
                        for lane in 0..panel * BLOCK {
                            let out = first_block * BLOCK + lane;
                            if out < out_channels {
                                packed[at + lane] = weight(out, input, channel, tap);
                            }
                        }
                        at += panel * BLOCK;
                    }
                }
            }
            first_block += panel;
        }
        let mut padded = Floats::zeros(blocks * BLOCK);
        padded[..out_channels].copy_from_slice(bias);
        Convolution {
            geometry,
            out_channels,
            panels,
            weights: packed,
            bias: padded,
            inputs: inputs.to_vec(),
        }
    }

    /// The panels, in the order of their blocks.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// Bytes of packed weights and biases.
    pub fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// Multiplications for `pixels` output pixels.
    pub fn multiplications(&self, pixels: usize) -> usize {
        self.inputs.iter().sum::<usize>() * self.geometry.taps() * self.out_channels * pixels
    }

    /// One panel over one row, from ready-made sources. `onto` adds to what `out` holds instead of the bias.
    pub fn panel_row(
        &self,
        kernels: &Kernels,
        panel: Panel,
        sources: &[Source],
        row: PanelRow,
        out: &mut [f32],
    ) {
        let bias = &self.bias[panel.first_block * BLOCK..][..panel.blocks * BLOCK];
        kernels.dense(
            &DenseRow {
                sources,
                step: self.geometry.stride.1,
                weights: &self.weights[panel.weights..],
                panel: panel.blocks,
                start: if row.onto {
                    Start::Output
                } else {
                    Start::Bias(bias)
                },
                finish: row.finish,
                pixels: row.pixels,
                out_block: row.out_block,
            },
            out,
        );
    }

    /// The rows that `run` names, into `out` (those rows of its layout, halo columns included and untouched). The
    /// inputs' halos must hold the padding.
    pub fn rows(&self, run: &Run, activation: Activation, out: &mut [f32]) {
        self.rows_from(run, &|y| self.sources(run.inputs, y), activation, out);
    }

    /// As [`Convolution::rows`], for inputs that are no [`Image`]s: `sources(y)` names what row `y` reads.
    pub fn rows_from<'a>(
        &self,
        run: &Run,
        sources: &dyn Fn(usize) -> Sources<'a>,
        activation: Activation,
        out: &mut [f32],
    ) {
        let (row_len, block_len) = (run.layout.row_len(), run.layout.block_len());
        let example = sources(run.rows.start);
        for panel in &self.panels {
            let mut weights = panel.weights;
            let mut pass = 0..0;
            while pass.end < example.count {
                pass = self.pass(panel, example.as_slice(), pass.end);
                let (first, last) = (pass.start == 0, pass.end == example.count);
                for (y, out) in run.rows.clone().zip(out.chunks_exact_mut(row_len)) {
                    let skip = run.skip.filter(|_| last).map(|image| {
                        let stride = image.layout.block_len();
                        (
                            &image.at(y as isize, 0)[panel.first_block * stride..],
                            stride,
                        )
                    });
                    let finish = Finish {
                        relu_first: last && activation.relu_first,
                        skip,
                        relu_last: last && activation.relu_last,
                    };
                    let row = PanelRow {
                        onto: !first,
                        finish,
                        pixels: run.layout.width,
                        out_block: block_len,
                    };
                    let at = Panel { weights, ..*panel };
                    let out = &mut out[panel.first_block * block_len + run.layout.halo * BLOCK..];
                    self.panel_row(
                        run.kernels,
                        at,
                        &sources(y).as_slice()[pass.clone()],
                        row,
                        out,
                    );
                }
                let channels: usize = example.as_slice()[pass.clone()]
                    .iter()
                    .map(|source| source.channels)
                    .sum();
                weights += channels * panel.blocks * BLOCK;
            }
        }
    }

    /// The sources from `start` on whose weights fit into one pass; at least one.
    fn pass(&self, panel: &Panel, sources: &[Source], start: usize) -> Range<usize> {
        let mut bytes = 0;
        let fitting = sources[start..].iter().take_while(|source| {
            bytes += source.channels * panel.blocks * BLOCK * size_of::<f32>();
            bytes <= PASS_BYTES
        });
        start..start + fitting.count().max(1)
    }

    /// What output row `y` reads: every tap of every input, in the order of the packed weights.
    fn sources<'a>(&self, inputs: &[Image<'a>], y: usize) -> Sources<'a> {
        let Geometry {
            kernel,
            stride,
            pad,
        } = self.geometry;
        let mut sources = Sources::<f32>::default();
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

/// What a whole convolution or block reads, and which rows of which output it writes.
pub struct Run<'a> {
    pub kernels: &'a Kernels,
    pub inputs: &'a [Image<'a>],
    /// Added to the output, and of its shape.
    pub skip: Option<Image<'a>>,
    /// Of the whole output.
    pub layout: Layout,
    pub rows: Range<usize>,
}

/// How one panel's row is started, finished and laid out.
#[derive(Clone, Copy)]
pub struct PanelRow<'a> {
    pub onto: bool,
    pub finish: Finish<'a>,
    pub pixels: usize,
    pub out_block: usize,
}

/// A short list of sources, on the stack.
#[derive(Clone, Copy)]
pub struct Sources<'a, T = f32> {
    list: [Source<'a, T>; MAX_SOURCES],
    count: usize,
}

impl<T: Copy> Default for Sources<'_, T> {
    fn default() -> Self {
        Sources {
            list: [Source {
                data: &[],
                channels: 0,
                block_stride: 0,
            }; MAX_SOURCES],
            count: 0,
        }
    }
}

impl<'a, T> Sources<'a, T> {
    /// Adds one.
    ///
    /// # Panics
    /// Past [`MAX_SOURCES`].
    pub fn push(&mut self, source: Source<'a, T>) {
        self.list[self.count] = source;
        self.count += 1;
    }

    /// Those added so far.
    pub fn as_slice(&self) -> &[Source<'a, T>] {
        &self.list[..self.count]
    }
}
