//! A dense 3×3 convolution of stride 1 with 16 multiplications for four outputs in place of 36: Winograd's F(2×2, 3×3)
//! (A. Lavin, S. Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016).
//!
//! The output is cut into tiles of 2×2 pixels. A tile sees 4×4 input pixels, and additions alone make sixteen *values*
//! of them; each value is multiplied by a matrix of its own, which is the dense kernel on rows whose "pixels" are tiles;
//! and additions make the tile's outputs of the sixteen products. (The additions are
//! in `tiles.rs`.)

use super::block::{Scratch, ScratchSizes};
use super::convolution::{Activation, Run};
use super::dense::{DenseRow, Finish, MAX_SOURCES, Source, Start};
use super::layout::{BLOCK, Floats};
use super::tiles::{GatherRow, VALUES, ValuesRow};
use std::ops::Range;

/// Values and products of the tiles that are computed together stay below this, so that they lie in the second-level
/// cache beside some weights.
const BATCH_BYTES: usize = 384 << 10;

/// The convolution, with its weights transformed and packed.
#[derive(Clone, Debug)]
pub struct Winograd {
    /// Rows and columns of zeros above and left of the image.
    pad: (usize, usize),
    out_channels: usize,
    /// Channels of each input.
    inputs: Vec<usize>,
    /// First block of each panel of output channels, and the number of blocks after the last.
    panels: Vec<usize>,
    /// `[value][panel][input][channel][block of the panel][16]`
    weights: Floats,
    bias: Floats,
    /// Shape of the output.
    height: usize,
    width: usize,
    /// Rows of tiles that are computed together.
    batch: usize,
}

impl Winograd {
    /// Whether it does clearly fewer multiplications than the direct convolution for an output of this shape: the tiles
    /// at the edges of a small image are half empty.
    pub fn pays(height: usize, width: usize) -> bool {
        16 * height.div_ceil(2) * width.div_ceil(2) * 3 <= 9 * height * width * 2
    }

    /// Packs `weight(out, input, channel of the input, tap)`, the taps of a 3×3 kernel row after row, for inputs of the
    /// given channel counts and an output of `height` × `width` pixels.
    ///
    /// # Panics
    /// If there are more inputs than [`MAX_SOURCES`].
    pub fn pack(
        pad: (usize, usize),
        bias: &[f32],
        inputs: &[usize],
        max_panel: usize,
        (height, width): (usize, usize),
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Winograd {
        assert!((1..=MAX_SOURCES).contains(&inputs.len()));
        let out_channels = bias.len();
        let blocks = out_channels.div_ceil(BLOCK);
        let mut panels = vec![0];
        while let Some(first) = panels.last().copied().filter(|first| *first < blocks) {
            let left = blocks - first;
            panels.push(first + left.div_ceil(left.div_ceil(max_panel)));
        }
        let depth: usize = inputs.iter().sum();
        let per_value = blocks * BLOCK * depth;
        let mut weights = Floats::zeros(VALUES * per_value);
        let mut at = 0;
        for panel in panels.windows(2) {
            for (input, channels) in inputs.iter().enumerate() {
                for channel in 0..*channels {
                    for out in panel[0] * BLOCK..panel[1] * BLOCK {
                        if out < out_channels {
                            let values = kernel_values(|tap| weight(out, input, channel, tap));
                            for (value, of) in values.into_iter().enumerate() {
                                weights[value * per_value + at] = of;
                            }
                        }
                        at += 1;
                    }
                }
            }
        }
        let mut padded = Floats::zeros(blocks * BLOCK);
        padded[..out_channels].copy_from_slice(bias);
        let input_blocks: usize = inputs.iter().map(|channels| channels.div_ceil(BLOCK)).sum();
        let row_bytes =
            VALUES * (input_blocks + blocks) * width.div_ceil(2) * BLOCK * size_of::<f32>();
        let batch = (BATCH_BYTES / row_bytes).clamp(1, height.div_ceil(2));
        Winograd {
            pad,
            out_channels,
            inputs: inputs.to_vec(),
            panels,
            weights,
            bias: padded,
            height,
            width,
            batch,
        }
    }

    /// Zeros that it wants around each of its inputs, which are `height` × `width` pixels.
    pub fn halo(&self, height: usize, width: usize) -> usize {
        let past = |out: usize, pad: usize, length: usize| {
            (2 * out.div_ceil(2) + 2)
                .saturating_sub(pad + length)
                .max(pad)
        };
        past(self.height, self.pad.0, height).max(past(self.width, self.pad.1, width))
    }

    /// Bytes of packed weights and biases.
    pub fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// Multiplications of one run.
    pub fn multiplications(&self) -> usize {
        let tiles = self.height.div_ceil(2) * self.width.div_ceil(2);
        VALUES * tiles * self.inputs.iter().sum::<usize>() * self.out_channels
    }

    /// What [`Winograd::rows`] needs in its scratch: values, then products, then zeros.
    pub fn scratch(&self) -> ScratchSizes {
        let (values, products) = self.sizes();
        ScratchSizes::one(values + products + self.bias.len())
    }

    fn sizes(&self) -> (usize, usize) {
        let input_blocks: usize = self
            .inputs
            .iter()
            .map(|channels| channels.div_ceil(BLOCK))
            .sum();
        let value = VALUES * self.batch * self.width.div_ceil(2) * BLOCK;
        (input_blocks * value, self.bias.len() / BLOCK * value)
    }

    /// The rows that `run` names, into `out` (those rows of its layout, halo columns included and untouched). The
    /// inputs' halos must hold the padding.
    pub fn rows(&self, run: &Run, activation: Activation, scratch: &mut Scratch, out: &mut [f32]) {
        let layout = run.layout;
        assert_eq!(
            (layout.channels, layout.height, layout.width),
            (self.out_channels, self.height, self.width)
        );
        assert_eq!(run.inputs.len(), self.inputs.len());
        let (values, rest) = scratch.ring.split_at_mut(self.sizes().0);
        let (products, zeros) = rest.split_at_mut(self.sizes().1);
        let zeros = &mut zeros[..self.bias.len()];
        zeros.fill(0.0);
        let last = run.rows.end.div_ceil(2);
        for first in (run.rows.start / 2..last).step_by(self.batch) {
            let batch = first..(first + self.batch).min(last);
            self.values(run, batch.clone(), values);
            self.multiply(run, batch.len(), values, zeros, products);
            let first_row = run.rows.start.max(2 * batch.start);
            for y in first_row..run.rows.end.min(2 * batch.end) {
                let row = &mut out[(y - run.rows.start) * layout.row_len()..][..layout.row_len()];
                self.gather(run, y, batch.clone(), activation, products, row);
            }
        }
    }

    /// `[value][block][tile][16]` of the rows of tiles `batch`.
    fn values(&self, run: &Run, batch: Range<usize>, values: &mut [f32]) {
        let tiles = self.width.div_ceil(2);
        let out_block = batch.len() * tiles * BLOCK;
        let out_value = values.len() / VALUES;
        let mut block = 0;
        for image in run.inputs {
            let blocks = image.layout.blocks();
            for (number, tile_row) in batch.clone().enumerate() {
                let row = |y: usize| {
                    image.at(
                        (2 * tile_row + y) as isize - self.pad.0 as isize,
                        -(self.pad.1 as isize),
                    )
                };
                let row = ValuesRow {
                    rows: std::array::from_fn(row),
                    block_stride: image.layout.block_len(),
                    blocks,
                    tiles,
                    out_value,
                    out_block,
                };
                run.kernels.values(
                    &row,
                    &mut values[block * out_block + number * tiles * BLOCK..],
                );
            }
            block += blocks;
        }
    }

    /// `[value][block][tile][16]` of the outputs' channels.
    fn multiply(
        &self,
        run: &Run,
        rows: usize,
        values: &[f32],
        zeros: &[f32],
        products: &mut [f32],
    ) {
        let pixels = rows * self.width.div_ceil(2);
        let block_stride = pixels * BLOCK;
        let mut weights = &self.weights[..];
        let (value_len, product_len) = (values.len() / VALUES, products.len() / VALUES);
        for (values, products) in values
            .chunks_exact(value_len)
            .zip(products.chunks_exact_mut(product_len))
        {
            let mut sources = [Source {
                data: &[],
                channels: 0,
                block_stride,
            }; MAX_SOURCES];
            let mut block = 0;
            for (source, channels) in sources.iter_mut().zip(&self.inputs) {
                *source = Source {
                    data: &values[block * block_stride..],
                    channels: *channels,
                    block_stride,
                };
                block += channels.div_ceil(BLOCK);
            }
            for panel in self.panels.windows(2) {
                let row = DenseRow {
                    sources: &sources[..self.inputs.len()],
                    step: 1,
                    weights,
                    panel: panel[1] - panel[0],
                    start: Start::Bias(zeros),
                    finish: Finish::default(),
                    pixels,
                    out_block: block_stride,
                };
                run.kernels
                    .dense(&row, &mut products[panel[0] * block_stride..]);
                let used = self.inputs.iter().sum::<usize>() * row.panel * BLOCK;
                weights = &weights[used..];
            }
        }
    }

    /// Output row `y`, of the products of the rows of tiles `batch`.
    fn gather(
        &self,
        run: &Run,
        y: usize,
        batch: Range<usize>,
        activation: Activation,
        products: &[f32],
        out: &mut [f32],
    ) {
        let tiles = self.width.div_ceil(2);
        let skip = run
            .skip
            .map(|image| (image.at(y as isize, 0), image.layout.block_len()));
        let row = GatherRow {
            products: &products[(y / 2 - batch.start) * tiles * BLOCK..],
            value_stride: products.len() / VALUES,
            block_stride: batch.len() * tiles * BLOCK,
            second: y % 2 == 1,
            bias: &self.bias,
            finish: activation.after(skip),
            blocks: self.bias.len() / BLOCK,
            pixels: self.width,
            out_block: run.layout.block_len(),
        };
        run.kernels
            .gather(&row, &mut out[run.layout.halo * BLOCK..]);
    }
}

/// The sixteen values of a 3×3 kernel: `[a, (a + b + c) / 2, (a − b + c) / 2, c]` along both axes.
fn kernel_values(tap: impl Fn(usize) -> f32) -> [f32; VALUES] {
    let spread = |a: f64, b: f64, c: f64| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let at = |y: usize, x: usize| f64::from(tap(3 * y + x));
    let columns: [[f64; 4]; 3] = std::array::from_fn(|x| spread(at(0, x), at(1, x), at(2, x)));
    std::array::from_fn(|value| {
        let y = value / 4;
        spread(columns[0][y], columns[1][y], columns[2][y])[value % 4] as f32
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Planes, close, noise};
    use super::super::tiles::{gather_reference, values_reference};
    use super::super::{Geometry, Image, Kernels, export_row};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn values_equal_their_reference(
            (blocks, tiles) in (1usize..4, 1usize..12),
            (shift, more) in (0usize..16, 0usize..3),
            seed: u64,
        ) {
            let block_stride = (2 * tiles + 2 + more) * BLOCK;
            let data = noise(seed, shift + 4 * blocks * block_stride);
            let rows = std::array::from_fn(|y| &data[shift + y * blocks * block_stride..][..blocks * block_stride]);
            let (out_block, out_value) = ((tiles + more) * BLOCK, (blocks * (tiles + more) + more) * BLOCK);
            let row = ValuesRow { rows, block_stride, blocks, tiles, out_value, out_block };
            let before = vec![0.5; VALUES * out_value];
            let mut twin = before.clone();
            values_reference(&row, &mut twin);
            for kernels in Kernels::available() {
                let mut out = before.clone();
                kernels.values(&row, &mut out);
                prop_assert!(close(&out, &twin), "{}", kernels.name);
            }
        }

        #[test]
        fn gathered_rows_equal_their_reference(
            (blocks, pixels, more) in (1usize..4, 1usize..24, 0usize..3),
            second: bool,
            flags in 0u8..8,
            seed: u64,
        ) {
            let tiles = pixels.div_ceil(2) + more;
            let (block_stride, value_stride) = (tiles * BLOCK, (blocks * tiles + more) * BLOCK);
            let products = noise(seed, VALUES * value_stride);
            let (bias, skip) = (noise(seed ^ 1, blocks * BLOCK), noise(seed ^ 2, blocks * pixels * BLOCK));
            let finish = Finish {
                relu_first: flags & 1 != 0,
                skip: (flags & 2 != 0).then_some((&skip[..], pixels * BLOCK)),
                relu_last: flags & 4 != 0,
            };
            let (products, bias, out_block) = (&products[..], &bias[..], (pixels + more) * BLOCK);
            let row =
                GatherRow { products, value_stride, block_stride, second, bias, finish, blocks, pixels, out_block };
            let before = vec![0.5; blocks * out_block];
            let mut twin = before.clone();
            gather_reference(&row, &mut twin);
            for kernels in Kernels::available() {
                let mut out = before.clone();
                kernels.gather(&row, &mut out);
                prop_assert!(close(&out, &twin), "{}", kernels.name);
            }
        }

        /// The whole against the plain convolution: odd shapes, two inputs, every padding, in one band and in two.
        #[test]
        fn it_is_a_convolution(
            (height, width) in (4usize..20, 4usize..40),
            (first, second, outs) in (1usize..40, 0usize..20, 1usize..90),
            pad in 0usize..=2,
            flags in 0u8..8,
            seed: u64,
        ) {
            let (relu_first, relu_last, skipped) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            let geometry = Geometry { kernel: (3, 3), stride: (1, 1), pad: (pad, pad) };
            let shape = (height + 2 * pad - 2, width + 2 * pad - 2);
            let channels: Vec<usize> = [first, second].into_iter().filter(|channels| *channels > 0).collect();
            let images: Vec<Planes> = channels
                .iter()
                .map(|channels| Planes::noise(seed ^ *channels as u64, *channels, height, width))
                .collect();
            let all = if second > 0 { images[0].beside(&images[1]) } else { images[0].clone() };
            let depth = first + second;
            let (weights, bias) = (noise(seed ^ 1, outs * depth * 9), noise(seed ^ 2, outs));
            let skip = Planes::noise(seed ^ 3, outs, shape.0, shape.1);
            let direct = all.convolve(geometry, &weights, &bias, shape).relu(relu_first);
            let twin = if skipped { direct.plus(&skip) } else { direct }.relu(relu_last);
            let layout = twin.layout(1);
            for kernels in Kernels::available() {
                let packed = Winograd::pack((pad, pad), &bias, &channels, kernels.panel, shape, |o, input, c, tap| {
                    weights[(o * depth + input * first + c) * 9 + tap]
                });
                let halo = packed.halo(height, width);
                let data: Vec<Floats> = images.iter().map(|image| image.import(halo)).collect();
                let inputs: Vec<Image> = images
                    .iter()
                    .zip(&data)
                    .map(|(image, data)| Image { layout: image.layout(halo), data })
                    .collect();
                let skip_data = skip.import(0);
                let skip = skipped.then_some(Image { layout: skip.layout(0), data: &skip_data });
                let activation = Activation { relu_first, relu_last };
                let mut scratch = Scratch::default();
                scratch.grow(&packed.scratch());
                let outputs = [[0, shape.0, shape.0], [0, shape.0 / 2, shape.0]].map(|bands| {
                    let mut out = Floats::zeros(layout.len());
                    for band in bands.windows(2).filter(|band| band[0] < band[1]) {
                        let body = (1 + band[0]) * layout.row_len()..(1 + band[1]) * layout.row_len();
                        let run = Run { kernels: &kernels, inputs: &inputs, skip, layout, rows: band[0]..band[1] };
                        packed.rows(&run, activation, &mut scratch, &mut out[body]);
                    }
                    let mut planes = vec![0.0; twin.data.len()];
                    (0..shape.0).for_each(|y| export_row(Image { layout, data: &out }, y, &mut planes));
                    planes
                });
                prop_assert!(close(&outputs[0], &twin.data), "{}", kernels.name);
                prop_assert_eq!(&outputs[0], &outputs[1], "bands of {} differ", kernels.name);
            }
        }
    }
}
